"""Takes words, or audio, out of a recording's lines. Types, ids, names of functions, times and sizes stay.

Of messages only keys of the protocol are kept, and of their texts only those that name something; whatever cannot be
understood is left out. Hashes go too: a short sentence could be guessed and compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import msgspec

from aura.core import effects as fx
from aura.core import events as ev
from aura.core import journal, tape
from aura.core.errors import AuraError
from aura.core.ports import HearingEvent, Resumed, TextDelta, ToolCall
from aura.core.wire import client, items, own_events, server, session_object, shapes
from aura.session.build import Sections

WORDS, AUDIO = "words", "audio"
KINDS = (WORDS, AUDIO)

Kinds = frozenset[str]

NAMES = frozenset(
    "type event_id id item_id previous_item_id response_id call_id conversation_id object role status was now cause "
    "code reason modality name voice".split()
)
"""Keys whose values name something and are not spoken words."""
NAMING = re.compile(r"[\w.:/-]{0,128}")
WHOLE = frozenset({"metadata", "parameters", "prompt", "reasoning", "tracing"})
"""Keys whose values are the client's own, down to their keys."""
FIGURES = ("metrics",)
"""Keys whose values are AURA's own figures, whatever they are called."""
SPOKEN_SETTINGS = frozenset({("speak", "voice")})
"""Settings that are any text, and yet say nothing."""


# ---- the journal


def journal_header(header: journal.Header, kinds: Kinds) -> journal.Header:
    """The first line."""
    if WORDS not in kinds:
        return header
    return msgspec.structs.replace(header, settings=settings(header.settings))


def journal_entry(entry: journal.Entry, kinds: Kinds) -> journal.Entry:
    """A fact with what it led to."""
    if WORDS not in kinds:
        return entry
    event, effects = journal.redact(entry.event), tuple(map(journal.redact, entry.effects))
    if isinstance(event, ev.SessionClosing):
        event = msgspec.structs.replace(event, why=ending(event.why))
    effects = tuple(
        msgspec.structs.replace(effect, why=ending(effect.why)) if isinstance(effect, fx.Close) else effect
        for effect in effects
    )
    return msgspec.structs.replace(entry, event=event, effects=effects)


def ending(why: str) -> str:
    """Why a conversation ended, without what the client gave as its reason."""
    closed = re.match(r"closed \d+", why)
    return closed[0] if closed else why


# ---- the tape


def tape_header(header: tape.TapeHeader, kinds: Kinds) -> bytes:
    """The first line, which says what was taken out."""
    if WORDS in kinds:
        query = {name: "" for name in header.query if name in ("aura", "model", "persona", "tenant")}
        tools = tuple(msgspec.structs.replace(tool, description="", parameters={}) for tool in header.tools)
        given, changed = settings(header.settings), settings(header.changed)
        header = msgspec.structs.replace(header, settings=given, changed=changed, query=query, tools=tools)
    return msgspec.json.encode({**msgspec.to_builtins(header), "redacted": sorted(kinds, reverse=True)}) + b"\n"


def tape_lines(lines: Iterable[bytes], kinds: Kinds) -> Iterator[bytes | None]:
    """The lines after the first; None for one that cannot be read, and is left out."""
    for raw in lines:
        try:
            line = next(tape.decode([raw]), None)
        except AuraError:
            yield None
            continue
        if line is not None:
            yield tape.encode([_line(line, kinds)])


def _line(line: tape.Line, kinds: Kinds) -> tape.Line:
    if isinstance(line, tape.Step):
        return msgspec.structs.replace(line, outcome=_outcome(line.outcome, kinds)) if line.outcome else line
    match line:
        case tape.Sent(text):
            return tape.Sent(message(text, kinds))
        case tape.SentAudio() if AUDIO in kinds:
            return msgspec.structs.replace(line, digest="")
        case tape.Call(text=text):
            kept = text if line.part == "stt" or WORDS not in kinds else ""
            return msgspec.structs.replace(line, digest="", text=kept)
        case tape.TapeEnd(why) if WORDS in kinds:
            return tape.TapeEnd(ending(why))
    return line


