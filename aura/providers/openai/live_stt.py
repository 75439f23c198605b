"""Live transcription by OpenAI: a Realtime session of type transcription, without turn detection of its own.

Source: OpenAI API reference and the types of `openai` 3.54, Nov 2026. Each `commit` makes an item, and an utterance is
its items in their order. Audio must have 24 kHz. To commit a piece in which nobody speaks is to ask for invented words,
so a quiet end stays uncommitted.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from aura.core.errors import BadRequest
from aura.core.ports import LISTEN_RATE_HZ, Final, HearingEvent, Interim
from aura.core.resample import resampler
from aura.providers.http import Http
from aura.providers.live import Line, LiveTranscriber
from aura.providers.live_dialect import Dialect, Level, Wire, read, silence
from aura.providers.openai.common import headers, probe
from aura.providers.openai.errors import build, by_code, fault_of
from aura.providers.openai.settings import OpenAISettings
from aura.providers.ws_errors import from_message

RATE_HZ = 24_000
LEAST_MS = 100
"""Less may not be committed."""
COMMIT = '{"type":"input_audio_buffer.commit"}'
TRANSCRIPTION = "conversation.item.input_audio_transcription."


class Usage(msgspec.Struct):
    """What an item costs: seconds, or tokens."""

    seconds: float | None = None


class Event(msgspec.Struct):
    """A message of the engine, of any type."""

    type: str = ""
    item_id: str = ""
    delta: str = ""
    transcript: str = ""
    usage: Usage | None = None
    error: dict[str, Any] | None = None


class Item(msgspec.Struct):
    """A piece of the utterance."""

    text: str = ""
    committed: bool = False
    done: bool = False


decode = msgspec.json.Decoder(Event)


class SessionDialect(Dialect):
    """An utterance as a transcription session wants it."""

    def __init__(self, name: str, opening: str) -> None:
        super().__init__(name)
        self.ready = False
        self._opening = opening
        self._resampler = resampler(LISTEN_RATE_HZ, RATE_HZ)
        self._items: dict[str, Item] = {}
        self._unnamed = 0
        """Commits that have not become items yet."""
        self._all, self._open = Level(), Level()

    def opening(self) -> Sequence[Wire]:
        """The session's settings; the engine says when they hold."""
        return (self._opening,)

    def audio(self, pcm: bytes) -> Sequence[Wire]:
        """The next audio, at the session's rate."""
        self._all.add(pcm)
        self._open.add(pcm)
        return append(self._resampler.push(np.frombuffer(pcm, np.int16)).tobytes())

    def finish(self) -> Sequence[Wire]:
        """A commit, unless nobody spoke since the last one."""
        working = any(not item.committed and item.text for item in self._items.values())
        if self._open.quiet_beside(self._all) and not working:
            self._judge()
            return ()
        padding = self.audio(silence(max(0, LEAST_MS - self._open.ms)))
        rest = append(self._resampler.flush().tobytes())
        self._open = Level()
        self._unnamed += 1
        self._judge()
        return (*padding, *rest, COMMIT)

    def end(self) -> Sequence[Wire]:
        """The same."""
        return self.finish()

    def _judge(self) -> None:
        """Everything is said when every commit has its words."""
        waits = self._unnamed > 0 or any(item.committed and not item.done for item in self._items.values())
        self.settled = not waits
        self.over = self.ending and not waits

    def take(self, message: Wire) -> list[HearingEvent]:
        """One message."""
        event = read(self.name, decode, message)
        kind = event.type.removeprefix(TRANSCRIPTION)
        match kind:
            case "session.updated" | "transcription_session.updated":
                self.ready = True
            case "input_audio_buffer.committed":
                self._unnamed = max(0, self._unnamed - 1)
                self._item(event).committed = True
                self._judge()
            case "delta":
                self._item(event).text += event.delta
                return self._said()
            case "completed":
                item = self._item(event)
                item.text, item.done, item.committed = event.transcript, True, True
                if event.usage is not None and event.usage.seconds is not None:
                    self.billed_s = (self.billed_s or 0.0) + event.usage.seconds
                self._judge()
                return self._said()
            case "failed" | "error":
                self._error(event)
            case _:
                pass  # what is new is not for us
        return []

    def _item(self, event: Event) -> Item:
        return self._items.setdefault(event.item_id, Item())

    def _said(self) -> list[HearingEvent]:
        words, items = self.words, list(self._items.values())
        certain = next((at for at, item in enumerate(items) if not item.done), len(items))
        words.pieces = [text for item in items[:certain] if (text := item.text.strip())]
        words.tail = " ".join(text for item in items[certain:] if (text := item.text.strip()))
        return [Interim(words.text()) if words.tail else Final(words.text())] if words.text() else []

    def _error(self, event: Event) -> None:
        """Most leave the session alive, but without the words; only a commit of nothing is harmless."""
        fault = fault_of({"error": event.error or {}})
        if fault.code == "input_audio_buffer_commit_empty":
            self._unnamed = max(0, self._unnamed - 1)
            self._judge()
            return
        if fault.kind == "invalid_request_error" and by_code(fault) is None:
            raise build(BadRequest, self.name, f"{fault.code}: {fault.message}")
        raise from_message(self.name, fault)


def append(pcm: bytes) -> Sequence[Wire]:
    """Audio as a message; of none there is none."""
    return (f'{{"type":"input_audio_buffer.append","audio":"{base64.b64encode(pcm).decode()}"}}',) if pcm else ()


class OpenAILive(LiveTranscriber):
    """OpenAI's live recogniser."""

    def __init__(self, settings: OpenAISettings, http: Http, *, name: str = "openai-live") -> None:
        self._settings = settings
        self._endpoint = http.endpoint(settings.base_url)
        sent = {"user-agent": "aura"}
        if settings.api_key:
            sent["authorization"] = f"Bearer {settings.api_key.reveal().strip()}"
        opening = session_update(settings)
        line = Line(
            self._endpoint,
            "/realtime",
            {"intent": "transcription"},
            sent,
            lambda: SessionDialect(name, opening),
            settings,
            name=name,
            model=settings.live_stt_model,
        )
        super().__init__(line)

    async def probe(self) -> None:
        """Whether server and key are good. Raises ProviderError."""
        await probe(self.name, self._endpoint, headers(self._settings, "application/json"), self._settings)


def session_update(settings: OpenAISettings) -> str:
    """The first message: what is heard, by which model, and that AURA ends the turns."""
    transcription = {"model": settings.live_stt_model}
    transcription |= {"language": settings.language} if settings.language else {}
    transcription |= {"prompt": settings.stt_prompt} if settings.stt_prompt else {}
    heard = {
        "format": {"type": "audio/pcm", "rate": RATE_HZ},
        "transcription": transcription,
        "turn_detection": None,
        "noise_reduction": {"type": settings.live_stt_noise} if settings.live_stt_noise else None,
    }
    session = {"type": "transcription", "audio": {"input": heard}}
    return msgspec.json.encode({"type": "session.update", "session": session}).decode()
