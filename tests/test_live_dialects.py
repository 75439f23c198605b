"""The languages of live recognisers, message by message: what the fakes do not say, and what nobody should."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aura.core.errors import BadRequest, ProviderError, StreamCut
from aura.core.ports import EagerEnd, Ended, Final, Interim, Resumed
from aura.providers.deepgram.flux import FluxDialect
from aura.providers.deepgram.nova import NovaDialect
from aura.providers.elevenlabs.scribe import ScribeDialect
from aura.providers.live_dialect import Dialect, Words
from aura.providers.openai.live_stt import COMMIT, SessionDialect
from aura.providers.xai.stt import XaiDialect, plain, restates

LOUD = b"\x00\x20" * 1600
DIALECTS = {
    "xai": lambda: XaiDialect("x", judges_turns=True),
    "openai": lambda: SessionDialect("x", "{}"),
    "nova": lambda: NovaDialect("x"),
    "flux": lambda: FluxDialect("x"),
    "scribe": lambda: ScribeDialect("x"),
}


def take(dialect: Dialect, *messages: dict[str, Any]) -> list[Any]:
    return [event for message in messages for event in dialect.take(json.dumps(message))]


# ---- xAI -----------------------------------------------------------------------------------------------------------


def xai(*pieces: tuple[str, str], done: str | None = None) -> XaiDialect:
    """Pieces are (kind, text): interim, final, or speech for the end of an utterance."""
    dialect = XaiDialect("xai")
    for kind, text in pieces:
        flags = {"is_final": kind != "interim", "speech_final": kind == "speech"}
        take(dialect, {"type": "transcript.partial", "text": text, **flags})
    if done is not None:
        dialect.ending = True
        take(dialect, {"type": "transcript.done", "text": done})
    return dialect


XAI = [
    ([("interim", "hel"), ("final", "hello"), ("speech", "there")], None, "hello there"),
    ([("final", "Hello,"), ("speech", "hello there.")], None, "hello there."),
    ([("final", "Hello."), ("interim", "hello the")], None, "hello the"),
    ([("speech", "one"), ("final", "two"), ("speech", "two three")], None, "one two three"),
    ([("speech", "no"), ("speech", "no")], None, "no no"),
    ([("speech", "one"), ("interim", "tw")], "One, two.", "One, two."),
    ([("speech", "one")], "two", "one two"),
    ([("speech", "one"), ("speech", "two")], "two", "one two"),
    ([("speech", "one"), ("interim", "two")], "", "one two"),
    ([("interim", "")], "", ""),
    ([], "hello", "hello"),
]


@pytest.mark.parametrize(("pieces", "done", "text"), XAI)
def test_xai_pieces_are_joined_and_restated_ones_are_not_doubled(
    pieces: list[tuple[str, str]], done: str | None, text: str
) -> None:
    dialect = xai(*pieces, done=done)
    assert dialect.words.text() == text
    assert dialect.over is (done is not None)


@given(st.lists(st.text("ab ,.'", max_size=8), max_size=6))
def test_a_text_restates_each_of_its_beginnings(parts: list[str]) -> None:
    words = plain(" ".join(parts)).split()
    for count in range(1, len(words) + 1):
        assert restates(" ".join(words), " ".join(words[:count]))
    assert not restates(" ".join(words), "")


# ---- Deepgram ------------------------------------------------------------------------------------------------------


def results(text: str, *, final: bool = True, speech: bool = False, finalized: bool = False) -> dict[str, Any]:
    flags = {"is_final": final, "speech_final": speech, "from_finalize": finalized}
    return {"type": "Results", "channel": {"alternatives": [{"transcript": text, "confidence": 0.9}]}, **flags}


def test_nova_is_only_settled_when_every_finalize_is_answered() -> None:
    dialect = NovaDialect("nova")
    dialect.finish()
    dialect.finish()
    take(dialect, results("one", finalized=True))
    assert not dialect.settled
    take(dialect, results("", finalized=True))
    assert dialect.settled
    assert not dialect.over


def test_nova_ends_by_its_metadata_when_finalize_is_not_answered() -> None:
    dialect = NovaDialect("nova")
    dialect.finish()
    dialect.ending = True
    dialect.end()
    take(dialect, results("one", finalized=True))
    assert not dialect.over
    take(dialect, {"type": "Metadata"})
    assert dialect.over


def test_nova_tells_the_end_of_the_turn_by_either_sign() -> None:
    dialect = NovaDialect("nova")
    told = take(dialect, results("one", final=False), results("one", speech=True), {"type": "UtteranceEnd"})
    assert told == [Interim("one"), Final("one"), Ended("one"), Ended("one")]


def turn(event: str, index: int, text: str = "", **more: Any) -> dict[str, Any]:
    return {"type": "TurnInfo", "event": event, "turn_index": index, "transcript": text, **more}


def test_flux_replaces_inside_a_turn_and_joins_turns() -> None:
    dialect = FluxDialect("flux")
    told = take(
        dialect,
        turn("StartOfTurn", 0),
        turn("Update", 0, "hel"),
        turn("EagerEndOfTurn", 0, "hello"),
        turn("TurnResumed", 0, "hello"),
        turn("Update", 0, "hello there"),
        turn("EndOfTurn", 0, "hello there", trigger="model"),
        turn("Update", 0, "late"),
        turn("Update", 1, "you"),
    )
    assert told == [
        Interim("hel"),
        EagerEnd("hello"),
        Resumed(),
        Interim("hello"),
        Interim("hello there"),
        Ended("hello there"),
        Interim("hello there you"),
    ]
    assert dialect.words.text() == "hello there you"


@pytest.mark.parametrize(("trigger", "over"), [("manual", True), (None, True), ("model", False), ("timeout", False)])
def test_flux_is_over_only_with_the_turn_that_was_ended_by_hand(trigger: str | None, over: bool) -> None:
    dialect = FluxDialect("flux")
    dialect.ending = True
    take(dialect, turn("EndOfTurn", 0, "hello", trigger=trigger))
    assert dialect.over is over


def test_flux_keeps_a_turn_whose_end_was_not_told() -> None:
    dialect = FluxDialect("flux")
    take(dialect, turn("Update", 0, "hello"), turn("Update", 2, "you"))
    assert dialect.words.text() == "hello you"


# ---- OpenAI --------------------------------------------------------------------------------------------------------


def item(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"type": f"conversation.item.input_audio_transcription.{kind}", "item_id": name, **more}


def committed(name: str) -> dict[str, Any]:
    return {"type": "input_audio_buffer.committed", "item_id": name}


def test_openai_items_keep_their_order_though_they_are_completed_in_another() -> None:
    dialect = SessionDialect("openai", "{}")
    for _ in range(2):
        dialect.audio(LOUD)
        assert dialect.finish()[-1] == COMMIT
    told = take(
        dialect,
        item("delta", "a", delta="he"),
        committed("a"),
        committed("b"),
        item("completed", "b", transcript="you", usage={"type": "duration", "seconds": 2}),
        item("completed", "a", transcript="hello", usage={"type": "tokens", "total_tokens": 3}),
    )
    assert told == [Interim("he"), Interim("he you"), Final("hello you")]
    assert (dialect.settled, dialect.billed_s) == (True, 2)


def test_openai_refusing_an_empty_commit_is_an_answer() -> None:
    dialect = SessionDialect("openai", "{}")
    dialect.audio(LOUD)
    dialect.ending = True
    dialect.end()
    assert not dialect.over
    take(dialect, {"type": "error", "error": {"code": "input_audio_buffer_commit_empty", "message": "too small"}})
    assert dialect.over


def test_openai_refusing_the_session_is_a_fault_of_the_settings() -> None:
    error = {"type": "invalid_request_error", "code": "invalid_value", "message": "Invalid value: 'gpt-x'"}
    with pytest.raises(BadRequest, match="gpt-x"):
        take(SessionDialect("openai", "{}"), {"type": "error", "error": error})


def test_openai_failing_to_transcribe_fails_the_utterance() -> None:
    with pytest.raises(ProviderError, match="no idea"):
        take(SessionDialect("openai", "{}"), item("failed", "a", error={"message": "no idea"}))


def test_audio_goes_out_at_another_rate_without_a_loss() -> None:
    dialect = SessionDialect("openai", "{}")
    sent = [*dialect.audio(LOUD), *dialect.finish()[:-1]]
    samples = sum(len(json.loads(message)["audio"]) * 3 // 4 for message in sent) // 2
    assert abs(samples - 2400) <= 2


# ---- all -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("message", ["", "{", "[]", '"x"', '{"type":1,"message_type":1}', b"\xff\xfe", "null"])
def test_what_is_no_message_is_a_cut(name: str, message: str | bytes) -> None:
    with pytest.raises(StreamCut, match="x: "):
        DIALECTS[name]().take(message)


NAMES = st.sampled_from(
    [
        "type", "message_type", "event", "text", "transcript", "is_final", "speech_final", "from_finalize", "channel",
        "alternatives", "error", "code", "message", "item_id", "delta", "usage", "turn_index", "trigger", "languages",
    ]
)  # fmt: skip
TYPES = st.sampled_from(
    [
        "transcript.created", "transcript.partial", "transcript.done", "error", "Results", "UtteranceEnd", "Metadata",
        "Error", "Warning", "TurnInfo", "EndOfTurn", "EagerEndOfTurn", "TurnResumed", "session.updated",
        "input_audio_buffer.committed", "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.completed", "conversation.item.input_audio_transcription.failed",
        "session_started", "partial_transcript", "committed_transcript", "commit_throttled", "auth_error",
    ]
)  # fmt: skip
TEXT = st.text(max_size=6)
LEAVES = st.none() | st.booleans() | st.integers(-2, 3) | TEXT | TYPES
VALUES = LEAVES | st.lists(LEAVES, max_size=2) | st.dictionaries(NAMES, LEAVES, max_size=3)
KNOWN = {"type": TYPES, "message_type": TYPES, "event": TYPES, "text": TEXT, "transcript": TEXT}
MESSAGES = st.tuples(st.dictionaries(NAMES, VALUES, max_size=3), st.fixed_dictionaries(KNOWN)).map(
    lambda both: {**both[0], **both[1]}
)


@pytest.mark.parametrize("name", DIALECTS)
@given(messages=st.lists(MESSAGES, max_size=8), ending=st.booleans())
def test_no_message_does_more_harm_than_a_provider_error(
    name: str, messages: list[dict[str, Any]], ending: bool
) -> None:
    dialect = DIALECTS[name]()
    dialect.audio(LOUD)
    dialect.finish()
    dialect.ending = ending
    for message in messages:
        try:
            events = take(dialect, message)
        except ProviderError:
            return
        assert all(event.text == dialect.words.text() for event in events if isinstance(event, Final | Ended))


def test_words_are_pieces_and_a_tail() -> None:
    words = Words()
    words.tail = "hel"
    assert (words.text(), words.certain) == ("hel", False)
    words.stand(" hello ")
    words.tail = "the"
    assert (words.text(), words.certain) == ("hello the", False)
    words.stand("")
    assert (words.text(), words.certain) == ("hello", True)
