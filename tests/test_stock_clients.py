"""Stock clients, unmodified, talk with a running `aura serve` (all of them: python -m tests.stock run)."""

from __future__ import annotations

import importlib.util
import json
from itertools import pairwise
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from tests.stock import speech
from tests.stock.catalogue import CLIENTS, Client, cache, named
from tests.stock.engines import LETTER_S, STORY, Lines, last_words
from tests.stock.job import Outcome
from tests.stock.run import Plan, run_client
from tests.stock.verify import limit
from tests.stock.wire import Half, Line, Proxy, Recording, redacted
from tests.ws_client import HEAD, masked

PYTHON, NODE = named(["openai-python"])[0], named(["openai-node"])[0]


GROUPS = (("turn", "tool"), ("ptt", "text", "cut"), ("barge",))
"""Scenarios that run one after the other; the groups run beside each other, each with a server of its own."""


async def outcomes(client: Client, tmp_path: Path, groups: tuple[tuple[str, ...], ...] = GROUPS) -> list[Outcome]:
    clips, found = await trio.to_thread.run_sync(speech.clips), list[Outcome]()

    async def run(number: int) -> None:
        async for outcome in run_client(client, Plan(groups[number], tmp_path / str(number)), clips):
            found.append(outcome)

    async with trio.open_nursery() as nursery:
        for number in range(len(groups)):
            nursery.start_soon(run, number)
    return found


def failures(found: list[Outcome]) -> dict[str, list[str]]:
    return {outcome.scenario: outcome.failures for outcome in found if outcome.failures or outcome.skipped}


def needs_websockets() -> None:
    if importlib.util.find_spec("websockets") is None:
        pytest.skip("the package websockets is missing: pip install 'openai[realtime]' (it is in the extra `test`)")


@pytest.mark.e2e
async def test_the_openai_package_for_python_holds_all_its_conversations(tmp_path: Path) -> None:
    needs_websockets()
    found = await outcomes(PYTHON, tmp_path)
    assert failures(found) == {}
    assert {outcome.scenario for outcome in found} == set(PYTHON.scenarios)


@pytest.mark.e2e
async def test_the_openai_package_for_node_holds_all_its_conversations_over_tls(tmp_path: Path) -> None:
    if not NODE.installed:
        pytest.skip(f"not installed in {cache()}: python -m tests.stock install --only openai-node")
    found = await outcomes(NODE, tmp_path)
    assert failures(found) == {}
    assert {outcome.scenario for outcome in found} == set(NODE.scenarios)
    jobs = await trio.to_thread.run_sync(
        lambda: [json.loads(path.read_text()) for path in tmp_path.rglob("*.job.json")]
    )
    assert {job["url"][:6] for job in jobs} == {"wss://"}


@pytest.mark.e2e
async def test_a_client_that_hears_something_else_than_it_should_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_websockets()
    monkeypatch.setattr(Lines, "reply", lambda self, words: "Something else.")
    found = await outcomes(PYTHON, tmp_path, (("turn",),))
    assert any("says it: Something else." in failure for failure in found[0].failures)


# ---- the proxy ---------------------------------------------------------------------------------------------------


def frames_of(chunks: list[bytes]) -> list[Line]:
    recording = Recording(None, 0.0)
    half = Half(recording, 1, "client")
    for chunk in chunks:
        half.feed(chunk)
    return recording.lines


@given(
    messages=st.lists(st.one_of(st.text(max_size=300), st.binary(min_size=1, max_size=300)), min_size=1, max_size=6),
    cuts=st.lists(st.integers(min_value=0, max_value=2000), max_size=12),
)
async def test_frames_are_read_however_the_bytes_are_cut(messages: list[str | bytes], cuts: list[int]) -> None:
    stream = HEAD + b"".join(
        masked(1, message.encode()) if isinstance(message, str) else masked(2, message) for message in messages
    )
    ends = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    lines = frames_of([stream[a:b] for a, b in pairwise(ends)])
    assert [line.kind for line in lines] == [
        "head", *("text" if isinstance(message, str) else "binary" for message in messages)
    ]  # fmt: skip
    shown = [message if isinstance(message, str) else f"<{len(message)} bytes>" for message in messages]
    assert [str(line.message) for line in lines[1:] if line.kind == "binary"] == [
        text for text, message in zip(shown, messages, strict=True) if isinstance(message, bytes)
    ]


