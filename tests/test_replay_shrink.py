"""From a bug to a test: what is written is small, fails as the recording does, and passes where nothing is wrong."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
import trio
from rich.console import Console
from trio.testing import MockClock

from aura.core import events as ev
from aura.core import fsm, overlap, tape
from aura.core.errors import AuraError
from aura.core.journal import decode
from aura.core.ports import Finished, TextDelta, Transcript
from aura.providers import observed
from aura.session.build import Sections
from aura.session.setup import Setup
from aura.stages import listen
from aura.stages.think import ThinkSettings
from aura.storage.tapes import Tape
from aura.tools import recordings
from aura.tools.replay import check, free, to_test, trial
from aura.tools.replay.answers import Known
from aura.tools.replay.ddmin import Budget
from aura.tools.replay.pipeline import recorded_sections
from aura.tools.replay.source import find
from aura.tools.replay.stand_ins import Memory
from aura.tools.replay.strip import load
from tests.script import Detector, Scene, stage
from tests.test_golden import SCRIPTS, Script

GOLDEN = Path(__file__).parent / "golden"
ROOT = Path(__file__).resolve().parents[1]
ANSWER = "It opens at nine. The last entry is at five, and on Sundays it is closed all day long."
Patch = pytest.MonkeyPatch


def recorded(folder: Path, script: Script, answers: list[object], **options: object) -> Path:
    """A scripted conversation's recording."""

    async def hold() -> None:
        async with stage(answers, record=folder, **options) as scene:  # type: ignore[arg-type]
            await script(scene)

    clock = MockClock(autojump_threshold=0)
    clock.jump(100_000.0)  # as a real one: sums of times near zero are rounded otherwise when they are moved
    trio.run(hold, clock=clock)
    return folder


def made(where: Path, out: Path, wrong: str = "", budget: Budget | None = None) -> to_test.Made:
    """A test written from a scripted recording."""
    source = find(str(where), Path())
    return to_test.make(source, out, wrong=wrong, budget=budget or Budget(60.0), detector=Detector)


def fails(path: Path) -> bool:
    """Whether a written test does."""
    names: dict[str, object] = {"__file__": str(path), "__name__": "written"}
    exec(compile(path.read_text(), path, "exec"), names)
    ((_, test),) = [(name, value) for name, value in names.items() if name.startswith("test_")]
    try:
        test()  # type: ignore[operator]
    except AssertionError:
        return True
    return False


