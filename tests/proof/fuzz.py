"""Whatever a client sends, the conversation lives on: `python -m tests.proof.fuzz --messages 100000 --seed 1`.

Each message goes into `decode` alone, and to a whole conversation on a virtual clock (the real session and stages
between scripted engines). Nothing but a ProtocolFault may leave the decoder, nothing at all the conversation; every
answer must be legal (aura/core/wire/grammar), and after all of it a typed message is still answered.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any

import msgspec
import structlog
import trio
from rich.console import Console
from rich.table import Table
from trio.testing import MockClock

from aura.core.errors import ProtocolFault
from aura.core.ports import Kit
from aura.core.wire import client
from aura.core.wire.grammar import Grammar, Violation
from aura.session.build import Sections, Who, hold
from aura.session.line import Ended
from aura.session.session import SessionSettings
from aura.session.steps import Steps
from tests.proof.again import PROCESSES, processes
from tests.proof.mutants import Mutants, Names
from tests.script import Detector, Model, Recogniser, Tools, Voicebox

PER_SESSION = 500
"""Messages in one conversation."""
PAUSE_EVERY, PAUSE_S = 10, 0.3
"""After so many messages the client waits so long (of virtual time)."""
ANSWER_S = 120.0
"""The last, typed message must be answered within this (virtual) time."""
PATIENT = SessionSettings(faults_per_minute=0)
"""Nobody hangs up on a client that sends nothing but nonsense."""
LAST_WORDS = 5
"""So many messages are shown when a conversation breaks."""
CLOSING: list[dict[str, Any]] = [
    {"type": "session.update", "session": {"audio": {"input": {"turn_detection": None}}, "output_modalities": ["audio"],
                                           "tools": [], "max_output_tokens": "inf"}},
    {"type": "input_audio_buffer.clear"},
    {"type": "response.cancel"},
    {"type": "conversation.item.create", "item": {"type": "message", "role": "user", "id": "the_last_item",
                                                  "content": [{"type": "input_text", "text": "Still there?"}]}},
    {"type": "response.create", "event_id": "the_last_request"},
]  # fmt: skip


class Found:
    """What a run found out."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.made: Counter[str] = Counter()
        self.problems: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        self.messages = self.sent = self.sessions = 0

    def add(self, other: Found) -> None:
        """What another run found out."""
        for counter in ("outcomes", "made", "problems"):
            getattr(self, counter).update(getattr(other, counter))
        self.examples = {**other.examples, **self.examples}
        for number in ("messages", "sent", "sessions"):
            setattr(self, number, getattr(self, number) + getattr(other, number))

    def problem(self, what: str, example: str = "") -> None:
        """Something that must not be."""
        self.problems[what] += 1
        self.examples.setdefault(what, example)


class FuzzLine:
    """The connection of a client that sends nonsense, seen by the oracle."""

    def __init__(self, found: Found, seed: int, messages: int) -> None:
        self.found, self.seed, self.left = found, f"seed {seed}", messages
        self.names = Names()
        self.mutants = Mutants(random.Random(seed), self.names)
        self.grammar = Grammar(rates=range(8_000, 48_001))
        self.last: deque[str] = deque(maxlen=LAST_WORDS)
        self.closing = [msgspec.json.encode(message).decode() for message in CLOSING]
        self.idle, self.answered = trio.Event(), trio.Event()
        self.running: set[str] = set()

    async def receive(self) -> str | bytes:
        """The next message; raises Ended."""
        if self.left:
            self.left -= 1
            if self.left % PAUSE_EVERY == 0:
                await trio.sleep(PAUSE_S)
            kind, raw = self.mutants.next()
            self.found.made[kind] += 1
            self._outcome(raw)
        elif self.closing:
            if len(self.closing) in (1, len(CLOSING)):  # what runs may come to its end, the cancelled reply too
                await trio.sleep(5.0)
            raw = self.closing.pop(0)
        else:
            with trio.move_on_after(ANSWER_S):
                await self.answered.wait()
            raise Ended("over")
        self.last.append(repr(raw[:300]))
        self._note(self.grammar.client(raw))
        return raw

    async def send(self, *messages: str | bytes) -> None:
        """Every answer is judged."""
        await trio.lowlevel.checkpoint()
        for raw in messages:
            self.found.sent += 1
            self._note(self.grammar.server(raw))
            if isinstance(raw, bytes) or '"response.output_audio.delta"' in raw:
                continue
            event = msgspec.json.decode(raw)
            self.names.note(event)
            if event["type"] == "error":
                self.found.outcomes[f"answered: error {event['error']['code']}"] += 1
            if event["type"] == "response.done" and not self.closing:
                status = event["response"]["status"]
                if status == "completed" and self.asked:
                    self.answered.set()
            if event["type"] == "conversation.item.added" and event["item"]["id"] == "the_last_item":
                self.asked = True

    asked = False

    def switch(self) -> None:
        """There is only one connection."""

    def _outcome(self, raw: str | bytes) -> None:
        """The decoder alone: a message or a ProtocolFault."""
        self.found.messages += 1
        try:
            outcome = f"decoded: {type(client.decode(raw)).__name__}"
        except ProtocolFault as fault:
            outcome = f"refused: {fault.code}"
        except Exception as error:
            outcome = "broke"
            self.found.problem(f"decode raised {type(error).__name__}: {error}", repr(raw[:300]))
        self.found.outcomes[outcome] += 1

    def _note(self, violations: list[Violation]) -> None:
        for violation in violations:
            self.found.problem(
                f"{violation.rule} ({violation.kind})", f"{self.seed}: {violation.text} after {list(self.last)}"
            )


