"""A failing recording → the least of it that fails in the same way: of its facts, or of the client's messages.

(What of a tape can go is another matter: `cut`.)
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from itertools import chain
from typing import Any

import msgspec

from aura.core import effects as fx
from aura.core.errors import AuraError
from aura.core.fsm import Conversation
from aura.core.guards import Answer, FsmSettings, Moment, Talk
from aura.core.journal import Entry
from aura.core.rerun import Parting, Rerun
from aura.tools.replay import free
from aura.tools.replay.ddmin import Budget, smallest
from aura.tools.replay.free import Input, Planned
from aura.tools.replay.symptom import Symptom
from aura.tools.replay.trial import Detector

AFTERWARDS_S = 0.1
"""The client leaves so long after what is wrong."""


# ---- facts -------------------------------------------------------------------------------------------------------


Books = dict[str, object]
"""What a conversation remembers, by name."""


class Numbers(msgspec.Struct, frozen=True):
    """Old numbers of turns and replies → new ones."""

    turns: dict[int, int]
    replies: dict[int, int]

    def of(self, item: Any) -> Any:
        """An event or an order with its new numbers. Raises KeyError when it is about what is not there any more."""
        maps = {"turn": self.turns, "reply": self.replies, "retry_of": self.replies}
        new = {name: maps[name][getattr(item, name)] for name in item.__struct_fields__ if name in maps}
        return msgspec.structs.replace(item, **new) if new else item

    def of_books(self, books: Books) -> Books:
        """The same, with new numbers. Raises KeyError."""
        return {name: self._value(name, value) for name, value in books.items()}

    def _value(self, name: str, value: object) -> object:
        if isinstance(value, Answer):
            number, turn = self.replies[value.number], self.turns[value.turn]
            failure = value.failure and self.of(value.failure)
            return msgspec.structs.replace(value, number=number, turn=turn, failure=failure)
        return self.turns[value] if name == "turn" and isinstance(value, int) else value


def books_of(conversation: Conversation) -> Books:
    """All that a conversation's next decision depends on."""
    state = conversation.state
    stale = {"resume_to"} if state != "interrupted" else set()
    stale |= {"turn", "talk"} if state == "idle" else set()  # the next turn sets them anew
    names = [name for name in ("turn", "closed", *Moment.__annotations__) if name not in stale]
    held = {name: getattr(conversation, name) for name in names}
    return {name: copy(value) if isinstance(value, Answer | Talk) else value for name, value in held.items()}


class Facts:
    """A journal's facts up to the first that is decided otherwise, of which some may be left out.

    Numbers of turns and replies are made to fit; nothing else is. What is left out must not matter: at each fact that
    stays, the conversation's books have to be what they were, or the shorter journal would be one that never was.
    """

    def __init__(self, rules: FsmSettings, entries: Sequence[Entry], parting: Parting) -> None:
        self._rules, self._parting = rules, parting
        self.before, self.last = list(entries[: parting.recorded.n - 1]), parting.recorded
        self._books: dict[int, Books] = {}
        """Before each fact, by its number."""
        self._turns: dict[int, int] = {}
        """The turn that a fact opened, by the fact's number."""
        run = Rerun(rules)
        talk = run.conversation
        for line, entry in enumerate(self.before, 2):
            self._books[entry.n] = books_of(talk)
            turn = talk.turn
            run.play([entry], line)
            if talk.turn > turn:
                self._turns[entry.n] = talk.turn
        self._books[self.last.n] = books_of(talk)
        self._turns[self.last.n] = talk.turn + 1  # if any
        run.release()

    def fewer(self, kept: Sequence[Entry]) -> tuple[list[Entry], Numbers]:
        """A journal of facts that are kept and the last one. Raises KeyError when they cannot do without another."""
        facts = [*kept, self.last]
        turns = [self._turns[entry.n] for entry in facts if entry.n in self._turns]
        replies = [order.reply for entry in facts for order in entry.effects if isinstance(order, fx.StartReply)]
        numbers = Numbers(
            {-1: -1, 0: 0, **{turn: n for n, turn in enumerate(turns, 1)}},
            {0: 0, **{reply: n for n, reply in enumerate(replies, 1)}},
        )
        return [
            msgspec.structs.replace(
                entry, n=n, event=numbers.of(entry.event), effects=tuple(map(numbers.of, entry.effects))
            )
            for n, entry in enumerate(facts, 1)
        ], numbers

    def fails(self, kept: Sequence[Entry]) -> bool:
        """Whether the last fact is decided otherwise in the same way, with the same books all along."""
        run = Rerun(self._rules)
        try:
            entries, numbers = self.fewer(kept)
            for line, (entry, then) in enumerate(zip(entries, [*kept, self.last], strict=True), 2):
                if books_of(run.conversation) != numbers.of_books(self._books[then.n]):
                    return False
                stop = run.play([entry], line)
                if stop is not None:
                    return then is self.last and isinstance(stop, Parting) and shape(stop) == shape(self._parting)
        except KeyError:
            pass
        finally:
            run.release()
        return False


