"""What a model thinks is not spoken, wherever its tags are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aura.providers.openai.thoughts import ThoughtFilter

CASES = {
    "no thought": ("Hi you.", "Hi you."),
    "before the answer": ("<think>Hm.</think>\n\nHi you.", "Hi you."),
    "in the middle": ("Hi <think>hm</think> you.", "Hi you."),
    "nested": ("<think>a <think>b</think> c</think>Hi you.", "Hi you."),
    "twice": ("<think>a</think> <think>b</think> Hi you.", "Hi you."),
    "never closed": ("Hi you.<think>and now I", "Hi you."),
    "closed twice": ("<think>a</think></think>Hi you.", "Hi you."),
    "closed without having been opened": ("Hi </think>you.", "Hi you."),
    "other names": ("<thinking>a</thinking><Thought>b</Thought><REASONING>c</reasoning>Hi you.", "Hi you."),
    "empty": ("<think></think>Hi you.", "Hi you."),
    "nothing else": ("<think>a</think>\n ", ""),
    "no tag": ("1 < 2 <thin air> </them>", "1 < 2 <thin air> </them>"),
    "ends like a tag": ("Hi <thi", "Hi <thi"),
    "a thought that ends like a tag": ("<think>Hi </thi", ""),
    "comparison": ("a<b", "a<b"),
}


@pytest.mark.parametrize("case", CASES)
@given(data=st.data())
def test_thoughts_are_dropped_however_the_text_is_cut(case: str, data: st.DataObject) -> None:
    text, spoken = CASES[case]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    thoughts = ThoughtFilter()
    heard = "".join([thoughts.feed(piece) for piece in pieces])
    assert heard + thoughts.end() == spoken


def test_an_answer_may_begin_inside_of_a_thought() -> None:
    thoughts = ThoughtFilter(inside=True)
    assert [thoughts.feed(piece) for piece in ("Hm, ", "well</thi", "nk>\n", "Hi")] == ["", "", "", "Hi"]
    assert thoughts.dropped == len("Hm, well")


@given(st.text(alphabet="<>/think a", max_size=40), st.integers(1, 5))
def test_no_text_is_lost_or_doubled_by_the_cuts(text: str, size: int) -> None:
    whole, cut = ThoughtFilter(), ThoughtFilter()
    expected = whole.feed(text) + whole.end()
    assert "".join(cut.feed(text[i : i + size]) for i in range(0, len(text), size)) + cut.end() == expected
    assert whole.dropped == cut.dropped


def test_text_flows_on_when_nothing_looks_like_a_tag() -> None:
    thoughts = ThoughtFilter()
    assert [thoughts.feed(piece) for piece in ("a <", "b", "<t", "o>", "<think", ">x</think>y")] == [
        "a ",
        "<b",
        "",
        "<to>",
        "",
        "y",
    ]