async def one_session(found: Found, seed: int, messages: int) -> None:
    """One conversation."""
    line = FuzzLine(found, seed, messages)
    stt, tts = Recogniser(0.05), Voicebox(0.05)
    stt.text = "so it goes"
    kit = Kit(stt, Model(["Yes, it is. " * 3] * 3, 0.1, 0.001), tts, tts, Detector, Tools())
    who = Who(f"sess_{seed}", {"aura": "events"} if seed % 3 == 0 else {})
    try:
        why = await hold(Sections(session=PATIENT), who, kit, line, Steps(), lambda _: [])
    except Exception as error:
        found.problem(f"the conversation raised {error!r}", f"{line.seed}: {list(line.last)}")
        return
    if why != "over":
        found.problem(f"the conversation ended: {why}", f"{line.seed}: {list(line.last)}")
    elif not line.answered.is_set():
        found.problem("the last message got no answer", line.seed)
    for violation in line.grammar.end(hung_up=True):
        found.problem(f"{violation.rule} (at the end)", f"{line.seed}: {violation.text}")
    found.sessions += 1


def sessions(messages: int, seed: int) -> list[tuple[int, int]]:
    """So many messages as conversations: the seed and the number of messages of each."""
    begins = enumerate(range(0, messages, PER_SESSION))
    return [(1000 * seed + number, min(PER_SESSION, messages - begin)) for number, begin in begins]


def fuzz(conversations: Sequence[tuple[int, int]]) -> Found:
    """Hold these conversations, one after the other."""
    found = Found()

    def heed(_: object, level: str, event: dict[str, Any]) -> dict[str, Any]:
        if level in ("error", "critical", "exception"):
            found.problem(f"logged as an error: {event.get('event')}", repr(event)[:500])
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[heed])
    try:
        for seed, messages in conversations:
            trio._core._run._r.seed(seed)  # Trio lets tasks that are ready at the same time go on in any order
            trio.run(one_session, found, seed, messages, clock=MockClock(autojump_threshold=0))
    finally:
        structlog.configure(**before)
    return found


def fuzz_all(conversations: Sequence[tuple[int, int]]) -> Found:
    """The same in several processes."""
    with processes() as executor:
        parts = list(executor.map(fuzz, [conversations[part::PROCESSES] for part in range(PROCESSES)]))
    for part in parts[1:]:
        parts[0].add(part)
    return parts[0]


def show(found: Found, took_s: float, console: Console) -> None:
    """The figures."""
    table = Table("outcome", "how often", box=None, header_style="dim")
    for name, count in [*sorted(found.made.items()), *sorted(found.outcomes.items())]:
        table.add_row(name, f"{count:,}")
    console.print(table)
    rate = found.messages / took_s
    console.print(f"{found.messages:,} messages in {found.sessions} conversations, {found.sent:,} answers judged: "
                  f"{took_s:.1f} s, {rate:,.0f} messages/s")  # fmt: skip
    for what, count in found.problems.most_common():
        console.print(f"[red]✗[/red] {count} × {what}", highlight=False)
        console.print(f"    {found.examples[what]}", markup=False, highlight=False, style="dim")
    if not found.problems:
        console.print("[green]✓[/green] nothing but answers came back, and every conversation lived on")


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.proof.fuzz", description=__doc__)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--session", type=int, metavar="SEED", help="only this conversation, as named by a problem")
    chosen = parser.parse_args()
    began = time.monotonic()
    if chosen.session is not None:
        found = fuzz([(chosen.session, PER_SESSION)])
    else:
        found = fuzz_all(sessions(chosen.messages, chosen.seed))
    show(found, time.monotonic() - began, Console(soft_wrap=True))
    return 1 if found.problems else 0


if __name__ == "__main__":
    sys.exit(main())
