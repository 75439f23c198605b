"""A conversation as a script on a virtual clock: the real session and stages between scripted engines and a client.

    async with stage(answers=["Good morning to you."]) as scene:
        await scene.user.says(1.0, "good morning")
        await scene.user.silent(3.0)
    assert scene.names()[-1] == "SessionClosing"

The scripted detector reads its verdict from the frame: a first byte that is not zero is speech.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import trio

from aura.core import events as ev
from aura.core.dialogue import DialogueSettings
from aura.core.guards import FsmSettings
from aura.core.journal import Header, encode
from aura.core.ports import FRAME_BYTES, Kit, ToolBox
from aura.core.tape import TapeHeader
from aura.core.turns import TurnSettings
from aura.core.wire.grammar import Grammar, Violation
from aura.providers.observed import observed
from aura.session.build import Sections, Who, hold
from aura.session.client import Client
from aura.session.desk import Desk
from aura.session.line import Back, Ended, Interrupted, Line, Lost, Received
from aura.session.session import Fact, Session, SessionSettings, Tap
from aura.session.setup import Setup
from aura.session.steps import RecordedLine, RecordedSteps, Steps
from aura.session.taps import journal_tap, timing_tap
from aura.stages.transcribe import TranscribeSettings
from aura.storage.recordings import Job, Recording, write_all
from tests.scripted import RATE_HZ, Detector, Model, Recogniser, Tools, Voicebox

__all__ = ["RATE_HZ", "Detector", "Scene", "User", "stage"]

LOUD = b"\x01" * FRAME_BYTES
QUIET = b"\x00" * FRAME_BYTES


class User:
    """The client's side: sends a frame every 20 ms, keeps everything that comes back."""

    def __init__(self, scene: Scene, speak: Callable[[bytes], None]) -> None:
        self.scene, self._speak = scene, speak

    async def _frames(self, frame: bytes, seconds: float) -> None:
        for _ in range(round(seconds / 0.02)):
            await trio.sleep(0.02)
            self._speak(frame)

    async def says(self, seconds: float, text: str) -> None:
        """Speak; the recogniser will hear `text`."""
        self.scene.stt.text = text
        await self._frames(LOUD, seconds)

    async def silent(self, seconds: float) -> None:
        """Send silence."""
        await self._frames(QUIET, seconds)

    async def until(self, state: str, limit_s: float = 30.0) -> None:
        """Send silence until the conversation gets there."""
        end = trio.current_time() + limit_s
        while self.scene.session.conversation.state != state:
            assert trio.current_time() < end, f"never {state}: {self.scene.names()}"
            await self.silent(0.02)

    def send(self, **message: Any) -> None:
        """Send a protocol message."""
        self.scene.inbox.send_nowait(json.dumps(message))


class Oracle:
    """Judges what passes between the client and the session."""

    def __init__(self, violations: list[Violation] | None = None, *, resumed: bool = False) -> None:
        self.violations = [] if violations is None else violations
        self._grammar = Grammar(resumed=resumed, rates=(16_000,))
        self.began: dict[str, Any] = {}
        """Input settings that the session began with, though it says otherwise."""

    def client(self, message: str | bytes) -> None:
        """The client sends this."""
        self.violations += self._grammar.client(message)

    def server(self, message: str | bytes) -> None:
        """The session sends this."""
        if self.began and isinstance(message, str):
            told = json.loads(message)
            if told["type"] == "session.created":
                told["session"]["audio"]["input"] |= self.began
                message = json.dumps(told)
        self.violations += self._grammar.server(message)


class Scene:
    """What the script can look at."""

    stt: Recogniser
    chat: Model
    tts: Voicebox
    session: Session
    desk: Desk
    user: User
    inbox: trio.MemorySendChannel[Received]
    ended = ""

    async def until_ended(self) -> None:
        """Wait until the conversation is over."""
        await self.over.wait()

    def __init__(self) -> None:
        self.facts: list[Fact] = []
        self.sent: list[tuple[float, str | bytes]] = []
        self.blocked: trio.Event | None = None
        self.over = trio.Event()
        self.lost = False
        self.oracle = Oracle()
        self.switches: list[int] = []
        """How many messages had been sent when a new connection took over."""

    def switch(self) -> None:
        """The session speaks to the new connection from now on."""
        self.lost = False
        self.oracle = Oracle(self.oracle.violations, resumed=True)
        self.switches.append(len(self.sent))

    def lose(self) -> None:
        """The connection breaks off."""
        self.lost = True
        self.inbox.send_nowait(Lost("closed 1006"))

    def return_(self, item_id: str = "", played_ms: int = 0) -> None:
        """The client is back."""
        self.inbox.send_nowait(Back(item_id, played_ms))

    async def receive(self) -> Received:
        try:
            message = await self._inbox.receive()
        except trio.EndOfChannel:
            raise Ended("the client left") from None
        if isinstance(message, str | bytes):
            self.oracle.client(message)
        return message

    async def send(self, *messages: str | bytes) -> None:
        if self.blocked is not None:
            await self.blocked.wait()
        await trio.lowlevel.checkpoint()
        if self.lost:
            raise Interrupted
        for message in messages:
            self.oracle.server(message)
        self.sent += [(trio.current_time(), m) for m in messages]

    def connect(self) -> None:
        self.inbox, self._inbox = trio.open_memory_channel[Received](1000)

    def names(self) -> list[str]:
        """Names of all facts so far."""
        return [type(f.event).__name__ for f in self.facts]

    def states(self) -> list[str]:
        """The states in order."""
        return ["idle"] + [f.step.now for f in self.facts if f.step.now != f.step.was]

    def messages(self, *types: str) -> list[dict[str, Any]]:
        """What the client was sent, of these types (all when none is given)."""
        decoded = [json.loads(m) for _, m in self.sent if isinstance(m, str)]
        return [m for m in decoded if not types or m["type"] in types]

    def audio_at(self) -> list[float]:
        """When audio was sent."""
        return [at for at, m in self.sent if isinstance(m, bytes) or '"response.output_audio.delta"' in m]

    def fact(self, kind: type[ev.Event], nth: int = 0) -> Fact:
        """The n-th fact of a kind."""
        return [f for f in self.facts if isinstance(f.event, kind)][nth]

    def history(self) -> list[tuple[str, str]]:
        """What the model would be shown now."""
        return [(m.role, m.text) for m in self.session.dialogue.messages() if m.role != "system"]


