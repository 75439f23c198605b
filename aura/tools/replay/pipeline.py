"""The second depth of a replay: the real stages on recorded input, in virtual time."""

from __future__ import annotations

import time
from binascii import b2a_base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import trio

from aura.core import journal, tape
from aura.core.errors import AuraError
from aura.core.events import SessionClosing
from aura.core.journal import Entry, Journal
from aura.core.ports import SpeechChunk, VoiceDetector
from aura.providers.observed import observed
from aura.providers.offline import vad
from aura.providers.recorded import recorded_kit
from aura.session.build import Sections, Who, hold
from aura.session.client import Client
from aura.session.desk import Desk, turn_settings
from aura.session.line import Ended, Interrupted, Received
from aura.session.session import Fact, Session, Tap
from aura.session.taps import timing_tap
from aura.storage.tapes import Sounds, Tape, read_tape
from aura.tools.replay.turnstile import ReplayedSteps, TapeClock, provider_error


class Replayed(msgspec.Struct, frozen=True):
    """How a replay went."""

    facts: int
    """Facts that came out equal."""
    messages: int
    """Messages to the client that came out equal."""
    recorded_s: float
    """Length of the conversation as far as it was replayed."""
    took_s: float
    complete: bool
    """Whether the recording is (False: it breaks off, and was replayed to there)."""
    why: str = ""
    """How it parted from the recording; empty when it did not."""
    at_fact: int = 0
    """The fact at which it did, counted from 0."""
    expected: Entry | None = None
    actual: Entry | None = None

    @property
    def speed(self) -> float:
        """How many times faster than it was."""
        return self.recorded_s / self.took_s if self.took_s else 0.0


class Comparison:
    """Compares what comes out with what came out then, and remembers the first difference."""

    steps: ReplayedSteps

    def __init__(self, kept: Journal, read: Tape) -> None:
        self.entries = entries = kept.entries
        self.ended = read.ended
        closed = any(isinstance(entry.event, SessionClosing) or entry.verdict == "bug" for entry in entries)
        self.gaps = not (read.ended and closed) or kept.lost > 0
        """Whether facts may be missing in the journal: the disk or the process did not last."""
        self.facts = self.messages = 0
        self.expected: Entry | None = None
        self.actual: Entry | None = None
        self._sent = iter([line for line in read.lines if isinstance(line, tape.Sent | tape.SentAudio)])
        self._calls = iter([line for line in read.lines if isinstance(line, tape.Call)])

    def fact(self, fact: Fact) -> None:
        """A tap on the conversation."""
        step = fact.step
        actual = Entry(fact.n, round(fact.at, 6), fact.event, step.was, step.now, step.effects, step.verdict)  # type: ignore[arg-type]
        expected = self.entries[self.facts] if self.facts < len(self.entries) else None
        missing = self.gaps and (expected is None or expected.n > fact.n)
        if self.steps.over.is_set() or missing:
            return
        if actual != expected:
            self.expected, self.actual = expected, actual
            self.steps.part("told another fact" if expected else "told a fact that the journal does not have")
        else:
            self.facts += 1

    def message(self, message: str | bytes) -> None:
        """A message goes to the client."""
        expected = next(self._sent, None)
        if isinstance(expected, tape.Sent):
            same = message == expected.text
        else:
            same = expected is not None and tape.digest(message) == expected.digest
        if same:
            self.messages += 1
        elif expected is None and not self.ended:
            pass  # the recording breaks off
        elif expected is None:
            self.steps.part(f"sent the client something more: {shown(message)}")
        else:
            then = expected.text if isinstance(expected, tape.Sent) else f"{expected.bytes} bytes of audio"
            self.steps.part(f"sent the client {shown(message)}; then it was {shown(then)}")

    def note(self, note: tape.Note) -> None:
        """A call to an engine begins."""
        if isinstance(note, tape.Call):
            expected = next(self._calls, None)
            if note != expected and (expected is not None or self.ended):
                then = f"{expected.part} {expected.text!r}" if expected else "nothing"
                self.steps.part(
                    f"asked {note.provider} ({note.part}) {note.text!r}; then it was {then}, or in another context"
                )

    def left_over(self) -> str:
        """What did not happen although the conversation ran to its end; empty when there is nothing."""
        if self.steps.position < len(self.steps.steps):
            return "the conversation ended before its tape does"
        if self.ended and self.facts < len(self.entries):
            self.expected = self.entries[self.facts]
            return "the conversation ended before its journal does"
        if self.ended and next(self._sent, None) is not None:
            return "the client was not sent all that it was sent then"
        return ""


def shown(message: str | bytes) -> str:
    """A message in short."""
    text = message if isinstance(message, str) else f"{len(message)} bytes of audio"
    return text if len(text) <= 200 else f"{text[:197]}…"


class RecordedOutside:
    """What calls to the outside gave, from tape and audio files."""

    def __init__(self, sounds: Sounds) -> None:
        self._sounds = sounds

    def value(self, outcome: tape.Outcome) -> Any:
        """The value of an outcome, or raises what was raised."""
        match outcome:
            case tape.Audio(size, audio_format, binary, event_id):
                data = self._sounds.take(f"in.{audio_format}", size)
                return data if binary else append_message(data, event_id)
            case tape.Text(value) | tape.Heard(value) | tape.Noticed(value) | tape.Item(value):
                return value
            case tape.Sound(size, rate_hz, words):
                return SpeechChunk(self._sounds.take(f"voice.pcm16.{rate_hz}", size), rate_hz, words)
            case tape.ToolDone() | tape.Lost() | tape.Back():
                return outcome
            case tape.Done():
                return None
            case _:
                raise raised(outcome)


