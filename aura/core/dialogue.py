"""Who said what, how much of it was heard, and what of it the model is shown.

The history is a tuple of frozen entries, in the order of the conversation: a fact that becomes known late is entered
where it belongs. Entering the same turn, reply, item or call again replaces what was there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby, pairwise
from typing import Literal

import msgspec

from aura.core.ports import Message, ToolCall

Role = Literal["system", "user", "assistant"]


class DialogueSettings(msgspec.Struct, frozen=True):
    """How much of the conversation the model is shown."""

    history_turns: int = 60
    """The model is shown at most this many of the user's last turns."""
    history_chars: int = 24_000
    """It is shown at most about this many characters of them (a token is roughly four)."""
    forget_turns: int = 8
    """Old turns are left out so many at a time, since engines answer faster while the beginning stays the same."""
    pending_tool_text: str = "(no result yet)"
    """Shown to the model in place of the result of a function that has not returned."""


class UserTurn(msgspec.Struct, frozen=True, tag=True):
    """What the user said in a turn."""

    turn: int
    text: str


class Item(msgspec.Struct, frozen=True, tag=True):
    """A text that the client put into the conversation."""

    turn: int
    id: str
    role: Role
    text: str


class Reply(msgspec.Struct, frozen=True, tag=True):
    """What the assistant said, and what of it was heard."""

    turn: int
    reply: int
    full: str = ""
    heard: str = ""
    interrupted: bool = False


class Call(msgspec.Struct, frozen=True, tag=True):
    """A function that the model had run, and its result once there is one."""

    turn: int
    reply: int
    call: ToolCall
    result: str | None = None


Entry = UserTurn | Item | Reply | Call


Key = tuple[Literal["turn", "reply", "item", "call"], int | str]
"""Names an entry: by the number of the turn or reply, or the id of the client's item or of the call."""
Place = Key | Literal["root"] | None
"""Where an entry goes: behind another, in front of all, or (None) at the end."""


class Snapshot(msgspec.Struct, frozen=True):
    """A whole dialogue, to be stored and restored."""

    instructions: str
    entries: tuple[Entry, ...]
    version: int