async def test_the_proxy_passes_bytes_unchanged_and_writes_every_frame(tmp_path: Path) -> None:
    async def echo(stream: trio.SocketStream) -> None:
        got = b""
        async for data in stream:
            got += data
            if got.endswith(b"."):
                await stream.send_all(b"HTTP/1.1 101 x\r\n\r\n" + b"\x81\x0f" + b'{"type":"error"}'[:15])
                await stream.send_all(got[-1:])

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, echo, 0)
        port = listeners[0].socket.getsockname()[1]
        async with Proxy.open(("127.0.0.1", port)) as proxy:
            recording = proxy.record(tmp_path / "call.jsonl")
            stream = await trio.open_tcp_stream("127.0.0.1", proxy.port)
            await stream.send_all(HEAD + masked(1, b'{"type":"input_audio_buffer.append","audio":"AAAA"}') + b".")
            got = b""
            with trio.fail_after(5):
                while not got.endswith(b"."):
                    got += await stream.receive_some()
            await stream.aclose()
            await trio.sleep(0.1)
            await recording.flush()
        nursery.cancel_scope.cancel()
    lines = [json.loads(text) for text in (tmp_path / "call.jsonl").read_text().splitlines()]
    assert [(line["by"], line["kind"]) for line in lines[:3]] == [
        ("client", "head"), ("client", "text"), ("server", "head")
    ]  # fmt: skip
    assert lines[1]["message"] == {"type": "input_audio_buffer.append", "audio": "<4 base64>"}


@pytest.mark.parametrize(
    "line",
    [
        "authorization: Bearer sk-secret",
        "api-key: sk-secret",
        "Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.sk-secret, other",
        "GET /v1/realtime?model=aura&api_key=sk-secret HTTP/1.1",
    ],
)
def test_keys_are_never_recorded(line: str) -> None:
    assert "sk-secret" not in redacted(f"GET / HTTP/1.1\r\n{line}\r\nHost: x")
    assert "Host: x" in redacted(f"GET / HTTP/1.1\r\n{line}\r\nHost: x")


# ---- what the runner believes ------------------------------------------------------------------------------------


def test_every_recording_is_told_from_the_others_even_by_its_half() -> None:
    clips = speech.clips()
    ear = speech.Ear(clips)
    for one in clips.values():
        sound = one.heard.astype("<i2").tobytes()
        assert ear.words(b"\0" * 9000 + sound + b"\0" * 5000) == one.text
        assert ear.words(sound[: len(sound) // 4 * 2]) == one.text
    both = clips["ask"].heard.astype("<i2").tobytes() + clips["over"].heard.astype("<i2").tobytes()
    assert ear.words(both) == f"{clips['ask'].text} {clips['over'].text}"
    assert ear.words(b"\0" * 32000) == ""


def test_the_latest_saying_is_answered() -> None:
    lines = Lines({"first": "one", "second": "two"})
    messages = [{"role": "assistant", "content": "x"}, {"role": "user", "content": "first"},
                {"role": "user", "content": [{"type": "text", "text": "and second"}]}]  # fmt: skip
    assert last_words(messages) == "first and second"
    assert lines.reply(last_words(messages)) == "two"


def test_a_client_s_word_bounds_what_was_heard_and_the_clock_does_without_it() -> None:
    begin = Line(1.0, 1, "server", "text", {"item_id": "a"})
    low, high, source = limit(begin, 4.0, 2000)
    assert low < 2.0 / LETTER_S < high < len(STORY)
    assert "2000 ms" in source
    assert limit(begin, 4.0, None)[0] < 3.0 / LETTER_S < limit(begin, 4.0, None)[1]


def test_names_and_scripts_of_the_clients_exist_and_versions_are_pinned() -> None:
    here = Path(__file__).parent / "stock"
    assert len({client.name for client in CLIENTS}) == len(CLIENTS)
    for client in CLIENTS:
        assert (here / "scripts" / client.script).is_file()
    for file in here.glob("requirements-*.txt"):
        assert all("==" in line for line in file.read_text().split())
    package = json.loads((here / "package.json").read_text())
    assert all(version[0].isdigit() for version in package["dependencies"].values())
    with pytest.raises(SystemExit, match="no client called nobody"):
        named(["nobody"])
