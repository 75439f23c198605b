"""Logs and journals of scripted conversations, as the server's own taps write them."""

from __future__ import annotations

import functools
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import structlog
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from aura.core.journal import Header, encode
from aura.core.timing import TurnTimes
from aura.session.session import Fact
from aura.session.taps import journal_tap, log_tap, timing_tap
from aura.tools.logs.model import ConversationRow
from aura.tools.logs.read import Found
from tests import test_golden as golden
from tests.script import stage

BEGAN = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOW = BEGAN + timedelta(hours=1)


# ---- real conversations, as their taps write them ----------------------------------------------------------------


@functools.cache
def facts_of(name: str) -> tuple[Fact, ...]:
    """The facts of a scripted conversation with the real session (tests/test_golden.py), on a virtual clock."""

    async def play() -> tuple[Fact, ...]:
        async with stage([golden.ANSWER, "Ten euros.", "Ten euros."], token_s=0.03) as scene:
            await golden.SCRIPTS[name](scene)
        return tuple(scene.facts)

    return trio.run(play, clock=MockClock(autojump_threshold=0))


def journal_of(name: str, session: str = "sess_1", began: datetime = BEGAN) -> bytes:
    """Its journal, with words."""
    written = [encode(Header(session, began.isoformat()))]
    tap = journal_tap(written.append, words=True)
    for fact in facts_of(name):
        tap(fact)
    return b"".join(written)


def log_of(name: str, session: str = "sess_1", began: datetime = BEGAN, **more: Any) -> bytes:
    """Its lines of the log, at the level `info`."""

    def times(account: TurnTimes) -> None:
        structlog.get_logger().info("turn.times", **msgspec.to_builtins(account))

    written = [log_line("conversation.begun", began, session=session, path="/v1/realtime", **more)]
    taps, at = (log_tap(words=True), timing_tap(times)), 0.0
    for fact in facts_of(name):
        at = fact.at
        with capture_logs() as told:
            for tap in taps:
                tap(fact)
        for line in told:
            fields = {name: value for name, value in line.items() if name not in ("event", "log_level")}
            if line["log_level"] != "debug":
                written.append(log_line(line["event"], began, at, line["log_level"], **fields, session=session, **more))
    written.append(log_line("conversation.ended", began, at, why=facts_of(name)[-1].event.why, session=session))  # type: ignore[attr-defined]
    return b"".join(written)


def log_line(event: str, began: datetime = BEGAN, at: float = 0.0, level: str = "info", **fields: Any) -> bytes:
    """One line of the log."""
    time = (began + timedelta(seconds=at)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return msgspec.json.encode({"time": time, "level": level, "event": event, **fields}) + b"\n"


def call_line(at: float, session: str = "sess_1", **fields: Any) -> bytes:
    """The line of one provider call."""
    known = {"part": "chat", "provider": "openai", "total_ms": 400.0, "ttfb_ms": 200.0, "outcome": "ok", **fields}
    return log_line("provider.call", BEGAN, at, session=session, turn=1, reply=1, elapsed_ms=at * 1000, **known)


def put(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def only(found: Found) -> ConversationRow:
    assert [row.session for row in found.rows] == ["sess_1"]
    return found.rows[0]


def told(found: Found) -> list[str]:
    return found.problems.lines()


def shape(row: ConversationRow, *without: str) -> dict[str, Any]:
    """A row as plain values, times to a tenth of a millisecond (what a log has)."""
    plain = msgspec.to_builtins(row)
    for name in ("source", "facts", "event_counts", "fact_count", "calls", *without):
        del plain[name]
    return rounded(plain)  # type: ignore[no-any-return]


def rounded(value: Any) -> Any:
    match value:
        case float():
            return round(value, 3)
        case list():
            return [rounded(inner) for inner in value]
        case dict():
            return {name: rounded(inner) for name, inner in value.items()}
        case _:
            return value


def entries(name: str = "plain") -> list[bytes]:
    """The lines of its journal."""
    return journal_of(name).splitlines(keepends=True)
