"""A journal run again: its facts through the real table, one by one, compared with what was decided then.

Settings come from the journal's header. Facts that a session tells itself (an announcement that was put off) stand in
the journal like all others, so nothing is made up here. Nothing is compared but what the table decides: verdict,
state before, state after and every order, those of late facts too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import islice

import msgspec

from aura.core.fsm import Conversation, Step, Verdict
from aura.core.guards import FsmSettings
from aura.core.journal import Entry, Header, JournalError, Lost, Piece, Reader, Trouble

BEFORE, AFTER = 5, 5
"""So many facts around a place are its context."""
LOOK_AHEAD = 10_000
"""So many pieces behind a place are looked through for facts that can be read."""


class Parting(msgspec.Struct, frozen=True):
    """The first fact that is decided otherwise than it was."""

    line: int
    recorded: Entry
    replayed: Entry
    fields: tuple[str, ...]
    """What differs: verdict, now, effects."""


class Outcome(msgspec.Struct, frozen=True):
    """What came of running a journal again."""

    facts: int
    """Facts that were decided, the differing one included."""
    moves: int
    stays: int
    late: int
    bugs: int
    turns: int
    duration_s: float
    """Length of the conversation as far as it was run."""
    closed: bool
    """The conversation's end was reached."""
    parting: Parting | None
    troubles: tuple[Trouble, ...]
    """What is wrong with the journal itself; the last one may be why the run ended before the journal did."""
    context: tuple[Entry, ...] = ()
    """The facts around the place where the run ended, where it ended early."""
    stopped_at: int = 0
    """Index in `context` of the fact that was decided otherwise, or of the first that was not run."""


class Frame(msgspec.Struct, frozen=True):
    """A fact with what the conversation knew after it."""

    line: int
    entry: Entry
    turn: int
    """Number of the turn, as the recorded orders tell it."""
    replay: str
    """`same`, `other`, or `not run` (behind a divergence or a place that cannot be read)."""
    replayed: Entry | None = None
    """What the table says today, where it is not the same."""
    reply: int = 0
    """Number of the reply; 0: there is none, or the fact was not run."""
    source: str = ""
    """What the reply answers."""
    known: bool = False
    """The words that the reply answers are known."""
    draft: int = 0
    held: str = ""
    """State that a dismissed overlap leads back to, while one is being judged."""


def fsm_settings(header: Header) -> FsmSettings:
    """The rules that a journal was made under. Raises JournalError."""
    section = header.settings.get("conversation", {})
    try:
        return msgspec.convert(section, FsmSettings)
    except msgspec.ValidationError as error:
        raise JournalError(f"settings.conversation: {error}", 1) from None


class Rerun:
    """A conversation that is held again. `release` it when it is over."""

    def __init__(self, settings: FsmSettings) -> None:
        self.conversation = Conversation(settings)
        self.facts = 0
        self.at = 0.0
        self.clock: Trouble | None = None
        """Where time first ran backwards; no decision depends on it."""
        self.verdicts = dict.fromkeys(Verdict, 0)

    def release(self) -> None:
        """Leave the shared machine."""
        self.conversation.release()

    def play(self, entries: Sequence[Entry], first: int) -> Parting | Trouble | None:
        """Decide facts again that stand on consecutive lines from `first` on, up to one that differs or is amiss."""
        handle, verdicts = self.conversation.handle, self.verdicts
        n, at, was = self.facts, self.at, self.conversation.state
        try:
            for line, entry in enumerate(entries, first):
                if entry.n != n + 1:
                    return Trouble(line, _out_of_order(entry.n, n + 1))
                if entry.was != was:
                    before = f"fact {n} ended in {was}" if n else f"a conversation begins {was}"
                    return Trouble(line, f"fact {n + 1} begins in '{entry.was}', but {before}: the file was changed")
                step = handle(entry.event)
                verdicts[step.verdict] += 1
                n, was = n + 1, step.now
                if entry.at < at and self.clock is None:
                    self.clock = Trouble(line, f"the clock runs backwards, from {at:.3f} s to {entry.at:.3f} s")
                at = entry.at
                if entry.now != was or entry.verdict != step.verdict or entry.effects != step.effects:
                    return _parting(line, entry, step)
        finally:
            self.facts, self.at = n, at
        return None


