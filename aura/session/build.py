"""Puts one conversation together from its settings and engines, and holds it. Live or replayed, this is the code."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from aura.core import events as ev
from aura.core.dialogue import Dialogue, DialogueSettings
from aura.core.fsm import Step
from aura.core.guards import FsmSettings
from aura.core.limits import RateLimits
from aura.core.overlap import OverlapSettings
from aura.core.pacing import PlayoutSettings
from aura.core.ports import Kit
from aura.core.sentences import SentenceSettings
from aura.core.turns import TurnSettings
from aura.core.voices import known_voices
from aura.core.wire.ids import id_source
from aura.core.wire.realtime import RealtimeView
from aura.core.wire.session_object import Audio, AudioInput, AudioOutput, RealtimeSession, Transcription, opt_in_patch
from aura.providers.offline.vad import VadSettings
from aura.session.client import Client
from aura.session.desk import Desk
from aura.session.ears import Ears
from aura.session.line import Line
from aura.session.pipes import open_pipe
from aura.session.run import converse
from aura.session.session import Session, SessionSettings, Tap
from aura.session.setup import ReplySettings, Setup
from aura.session.shelf import Shelf
from aura.session.steps import Steps
from aura.stages.listen import Listener, ListenSettings, OverlapWatch
from aura.stages.speak import SpeakSettings
from aura.stages.think import ThinkSettings
from aura.stages.transcribe import TranscribeSettings


class Sections(msgspec.Struct, frozen=True):
    """The sections of the configuration that a conversation is made from. Decisions depend on nothing else of it."""

    assistant: ReplySettings = ReplySettings()
    conversation: FsmSettings = FsmSettings()
    session: SessionSettings = SessionSettings()
    dialogue: DialogueSettings = DialogueSettings()
    turns: TurnSettings = TurnSettings()
    overlap: OverlapSettings = OverlapSettings()
    listen: ListenSettings = ListenSettings()
    transcribe: TranscribeSettings = TranscribeSettings()
    vad: VadSettings = VadSettings()
    think: ThinkSettings = ThinkSettings()
    speak: SpeakSettings = SpeakSettings()
    sentences: SentenceSettings = SentenceSettings()
    playout: PlayoutSettings = PlayoutSettings()


JOURNALLED = ("conversation", "turns", "overlap", "listen", "playout", "think", "speak", "vad")
"""Sections that a journal begins with."""


def sections_of(config: Any) -> Sections:
    """The sections of a whole configuration."""
    return Sections(**{name: getattr(config, name) for name in Sections.__struct_fields__})


class Who(msgspec.Struct, frozen=True):
    """Whom the conversation is with: what it is called and what the client asked for in its address."""

    ident: str
    query: dict[str, str] = {}
    patch: dict[str, Any] = {}
    """The session configuration that its client secret carries."""
    expires_at: int = 0
    """When the session ends, Unix seconds; 0: not set."""

    def describe(self, sections: Sections) -> RealtimeSession:
        """The session as the client first sees it. Raises `ProtocolFault` for a patch that cannot be applied."""
        asked = "transcription" if self.query.get("intent") == "transcription" else "realtime"
        transcribes = (self.patch.get("type") or asked) == "transcription"  # what a secret says holds
        session = RealtimeSession(
            id=self.ident,
            model=self.query.get("model") or self.patch.get("model") or "aura",
            type="transcription" if transcribes else "realtime",
            expires_at=self.expires_at,
            instructions=sections.assistant.instructions,
            audio=Audio(
                AudioInput(transcription=Transcription() if transcribes else None),
                AudioOutput(voice=sections.speak.voice, speed=sections.speak.speed),
            ),
        )
        if self.patch:
            session = session.apply({"type": session.type} | self.patch)
        wanted = self.query.get("aura") or ("events" if self.query.get("aura_events") == "1" else "")
        return session.apply(opt_in_patch(wanted)) if wanted else session


async def hold(
    sections: Sections,
    who: Who,
    kit: Kit,
    line: Line,
    steps: Steps,
    taps: Callable[[Client], list[Tap]],
    warm_up: Sequence[Callable[[], Awaitable[None]]] = (),
    begun: Callable[[Session, Desk], None] = lambda *_: None,
) -> str:
    """Hold one conversation to its end; returns why it ended. `begun` gets to see it before anything happens."""
    described = who.describe(sections)
    view = RealtimeView(described, id_source(who.ident.encode()))
    out_in, out_out = open_pipe("out")
    mic_in, mic_out = open_pipe("mic")
    settings = sections.session
    limits = RateLimits(settings.responses_per_minute, settings.tokens_per_minute)
    client = Client(view, out_in, Shelf(settings.keep_audio_kb), limits)

    def make_ears(tell: Callable[[ev.Event], Step], state: Callable[[], str]) -> Ears:
        def recent_words() -> str:
            return session.replies.recent_words()

        watch = OverlapWatch(sections.overlap, recent_words)
        listener = Listener(kit.detector(), sections.turns, watch, sections.listen, tell, state)
        return Ears(kit.stt, listener, sections.transcribe, steps)

    dialogue = Dialogue(sections.dialogue, sections.assistant.instructions)
    setup = Setup(sections.assistant, sections.think, sections.speak, sections.playout, sections.sentences)
    both = (sections.conversation, sections.session)
    session = Session(kit, client, dialogue, make_ears, setup, both, taps(client), steps)
    voices = known_voices(kit.tts.name, sections.speak.voice, described.voice, *sections.speak.more_voices)
    desk = Desk(session, mic_in, sections.turns, voices)
    desk.configure(described)
    begun(session, desk)
    return await converse(session, desk, line, mic_out, out_out, sections.session.greeting, warm_up)
