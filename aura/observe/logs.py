"""Structured logs: one JSON object per line on stderr, or coloured text where stderr is a terminal.

A line is a dict that runs through a list of functions (structlog's processors). The session binds its ids with
structlog's contextvars; nothing has to be passed along. Two promises are kept here, whatever the caller logs: words
of a conversation only appear while recording is switched on, and keys never do.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Literal, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

PRIVATE = frozenset({"text", "transcript", "words", "words_text", "instructions", "prompt", "arguments", "delta"})
"""Fields that hold what people said, unless their value is a number; so do all that end in `_private`."""
SECRET_NAME = re.compile(r"(^|[_-])(api_?key|authorization|token|secret|password|cookie)$", re.IGNORECASE)
HIDDEN = "***"
OWN_KEY = re.compile(r"aura_[A-Za-z0-9_-]{40}|ek_[0-9a-f]{32}")
"""API keys and client secrets of AURA itself, which nobody knows but their owners."""
SHORTEST_SECRET = 6
"""Secrets shorter than this are only hidden where they are a whole value: within longer text they may be any word."""


class LogSettings(msgspec.Struct, frozen=True):
    """How AURA logs."""

    format: Literal["auto", "json", "console"] = "auto"
    """json: one object per line; console: text for people; auto: console on a terminal, else json."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important lines that are still written."""


def configure(
    settings: LogSettings, *, secrets: Iterable[str] = (), recording: bool = False, stream: TextIO | None = None
) -> None:
    """Set up logging for the whole process; `secrets` are the keys that must never be written."""
    out = stream or sys.stderr
    console = settings.format == "console" or (settings.format == "auto" and out.isatty())
    writer = Lines(out)
    keys = [secret for secret in secrets if secret]
    structlog.configure(
        processors=processors(keys, recording=recording, console=console, colors=out.isatty()),
        wrapper_class=structlog.make_filtering_bound_logger(settings.level),
        logger_factory=lambda *_: writer,
        cache_logger_on_first_use=False,  # a second `configure` (tests, tools) must reach every module's logger
    )
    libraries = logging.getLogger()
    libraries.handlers[:] = [FromLibraries()]
    libraries.setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[settings.level.upper()]))


def processors(secrets: list[str], *, recording: bool, console: bool, colors: bool = False) -> list[Processor]:
    """The way of a log line from the caller's keywords to the text that is written."""
    chain: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    chain.append(drop_private if not recording else drop_unrecorded)
    chain.append(hide_secrets(frozenset(secrets)))
    if console:
        # The default formatter prints the local variables of every frame, which are full of words and keys.
        chain.append(
            structlog.dev.ConsoleRenderer(
                colors=colors, timestamp_key="time", exception_formatter=structlog.dev.plain_traceback
            )
        )
    else:
        chain += [structlog.processors.format_exc_info, to_json]
    return [*chain, erase(secrets)]


def is_private(name: str, value: object) -> bool:
    """Whether a field holds words (`words="hello"`), not their number (`words=3`)."""
    return (name in PRIVATE and not isinstance(value, int | float)) or name.endswith("_private")


def drop_private(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
    """Remove the fields that hold what people said."""
    line.pop("recorded", None)
    private = [name for name, value in line.items() if is_private(name, value)]
    for name in private:
        del line[name]
    return line


def drop_unrecorded(logger: WrappedLogger, method: str, line: EventDict) -> EventDict:
    """Recording is on: words may stand in the lines of conversations that are recorded, and in no others."""
    return line if line.pop("recorded", False) else drop_private(logger, method, line)


@lru_cache(maxsize=2048)
def secret_name(name: str) -> bool:
    """Whether a field of this name holds a key (`api_key`, `auth_token`; not a count like `output_tokens`)."""
    return SECRET_NAME.search(name) is not None


def hide_secrets(secrets: frozenset[str]) -> Processor:
    """Replace the values of fields that are named like a key, and values that are one."""

    def hidden(name: object, value: Any) -> Any:
        named = isinstance(name, str) and not isinstance(value, int | float) and secret_name(name)
        if named or (isinstance(value, str) and value in secrets):
            return HIDDEN
        if isinstance(value, dict):
            return {inner: hidden(inner, deep) for inner, deep in value.items()}
        return value

    def process(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
        return {name: hidden(name, value) for name, value in line.items()}

    return process


def erase(secrets: Iterable[str]) -> Processor:
    """Replace keys inside the finished line: engines quote them in their error messages."""
    long = [secret for secret in secrets if len(secret) >= SHORTEST_SECRET]
    # A line of JSON holds the key with its quotes and backslashes escaped.
    needles = [*dict.fromkeys([*long, *(msgspec.json.encode(secret)[1:-1].decode() for secret in long)])]

    def process(_: WrappedLogger, __: str, line: Any) -> Any:
        for needle in needles:
            line = line.replace(needle, HIDDEN)
        return OWN_KEY.sub(HIDDEN, line) if isinstance(line, str) else line

    return process


def to_json(_: WrappedLogger, __: str, line: EventDict) -> str:
    """The line as JSON, the fields that every line has first. What JSON cannot say is written as its `repr`."""
    ordered = {"time": line.pop("time", None), "level": line.pop("level", None), "event": line.pop("event", None)}
    ordered.update(line)
    try:
        return msgspec.json.encode(ordered, enc_hook=repr).decode()
    except (ValueError, TypeError, RecursionError):  # lone surrogates, keys that are no text, circles
        return msgspec.json.encode({str(name): ascii(value) for name, value in ordered.items()}).decode()


class Lines:
    """Writes finished lines. Losing a line because stderr is gone must not end a conversation."""

    lock = threading.Lock()
    __slots__ = ("_flush", "_write")

    def __init__(self, stream: TextIO) -> None:
        self._write: Callable[[str], object] = stream.write
        self._flush: Callable[[], object] = stream.flush

    def msg(self, line: str) -> None:
        """Write one line."""
        with self.lock:
            try:
                self._write(line + "\n")
                self._flush()
            except (OSError, ValueError):
                return

    debug = info = warning = error = critical = exception = fatal = log = msg


class FromLibraries(logging.Handler):
    """Hands what libraries say through the standard `logging` to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record as the event `library`."""
        log = structlog.get_logger()
        log.log(record.levelno, "library", logger=record.name, message=self.format(record))
