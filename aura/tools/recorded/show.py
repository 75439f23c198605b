"""`aura recordings show`: what a recording is, what was said, and where the time of its turns went."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
import soundfile
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from aura.core.timing import PARTS
from aura.session.build import Sections
from aura.storage.digest.conversation import digest
from aura.storage.digest.shapes import Conversation, Latency, Overlap, Said
from aura.storage.taping import SAMPLE_BYTES
from aura.tools.logs.cells import cut, ms, seconds
from aura.tools.logs.output import Output
from aura.tools.logs.problems import clean
from aura.tools.logs.sheet import flexible, grid
from aura.tools.logs.waterfall import HEADINGS
from aura.tools.recorded.listing import STYLES, size
from aura.tools.recorded.summary import Summary, summarise
from aura.tools.replay.unzip import PARTS as FILES

FATES = {"heard": ("", ""), "unheard": ("not heard", "yellow"), "unsent": ("not sent", "bright_black")}
"""What became of words, and how it looks."""
EMPTY: tuple[object, ...] = ("", [], ())
VOICES = {"user": "green", "assistant": "cyan", "system": "magenta"}


class File(msgspec.Struct, frozen=True):
    """A file of the recording."""

    name: str
    bytes: int
    audio_s: float | None = None
    """Length of its audio; None: it is none, or cannot be read."""


class Changed(msgspec.Struct, frozen=True):
    """A setting that is not the default."""

    setting: str
    value: Any
    default: Any = None
    known: bool = True
    """Whether this AURA has it."""


class Shown(msgspec.Struct):
    """All that is told of a recording."""

    summary: Summary
    folder: Path
    files: list[File]
    changed: list[Changed]
    conversation: Conversation


def look(folder: Path) -> Shown:
    """Read a recording as far as it can be read."""
    summary = summarise(folder)
    assert summary is not None
    conversation = digest(folder)
    other = [one for one in changed(conversation.settings) if not (summary.redacted and one.value in EMPTY)]
    return Shown(summary, folder, files_of(folder), other, conversation)


def files_of(folder: Path) -> list[File]:
    """The files of a recording, with the length of their audio."""
    paths = sorted(path for path in folder.iterdir() if FILES.fullmatch(path.name))
    return [File(path.name, path.stat().st_size, audio_s(path)) for path in paths]


def audio_s(path: Path) -> float | None:
    """Seconds of audio in a file."""
    if path.suffix == ".jsonl":
        return None
    encoding, rate = path.stem.split(".")[1:]
    try:
        if path.suffix == ".flac":
            return round(float(soundfile.info(str(path)).duration), 3)
        return round(path.stat().st_size / SAMPLE_BYTES[encoding] / int(rate), 3)
    except (soundfile.LibsndfileError, KeyError, ZeroDivisionError):
        return None


def changed(settings: dict[str, Any]) -> list[Changed]:
    """The settings that are not this AURA's defaults."""
    defaults = msgspec.to_builtins(Sections())
    found = []
    for section, values in settings.items():
        for name, value in values.items() if isinstance(values, dict) else ():
            known = defaults.get(section, {})
            if name not in known or known[name] != (tuple(value) if isinstance(value, list) else value):
                found.append(Changed(f"{section}.{name}", value, known.get(name), name in known))
    return found


# ---- for people


def show(shown: Shown, out: Output) -> None:
    """The whole page."""
    out.show(part for part in pages(shown) if part is not None)


def pages(shown: Shown) -> Iterator[RenderableType | None]:
    """Head, files, settings, turns, transcript, and what is wrong with it."""
    told = shown.conversation
    yield head(shown)
    yield files(shown.files)
    yield settings(shown.changed)
    yield turns(told)
    yield interruptions(told)
    yield transcript(told)
    problems = [Text(f"{p.at:7.2f}  {p.where} {p.provider} {p.what}: {cut(p.text, 300)}", "red") for p in told.problems]
    if problems:
        yield Text("\n").join([Text("Errors", "bold"), *problems])
    if told.unreadable:
        yield Text("\n").join([Text(clean(line), "yellow") for line in told.unreadable])