HEARD = {"format": {"type": "audio/pcm", "rate": 16000}, "transcription": {"model": "test"}}


class Setting:
    """How a scene's conversation is run: plainly, or recorded in a folder."""

    def __init__(self, scene: Scene, kit: Kit) -> None:
        self.scene, self.kit = scene, kit
        self.who = Who("sess_test", {"model": "test"})
        self.steps: Steps = Steps()
        self.line: Line = scene
        self.recording: Recording | None = None
        self.kept: list[bytes] = [encode(Header("sess_test", ""))]

    def record(self, folder: Path, sections: Sections) -> None:
        """It is to be recorded: then the client's audio comes as messages too."""
        self.who = Who("sess_test", {"aura": "binary,events"})
        names = dict.fromkeys(("stt", "chat", "tts", "backup_tts"), "scripted")
        header = TapeHeader(
            self.who.ident, "", trio.current_time(), msgspec.to_builtins(sections), self.who.query, names,
            self.kit.toolbox.tools(),
        )  # fmt: skip
        self.recording = Recording(folder, header, lambda _: True)
        self.steps = RecordedSteps(self.recording)
        self.kit = observed(self.kit, self.steps, lambda _: None)
        self.line = RecordedLine(self.scene, self.steps, self.recording)
        self.scene.user.send(type="session.update", session={"type": "realtime", "audio": {"input": HEARD}})

    def speak(self, frame: bytes) -> None:
        """The user's audio."""
        if self.recording is None:
            self.scene.desk._append(type("Message", (), {"audio": frame})())
        else:
            self.scene.inbox.send_nowait(frame)

    def taps(self, client: Client) -> list[Tap]:
        """Who is told of every fact."""
        return [self.scene.facts.append, timing_tap(client.metrics), journal_tap(self.kept.append, words=True)]

    def begin(self, session: Session, desk: Desk, options: dict[str, Any] | None) -> None:
        """The conversation is about to begin."""
        self.scene.session, self.scene.desk = session, desk
        if self.recording is None:
            described = desk.view.session.apply({"audio": {"input": HEARD}})
            desk.configure(described)
            desk.view.session = described
            self.scene.oracle.began = HEARD
        if options:
            self.scene.user.send(type="session.update", session={"type": "realtime", **options})

    def end(self) -> None:
        """It is over."""
        if self.recording is not None:
            self.recording.close(self.scene.ended)
            write_all([Job(self.recording.folder, self.recording.scribe, self.recording.waiting)])
            (self.recording.folder / "journal.jsonl").write_bytes(b"".join(self.kept))
        self.scene.over.set()


@asynccontextmanager
async def stage(
    answers: list[Any] | None = None,
    *,
    stt_s: float = 0.1,
    first_token_s: float = 0.2,
    token_s: float = 0.01,
    first_audio_s: float = 0.1,
    fsm: FsmSettings | None = None,
    setup: Setup = Setup(),  # noqa: B008
    turns: TurnSettings | None = None,
    options: dict[str, Any] | None = None,
    greeting: str = "",
    session: SessionSettings | None = None,
    who: Who | None = None,
    record: Path | None = None,
    tools: ToolBox | None = None,
) -> AsyncIterator[Scene]:
    """Run a conversation in the background of the block; leaving the block hangs up.

    `record` is the folder that becomes its recording.
    """
    scene = Scene()
    scene.connect()
    scene.stt, scene.chat = Recogniser(stt_s), Model(list(answers or []), first_token_s, token_s)
    scene.tts = Voicebox(first_audio_s)
    kit = Kit(scene.stt, scene.chat, scene.tts, scene.tts, Detector, tools or Tools())
    sections = Sections(
        setup.reply, fsm or FsmSettings(), session or SessionSettings(greeting), DialogueSettings(),
        turns or TurnSettings(),
        transcribe=TranscribeSettings(answer_s=3.0), think=setup.think, speak=setup.speak,
        sentences=setup.sentences, playout=setup.playout,
    )  # fmt: skip

    ready = trio.Event()
    setting = Setting(scene, kit)
    setting.who = who or setting.who
    scene.user = User(scene, setting.speak)
    if record is not None:
        setting.record(record, sections)

    def begun(session: Session, desk: Desk) -> None:
        setting.begin(session, desk, options)
        ready.set()

    async with trio.open_nursery() as nursery:

        async def run() -> None:
            scene.ended = await setting.steps.root(
                hold, sections, setting.who, setting.kit, setting.line, setting.steps, setting.taps, (), begun
            )
            setting.end()

        nursery.start_soon(run)
        await ready.wait()
        yield scene
        scene.inbox.close()
    assert not scene.oracle.violations, "\n".join(v.text for v in scene.oracle.violations)