def _parting(line: int, entry: Entry, step: Step) -> Parting:
    replayed = msgspec.structs.replace(entry, now=step.now, effects=step.effects, verdict=str(step.verdict))
    fields = ("verdict", "now", "effects")
    return Parting(line, entry, replayed, tuple(f for f in fields if getattr(entry, f) != getattr(replayed, f)))


def _out_of_order(found: int, expected: int) -> str:
    if found < expected:
        return f"fact {found} stands here, after fact {expected - 1}: lines were reordered or repeated"
    missing = f"fact {expected} is" if found == expected + 1 else f"facts {expected} to {found - 1} are"
    return f"{missing} missing before fact {found}: lines were removed or reordered"


def _lost(line: int, lost: Lost) -> Trouble:
    many = "1 line is" if lost.lines == 1 else f"{lost.lines} lines are"
    return Trouble(line, f"{many} missing, which the disk could not take: what follows cannot be run again")


def rerun(reader: Reader) -> Outcome:
    """Run a journal again until its end, a fact that is decided otherwise, or a place that cannot be read."""
    run = Rerun(fsm_settings(reader.header))
    before: deque[Entry] = deque(maxlen=BEFORE)
    stop: Parting | Trouble | None = None
    rest: list[Entry] = []
    pieces = iter(reader)
    try:
        for line, piece in pieces:
            if isinstance(piece, list):
                stop = run.play(piece, line)
                good = len(piece) if stop is None else stop.line - line
                before.extend(piece[max(0, good - BEFORE) : good])
                rest = piece[good:]
            else:
                stop = _lost(line, piece) if isinstance(piece, Lost) else piece
            if stop is not None:
                break
    finally:
        run.release()
    if stop is not None:
        rest += islice(_readable(pieces), AFTER)
    parting = stop if isinstance(stop, Parting) else None
    trouble = stop if isinstance(stop, Trouble) else None
    return Outcome(
        facts=run.facts,
        moves=run.verdicts[Verdict.MOVE],
        stays=run.verdicts[Verdict.STAY],
        late=run.verdicts[Verdict.LATE],
        bugs=run.verdicts[Verdict.BUG],
        turns=run.conversation.turn,
        duration_s=run.at,
        closed=run.conversation.closed,
        parting=parting,
        troubles=tuple(filter(None, (run.clock, trouble))),
        context=(*before, *rest[: AFTER + 1]) if stop else (),
        stopped_at=len(before),
    )


def _readable(pieces: Iterable[tuple[int, Piece]]) -> Iterator[Entry]:
    """What can be read of what follows."""
    for _, piece in islice(pieces, LOOK_AHEAD):
        if isinstance(piece, list):
            yield from piece


def frames(reader: Reader) -> Generator[Frame | Trouble, None, None]:
    """Every fact that can be read, with what the conversation knew after it, and every place that cannot."""
    run = Rerun(fsm_settings(reader.header))
    turn, stopped = 0, False
    try:
        for first, piece in reader:
            if not isinstance(piece, list):
                yield _lost(first, piece) if isinstance(piece, Lost) else piece
                stopped = True
                continue
            for line, entry in enumerate(piece, first):
                turn = max(turn, *(getattr(effect, "turn", 0) for effect in entry.effects), 0)
                if stopped:
                    yield Frame(line, entry, turn, "not run")
                    continue
                clock = run.clock
                stop = run.play([entry], line)
                stopped = stop is not None
                if isinstance(stop, Trouble):
                    yield stop
                    yield Frame(line, entry, turn, "not run")
                    continue
                if run.clock is not clock and run.clock is not None:
                    yield run.clock
                yield _frame(run.conversation, line, entry, turn, stop)
    finally:
        run.release()


def _frame(conversation: Conversation, line: int, entry: Entry, turn: int, parting: Parting | None) -> Frame:
    if parting is not None:
        return Frame(line, entry, turn, "other", parting.replayed)
    reply, draft = conversation.reply, conversation.draft
    return Frame(
        line,
        entry,
        turn,
        "same",
        reply=reply.number if reply else 0,
        source=reply.source if reply else "",
        known=reply.known if reply else False,
        draft=draft.number if draft else 0,
        held=conversation.resume_to if conversation.state == "interrupted" else "",
    )
