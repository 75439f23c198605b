"""The oracle at work: beside a server's connections (server.check_protocol) and beside a call (aura talk --check)."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio
from rich.console import Console

from aura.client import connect
from aura.core.wire.conversation import ConversationView
from aura.core.wire.grammar import Grammar
from aura.core.wire.grammar.watch import PATIENCE_S, Watch
from aura.server.checked import CheckedLine
from aura.session.line import Ended
from aura.tools import talk as tool
from aura.tools.talk import Plan, TalkSettings, hold
from tests.fake_realtime import FakeServer, fake_server
from tests.fakes.openai_server import chat
from tests.script import stage
from tests.test_server import house
from tests.test_talk import question  # noqa: F401  (a fixture)
from tests.wire_book import session
from tests.wire_orders import BY_HAND

STORY = "Once upon a time there was a lighthouse keeper. Every night he counted ships."
CLIPS = Path(tool.__file__).parent / "clips"
NORMAL = [event for _, event in BY_HAND["A normal turn"]().script]


class Wire:
    """A connection whose client sends what it is told to."""

    def __init__(self, *messages: str | bytes) -> None:
        self.messages, self.sent = list(messages), list[str | bytes]()

    async def receive(self) -> str | bytes:
        await trio.lowlevel.checkpoint()
        if not self.messages:
            raise Ended("gone")
        return self.messages.pop(0)

    async def send(self, *messages: str | bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.sent += messages


async def test_a_checked_connection_passes_everything_on_and_reports_what_is_illegal() -> None:
    rules: list[str] = []
    wire = Wire('{"type": "response.create"}', b"\0\0")
    line = CheckedLine(wire, rules.append)
    frames = [json.dumps(event) for event in NORMAL[:12] + NORMAL[13:]]  # a delta is missing
    with structlog.testing.capture_logs() as lines:
        await line.send(*frames[:2])
        assert [await line.receive(), await line.receive()] == ['{"type": "response.create"}', b"\0\0"]
        await line.send(*frames[2:], "{}")
        with pytest.raises(Ended):
            await line.receive()
    assert wire.sent == [*frames, "{}"]
    assert set(rules) == {"text.differs", "type"}
    assert len(lines) == len(rules)
    assert {line["event"] for line in lines} == {"protocol.violation"}
    assert lines[0]["event_type"] == "response.output_audio_transcript.done"
    assert "Good" not in str(lines), "never words"


async def test_a_check_that_breaks_is_switched_off_and_the_conversation_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Grammar, "server", broken)
    line = CheckedLine(wire := Wire(), lambda _: None)
    with structlog.testing.capture_logs() as lines:
        await line.send("{}", "{}")
    assert wire.sent == ["{}", "{}"]
    assert [entry["event"] for entry in lines] == ["protocol.check_failed"]


async def test_a_whole_conversation_of_the_server_is_legal(autojump_clock: trio.testing.MockClock) -> None:
    found: list[Any] = []
    async with stage(answers=["Good morning to you. How are you?"] * 3) as scene:
        grammar = Grammar(rates=[16_000], resumed=False)
        await scene.user.says(1.0, "good morning")
        await scene.user.until("speaking")
        await scene.user.silent(0.5)
        await scene.user.says(1.2, "stop it please now")
        await scene.user.until("idle")
        scene.user.send(type="response.create", event_id="ask")
        await scene.user.until("speaking")
        await scene.user.until("idle")
    sent = [m for _, m in scene.sent]
    found += [v for m in sent[:2] for v in grammar.server(m)]
    grammar.client({"type": "response.create", "event_id": "ask"})
    found += [v for m in sent[2:] for v in grammar.server(m)]
    assert [violation.text for violation in found + grammar.end(hung_up=True)] == []
    assert len(sent) > 100


def test_only_what_had_time_for_an_answer_is_missed_at_the_end() -> None:
    watch = Watch(Grammar())
    watch.server(json.dumps(NORMAL[0]), 0.0)
    watch.client('{"type": "input_audio_buffer.clear"}', 1.0)
    for tick in range(20):
        watch.client('{"type": "input_audio_buffer.append", "audio": ""}', 1.0 + tick / 10)
    watch.client('{"type": "input_audio_buffer.commit"}', 3.0)
    (missing,) = watch.end(3.0 + PATIENCE_S / 2, hung_up=True)
    assert missing.rule == "answer.missing"
    assert "input_audio_buffer.clear" in missing.text


async def check(url: str, files: list[Path], barge_in_after_s: float | None = None) -> tuple[int, str]:
    out = io.StringIO()
    plan = Plan(url, files, None, False, False, barge_in_after_s, "", TalkSettings(lead_s=0.2), True)
    return await hold(plan, Console(file=out, width=200)), out.getvalue()


@pytest.mark.e2e
async def test_talk_check_names_every_violation_and_ends_with_code_1(question: Path) -> None:  # noqa: F811
    server = FakeServer()  # it is made for other tests and leaves much out
    server.first = {"type": "session.created", "event_id": "event_1", "session": session()}
    async with fake_server(server) as url:
        code, said = await check(url, [question])
    assert code == 1
    assert re.search(r"\d s  check  field\.missing: ", said)
    assert re.search(r"^protocol: \d+ messages, \d+ violations: field\.missing \d+", said, re.MULTILINE)


@pytest.mark.e2e
async def test_a_call_to_auras_server_is_legal_on_both_sides(tmp_path: Path) -> None:
    async with house(tmp_path, "server.check_protocol=true") as here:
        here.engines.default["chat"] = lambda _: chat(STORY, ttft_s=0.1)
        with structlog.testing.capture_logs() as lines:
            code, said = await check(here.url, [CLIPS / "ask_story.wav", CLIPS / "interrupt.wav"], 0.8)
        scraped = await scrape(here.port)
    assert said.strip().splitlines()[-1].endswith("messages, no violations")
    assert code == 0
    assert [line for line in lines if line["event"].startswith("protocol.")] == []
    assert "aura_protocol_violations_total{" not in scraped


@pytest.mark.e2e
@pytest.mark.parametrize("option", ["server.check_protocol=true", "logs.level=debug"])
async def test_a_server_that_checks_itself_logs_and_counts_violations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    hello = ConversationView.hello
    monkeypatch.setattr(ConversationView, "hello", lambda view: [*hello(view), '{"type":"ping","event_id":"e"}'])
    async with house(tmp_path, option) as here:
        with structlog.testing.capture_logs() as lines:
            async with connect(here.url, binary=False, events=False):
                await trio.sleep(0.1)
        scraped = await scrape(here.port)
    assert [line["rule"] for line in lines if line["event"] == "protocol.violation"] == ["type"]
    assert 'aura_protocol_violations_total{rule="type"} 1.0' in scraped


async def scrape(port: int) -> str:
    """What a metrics scraper reads."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        with trio.fail_after(5):
            return b"".join([part async for part in stream]).decode()
