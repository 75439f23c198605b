"""Reading streams that are cut anywhere: events out of bytes, spoken text out of a model's text."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aura.providers.openai.thoughts import ThoughtFilter
from aura.providers.sse import MAX_LINE_BYTES, SseReader


@given(st.lists(st.sampled_from(["<think>", "</think>", "<", "think", "a", " b", "</", ">", "\n"])), st.randoms())
@settings(max_examples=150, deadline=None)
def test_thoughts_are_dropped_wherever_the_text_is_cut(parts: list[str], random: Any) -> None:
    text = "".join(parts)
    whole, cut = ThoughtFilter(), ThoughtFilter()
    pieces, at = [], 0
    while at < len(text):
        size = random.randint(1, 4)
        pieces.append(cut.feed(text[at : at + size]))
        at += size
    joined = "".join(pieces) + cut.end()
    assert joined == whole.feed(text) + whole.end()
    if "<" not in text:
        assert joined == text


@given(st.lists(st.binary(max_size=20).filter(lambda b: b"\n" not in b and b"\r" not in b)), st.randoms())
@settings(max_examples=100, deadline=None)
def test_events_are_the_same_wherever_the_bytes_are_cut(payloads: list[bytes], random: Any) -> None:
    stream = b"".join(b"data: " + payload + b"\n\n" for payload in payloads)
    reader, found, at = SseReader(), [], 0
    while at < len(stream):
        size = random.randint(1, 9)
        found += reader.feed(stream[at : at + size])
        at += size
    assert [data for _, data in found + reader.end()] == [payload.strip() for payload in payloads]


def test_a_line_without_end_is_an_error() -> None:
    with pytest.raises(ValueError, match="too long"):
        SseReader().feed(b"x" * (MAX_LINE_BYTES + 1))


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("<think>Hm.</think>\n\nYes.", "Yes."),
        ("Well <think>hm</think> yes.", "Well yes."),
        ("1 < 2 and <thin", "1 < 2 and <thin"),
        ("<think>never ends", ""),
    ],
)
def test_only_what_is_meant_to_be_heard_is_spoken(text: str, spoken: str) -> None:
    thoughts = ThoughtFilter()
    assert thoughts.feed(text) + thoughts.end() == spoken
