"""Recorded conversations run again through the real stages: equal to the last message, or parted at the right place."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
import trio
from trio.testing import MockClock

from aura.core import overlap
from aura.core.errors import ProviderError, Unavailable
from aura.core.ports import ToolCall
from aura.core.tape import TapeError
from aura.session.steps import RecordedSteps, StepClock
from aura.storage.taping import TAPE
from aura.tools.replay.pipeline import Replayed, replay
from tests.script import Detector, Scene, stage
from tests.test_golden import SCRIPTS, Script

ANSWER = "It opens at nine. The last entry is at five, and on Sundays it is closed all day long."
WAIT = ToolCall("call_1", "wait", json.dumps({"seconds": 1.5}))


async def hold(folder: Path, script: Script, answers: list[object], **options: object) -> None:
    async with stage(answers, record=folder, **options) as scene:  # type: ignore[arg-type]
        await script(scene)
    assert scene.over.is_set()


def recorded(folder: Path, script: Script, answers: list[object], **options: object) -> Path:
    trio.run(lambda: hold(folder, script, answers, **options), clock=MockClock(autojump_threshold=0))
    return folder


def again(folder: Path) -> Replayed:
    return replay(folder, Detector)


async def tool(scene: Scene) -> None:
    """A tool that speaks later."""
    await scene.user.says(1.0, "wait a second and a half")
    await scene.user.until("speaking")
    await scene.user.silent(8.0)


async def typed(scene: Scene) -> None:
    """Text, a second request while the first is answered, a cancel, junk, and the client goes."""
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]}
    scene.user.send(type="conversation.item.create", item=item)
    scene.user.send(type="response.create")
    await scene.user.until("speaking")
    scene.user.send(type="response.create")
    scene.user.send(type="no.such.thing")
    scene.user.send(type="aura.playout.ack", played_ms=300)
    await scene.user.silent(0.5)
    scene.user.send(type="response.cancel")
    await scene.user.silent(0.3)


async def hung(scene: Scene) -> None:
    """A model that never answers: the deadline, the retry, the apology."""
    scene.chat.first_s = 60.0
    await scene.user.says(1.0, "what time does the museum open")
    await scene.user.until("speaking", 60.0)
    await scene.user.until("idle")


MORE: dict[str, tuple[Script, list[object]]] = {
    "tool": (tool, [[WAIT], "Waiting.", "Time."]),
    "typed": (typed, [ANSWER, ANSWER]),
    "hung": (hung, []),
    "cut": (SCRIPTS["plain"], [["It ", "opens ", ProviderError("cut", provider="x")], ANSWER]),
}


@pytest.mark.parametrize("name", [*SCRIPTS, *MORE])
def test_a_recorded_conversation_comes_out_equal_to_the_last_message(tmp_path: Path, name: str) -> None:
    script, answers = MORE.get(name) or (SCRIPTS[name], [ANSWER, "Ten euros.", "Ten euros."])
    folder = recorded(tmp_path / "r", script, answers)

    done = again(folder)

    assert (done.why, done.complete) == ("", True)
    assert done.facts == len((folder / "journal.jsonl").read_bytes().splitlines()) - 1
    assert done.messages > 5


@pytest.mark.parametrize("attempt", range(6))
def test_it_does_not_matter_in_which_order_trio_ran_what_was_ready_at_once(tmp_path: Path, attempt: int) -> None:
    """Trio shuffles; frames of the user, words of the model and audio fall on the same moments of the virtual clock."""
    folder = recorded(
        tmp_path / "r", SCRIPTS["barge_in"], [ANSWER] * 3, stt_s=0.02, first_token_s=0.02, token_s=0.02,
        first_audio_s=0.02,
    )  # fmt: skip
    assert again(folder).why == ""


def test_a_changed_rule_parts_at_the_first_fact_that_it_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = recorded(tmp_path / "r", SCRIPTS["backchannel"], [ANSWER])
    monkeypatch.setattr(overlap, "_covered", lambda *_: False)  # "mm hmm" is a word like any other now

    done = again(folder)

    assert "told another fact" in done.why
    assert done.expected is not None
    assert done.actual is not None
    assert type(done.expected.event).__name__ == "TranscriptReady"
    assert (done.expected.event.kind, done.actual.event.kind) == ("backchannel", "words")  # type: ignore[union-attr]


def edited(folder: Path, old: bytes, new: bytes) -> None:
    path = folder / TAPE
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (b"what time does the museum open", b"where is the museum", "told another fact"),
        (b'"provider":"scripted","digest":"', b'"provider":"scripted","digest":"0', "or in another context"),
        (b"response.created", b"response.CREATED", "sent the client"),
    ],
)
def test_an_edited_tape_parts_and_says_where(tmp_path: Path, old: bytes, new: bytes, why: str) -> None:
    folder = recorded(tmp_path / "r", SCRIPTS["plain"], [ANSWER])
    edited(folder, old, new)
    assert why in again(folder).why


def test_steps_in_another_order_are_noticed(tmp_path: Path) -> None:
    folder = recorded(tmp_path / "r", SCRIPTS["plain"], [ANSWER])
    lines = (folder / TAPE).read_bytes().splitlines(keepends=True)
    at, _, *rest = msgspec.json.decode(lines[40])
    lines[40] = msgspec.json.encode([at, 99, *rest]) + b"\n"
    (folder / TAPE).write_bytes(b"".join(lines))
    assert "went on" in again(folder).why


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_tape_that_breaks_off_is_replayed_to_there(tmp_path: Path, share: float) -> None:
    folder = recorded(tmp_path / "r", SCRIPTS["barge_in"], [ANSWER] * 3)
    data = (folder / TAPE).read_bytes()
    (folder / TAPE).write_bytes(data[: round(len(data) * share)])

    done = again(folder)

    assert (done.why, done.complete) == ("", False)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / TAPE).unlink(), "no recording that can be run again"),
        (lambda f: (f / TAPE).write_bytes(b""), "tape.jsonl:1: this is no tape"),
        (lambda f: (f / TAPE).write_bytes(b"\x89PNG\r\n\x1a\n"), "tape.jsonl:1: this is no tape"),
        (lambda f: edited(f, b'"aura_tape":1', b'"aura_tape":0'), "written in format 0, this AURA reads 1"),
        (lambda f: edited(f, b'{"t":"heard"', b'{"t":"unheard"'), "cannot be read"),
        (lambda f: (f / "in.pcm16.16000.raw").unlink(), "the audio of this recording is missing"),
        (lambda f: (f / "in.pcm16.16000.raw").write_bytes(b"12"), "bytes of audio are missing"),
    ],
)
def test_what_is_wrong_with_a_recording_is_said_in_one_line(tmp_path: Path, spoil: object, message: str) -> None:
    folder = recorded(tmp_path / "r", SCRIPTS["plain"], [ANSWER])
    spoil(folder)  # type: ignore[operator]
    with pytest.raises(TapeError) as caught:
        again(folder)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_clock_that_runs_backwards_is_refused_with_its_line(tmp_path: Path) -> None:
    folder = recorded(tmp_path / "r", SCRIPTS["plain"], [ANSWER])
    lines = (folder / TAPE).read_bytes().splitlines(keepends=True)
    _, *rest = msgspec.json.decode(lines[60])
    lines[60] = msgspec.json.encode([-1.0, *rest]) + b"\n"
    (folder / TAPE).write_bytes(b"".join(lines))
    with pytest.raises(TapeError, match=r"tape\.jsonl:61: the clock runs backwards"):
        again(folder)


async def test_time_stands_still_within_a_recorded_step(step_clock: StepClock) -> None:
    seen: list[tuple[float, float]] = []

    class Sink:
        def step(self, at: float, task: int) -> None:
            seen.append((at, 0.0))

    async def busy() -> None:
        for _ in range(3):
            first = trio.current_time()
            sum(range(20_000))
            seen[-1] = (seen[-1][0], trio.current_time())
            assert trio.current_time() == first
            await trio.sleep(0.001)

    await RecordedSteps(Sink()).root(busy)  # type: ignore[arg-type]

    assert all(at == now for at, now in seen[:3])
    assert len({at for at, _ in seen}) == 4
    before = trio.current_time()
    sum(range(20_000))
    assert trio.current_time() > before


@pytest.fixture
def step_clock() -> StepClock:
    return StepClock()


async def test_a_failure_is_the_same_failure_again(tmp_path: Path, autojump_clock: MockClock) -> None:
    error = Unavailable("down", provider="here", retry_after_s=2.0)
    async with stage([error] * 4, record=tmp_path / "r") as scene:
        await SCRIPTS["plain"](scene)
    lines = (tmp_path / "r" / TAPE).read_text()
    assert '"code":"unavailable","message":"down","provider":"here","retry_after_s":2.0' in lines
    done = await trio.to_thread.run_sync(again, tmp_path / "r")
    assert done.why == ""
