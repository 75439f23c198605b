"""The session page's API: what it tells of a recording, who may ask, and what it does with broken recordings."""

from __future__ import annotations

import io
import os
import shutil
import wave
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import trio

from aura.observe.health import Health
from aura.observe.metrics import Metrics
from aura.server.bridge import AsgiApp
from aura.server.drain import Drain
from aura.server.http import pages
from aura.server.sessions import session_routes
from aura.storage.digest import sound
from aura.storage.digest.conversation import digest
from tests.recorded_call import ANSWER, DAY, HEARD, NAME, RATE_HZ, SAID, SECOND, SECONDS, UNHEARD, UNSENT, write
from tests.test_http import Answer
from tests.test_http import ask as ask_http

KEY = "a key of the operator's"
ONE = f"/sessions/api/recordings/{DAY}/{NAME}"


def app_on(data_dir: Path, key: str = KEY) -> AsgiApp:
    return pages(Health(), Metrics(), Drain(), lambda: session_routes(data_dir, key))


async def get(app: AsgiApp, path: str, **headers: str) -> Answer:
    return await ask_http("GET", path, app, Authorization=f"Bearer {KEY}", **headers)


async def told(app: AsgiApp, path: str) -> Any:
    answer = await get(app, path)
    assert answer.status == 200, answer.body
    return msgspec.json.decode(answer.body)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with one recording."""
    data_dir = tmp_path_factory.mktemp("data")
    write(data_dir)
    return data_dir


@pytest.fixture
def data_dir(made: Path, tmp_path: Path) -> Path:
    """The same, to be broken."""
    shutil.copytree(made, tmp_path / "data")
    return tmp_path / "data"


# ---- one conversation


async def test_a_conversation_is_told_with_its_times_numbers_and_words(made: Path) -> None:
    one = await told(app_on(made), ONE)
    assert one["unreadable"] == []
    assert one["seconds"] == SECONDS
    states = [(moved["at"], moved["state"]) for moved in one["states"]]
    assert states[:5] == [
        (0.0, "idle"),
        (0.6, "listening"),
        (2.0, "thinking"),
        (2.02, "speaking"),
        (4.12, "interrupted"),
    ]
    first, second = one["speech"]
    assert (first["begin"], first["end"], first["decided"]) == pytest.approx((0.5, 1.5, 2.0), abs=0.001)
    assert (second["over"], second["fate"]) == (True, "turn")
    (overlap,) = one["overlaps"]
    assert (overlap["confirmed"], overlap["why"], overlap["voiced_ms"], overlap["needed_ms"]) == (
        True,
        "sustained",
        620,
        600,
    )
    (latency,) = one["latencies"]
    parts = [ms for part, ms in latency["ms"].items() if part != "voice_to_voice"]
    assert sum(parts) == pytest.approx(1000 * (latency["end"] - latency["begin"])) == 520.0


async def test_heard_unheard_and_unsent_words_are_told_apart(made: Path) -> None:
    one = await told(app_on(made), ONE)
    entries = [(said["who"], [(part["text"], part["fate"]) for part in said["parts"]]) for said in one["transcript"]]
    assert entries == [
        ("user", [(SAID, "heard")]),
        ("assistant", [(HEARD, "heard"), (UNHEARD, "unheard"), (UNSENT, "unsent")]),
        ("user", [(SECOND, "heard")]),
        ("assistant", [(ANSWER, "heard")]),
    ]
    heard = one["transcript"][1]["parts"][0]
    assert (heard["begin"], heard["end"]) == pytest.approx((2.08, 4.12), abs=0.001), (
        "60 ms after it was sent, until the hold"
    )


async def test_calls_belong_to_their_answers_and_errors_speak_the_engines_words(made: Path) -> None:
    one = await told(app_on(made), ONE)
    calls = [(call["part"], call["reply"], call["outcome"]) for call in one["calls"]]
    assert calls == [
        ("stt", 1, "ok"), ("chat", 1, "ok"), ("tts", 1, "cancelled"),
        ("chat", 2, "rate_limited"), ("chat", 3, "ok"), ("tts", 3, "ok"),
    ]  # fmt: skip
    (problem,) = one["problems"]
    assert (problem["what"], problem["where"], problem["text"]) == (
        "rate_limited",
        "think",
        "openai: 429, try again in 2 s",
    )


async def test_the_journal_alone_is_told_quickly(made: Path) -> None:
    one = await told(app_on(made), f"{ONE}?quick=1")
    assert (len(one["states"]), one["calls"], one["user"]) == (9, [], [])
    assert one["transcript"][0]["parts"][0]["text"] == SAID


# ---- its audio


def heard_in(answer: Answer) -> tuple[np.ndarray[Any, Any], int]:
    """Channels of a WAV file, and its rate."""
    assert (answer.status, answer.headers["content-type"]) == (200, "audio/wav")
    with wave.open(io.BytesIO(answer.body)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        return samples.reshape(-1, file.getnchannels()).T, file.getframerate()


def loud(samples: np.ndarray[Any, Any]) -> bool:
    return bool(np.abs(samples).max() > 1000)


@pytest.mark.parametrize("flac", [True, False], ids=["flac", "raw"])
async def test_audio_is_heard_where_it_lies_on_the_axis(tmp_path: Path, flac: bool) -> None:
    write(tmp_path, flac=flac)
    app = app_on(tmp_path)
    (user, assistant), rate_hz = heard_in(await get(app, f"{ONE}/audio/both?from=1&to=5"))
    assert (rate_hz, len(user)) == (RATE_HZ, 4 * RATE_HZ)

    def at(side: np.ndarray[Any, Any], begin: float, end: float) -> bool:
        return loud(side[round((begin - 1) * rate_hz) : round((end - 1) * rate_hz)])

    assert (at(user, 1.3, 1.49), at(user, 1.52, 3.9), at(user, 4.01, 4.1)) == (True, False, True)
    assert (at(assistant, 1.0, 2.07), at(assistant, 2.09, 2.2), at(assistant, 4.13, 5.0)) == (False, True, False)
    (alone,), _ = heard_in(await get(app, f"{ONE}/audio/user?from=4.5&to=4.6"))
    assert loud(alone)


async def test_a_waveform_comes_in_blocks_at_the_level_that_is_asked_for(made: Path) -> None:
    app = app_on(made)
    fine, coarse = [(await get(app, f"{ONE}/peaks/user/0?level={level}")).body for level in (0, 3)]
    low, high = np.frombuffer(fine, np.int8).reshape(-1, 2).T
    assert len(low) == round(SECONDS / sound.BUCKET_S)
    assert (high > 30).sum() * sound.BUCKET_S == pytest.approx(2.6, abs=0.05), "seconds of sound"
    assert (low < -30).sum() == pytest.approx((high > 30).sum(), abs=4)
    assert len(coarse) == 2 * -(-len(low) // 64)
    assert np.frombuffer(coarse, np.int8).max() == high.max()
    assert (await get(app, f"{ONE}/peaks/user/7")).body == b""


# ---- the list


async def test_the_list_is_found_by_words_id_day_and_outcome_newest_first(tmp_path: Path) -> None:
    for day, name in ((DAY, NAME), (DAY, "sess_other"), ("2026-03-12", "sess_old")):
        write(tmp_path, name, day, flac=False)
    app = app_on(tmp_path)

    async def found(query: str) -> list[str]:
        return [
            item["id"].partition("/")[2] for item in (await told(app, f"/sessions/api/recordings?{query}"))["items"]
        ]

    assert await found("") == ["sess_other", NAME, "sess_old"]
    assert await found("text=TEN+Count") == ["sess_other", NAME, "sess_old"]
    assert await found("text=nine") == ["sess_other", NAME, "sess_old"], "the assistant's words"
    assert await found("text=elephant") == []
    assert await found("text=sess_ha") == await found("text=handm") == [NAME]
    assert await found("until=2026-03-13") == ["sess_old"]
    assert await found("outcome=interrupted&since=2026-03-14") == ["sess_other", NAME]
    assert await found("outcome=cut+short") == []
    page = await told(app, "/sessions/api/recordings?limit=2")
    assert (len(page["items"]), page["total"], page["next"]) == (2, 3, f"{DAY}/{NAME}")
    assert await found(f"after={page['next']}") == ["sess_old"]
    (item,) = (await told(app, "/sessions/api/recordings?limit=1&text=four"))["items"]
    assert (item["turns"], item["interruptions"], item["errors"], item["voice_to_voice_ms"]) == (2, 1, 1, 520.0)
    assert "four five" in item["found"]
    assert {"l", "s", "x"} <= set(item["strip"])
    assert (await get(app, "/sessions/api/recordings?limit=x")).status == 400
    assert (await get(app, "/sessions/api/recordings?after=../../etc")).status == 400


async def test_a_recording_that_changes_is_read_again(data_dir: Path) -> None:
    app = app_on(data_dir)
    assert (await told(app, ONE))["facts"] == 19
    with (data_dir / "recordings" / DAY / NAME / "journal.jsonl").open("ab") as file:
        file.write(b'{"n":20,"at":9.0,"event":{"type":"SuspicionPassed"},"was":"idle","now":"idle","verdict":"late"}\n')
    assert (await told(app, ONE))["facts"] == 20


async def test_a_conversation_that_goes_on_is_told_from_one_that_was_cut_short(data_dir: Path) -> None:
    folder = data_dir / "recordings" / DAY / NAME
    for name in ("journal.jsonl", "tape.jsonl"):
        lines = (folder / name).read_bytes().splitlines(keepends=True)
        (folder / name).write_bytes(b"".join(lines[:-1]))
    app = app_on(data_dir)

    async def outcomes() -> set[str]:
        (listed,) = (await told(app, "/sessions/api/recordings"))["items"]
        return {listed["outcome"], (await told(app, ONE))["outcome"]}

    assert await outcomes() == {"going on"}
    for name in ("journal.jsonl", "tape.jsonl"):
        os.utime(folder / name, (1e9, 1e9))
    assert await outcomes() == {"cut short"}


async def test_a_thousand_recordings_are_listed_at_once(tmp_path: Path, made: Path) -> None:
    head, *rest = (made / "recordings" / DAY / NAME / "journal.jsonl").read_bytes().splitlines(keepends=True)
    for number in range(1000):
        folder = tmp_path / "recordings" / f"2026-03-{1 + number % 28:02}" / f"sess_{number:04}"
        folder.mkdir(parents=True)
        (folder / "journal.jsonl").write_bytes(b"".join([head, *rest]))
    app = app_on(tmp_path)
    with trio.fail_after(3):
        page = await told(app, "/sessions/api/recordings")
    assert (len(page["items"]), page["looked"], page["total"]) == (50, 50, 1000)


# ---- two


async def test_two_recordings_part_where_the_first_fact_differs(made: Path, data_dir: Path) -> None:
    folder = data_dir / "recordings" / DAY / NAME
    other = folder.with_name(f"{NAME}-branch-1")
    shutil.copytree(folder, other)
    journal = other / "journal.jsonl"
    text = journal.read_text().replace('"silence_ms":500,"cause":"silence"', '"silence_ms":300,"cause":"silence"')
    journal.write_text(text.replace('"silence_s":0.5', '"silence_s":0.3'))
    tape = (other / "tape.jsonl").read_text().replace('"silence_s":0.5', '"silence_s":0.3')
    (other / "tape.jsonl").write_text(tape)
    app = app_on(data_dir)
    compared = await told(app, f"/sessions/api/compare?left={DAY}/{NAME}&right={DAY}/{other.name}")
    assert (compared["identical"], compared["parted"]["index"], compared["parted"]["left_at"]) == (False, 6, 2.0)
    assert [fact["event"] for fact in compared["parted"]["right"]][3] == "TurnEnded"
    assert compared["course"] is None
    assert compared["settings"] == [{"name": "turns.silence_s", "left": 0.5, "right": 0.3}]
    assert (await told(app, f"/sessions/api/compare?left={DAY}/{NAME}&right={DAY}/{NAME}"))["identical"]
    assert (await get(app, f"/sessions/api/compare?left={DAY}/{NAME}&right=")).status == 404


# ---- what is broken


def cut(path: Path, part: float) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])


def spoil(path: Path, line: int, text: bytes) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[: line - 1], text + b"\n", *lines[line:]]))


BROKEN: dict[str, tuple[Any, str]] = {
    "a tape cut off": (lambda f: cut(f / "tape.jsonl", 0.6), "it breaks off here"),
    "a journal cut off": (lambda f: cut(f / "journal.jsonl", 0.6), "it breaks off here"),
    "no tape": (lambda f: (f / "tape.jsonl").unlink(), "tape.jsonl is missing"),
    "no journal": (lambda f: (f / "journal.jsonl").unlink(), "journal.jsonl is missing"),
    "an empty journal": (lambda f: (f / "journal.jsonl").write_bytes(b""), "it is empty"),
    "an empty tape": (lambda f: (f / "tape.jsonl").write_bytes(b""), "no tape of an AURA conversation"),
    "no audio": (lambda f: [file.unlink() for file in f.glob("*.flac")], "in.pcm16.24000.flac is missing"),
    "broken audio": (lambda f: (f / "in.pcm16.24000.flac").write_bytes(b"fLaC" + bytes(99)), ""),
    "a foreign line": (lambda f: spoil(f / "tape.jsonl", 9, b'{"t":"hello"}'), "tape.jsonl:9: cannot be read"),
    "bytes": (lambda f: spoil(f / "tape.jsonl", 9, b"\xff\x00["), "tape.jsonl:9: cannot be read"),
    "an unknown event": (
        lambda f: spoil(f / "journal.jsonl", 4, b'{"n":3,"at":1.0,"event":{"type":"X"},"was":"idle","now":"idle"}'),
        "journal.jsonl:4: cannot be read: unknown event 'X'",
    ),
    "a clock that runs backwards": (
        lambda f: spoil(f / "tape.jsonl", 30, b'[990.5,2,{"t":"stop"}]'), "tape.jsonl:30: the clock runs backwards",
    ),
    "another version": (
        lambda f: spoil(f / "tape.jsonl", 1, b'{"session":"s","started":"","base":1.0,"settings":{},"aura_tape":99}'),
        "written in format 99",
    ),
    "an unknown format": (
        lambda f: spoil(f / "tape.jsonl", 9, b'[1000.1,2,{"t":"audio","bytes":99,"format":"opus.48000"}]'),
        "tape.jsonl:9: cannot be read: unknown audio format",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
async def test_of_a_broken_recording_the_rest_is_shown_with_a_clear_line(data_dir: Path, name: str) -> None:
    spoiled, line = BROKEN[name]
    spoiled(data_dir / "recordings" / DAY / NAME)
    app = app_on(data_dir)
    one = await told(app, ONE)
    assert line in "\n".join(one["unreadable"]), one["unreadable"]
    assert len(one["unreadable"]) <= 9
    assert one["states"]
    assert (await told(app, "/sessions/api/recordings"))["total"] == 1
    assert (await told(app, "/sessions/api/recordings?text=count"))["looked"] == 1
    for path in ("audio/both?from=0&to=3", "peaks/user/0", "peaks/assistant/0?level=4"):
        assert (await get(app, f"{ONE}/{path}")).status == 200
    assert (await get(app, f"/sessions/api/compare?left={DAY}/{NAME}&right={DAY}/{NAME}")).status == 200


async def test_what_is_not_there_is_said(made: Path) -> None:
    app = app_on(made)
    for path in (f"{ONE}x", "/sessions/api/recordings/2026-03-14/..%2f..", f"{ONE}/audio/nobody", "/sessions/api/what"):
        answer = await get(app, path)
        assert (answer.status, "message" in msgspec.json.decode(answer.body)["error"]) == (404, True), path
    assert (await get(app, f"{ONE}/audio/both?from=soon")).status == 400


# ---- without stalling conversations


async def test_answers_do_not_hold_the_event_loop(made: Path, no_stalls: object) -> None:
    app = app_on(made)
    await app.warm()  # type: ignore[attr-defined]
    await get(app, "/healthz")
    await trio.to_thread.run_sync(digest, made / "recordings" / DAY / NAME)
    async with trio.open_nursery() as nursery:
        for path in ("", "/peaks/user/0", "/peaks/assistant/0", "/audio/both?from=0&to=9", "?quick=1"):
            nursery.start_soon(get, app, f"{ONE}{path}")
        nursery.start_soon(get, app, "/sessions/api/recordings?text=nine")