def tidy(path: Path) -> None:
    """What the linter and the formatter say to a written test."""
    for words in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *words, "--quiet", "--config", str(ROOT / "pyproject.toml"), str(path)]
        done = subprocess.run(ruff, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def confirms_after(seconds: float) -> Callable[..., overlap.Verdict]:
    """Another rule for barge-ins."""
    judge = overlap.judge

    def changed(facts: overlap.OverlapFacts, rules: overlap.OverlapSettings) -> overlap.Verdict:
        return judge(facts, msgspec.structs.replace(rules, confirm_s=seconds))

    return changed


# ---- a decision --------------------------------------------------------------------------------------------------


def test_a_journal_that_is_decided_otherwise_becomes_a_test_of_its_last_turns(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    out = tmp_path / "test_no_confirmation.py"
    with monkeypatch.context() as patch:
        patch.setattr(fsm.Conversation, "confirm", lambda *_: None)
        done = to_test.make(find(str(GOLDEN / "barge_in.jsonl"), Path()), out, budget=Budget(10.0))
        assert "(OverlapConfirmed) is decided otherwise: orders" in done.fails
        assert fails(out)

    kept = decode((done.recording / "journal.jsonl").read_bytes()).entries
    assert (done.before.facts, done.after.facts) == (22, len(kept))
    assert len(kept) <= 9
    assert isinstance(kept[-1].event, ev.OverlapConfirmed)
    assert [path.name for path in done.recording.iterdir()] == ["journal.jsonl"]
    assert not fails(out)
    tidy(out)


def test_turns_before_it_are_left_out_and_the_numbers_fit(tmp_path: Path, monkeypatch: Patch) -> None:
    async def three(scene: Scene) -> None:
        await SCRIPTS["plain"](scene)
        await SCRIPTS["barge_in"](scene)

    folder = recorded(tmp_path / "r", three, [ANSWER] * 3)
    (folder / "tape.jsonl").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(fsm.Conversation, "confirm", lambda *_: None)
        done = made(folder, tmp_path / "test_three.py")

    kept = decode((done.recording / "journal.jsonl").read_bytes()).entries
    assert [entry.n for entry in kept] == list(range(1, len(kept) + 1))
    assert len(kept) <= 9 < 25 < done.before.facts
    assert [order.turn for entry in kept for order in entry.effects if isinstance(order, fsm.fx.OpenTurn)] == [1, 2]
    assert not fails(done.path)


def test_facts_that_the_decision_depends_on_stay(tmp_path: Path, monkeypatch: Patch) -> None:
    """A limit that is gone: leaving out what used it up would make a journal that never was."""

    async def hesitant(scene: Scene) -> None:
        for _ in range(6):
            await scene.user.says(0.6, "well")
            await scene.user.silent(0.3)
        await scene.user.until("speaking")

    folder = recorded(tmp_path / "r", hesitant, [ANSWER] * 9)
    (folder / "tape.jsonl").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(fsm.Conversation, "may_draft", lambda *_: True)
        done = made(folder, tmp_path / "test_drafts.py")
        assert "(SpeechPaused) is decided otherwise" in done.fails
        assert fails(done.path)
    assert not fails(done.path)


# ---- the stages --------------------------------------------------------------------------------------------------


async def long_one(scene: Scene) -> None:
    """A plain turn, a while in which the user is silent, and a barge-in."""
    await scene.user.silent(0.8)
    await scene.user.says(0.4, "what time is it")
    await scene.user.until("speaking")
    await scene.user.until("idle")
    await scene.user.silent(0.8)
    await scene.user.says(0.4, "when does it open")
    await scene.user.until("speaking")
    await scene.user.silent(0.3)
    await scene.user.says(1.1, "wait, how much is a ticket")
    await scene.user.until("speaking")


def turns_in(folder: Path) -> list[int]:
    """Turns that a journal tells of."""
    entries = decode((folder / "journal.jsonl").read_bytes()).entries
    return [order.turn for entry in entries for order in entry.effects if isinstance(order, fsm.fx.OpenTurn)]


@pytest.fixture(scope="module")
def long_recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded(tmp_path_factory.mktemp("long") / "r", long_one, ["Nine.", ANSWER, "Ten."])


def other(section: str, **changes: float) -> Callable[[Patch], None]:
    """The same conversation under another setting."""

    def sections(read: Tape) -> Sections:
        then = recorded_sections(read)
        return msgspec.structs.replace(then, **{section: msgspec.structs.replace(getattr(then, section), **changes)})

    return lambda patch: patch.setattr(trial, "recorded_sections", sections)


CHANGES: dict[str, Callable[[Patch], None]] = {
    "decided earlier": lambda patch: patch.setattr(listen, "judge", confirms_after(0.3)),
    "decided with other numbers": lambda patch: patch.setattr(listen, "judge", confirms_after(0.55)),
    "decided later": lambda patch: patch.setattr(listen, "judge", confirms_after(0.9)),
    "a draft later": other("turns", pause_s=0.2),
    "sent earlier": other("playout", lead_s=0.2),
    "cut into other sentences": other("sentences", max_chars=40),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_recording_that_parts_becomes_a_short_one_that_parts_the_same_way(
    long_recording: Path, tmp_path: Path, monkeypatch: Patch, change: str
) -> None:
    with monkeypatch.context() as patch:
        CHANGES[change](patch)
        whole = trial.run(load(long_recording), Detector)
        done = made(long_recording, tmp_path / "test_rule.py")
        short = trial.run(load(done.recording), Detector)

    assert whole.parted is not None
    assert short.parted == whole.parted
    assert done.after.messages < done.before.messages * 0.7
    assert turns_in(done.recording) in ([1], [1, 2])
    assert check.difference(done.recording, Detector) == ""  # which is the point: the right code passes


def test_what_was_said_otherwise_is_kept_up_to_where_it_was(
    long_recording: Path, tmp_path: Path, monkeypatch: Patch
) -> None:
    """A request to the model depends on all that was said before, so nothing can be taken out of the middle."""
    with monkeypatch.context() as patch:
        patch.setattr(observed, "request_digest", lambda request: "another")
        done = made(long_recording, tmp_path / "test_words.py")

    assert "asked scripted (chat)" in done.fails
    assert done.after.steps < done.before.steps / 2
    assert check.difference(done.recording, Detector) == ""
    assert (done.recording / "in.pcm16.16000.flac").exists()


def test_without_a_second_to_spend_only_the_end_is_cut_off(
    long_recording: Path, tmp_path: Path, monkeypatch: Patch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(listen, "judge", confirms_after(0.9))
        done = made(long_recording, tmp_path / "test_hasty.py", budget=Budget(0.0))
        assert check.difference(done.recording, Detector) == done.fails
    assert turns_in(done.recording) == [1, 2, 3]
    assert check.difference(done.recording, Detector) == ""


# ---- a symptom ---------------------------------------------------------------------------------------------------


async def backchannel(scene: Scene) -> None:
    """The user says that they are still there."""
    await scene.user.says(0.4, "when does it open")
    await scene.user.until("speaking")
    await scene.user.silent(0.3)
    await scene.user.says(0.3, "mm hmm")
    await scene.user.silent(0.6)


def test_a_symptom_becomes_the_few_messages_that_lead_to_it(tmp_path: Path, monkeypatch: Patch) -> None:
    folder = recorded(tmp_path / "r", backchannel, [ANSWER])
    wrong = "OverlapDismissed:why=backchannel"

    done = made(folder, tmp_path / "test_uh_huh.py", wrong, Budget(0.5))

    assert done.after.messages < done.before.messages
    assert "OverlapDismissed" in check.occurrence(wrong, done.recording, Detector)
    assert check.difference(done.recording, Detector) == ""  # it is an exact recording, too
    assert f'occurrence("{wrong}", RECORDING)' in done.path.read_text()
    tidy(done.path)
    monkeypatch.setattr(overlap, "_covered", lambda *_: False)  # "mm hmm" means something now
    assert check.occurrence(wrong, done.recording, Detector) == ""


async def hung(scene: Scene) -> None:
    """A model that never answers."""
    scene.chat.first_s = 60.0
    await scene.user.says(0.4, "what time is it")
    await scene.user.until("speaking", 60.0)


def test_an_engine_that_hung_hangs_again(tmp_path: Path) -> None:
    folder = recorded(tmp_path / "r", hung, [], setup=Setup(think=ThinkSettings(first_token_s=1.0)))
    done = made(folder, tmp_path / "test_hung.py", "StageFailed:code=timed_out", Budget(0.5))
    assert "StageFailed" in check.occurrence("StageFailed:code=timed_out", done.recording, Detector)
    assert done.after.messages < done.before.messages / 4


# ---- with a voice ------------------------------------------------------------------------------------------------


def spoken(folder: Path) -> Path:
    """A recording with speech and the real detector: a question, its answer, and somebody who interrupts that."""
    base, rate_hz, end_s = 1000.0, 24_000, 7.0
    pcm = np.random.default_rng(1).normal(0, 6, round(end_s * rate_hz)).astype(np.int16)
    for at_s, name in ((0.3, "ask_time"), (3.6, "interrupt")):
        clip = recordings.read(recordings.SHIPPED_CLIPS / f"{name}.wav", rate_hz)
        begin = round(at_s * rate_hz)
        pcm[begin : begin + len(clip)] = clip[: len(pcm) - begin]
    frames = [pcm[i : i + 480].tobytes() for i in range(0, len(pcm) - 479, 480)]
    audio = tape.Audio(960, "pcm16.24000", binary=True)
    messages = [free.Message(base + 0.02 * n, audio, frame) for n, frame in enumerate(frames, 1)]
    words = {"stt": tape.Heard(Transcript("what time is it")), "chat": tape.Item(TextDelta(ANSWER))}
    header = tape.TapeHeader("sess_spoken", "", base, msgspec.to_builtins(Sections()), {"aura": "binary,events"})
    read = Tape(folder, header, ())
    memory = Memory(read, (), 10.0)
    for part, gives in words.items():
        answers = [(base + 2.1, gives, b""), *([(base + 2.2, tape.Item(Finished("stop")), b"")] * (part == "chat"))]
        memory.calls.append(Known(part, at=base + 2.0, digest="", text="", answers=answers, left="ok"))
    input_ = free.Input(read, (), memory, tuple(messages), base + end_s)
    free.run(input_, free.at_their_times(messages), base + end_s, out=folder)
    return folder


def test_a_written_test_fails_on_the_changed_code_and_passes_on_the_right_one(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    folder = spoken(tmp_path / "r")
    assert check.difference(folder) == ""
    out, screen = tmp_path / "test_barge_in.py", io.StringIO()
    with monkeypatch.context() as patch:
        patch.setattr(listen, "judge", confirms_after(0.5))
        assert to_test.run(str(folder), Path(), out, console=Console(file=screen, width=300)) == 0
        assert fails(out)
    assert not fails(out)
    assert "fails now as the recording does" in screen.getvalue()
    assert "listen told another fact: OverlapConfirmed, voiced_ms 600 → 500" in screen.getvalue()
    assert "It holds what was said." in screen.getvalue()
    tidy(out)


# ---- what cannot be ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain_recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded(tmp_path_factory.mktemp("plain") / "r", SCRIPTS["plain"], [ANSWER])


def refused(where: Path | str, out: Path, wrong: str = "") -> str:
    with pytest.raises(AuraError) as error:
        to_test.make(find(str(where), Path()), out, wrong=wrong, budget=Budget(1.0), detector=Detector)
    assert "\n" not in str(error.value)
    assert not out.is_file() or out.read_text() == "mine"
    return str(error.value)


def test_where_nothing_is_wrong_the_user_is_asked_what_is(plain_recording: Path, tmp_path: Path) -> None:
    assert "--symptom StageFailed:code=timed_out" in refused(plain_recording, tmp_path / "test_x.py")
    assert "does not happen in this conversation" in refused(plain_recording, tmp_path / "test_x.py", "StageFailed")
    assert list(tmp_path.iterdir()) == []


def test_a_symptom_that_does_not_come_again_is_said(plain_recording: Path, tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr(free, "input_of", lambda folder: msgspec.structs.replace(original(folder), messages=()))
    said = refused(plain_recording, tmp_path / "test_x.py", "TurnEnded")
    assert "mended already" in said
    assert not list(tmp_path.glob("recordings/*"))


original = free.input_of


def test_names_that_do_not_do_are_refused(plain_recording: Path, tmp_path: Path) -> None:
    taken = tmp_path / "test_mine.py"
    taken.write_text("mine")
    assert "exists already" in refused(plain_recording, taken, "TurnEnded")
    assert "name it so" in refused(plain_recording, tmp_path / "mine.py", "TurnEnded")
    assert "there is no such folder" in refused(plain_recording, tmp_path / "a" / "test_mine.py", "TurnEnded")
    assert "no tape beside this journal" in refused(GOLDEN / "plain.jsonl", tmp_path / "test_x.py", "TurnEnded")
    assert "as a file" in refused("-", tmp_path / "test_x.py")


def test_a_test_is_put_where_tests_are(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.chdir(tmp_path)
    assert to_test.names(None, "sess_1/../x")[0] == Path("test_sess_1_x.py")
    Path("tests").mkdir()
    path, recording = to_test.names(None, "sess_12")
    assert (path, recording) == (Path("tests/test_sess_12.py"), Path("tests/recordings/sess_12"))


def test_a_recording_that_cannot_be_read_is_one_line(plain_recording: Path, tmp_path: Path) -> None:
    folder = tmp_path / "r"
    folder.mkdir()
    for path in plain_recording.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "tape.jsonl").write_bytes(b"junk\n")
    assert "tape.jsonl:1" in refused(folder, tmp_path / "test_x.py")
