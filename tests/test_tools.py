"""The tools that a model may call on the server, and what makes functions into tools."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec
import pytest
import trio
from msgspec import Meta
from trio.testing import MockClock

from aura.core.ports import ToolBox, ToolCall, ToolHost
from aura.providers.tools.builtin import default_toolbox
from aura.providers.tools.registry import Toolbox, ToolFault, tool
from aura.providers.tools.timers import MAX_TIMERS, duration


class Host:
    """A conversation that says things later."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.said: list[tuple[float, str]] = []

    def say_later(self, after_s: float, text: str) -> Callable[[], None]:
        scope = trio.CancelScope()

        async def wait() -> None:
            with scope:
                await trio.sleep(after_s)
                self.said.append((trio.current_time(), text))

        self.nursery.start_soon(wait)
        return scope.cancel


@pytest.fixture
def host(nursery: trio.Nursery) -> Host:
    return Host(nursery)


async def call(box: ToolBox, host: ToolHost, name: str, **arguments: object) -> str:
    return (await box.call(ToolCall("call_1", name, msgspec.json.encode(arguments).decode()), host)).text


# ---- functions as tools


@tool
async def paint(
    host: ToolHost,
    colour: Annotated[Literal["red", "blue"], Meta(description="Which paint")],
    coats: Annotated[int, Meta(ge=1)] = 1,
    note: str | None = None,
) -> str:
    """Paint the wall.

    Dries by itself.
    """
    await trio.lowlevel.checkpoint()
    host.say_later(1, "dry")
    return f"{coats} of {colour}, {note}"


@tool
def broken(how: str = "badly") -> str:
    """Fail."""
    raise RuntimeError(f"secret words {how}")


@tool
def refuses() -> str:
    """Refuse."""
    raise ToolFault("Not on Sundays.")


BOX = Toolbox(paint, broken, refuses)


def test_a_signature_becomes_a_schema():
    declared = BOX.tools()[0]
    assert (declared.name, declared.description) == ("paint", "Paint the wall. Dries by itself.")
    assert declared.parameters == {
        "type": "object",
        "properties": {
            "colour": {"enum": ["blue", "red"], "description": "Which paint"},
            "coats": {"type": "integer", "minimum": 1, "default": 1},
            "note": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
        },
        "required": ["colour"],
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("name", "arguments", "answer"),
    [
        ("paint", '{"colour": "red"}', "1 of red, None"),
        ("paint", '{"colour": "blue", "coats": "2", "note": "thick"}', "2 of blue, thick"),
        ("paint", '{"colour": "green"}', "Wrong arguments for paint: Invalid enum value 'green'"),
        ("paint", "{}", "missing required field `colour`"),
        ("paint", '{"colour": "red", "coats": 0}', ">= 1"),
        ("paint", '{"colour": "red", "speed": 1}', "unknown field `speed`"),
        ("paint", '{"colour": "red"', "must be a JSON object"),
        ("paint", "[]", "Expected `object`"),
        ("broken", "", "broken failed (RuntimeError). Do without it."),
        ("refuses", "", "Not on Sundays."),
        ("refuses", '{"x": 1}', "It takes no arguments."),
        ("missing", "{}", "There is no tool 'missing'. There are: paint, broken, refuses."),
    ],
)
async def test_every_call_gets_a_text(host, name, arguments, answer):
    assert answer in (await BOX.call(ToolCall("1", name, arguments), host)).text


async def test_a_failing_tool_logs_no_words(host, caplog, capsys):
    await BOX.call(ToolCall("1", "broken", '{"how": "privately"}'), host)
    logged = capsys.readouterr().out + caplog.text
    assert "tool.failed" in logged
    assert "test_tools.py:" in logged
    assert "privately" not in logged


async def test_cancelling_a_tool_is_no_failure(host):
    @tool
    async def slow() -> str:
        """Wait."""
        await trio.sleep_forever()
        return ""

    with trio.move_on_after(0) as scope:
        await Toolbox(slow).call(ToolCall("1", "slow", ""), host)
    assert scope.cancelled_caught


def test_a_tool_is_still_a_function():
    with pytest.raises(ToolFault):
        refuses()


def test_names_are_unique_and_parameters_typed():
    with pytest.raises(ValueError, match="same name"):
        Toolbox(broken, broken)
    with pytest.raises(TypeError, match="needs a name and a type"):
        tool(lambda x: x)


# ---- the clock