def raised(outcome: tape.Outcome) -> Exception:
    """What a call to the outside raised."""
    match outcome:
        case tape.Gone(why):
            return Ended(why)
        case tape.Interrupted():
            return Interrupted()
        case tape.Stop():
            return StopAsyncIteration()
        case tape.Failed():
            return provider_error(outcome)
        case tape.Crashed(error):
            return RuntimeError(error)
    raise AssertionError(outcome)


def append_message(data: bytes, event_id: str | None) -> str:
    """The client's message that carries audio."""
    event = f'"event_id":{msgspec.json.encode(event_id).decode()},' if event_id is not None else ""
    audio = b2a_base64(data, newline=False).decode()
    return f'{{{event}"type":"input_audio_buffer.append","audio":"{audio}"}}'


class RecordedLine:
    """The client's connection: the tape answers, what is sent is compared."""

    def __init__(self, steps: ReplayedSteps, message: Callable[[str | bytes], None]) -> None:
        self._steps, self._message = steps, message

    async def receive(self) -> Received:
        """The next message of the client, or what became of its connection; raises Ended."""
        return await self._steps.seam(_nobody, lambda _: tape.Done())

    def switch(self) -> None:
        """There is but one tape."""

    async def send(self, *messages: str | bytes) -> None:
        """A message to the client; raises Ended."""
        for message in messages:
            self._message(message)
        await self._steps.seam(_nobody, lambda _: tape.Done())


async def _nobody() -> Any:
    raise AssertionError("behind a tape there is nobody to call")


def replay(folder: Path, detector: Callable[[], VoiceDetector] | None = None) -> Replayed:
    """Run the recorded conversation in a folder again and compare. Raises AuraError for a recording that is broken.

    `detector` makes the one that the conversation had, where that is not what its settings say.
    """
    read = read_tape(folder)
    kept = journal.decode((folder / "journal.jsonl").read_bytes())
    return trio.run(_replay, read, kept, detector, clock=TapeClock(read.header.base))


async def _replay(read: Tape, kept: Journal, detector: Callable[[], VoiceDetector] | None) -> Replayed:
    sections = recorded_sections(read)
    if detector is None and sections.vad.detector == "silero":
        vad.load_model()
    sounds = Sounds(read.folder)
    comparison = Comparison(kept, read)
    steps = comparison.steps = ReplayedSteps(read.steps, RecordedOutside(sounds), comparison.note)
    began = time.perf_counter()
    try:
        await _converse(read, sections, steps, comparison, detector or (lambda: vad.make_detector(sections.vad)))
    except* AuraError as errors:
        raise next(leaves(errors)) from None
    finally:
        sounds.close()
    took = time.perf_counter() - began
    steps.why = steps.why or comparison.left_over()
    until = read.steps[max(0, steps.position - 1)].at if read.steps else read.header.base
    return Replayed(
        comparison.facts, comparison.messages, until - read.header.base, took, read.ended, steps.why,
        comparison.facts, comparison.expected, comparison.actual,
    )  # fmt: skip


async def _converse(
    read: Tape,
    sections: Sections,
    steps: ReplayedSteps,
    comparison: Comparison,
    detector: Callable[[], VoiceDetector],
) -> None:
    """Hold the conversation until the tape is over."""
    kit = observed(recorded_kit(read.header, detector), steps, lambda _: None)
    line = RecordedLine(steps, comparison.message)
    here: list[tuple[Session, Desk]] = []

    def changed(fact: Fact) -> None:
        if fact.n == read.header.from_fact:
            change(*here[0], msgspec.convert(read.header.changed, Sections))

    def taps(client: Client) -> list[Tap]:
        return [comparison.fact, timing_tap(client.metrics), *([changed] if read.header.from_fact else [])]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(steps.supervise)

        async def converse() -> None:
            who = who_of(read.header)
            await steps.root(hold, sections, who, kit, line, steps, taps, (), lambda *pair: here.append(pair))
            steps.release()
            nursery.cancel_scope.cancel()

        nursery.start_soon(converse)
        await steps.over.wait()
        nursery.cancel_scope.cancel()


def who_of(header: tape.TapeHeader) -> Who:
    """Whom the recorded conversation was with."""
    return Who(header.session, header.query, header.patch, header.expires_at)


def recorded_sections(read: Tape) -> Sections:
    """The settings of the recorded conversation."""
    return msgspec.convert(read.header.settings, Sections)


def change(session: Session, desk: Desk, new: Sections) -> None:
    """Other settings for a conversation that is under way. (What has begun goes on as it was set up.)"""
    listener, replies = session.listener, session.replies
    now = session.conversation.settings
    session.conversation.settings = msgspec.structs.replace(
        new.conversation, auto_reply=now.auto_reply, interruptions=now.interruptions
    )
    desk.turns = new.turns
    listener.configure(turn_settings(desk.view.session.turn_detection, new.turns))
    listener.overlap.settings, listener.settings = new.overlap, new.listen
    session.ears.settings = new.transcribe
    replies.setup = msgspec.structs.replace(
        replies.setup, reply=new.assistant, think=new.think, playout=new.playout, sentences=new.sentences,
        speak=msgspec.structs.replace(new.speak, voice=desk.view.session.voice, speed=desk.view.session.speed),
    )  # fmt: skip
    session.dialogue.instruct(new.assistant.instructions)


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors inside nested groups."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error