class Dialogue:
    """The history of one conversation."""

    def __init__(self, settings: DialogueSettings, instructions: str = "", snapshot: Snapshot | None = None) -> None:
        self._settings = settings
        self._snapshot = snapshot or Snapshot(instructions, (), 0)
        self._deleted: set[Key] = set()
        """What is to stay out though more of it comes."""

    @property
    def version(self) -> int:
        """Grows with every change of what `messages` returns or may return."""
        return self._snapshot.version

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Everything, also what the model is not shown."""
        return self._snapshot.entries

    def snapshot(self) -> Snapshot:
        """The whole state; hand it to a new `Dialogue` to go on with it."""
        return self._snapshot

    # ---- what happened

    def instruct(self, instructions: str) -> None:
        """Set what the model is told about its part."""
        if instructions != self._snapshot.instructions:
            self._change(self.entries, instructions)

    def user(self, turn: int, text: str) -> None:
        """The user's words in a turn; none at all take the turn out again."""
        if ("turn", turn) not in self._deleted:
            self._change(_with_user(self.entries, turn, text))

    def assistant_began(self, reply: int, turn: int) -> None:
        """A reply begins; nothing of it was heard yet."""
        self._put(Reply(turn, reply), lambda entry: isinstance(entry, Reply) and entry.reply == reply)

    def heard(self, reply: int, text: str) -> None:
        """This much of a reply was heard, whatever was thought before."""
        self._amend(reply, lambda entry: msgspec.structs.replace(entry, heard=text))

    def assistant(self, reply: int, turn: int, full: str, heard: str, *, interrupted: bool) -> None:
        """A reply is over."""
        entry = Reply(turn, reply, full, heard, interrupted)
        if ("reply", reply) not in self._deleted:
            self._put(entry, lambda old: isinstance(old, Reply) and old.reply == reply)

    def tool(self, reply: int, turn: int, call: ToolCall, result: str | None = None) -> None:
        """A reply had a function run; without a result for now if the client runs it."""
        self._put(Call(turn, reply, call, result), lambda old: isinstance(old, Call) and old.call.id == call.id)

    def own_tool(self, reply: int, turn: int, call: ToolCall, result: str | None = None) -> None:
        """A reply had one of the server's functions run, whose result its words speak of: it stands before them."""
        words = next((n for n, e in enumerate(self.entries) if isinstance(e, Reply) and e.reply == reply), None)
        if words is None:
            self.tool(reply, turn, call, result)
        else:
            self._change(_inserted(self.entries, words, Call(turn, reply, call, result)))

    def client_call(self, call: ToolCall, after: Place = None) -> None:
        """A function call that the client itself puts into the conversation (it replays a history)."""
        self._insert(Call(0, 0, call), lambda old: isinstance(old, Call) and old.call.id == call.id, after)

    def tool_output(self, call_id: str, result: str | None) -> bool:
        """The result of a call (None: it is taken back); False if there was no such call.

        Then nothing is kept: engines would refuse it.
        """
        old = next((entry for entry in self.entries if isinstance(entry, Call) and entry.call.id == call_id), None)
        if old is not None:
            self.tool(old.reply, old.turn, old.call, result)
        return old is not None

    def item(self, item_id: str, role: Role, text: str, after: Place = None) -> None:
        """A text from the client joins the conversation: at the end, in front of everything, or behind an entry."""
        self._insert(Item(0, item_id, role, text), lambda old: isinstance(old, Item) and old.id == item_id, after)

    def delete(self, place: Key) -> None:
        """Take out an entry, for good if more of it is still to come; an unknown one is no error."""
        self._deleted.add(place)
        self._change(tuple(entry for entry in self.entries if not _is(entry, place)))

    # ---- what the model is shown

    def messages(self, instructions: str | None = None) -> tuple[Message, ...]:
        """The conversation for the model; `instructions` take the place of the conversation's own this once."""
        return self._render(self.entries, instructions)

    def preview(self, turn: int, text: str, instructions: str | None = None) -> tuple[Message, ...]:
        """The same as if the user had said `text` in that turn; for drafts. The history stays as it is."""
        return self._render(_with_user(self.entries, turn, text), instructions)

    def system(self, instructions: str | None = None) -> tuple[Message, ...]:
        """What the model is told about its part, as its first message."""
        told = self._snapshot.instructions if instructions is None else instructions
        return (Message("system", told),) if told else ()

    # ---- inside

    def _insert(self, entry: Item | Call, same: Callable[[Entry], bool], after: Place) -> None:
        """Put the client's own entry where it belongs; it gets the turn of what it stands behind."""
        at = len(self.entries)
        if after == "root":
            at = 0
        elif after is not None:
            at = max((index + 1 for index, old in enumerate(self.entries) if _is(old, after)), default=at)
        turn = self.entries[at - 1].turn if at else 0
        entry = msgspec.structs.replace(entry, turn=turn)
        if any(same(old) for old in self.entries):
            self._put(entry, same)
        else:
            self._change(_inserted(self.entries, at, entry))

    def _render(self, entries: tuple[Entry, ...], instructions: str | None) -> tuple[Message, ...]:
        system = self.system(instructions)
        shown = [message for entry in entries for message in _shown(entry, self._settings.pending_tool_text)]
        return (*system, *_recent(_joined(shown), self._settings))

    def _amend(self, reply: int, change: Callable[[Reply], Reply]) -> None:
        amended = (change(old) if isinstance(old, Reply) and old.reply == reply else old for old in self.entries)
        self._change(tuple(amended))

    def _put(self, entry: Entry, same: Callable[[Entry], bool]) -> None:
        old = next((index for index, other in enumerate(self.entries) if same(other)), None)
        if old is not None:
            self._change((*self.entries[:old], entry, *self.entries[old + 1 :]))
            return
        later = (index for index, other in enumerate(self.entries) if other.turn > entry.turn)
        self._change(_inserted(self.entries, next(later, len(self.entries)), entry))

    def _change(self, entries: tuple[Entry, ...], instructions: str | None = None) -> None:
        old = self._snapshot
        if entries != old.entries or instructions is not None:
            text = old.instructions if instructions is None else instructions
            self._snapshot = Snapshot(text, entries, old.version + 1)