def shape(parting: Parting) -> tuple[object, ...]:
    """How a decision differs, but for numbers."""
    sides = [(e.verdict, e.now, [type(effect) for effect in e.effects]) for e in (parting.recorded, parting.replayed)]
    return parting.fields, type(parting.recorded.event), sides


def fewest_facts(rules: FsmSettings, entries: Sequence[Entry], parting: Parting, budget: Budget) -> list[Entry]:
    """The shortest journal whose last fact is decided otherwise as this one is: first whole turns go, then facts."""
    facts = Facts(rules, entries, parting)

    def fails(kept: list[Entry]) -> bool:
        budget.tried(len(kept), "facts")
        return facts.fails(kept)

    if not facts.fails(facts.before):
        return [*facts.before, facts.last]
    turns = smallest(from_idle(facts.before), lambda kept: fails([*chain(*kept)]), budget.spent)
    return facts.fewer(smallest([*chain(*turns)], fails, budget.spent))[0]


def from_idle(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Facts in groups, each of which begins when nobody has the floor."""
    groups: list[list[Entry]] = [[]]
    for entry in entries:
        if entry.was == "idle" and groups[-1]:
            groups.append([])
        groups[-1].append(entry)
    return groups


# ---- the client's messages ---------------------------------------------------------------------------------------


class Least(msgspec.Struct, frozen=True):
    """Messages that lead to a symptom, and when the client may leave."""

    plan: list[Planned]
    end: float


class NotShown(AuraError):
    """The symptom does not come when the input is run."""

    code = "symptom_not_shown"


def fewest_messages(given: Input, symptom: Symptom, budget: Budget, detector: Detector | None = None) -> Least:
    """The fewest of the client's messages that still lead to the symptom. Raises NotShown."""
    base = given.read.header.base

    def shown_at(plan: Sequence[Planned]) -> float | None:
        """When it had happened for sure."""
        ran = free.run(given, plan, given.end, until=symptom.shown_by, detector=detector)
        found = symptom.first(ran.entries)
        return None if found is None else base + found.at + AFTERWARDS_S

    def shown(plan: Sequence[Planned]) -> bool:
        """Twice, for it must not depend on which of two things at the same moment Trio takes first."""
        budget.tried(len(plan), "messages")
        return shown_at(plan) is not None and shown_at(plan) is not None

    def pulled(kept: Sequence[Planned]) -> list[Planned]:
        return free.pulled_together(given.messages, [planned.message for planned in kept], base)

    plan = free.at_their_times(given.messages)
    at = shown_at(plan)
    if at is None:
        raise NotShown(f"when the recorded input is run with this AURA, {symptom.text!r} does not happen")
    plan = [planned for planned in plan if planned.at <= at]
    shorter = pulled(smallest(plan, lambda kept: shown(pulled(kept)), budget.spent))
    plan = smallest(shorter if len(shorter) < len(plan) else plan, shown, budget.spent)
    at = shown_at(plan)
    if at is None:
        raise NotShown(f"{symptom.text!r} happens only now and then when the recorded input is run")
    plan = [planned for planned in plan if planned.at <= at]
    return Least(plan, at)