def silenced(event: HearingEvent) -> HearingEvent:
    """What a recogniser noticed, without the words."""
    return event if isinstance(event, Resumed) else type(event)("")


def _outcome(outcome: tape.AnyOutcome, kinds: Kinds) -> tape.AnyOutcome:  # noqa: C901  (a table)
    if isinstance(outcome, tape.Text):
        return tape.Text(message(outcome.text, kinds))
    if WORDS not in kinds:
        return outcome
    match outcome:
        case tape.Noticed(event):
            return tape.Noticed(None if event is None else silenced(event))
        case tape.Heard(transcript):
            return tape.Heard(msgspec.structs.replace(transcript, text=""))
        case tape.Item(TextDelta()):
            return tape.Item(TextDelta(""))
        case tape.Item(ToolCall() as call):
            return tape.Item(msgspec.structs.replace(call, arguments=""))
        case tape.ToolDone(_, host):
            return tape.ToolDone("", tuple(msgspec.structs.replace(call, text="") for call in host))
        case tape.Gone(why):
            return tape.Gone(ending(why))
        case tape.Failed():
            return msgspec.structs.replace(outcome, message="")
        case tape.Crashed(error):
            return tape.Crashed(error.partition(":")[0])
    return outcome


# ---- messages and settings


def message(text: str, kinds: Kinds) -> str:
    """A message to or from the client; empty when it is no JSON object."""
    try:
        told = msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(told, dict):
        return ""
    if AUDIO in kinds:
        told = _without_audio(told)
    if WORDS in kinds:
        told = _without_words(told)
    return msgspec.json.encode(told).decode()


def _without_audio(value: Any, key: str = "") -> Any:
    match value:
        case dict():
            sound = value.get("type") == "response.output_audio.delta"
            return {k: _without_audio(v, "audio" if sound and k == "delta" else k) for k, v in value.items()}
        case list():
            return [_without_audio(inner, key) for inner in value]
        case str() if key == "audio":
            return ""
    return value


def _without_words(value: Any, key: str = "") -> Any:
    match value:
        case dict() if key in WHOLE:
            return {}
        case dict():
            figures = key in FIGURES
            return {k: _without_words(v, FIGURES[0] if figures else k) for k, v in value.items() if _known(k, figures)}
        case list():
            return [_without_words(inner, key) for inner in value]
        case str():
            return value if key in NAMES and NAMING.fullmatch(value) else ""
    return value


def _known(key: str, figures: bool) -> bool:
    return key in protocol_keys() or (figures and NAMING.fullmatch(key) is not None)


@cache
def protocol_keys() -> frozenset[str]:
    """Every key that the protocol has."""
    kinds = (
        kind for module in (client, items, own_events, server, session_object, shapes) for kind in _structs(module)
    )
    names = {field.encode_name for kind in kinds for field in msgspec.structs.fields(kind)}
    return frozenset(names | NAMES)


def _structs(module: Any) -> Iterator[type[msgspec.Struct]]:
    for found in vars(module).values():
        if isinstance(found, type) and issubclass(found, msgspec.Struct):
            yield found


def settings(sections: dict[str, Any]) -> dict[str, Any]:
    """Sections of the settings without free text: instructions, greetings, lists of words."""
    return {section: _section(section, values) for section, values in sections.items() if isinstance(values, dict)}


def _section(section: str, values: dict[str, Any]) -> dict[str, Any]:
    named = _choices(section)
    return {
        name: value if (section, name) in SPOKEN_SETTINGS or name in named else _without_text(value)
        for name, value in values.items()
    }


def _without_text(value: Any) -> Any:
    if isinstance(value, str):
        return ""
    return type(value)() if isinstance(value, list | tuple | dict) else value


@cache
def _choices(section: str) -> frozenset[str]:
    """The settings of a section whose texts are one of a few."""
    hints = {field.name: field.type for field in msgspec.structs.fields(Sections)}
    if section not in hints:
        return frozenset()
    return frozenset(
        field.name
        for field in msgspec.structs.fields(hints[section])
        if isinstance(msgspec.inspect.type_info(field.type), msgspec.inspect.LiteralType)
    )