def _is(entry: Entry, place: Key) -> bool:
    kind, name = place
    match entry:
        case UserTurn():
            return kind == "turn" and entry.turn == name
        case Item():
            return kind == "item" and entry.id == name
        case Reply():
            return kind == "reply" and entry.reply == name
        case Call():
            return (kind, name) in (("call", entry.call.id), ("reply", entry.reply))  # a reply goes with its calls


def _inserted(entries: tuple[Entry, ...], index: int, entry: Entry) -> tuple[Entry, ...]:
    return (*entries[:index], entry, *entries[index:])


def _with_user(entries: tuple[Entry, ...], turn: int, text: str) -> tuple[Entry, ...]:
    """The entries with the user's words of a turn, before anything that answers them or came later."""
    rest = tuple(entry for entry in entries if not (isinstance(entry, UserTurn) and entry.turn == turn))
    if not text.strip():
        return rest
    known = [index for index, entry in enumerate(entries) if isinstance(entry, UserTurn) and entry.turn == turn]
    later = (n for n, e in enumerate(rest) if e.turn > turn or (e.turn == turn and isinstance(e, Reply | Call)))
    return _inserted(rest, known[0] if known else next(later, len(rest)), UserTurn(turn, text))


def _shown(entry: Entry, pending: str) -> Iterator[Message]:
    match entry:
        case UserTurn():
            yield Message("user", entry.text.strip())
        case Item() if entry.text:
            yield Message(entry.role, entry.text)
        case Call():
            yield Message("assistant", "", tool_calls=(entry.call,))
            yield Message("tool", pending if entry.result is None else entry.result, tool_call_id=entry.call.id)
        case Reply() if entry.heard.strip():
            yield Message("assistant", heard_text(entry.full, entry.heard))


def heard_text(full: str, heard: str) -> str:
    """The heard part of a reply, with a dash where it was cut off."""
    heard = heard.strip()
    if heard.split() == full.split():
        return heard
    heard = heard.rstrip(" ,;:-–—")
    return f"{heard} —" if heard.endswith((".", "!", "?", "…", "。", "！", "？")) else f"{heard}—"


def _joined(messages: list[Message]) -> list[Message]:
    """The user's texts that follow each other without an answer between them are one message."""
    joined: list[Message] = []
    for role, group in groupby(messages, key=lambda message: message.role):
        texts = list(group)
        joined += [Message("user", " ".join(message.text for message in texts))] if role == "user" else texts
    return joined


def _recent(messages: list[Message], settings: DialogueSettings) -> list[Message]:
    """The last turns within the limits. A turn goes as a whole, so calls and results stay together."""
    starts = [index for index, message in enumerate(messages) if message.role == "user"]
    edges = [0, *(start for start in starts if start), len(messages)]
    sizes = [sum(_size(message) for message in messages[a:b]) for a, b in pairwise(edges)]
    needed, left = max(0, len(sizes) - settings.history_turns), sum(sizes)
    left -= sum(sizes[:needed])
    while left > settings.history_chars and needed < len(sizes) - 1:
        left -= sizes[needed]
        needed += 1
    dropped = min(-(-needed // settings.forget_turns) * settings.forget_turns, len(sizes) - 1)
    kept = edges[dropped]
    return [message for message in messages[:kept] if message.role == "system"] + messages[kept:]


def _size(message: Message) -> int:
    return len(message.text) + sum(len(call.arguments) for call in message.tool_calls)
