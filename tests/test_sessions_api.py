"""The session page's API: what it tells of a recording, who may ask, and what it does with broken recordings."""

from __future__ import annotations

import io
import shutil
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from aura.core.errors import ConfigError
from aura.core.pacing import PlayClock, PlayoutSettings
from aura.core.secret import Secret
from aura.observe.health import Health
from aura.observe.metrics import Metrics
from aura.server.bridge import AsgiApp
from aura.server.drain import Drain
from aura.server.http import pages
from aura.server.operator import COOKIE_S, FAILURES_MAX, FAILURES_S, KEY_FILE, Lock, Lockout, operator_key
from aura.server.sessions import session_routes
from aura.storage.digest import sound
from aura.storage.digest.cache import Lru
from aura.storage.digest.conversation import digest
from aura.storage.digest.tracks import Ear, Player
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


@given(st.lists(st.tuples(st.integers(-128, 127), st.integers(-128, 127)), max_size=300), st.integers(0, 4))
@settings(max_examples=50, deadline=None)
def test_no_peak_is_lost_at_coarser_levels(pairs: list[tuple[int, int]], level: int) -> None:
    fine = np.array(pairs, np.int8).reshape(-1, 2)
    coarse = sound.coarser(fine, level)
    assert len(coarse) == -(-len(fine) // 4**level)
    for index, (low, high) in enumerate(coarse):
        group = fine[index * 4**level : (index + 1) * 4**level]
        assert (low, high) == (group[:, 0].min(), group[:, 1].max())


ACTS = st.lists(
    st.tuples(st.sampled_from(["send", "send", "send", "hold", "resume"]), st.floats(0.001, 0.3)), max_size=60
)


@given(ACTS)
@settings(max_examples=80, deadline=None)
def test_playback_is_placed_as_the_server_paces_it(acts: list[tuple[str, float]]) -> None:
    clock, player = PlayClock(PlayoutSettings(client_delay_s=0.06)), Player(0.06)
    at, held = 0.0, False
    for act, wait in acts:
        at += wait
        if act == "send" and not held:  # the pacing sends nothing while output is held
            clock.send(at, 0.04)
            player.send(at, "a", 1920, "out.pcm16.24000")
        elif act == "hold" and not held:
            held = True
            clock.pause(at)
            player.hold(at)
        elif act == "resume" and held:
            held = False
            clock.resume(at)
            player.resume(at)
        played = sum(max(0.0, min(track.end, at) - track.begin) for track in player.played if track.begin < at)
        assert played == pytest.approx(clock.position(at), abs=0.061)
    assert all(left.end <= right.begin + 1e-9 for left, right in zip(player.played, player.played[1:], strict=False))


@given(st.lists(st.floats(0, 0.15), min_size=60, max_size=200))
@settings(max_examples=50, deadline=None)
def test_jitter_of_the_network_does_not_move_the_users_audio(delays: list[float]) -> None:
    ear, last = Ear(), 0.0
    for number, delay in enumerate(delays, 1):
        last = max(last, 0.02 * number + delay)
        ear.take(last, 960, "in.pcm16.24000")
    (track,) = ear.tracks()
    assert track.end - track.begin == pytest.approx(0.02 * len(delays))
    assert 0 <= track.begin <= 0.151


def test_a_client_that_stops_sending_leaves_a_gap() -> None:
    ear = Ear()
    for number in [*range(1, 51), *range(151, 201)]:
        ear.take(0.02 * number, 960, "in.pcm16.24000")
    assert [(round(t.begin, 2), round(t.end, 2), round(t.from_s, 2)) for t in ear.tracks()] == [(0, 1, 0), (3, 4, 1)]


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


async def test_a_thousand_recordings_are_listed_at_once(tmp_path: Path, made: Path) -> None:
    head, *rest = (made / "recordings" / DAY / NAME / "journal.jsonl").read_bytes().splitlines(keepends=True)
    for number in range(1000):
        folder = tmp_path / "recordings" / f"2026-03-{1 + number % 28:02}" / f"sess_{number:04}"
        folder.mkdir(parents=True)
        (folder / "journal.jsonl").write_bytes(b"".join([head, *rest]))
    app = app_on(tmp_path)
    began = trio.current_time()
    page = await told(app, "/sessions/api/recordings")
    assert trio.current_time() - began < 1.0
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


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_reading_never_raises_whatever_the_files_hold(
    made: Path, tmp_path_factory: pytest.TempPathFactory, data: Any
) -> None:
    folder = tmp_path_factory.mktemp("broken") / DAY / NAME
    shutil.copytree(made / "recordings" / DAY / NAME, folder)
    for name in ("tape.jsonl", "journal.jsonl"):
        lines = (folder / name).read_bytes().splitlines(keepends=True)
        for _ in range(data.draw(st.integers(0, 4))):
            index = data.draw(st.integers(0, len(lines) - 1))
            what = data.draw(st.sampled_from(["drop", "twice", "swap", "cut", "noise"]))
            lines[index : index + 1] = {
                "drop": [], "twice": [lines[index]] * 2, "swap": [lines[-1]], "cut": [lines[index][:-9]],
                "noise": [data.draw(st.binary(max_size=40)) + b"\n"],
            }[what] or ([b""] if len(lines) == 1 else [])  # fmt: skip
        (folder / name).write_bytes(b"".join(lines))
    one = digest(folder)
    assert one.seconds >= 0
    assert msgspec.json.encode(one)


async def test_what_is_not_there_is_said(made: Path) -> None:
    app = app_on(made)
    for path in (f"{ONE}x", "/sessions/api/recordings/2026-03-14/..%2f..", f"{ONE}/audio/nobody", "/sessions/api/what"):
        answer = await get(app, path)
        assert (answer.status, "message" in msgspec.json.decode(answer.body)["error"]) == (404, True), path
    assert (await get(app, f"{ONE}/audio/both?from=soon")).status == 400


# ---- who may ask


async def test_nothing_is_told_without_the_key(made: Path) -> None:
    app = app_on(made)
    for path in ("/sessions/api/recordings", ONE, f"{ONE}/audio/both", f"{ONE}/peaks/user/0", "/sessions/api/compare"):
        assert (await ask_http("GET", path, app)).status == 401
        assert (await ask_http("GET", path, app, Authorization="Bearer wrong", Cookie="aura_operator=1.2")).status in (
            401,
            429,
        )
    answer = await ask_http("GET", "/sessions/", app)
    assert (answer.status, NAME.encode() in answer.body) == (200, False)


async def login(app: AsgiApp, key: str, **headers: str) -> Answer:
    """Post the key as the page does."""
    from tests.test_http import client, read_answer

    body = msgspec.json.encode({"key": key})
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"POST /sessions/api/login HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    async with client(app) as stream:
        await stream.send_all(head.encode() + body)
        return await read_answer(stream, "POST")


async def test_the_key_gives_a_cookie_that_does_not_hold_it(made: Path) -> None:
    app = app_on(made)
    answer = await login(app, KEY)
    assert answer.status == 204
    cookie = answer.headers["set-cookie"]
    assert all(part in cookie for part in ("HttpOnly", "SameSite=strict", "Path=/sessions", f"Max-Age={COOKIE_S}"))
    assert KEY not in cookie
    value = cookie.partition(";")[0]
    assert (await ask_http("GET", ONE, app, Cookie=value)).status == 200
    assert (await ask_http("GET", ONE, app, Cookie=value[:-1] + "01"[value[-1] == "0"])).status == 401
    assert (await ask_http("GET", ONE, app_on(made, "another key of the operator"), Cookie=value)).status == 401
    assert (await login(app, KEY, Sec_Fetch_Site="cross-site")).status == 403


async def test_many_wrong_keys_lock_an_address_out_but_not_who_is_in(made: Path) -> None:
    app = app_on(made)
    cookie = (await login(app, KEY)).headers["set-cookie"].partition(";")[0]
    statuses = [(await login(app, f"wrong {n}")).status for n in range(FAILURES_MAX + 1)]
    assert statuses == [*[401] * FAILURES_MAX, 429]
    refused = await login(app, KEY)
    assert (refused.status, 0 < int(refused.headers["retry-after"]) <= FAILURES_S + 1) == (429, True)
    assert (await ask_http("GET", ONE, app, Cookie=cookie)).status == 200


async def test_what_people_said_is_not_kept_by_browsers(made: Path) -> None:
    app = app_on(made)
    for path in ("/sessions/api/recordings", ONE, f"{ONE}/audio/both?from=0&to=1"):
        assert (await get(app, path)).headers["cache-control"] == "no-store"


async def test_without_a_key_the_page_is_off(made: Path) -> None:
    app = app_on(made, "")
    for path in ("/sessions", "/sessions/", "/sessions/sessions.js", "/sessions/api/recordings"):
        answer = await ask_http("GET", path, app)
        assert (answer.status, b"--record" in answer.body) == (404, True)
    assert b"<title>" in (await ask_http("GET", "/sessions/", app, Accept="text/html")).body


def test_lockouts_end_and_are_counted_by_network() -> None:
    lockout = Lockout()
    for _ in range(FAILURES_MAX):
        lockout.failed("2001:db8::1", 0.0)
    assert lockout.wait_s("2001:db8::ffff", 1.0) == FAILURES_S - 1
    assert lockout.wait_s("2001:db8:0:1::1", 1.0) == lockout.wait_s("2001:db8::1", FAILURES_S) == 0


def test_cookies_end_and_cannot_be_made_up() -> None:
    lock = Lock(KEY)
    cookie = lock.cookie(now=1000)
    assert lock.admits(cookie, now=1000 + COOKIE_S - 1)
    assert not lock.admits(cookie, now=1000 + COOKIE_S)
    end, _, seal = cookie.partition(".")
    for wrong in ("", ".", end, f"{int(end) + 1}.{seal}", f"{end}.", f"{end}.é", f"²³.{seal}", f"{'9' * 5000}.{seal}"):
        assert not lock.admits(wrong, now=1000)
    assert (lock.opens(KEY), lock.opens(KEY[:-1]), lock.opens(""), lock.opens("\udcff")) == (True, False, False, False)


@pytest.mark.parametrize(
    ("configured", "host", "recording", "on"),
    [
        ("a long enough secret", "0.0.0.0", False, True),
        ("", "127.0.0.1", True, True),
        ("", "localhost", True, True),
        ("", "127.0.0.1", False, False),
        ("", "0.0.0.0", True, False),
    ],
)
def test_where_the_page_is_on(tmp_path: Path, configured: str, host: str, recording: bool, on: bool) -> None:
    key = operator_key(Secret(configured), host, tmp_path, recording=recording)
    assert bool(key) == on
    assert (tmp_path / KEY_FILE).exists() == (on and not configured)
    if on and not configured:
        assert len(key) >= 24
        assert (tmp_path / KEY_FILE).stat().st_mode & 0o077 == 0
        assert operator_key(Secret(), host, tmp_path, recording=recording) == key


def test_a_short_key_is_refused_and_a_linked_file_not_followed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"server.operator_key: needs at least 16 characters, this one has 5"):
        operator_key(Secret("short"), "0.0.0.0", tmp_path, recording=False)
    (tmp_path / "elsewhere").write_text("a key that somebody else chose")
    (tmp_path / KEY_FILE).symlink_to(tmp_path / "elsewhere")
    assert operator_key(Secret(), "127.0.0.1", tmp_path, recording=True) == ""


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


def test_what_was_used_last_is_kept() -> None:
    kept: Lru[str, bytes] = Lru(10, len)
    for key in "abc":
        kept.put(key, b"xxx")
    kept.get("a")
    kept.put("d", b"xxx")
    assert [kept.get(key) is not None for key in "abcd"] == [True, False, True, True]
    kept.put("e", bytes(11))
    assert (kept.get("e"), kept.get("a") is not None) == (None, True)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """No log lines of wrong keys among the dots."""
    import structlog

    with structlog.testing.capture_logs():
        yield
