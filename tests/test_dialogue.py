"""What the model is shown of a conversation."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aura.core.dialogue import Dialogue, DialogueSettings, Snapshot, heard_text
from aura.core.ports import Message, ToolCall

CALL = ToolCall("c1", "weather", '{"city":"Rome"}')


def dialogue(**limits: int) -> Dialogue:
    return Dialogue(DialogueSettings(**limits), "Be kind.")


def lines(history: Dialogue) -> list[str]:
    """The messages, written briefly."""
    return [line(message) for message in history.messages()]


def line(message: Message) -> str:
    calls = "".join(f" {call.name}()" for call in message.tool_calls)
    return f"{message.role[0]}:{message.tool_call_id}{message.text}{calls}"


def said(history: Dialogue, reply: int, turn: int, text: str, heard: str | None = None) -> None:
    heard = text if heard is None else heard
    history.assistant(reply, turn, text, heard, interrupted=heard != text)


def test_a_conversation_is_shown_in_order_after_the_instructions() -> None:
    history = dialogue()
    history.user(1, " Hello. ")
    said(history, 1, 1, "Hi!")
    history.user(2, "How are you?")
    assert lines(history) == ["s:Be kind.", "u:Hello.", "a:Hi!", "u:How are you?"]


@pytest.mark.parametrize(
    ("full", "heard", "shown"),
    [
        ("One two. Three four.", "One two. Three four.", "One two. Three four."),
        ("One two.\n\nThree four.", "One two. Three four.", "One two. Three four."),
        ("One two. Three four.", "One two. Three", "One two. Three—"),
        ("One two, three.", "One two,", "One two—"),
        ("One two. Three four.", " One two.", "One two. —"),
    ],
)
def test_an_interrupted_reply_shows_what_was_heard_and_a_dash(full: str, heard: str, shown: str) -> None:
    assert heard_text(full, heard) == shown


def test_texts_that_were_not_answered_aloud_join_the_next_one() -> None:
    history = dialogue()
    history.user(1, "I would like")
    said(history, 1, 1, "You would like what?", "")
    history.user(2, "a pizza.")
    history.item("i1", "user", "With cheese.")
    assert lines(history)[1:] == ["u:I would like a pizza. With cheese."]


def test_a_reply_heard_later_separates_the_texts_again() -> None:
    history = dialogue()
    history.user(1, "One.")
    history.assistant_began(1, 1)
    history.user(2, "Two.")
    assert lines(history)[1:] == ["u:One. Two."]
    history.assistant(1, 1, "First. Second.", "First. Sec", interrupted=True)
    assert lines(history)[1:] == ["u:One.", "a:First. Sec—", "u:Two."]


def test_the_same_turn_or_reply_told_again_replaces_the_first() -> None:
    history = dialogue()
    for text in ("Helo.", "Hello."):
        history.user(1, text)
        said(history, 1, 1, f"{text} Hi.")
    assert lines(history)[1:] == ["u:Hello.", "a:Hello. Hi."]
    version = history.version
    history.user(1, "Hello.")
    assert history.version == version
    history.user(1, "  ")
    assert lines(history)[1:] == ["a:Hello. Hi."]


def test_facts_that_come_late_are_entered_where_they_belong() -> None:
    history = dialogue()
    history.user(2, "Second.")
    said(history, 1, 1, "First answer.")
    history.user(1, "First.")
    said(history, 2, 2, "Second answer.")
    assert lines(history)[1:] == ["u:First.", "a:First answer.", "u:Second.", "a:Second answer."]


def test_calls_stand_before_the_words_that_follow_from_them() -> None:
    history = dialogue()
    history.user(1, "Weather?")
    history.tool(1, 1, CALL)
    assert lines(history)[2:] == ["a: weather()", "t:c1(no result yet)"]
    assert history.tool_output("c1", "Sunny")
    said(history, 1, 1, "It is sunny.", "")
    assert lines(history)[1:] == ["u:Weather?", "a: weather()", "t:c1Sunny"]
    history.heard(1, "It is sunny.")
    assert lines(history)[4] == "a:It is sunny."
    assert not history.tool_output("other", "Rain")


def test_items_of_the_client_have_their_role_and_can_be_deleted() -> None:
    history = dialogue()
    history.user(1, "Hello.")
    history.item("i1", "system", "Speak French.")
    history.item("i2", "assistant", "Bonjour.")
    history.item("i2", "assistant", "Salut.")
    said(history, 1, 1, "Oui.")
    assert lines(history)[1:] == ["u:Hello.", "s:Speak French.", "a:Salut.", "a:Oui."]
    history.delete(("item", "i1"))
    history.delete(("reply", 1))
    history.delete(("turn", 1))
    for unknown in (("item", "unknown"), ("turn", 9), ("reply", 9), ("call", "unknown")):
        history.delete(unknown)
    assert lines(history)[1:] == ["a:Salut."]


def test_a_preview_is_what_the_messages_become_and_changes_nothing() -> None:
    history = dialogue()
    history.user(1, "Hello.")
    said(history, 1, 1, "Hi, I am", "Hi,")
    before, version = history.messages(), history.version
    preview = history.preview(2, "Stop.")
    assert (history.messages(), history.version) == (before, version)
    history.user(2, "Stop.")
    assert history.messages() == preview == history.preview(2, "Stop.")


def test_without_instructions_there_is_no_system_message() -> None:
    assert Dialogue(DialogueSettings()).messages() == ()


def test_a_dialogue_survives_being_stored() -> None:
    history = dialogue()
    history.user(1, "Weather?")
    history.tool(1, 1, CALL, "Sunny")
    said(history, 1, 1, "It is sunny.", "It is")
    history.item("i", "user", "Thanks.")
    stored = msgspec.json.decode(msgspec.json.encode(history.snapshot()), type=Snapshot)
    restored = Dialogue(DialogueSettings(), snapshot=stored)
    assert restored.messages() == history.messages()
    assert restored.version == history.version


def test_old_turns_are_left_out_some_at_a_time() -> None:
    history = dialogue(history_turns=10, forget_turns=4)
    history.item("rule", "system", "Rule.")
    firsts = []
    for turn in range(1, 24):
        history.user(turn, f"Question {turn}.")
        said(history, turn, turn, "Answer.")
        firsts.append(lines(history)[2])
        assert lines(history)[:2] == ["s:Be kind.", "s:Rule."]
    kept = [sum(text.startswith("u:") for text in lines(history))]
    assert 6 < kept[0] <= 10
    assert len(set(firsts)) == 5


def test_a_turn_that_is_too_long_is_still_shown() -> None:
    history = dialogue(history_chars=10)
    history.user(1, "Short.")
    said(history, 1, 1, "Yes.")
    history.user(2, "A very long question.")
    assert lines(history) == ["s:Be kind.", "u:A very long question."]


STEP = st.tuples(st.sampled_from(["user", "say", "mute", "call", "pending", "item"]), st.integers(1, 12))


@settings(max_examples=80, deadline=None)
@given(steps=st.lists(STEP, max_size=40), turns=st.integers(1, 6), chars=st.integers(20, 300), batch=st.integers(1, 4))
def test_engines_never_see_a_result_without_its_call(
    steps: list[tuple[str, int]], turns: int, chars: int, batch: int
) -> None:
    history = dialogue(history_turns=turns, history_chars=chars, forget_turns=batch)
    for number, (kind, turn) in enumerate(steps):
        call = ToolCall(f"c{number}", "f", "{}")
        match kind:
            case "user":
                history.user(turn, f"Text {number}.")
            case "say" | "mute":
                said(history, number, turn, "One two three.", "One two" if kind == "say" else "")
            case "item":
                history.item(f"i{turn}", "user", "Typed.")
            case _:
                history.tool(number, turn, call, "done" if kind == "call" else None)
    messages = history.messages()
    for before, message in pairwise(messages):
        assert (message.role == "tool") == bool(before.tool_calls)
        if message.role == "tool":
            assert message.tool_call_id == before.tool_calls[0].id
        assert not (message.role == before.role == "user")
    assert not messages[-1].tool_calls
    assert sum(message.role == "user" for message in messages) <= turns
