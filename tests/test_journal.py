"""Journals: written line by line, read back, compared, and without what people said."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice, repeat
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aura.core import effects as fx
from aura.core import events as ev
from aura.core.fsm import Verdict
from aura.core.journal import (
    LINE_MAX,
    Entry,
    Header,
    JournalError,
    Lost,
    Reader,
    Trouble,
    decode,
    encode,
    first_divergence,
    redact,
)

HEADER = Header("s1", "2026-01-01T00:00:00Z", {"turns": {"silence_s": 0.7}})
START = Entry(1, 0.5, ev.SpeechStarted(480), "idle", "listening", (fx.OpenTurn(1, 480, False),), Verdict.MOVE)
HEARD = Entry(2, 1.5, ev.TranscriptReady(1, 2, "words", "my secret"), "thinking", "thinking")


def written(*lines: Entry | Header | Lost) -> bytes:
    return b"".join(map(encode, lines))


def instances(kind: type[Any]) -> st.SearchStrategy[Any]:
    return st.builds(kind, **{field.name: values(field.type) for field in msgspec.structs.fields(kind)})


def values(hint: Any) -> st.SearchStrategy[Any]:
    if hint is float:
        return st.floats(allow_nan=False, allow_infinity=False)
    return st.text() if hint == ev.Private else st.from_type(hint)


def test_a_journal_is_read_as_it_was_written() -> None:
    journal = decode(written(HEADER, START, HEARD))
    assert journal.header == HEADER
    assert journal.entries == (START, HEARD)
    assert (journal.lost, journal.truncated) == (0, "")


def test_a_line_reads_well() -> None:
    assert encode(HEADER).startswith(b'{"session":"s1"')
    assert b'"aura_journal":2' in encode(HEADER)
    assert encode(START) == (
        b'{"n":1,"at":0.5,"event":{"type":"SpeechStarted","at_ms":480},"was":"idle","now":"listening",'
        b'"effects":[{"type":"OpenTurn","turn":1,"at_ms":480,"tentative":false}],"verdict":"move"}\n'
    )


@settings(max_examples=150, deadline=None)
@given(
    event=st.one_of([instances(kind) for kind in ev.EVENTS]),
    effects=st.lists(st.one_of([instances(kind) for kind in fx.EFFECTS]), max_size=3).map(tuple),
    at=st.floats(0, 1e6),
)
def test_every_event_and_effect_survives(event: ev.AnyEvent, effects: tuple[fx.AnyEffect, ...], at: float) -> None:
    entry = Entry(1, at, event, "idle", "idle", effects, "stay")
    assert decode(written(HEADER, entry)).entries == (entry,)
    assert type(redact(event)) is type(event)
    assert decode(written(HEADER, msgspec.structs.replace(entry, event=redact(event)))).entries[0].event == redact(
        event
    )


def test_a_line_that_was_cut_off_at_the_end_is_reported_and_the_rest_is_read() -> None:
    data = written(HEADER, START, HEARD)
    for cut in range(1, len(encode(HEARD)) - 1):
        journal = decode(data[: -1 - cut])
        assert journal.entries == (START,)
        assert "line 3" in journal.truncated
    assert decode(data[:-1]).entries == (START, HEARD)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "line 1 "),
        (b"{}\n", "line 1 "),
        (written(HEADER) + b"nonsense\n" + written(START), "line 2 "),
        (written(HEADER, START) + b'{"n":1}\n' + written(START), "line 3 .*at"),
        (written(HEADER, START) + b"\xff\xfe\n" + written(START), "line 3 "),
        (written(HEADER) + encode(START).replace(b"SpeechStarted", b"Unheard") + written(START), "line 2 .*Unheard"),
        (written(msgspec.structs.replace(HEADER, version=99)), "format 99"),
    ],
)
def test_a_damaged_journal_names_the_line(data: bytes, said: str) -> None:
    with pytest.raises(JournalError, match=said) as caught:
        decode(data)
    assert "\n" not in str(caught.value)


def test_lines_the_disk_lost_are_counted() -> None:
    journal = decode(written(HEADER, START, Lost(7), HEARD))
    assert (journal.entries, journal.lost) == ((START, HEARD), 7)


# ---- piece by piece ----------------------------------------------------------------------------------------------

LOST = Lost(7)
DAMAGED = [encode(START), b"\n", b"nonsense\n", encode(HEARD), encode(LOST), encode(START), encode(HEARD)[:40]]


def pieces(data: bytes, block: int) -> list[tuple[int, Any]]:
    """What a reader gives, one entry at a time."""
    out: list[tuple[int, Any]] = []
    for line, piece in Reader(data[i : i + block] for i in range(0, len(data), block)):
        out += enumerate(piece, line) if isinstance(piece, list) else [(line, piece)]
    return out


@pytest.mark.parametrize("block", [1, 2, 7, 100, 10_000])
def test_a_reader_goes_on_behind_what_it_cannot_read_and_knows_the_line_of_everything(block: int) -> None:
    found = pieces(written(HEADER) + b"".join(DAMAGED), block)

    assert [line for line, _ in found] == [2, 4, 5, 6, 7, 8]
    assert [piece for _, piece in found if not isinstance(piece, Trouble)] == [START, HEARD, LOST, START]
    junk, cut = (piece for _, piece in found if isinstance(piece, Trouble))
    assert (junk.line, junk.cut) == (4, False)
    assert (cut.line, cut.cut) == (8, True)
    assert "cut off" in cut.why


def test_a_reader_reads_no_more_than_it_is_asked_for() -> None:
    endless = chain([written(HEADER)], repeat(written(START) * 10))
    found = list(islice(Reader(endless), 3))

    assert [(line, len(piece)) for line, piece in found if isinstance(piece, list)] == [(2, 10), (12, 10), (22, 10)]


def test_a_file_without_lines_is_given_up_early() -> None:
    with pytest.raises(JournalError, match="not a journal"):
        Reader(repeat(b"\0" * 65_536))
    [(line, piece)] = Reader(chain([written(HEADER)], repeat(b"x" * 65_536)))
    assert line == 2
    assert isinstance(piece, Trouble)
    assert piece.why == f"the line is longer than {LINE_MAX >> 20} MB"


def test_a_source_that_breaks_off_is_a_trouble_at_the_next_line() -> None:
    def breaking() -> Iterator[bytes]:
        yield written(HEADER, START)
        yield encode(HEARD)[:20]
        raise JournalError("the disk is gone")

    assert list(Reader(breaking())) == [(2, [START]), (3, Trouble(3, "the disk is gone", cut=True))]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"", "it is empty"),
        (b" \n\n", "it is empty"),
        (encode(START), "the header is missing: the first line is already a fact"),
        (b'{"session":"s","started":"","base":1.5,"settings":{},"aura_tape":1}\n', "this is the tape of a recording"),
        (b'{"time":"2026","level":"info","event":"server.listening"}\n', "this is a log, not a journal: `aura logs`"),
        (b"RIFF\x00\x00", "not a journal of AURA"),
        (b'{"session":"s","started":""}\n', "not a journal of AURA"),
        (b'{"session":"s","aura_journal":2}\n', "missing required field `started`"),
        (encode(msgspec.structs.replace(HEADER, version=1)), "written by an older AURA (format 1), this one reads 2"),
        (encode(msgspec.structs.replace(HEADER, version=3)), "written by a newer AURA (format 3), this one reads 2"),
        (b"[" * 100_000 + b"\n", "not a journal of AURA"),
    ],
)
def test_a_file_that_is_no_journal_is_called_what_it_is(line: bytes, said: str) -> None:
    with pytest.raises(JournalError) as caught:
        Reader([line + encode(START)] if line.strip() else [line])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (encode(START).replace(b"SpeechStarted", b"Unheard"), "unknown event 'Unheard'"),
        (encode(START).replace(b"OpenTurn", b"OpenDoor"), "unknown effect 'OpenDoor'"),
        (written(HEADER), "another journal begins here"),
        (encode(START).replace(b'"at"', b'"x":' + b"[" * 9999 + b"]" * 9999 + b',"at"'), "nested too deeply"),
        (encode(START).replace(b"0.5", b'"soon"'), "Expected `float`, got `str` - at `$.at`"),
    ],
)
def test_a_line_that_is_no_fact_says_why(line: bytes, said: str) -> None:
    [(_, first), (at, trouble), (_, last)] = Reader([written(HEADER, START), line, written(HEARD)])

    assert (first, last) == ([START], [HEARD])
    assert at == 3
    assert isinstance(trouble, Trouble)
    assert said in trouble.why


# ---- comparing ---------------------------------------------------------------------------------------------------


def test_the_first_divergence_is_found() -> None:
    later = msgspec.structs.replace(HEARD, at=1.6)
    other = msgspec.structs.replace(HEARD, now="idle")
    assert first_divergence([START, HEARD], [START, HEARD]) is None
    found = first_divergence([START, HEARD], [START, other])
    assert found is not None
    assert (found.index, found.field, found.left, found.right) == (1, "now", "thinking", "idle")
    assert first_divergence([START, HEARD], [START, later], ignore=["at"]) is None
    short = first_divergence([START, HEARD], [START])
    assert short is not None
    assert (short.index, short.field, short.left, short.right) == (1, "length", HEARD, None)


def test_what_people_said_is_blanked_and_nothing_else() -> None:
    assert redact(HEARD.event) == ev.TranscriptReady(1, 2, "words", "")
    assert redact(START.event) is START.event
    assert redact(fx.Postpone("my secret")) == fx.Postpone("")
    line = encode(msgspec.structs.replace(HEARD, event=redact(HEARD.event)))
    assert b"secret" not in line


class Inner(msgspec.Struct, frozen=True):
    words: ev.Private
    size: int


class Outer(msgspec.Struct, frozen=True):
    inner: Inner
    many: tuple[Inner, ...]
    maybe: ev.Private | None
    texts: list[ev.Private]
    public: Annotated[str, msgspec.Meta(min_length=1)]


def test_private_fields_are_found_wherever_they_are() -> None:
    item = Outer(Inner("a", 1), (Inner("b", 2),), "c", ["d", "e"], "f")
    assert redact(item) == Outer(Inner("", 1), (Inner("", 2),), "", ["", ""], "f")