def head(shown: Shown) -> Table:
    """Which conversation it is."""
    told, one = shown.conversation, shown.summary
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold")
    facts.add_column(overflow="fold")
    began = told.started[:19].replace("T", " ")
    state = Text.assemble((one.state, STYLES[one.state]), f" ({clean(told.outcome)})" if told.outcome else "")
    facts.add_row("session", Text(clean(told.session), "cyan"))
    facts.add_row("began", Text.assemble(clean(began), " UTC, ", seconds(told.seconds), " long, ", state))
    if told.branch:
        facts.add_row("branch", f"of a recording, from fact {told.branch.from_fact} on")
    if one.redacted:
        facts.add_row("redacted", Text(f"without {' and '.join(map(clean, one.redacted))}", "magenta"))
    engines = "  ".join(f"{part} {clean(name)}" for part, name in told.engines.items())
    query = "  ".join(f"{clean(name)}={clean(value)}" for name, value in told.query.items())
    for name, text in (("engines", engines), ("asked for", query), ("software", clean(told.software))):
        if text:
            facts.add_row(name, Text(text))
    facts.add_row("folder", Text(str(shown.folder)))
    return facts


def files(found: list[File]) -> Table:
    """The files."""
    table = grid("Files", "file", "size", "audio", left=["file"])
    for file in found:
        table.add_row(
            Text(file.name), Text(size(file.bytes)), Text("") if file.audio_s is None else seconds(file.audio_s)
        )
    return table


def settings(found: list[Changed]) -> RenderableType:
    """What is not as usual."""
    if not found:
        return Text("All settings are the defaults.", "dim")
    table = grid("Settings that are not the defaults", "setting", "value", left=["setting", "value"])
    flexible(table, "default")
    for one in found:
        default = Text(cut(str(one.default), 200), "dim") if one.known else Text("this AURA does not have it", "yellow")
        value = Text(cut(str(one.value), 60), "bold") if one.value not in EMPTY else Text("(empty)", "dim")
        table.add_row(Text(clean(one.setting)), value, default)
    return table


def turns(told: Conversation) -> RenderableType | None:
    """The turns that were answered: where the time between the user's last sound and the answer's first went."""
    if not told.latencies:
        return None
    headings = (HEADINGS.get(part, part) for part in PARTS)
    table = grid("Turns, ms", "at", "turn", "v2v", *headings, "", left=[""])
    flexible(table, "reply")
    ends = {answer.reply: answer.outcome for answer in told.answers}
    for one in told.latencies:
        table.add_row(*_turn(one), Text(ends.get(one.reply, "")))
    return table


def _turn(one: Latency) -> Iterator[Text]:
    yield Text(f"{one.begin:.2f}")
    yield Text(str(one.turn))
    yield Text(f"{one.ms.get('voice_to_voice', 0):.0f}", "bold")
    yield from (ms(one.ms.get(part)) for part in PARTS)
    yield Text("draft" if one.draft else "")


def interruptions(told: Conversation) -> RenderableType | None:
    """Speech over the assistant, and what it was taken for."""
    if not told.overlaps:
        return None
    table = grid("Spoken over the assistant", "at", "taken for", "voiced ms", "held ms", left=["taken for"])
    flexible(table, "why")
    for one in told.overlaps:
        table.add_row(*_overlap(one))
    return table


def _overlap(one: Overlap) -> Iterator[Text]:
    yield Text(f"{one.began:.2f}")
    yield Text("interruption", "yellow") if one.confirmed else Text("nothing", "dim")
    yield Text(str(one.voiced_ms))
    yield Text(str(one.held_ms))
    yield Text(clean(one.why))


def transcript(told: Conversation) -> RenderableType:
    """What was said; words that were not heard, or not even sent, are marked."""
    if not told.transcript:
        return Text("Nothing was said.", "dim")
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right", style="bright_black")
    table.add_column()
    table.add_column(overflow="fold", ratio=1)
    table.expand = True
    for said in told.transcript:
        note = Text(f"  [{clean(said.note)}]", "bright_black") if said.note else Text("")
        fates = groupby(said.parts, key=lambda part: part.fate)
        words = Text.assemble(*(_part(fate, "".join(part.text for part in parts)) for fate, parts in fates), note)
        table.add_row(f"{said.at:.2f}", Text(_who(said), VOICES[said.who]), words)
    return table


def _who(said: Said) -> str:
    return said.who if said.how == "spoken" else f"{said.who} ({said.how})"


def _part(fate: str, text: str) -> Text:
    label, style = FATES[fate]
    return Text(f" ⟨{label}: {clean(text).strip()}⟩" if label else clean(text), style)