NOON = datetime(2026, 11, 22, 12, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("place", "answer"),
    [
        ("", "Sunday, 22 November 2026, 12:05 (UTC+00:00)"),
        ("America/New_York", "07:05 (UTC-05:00)"),
        ("new york", "07:05"),
        ("Tokyo", "Sunday, 22 November 2026, 21:05"),
        ("auckland", "Monday, 23 November 2026, 01:05"),
        ("delhi", "17:35 (UTC+05:30)"),
        ("buenos aires", "09:05"),
        ("UTC", "12:05"),
        ("Atlantis", "The time zone of 'Atlantis' is not known"),
        ("America", "not known"),
        ("../../etc/passwd", "not known"),
        ("a\0b", "not known"),
    ],
)
async def test_the_clock_knows_places(host, place, answer):
    assert answer in await call(default_toolbox(lambda: NOON), host, "current_time", timezone=place)


# ---- timers


async def test_a_timer_speaks_when_it_ends(host, autojump_clock: MockClock):
    box = default_toolbox()
    assert await call(box, host, "set_timer", seconds=300) == "Timer set for 5 minutes."
    assert await call(box, host, "set_timer", seconds=90, label="tea") == "Timer set for 1 minute 30 seconds (tea)."
    await call(box, host, "set_timer", seconds=10, label="call", message="Call your mother.")
    start = trio.current_time()
    await trio.sleep(60)
    assert await call(box, host, "list_timers") == "tea timer: 30 seconds left; 5 minute timer: 4 minutes left."
    await trio.sleep(250)
    said = [(round(at - start), text) for at, text in host.said]
    assert said == [(10, "Call your mother."), (90, "Your tea timer is done."), (300, "Your 5 minute timer is done.")]
    assert await call(box, host, "list_timers") == "No timer is running."


@pytest.mark.parametrize(
    ("label", "answer", "left"),
    [
        ("tea", "Cancelled: tea timer.", 2),
        ("the Tea timer", "Cancelled: tea timer.", 2),
        ("5 minutes", "Cancelled: 5 minute timer.", 2),
        ("egg", "Cancelled: boiled eggs timer.", 2),
        ("all", "Cancelled: boiled eggs timer, tea timer, 5 minute timer.", 0),
        ("", "Which one? Running are: boiled eggs timer, tea timer, 5 minute timer.", 3),
        ("pizza", "No timer is called 'pizza'. Running are:", 3),
    ],
)
async def test_cancelling_a_timer(host, autojump_clock: MockClock, label, answer, left):
    box = default_toolbox()
    for seconds, name in ((300, ""), (240, "tea"), (200, "boiled eggs")):
        await call(box, host, "set_timer", seconds=seconds, label=name)
    assert answer in await call(box, host, "cancel_timer", label=label)
    await trio.sleep(301)
    assert len(host.said) == left


async def test_one_timer_needs_no_name_and_none_is_said_so(host, autojump_clock: MockClock):
    box = default_toolbox()
    assert await call(box, host, "cancel_timer") == "No timer is running."
    await call(box, host, "set_timer", seconds=5)
    assert await call(box, host, "cancel_timer") == "Cancelled: 5 second timer."


async def test_timers_have_limits(host, autojump_clock: MockClock):
    box = default_toolbox()
    for seconds in (0, -1, 1e9):
        assert "Wrong arguments" in await call(box, host, "set_timer", seconds=seconds)
    for _ in range(MAX_TIMERS):
        await call(box, host, "set_timer", seconds=60)
    assert "cancel one first" in await call(box, host, "set_timer", seconds=60)


async def test_conversations_do_not_share_timers(autojump_clock: MockClock):
    box = default_toolbox()
    async with trio.open_nursery() as nursery:
        one, other = Host(nursery), Host(nursery)
        await call(box, one, "set_timer", seconds=60)
        assert await call(box, other, "list_timers") == "No timer is running."
        nursery.cancel_scope.cancel()


async def test_timers_die_with_their_conversation(autojump_clock: MockClock):
    box = default_toolbox()
    async with trio.open_nursery() as nursery:
        host = Host(nursery)
        await call(box, host, "set_timer", seconds=60)
        nursery.cancel_scope.cancel()
    gone = weakref.ref(host)
    del host, nursery
    for _ in range(3):
        await trio.lowlevel.checkpoint()
        gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    ("seconds", "text", "single"),
    [
        (0.2, "0.2 seconds", "0.2 second"),
        (1, "1 second", "1 second"),
        (61, "1 minute 1 second", "1 minute 1 second"),
        (3600, "1 hour", "1 hour"),
        (7325, "2 hours 2 minutes 5 seconds", "2 hour 2 minute 5 second"),
    ],
)
def test_durations(seconds, text, single):
    assert (duration(seconds), duration(seconds, single=True)) == (text, single)
