"""What transcription endpoints answer: JSON, JSON with figures, plain text, or events in one of three dialects.

OpenAI: `transcript.text.delta` / `.done` (which holds it all). vLLM: `transcription.chunk` with choices, then [DONE].
Speaches: `{"text": segment}` without type or end. Servers ignore what was asked for, so the answer itself decides.
Sources: OpenAI API reference, code of vLLM and Speaches, Nov 2026.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

from aura.core.errors import StreamCut
from aura.core.ports import Transcript
from aura.providers.openai.errors import from_payload
from aura.providers.openai.settings import OpenAISettings
from aura.providers.sse import DONE, SseReader


class Segment(msgspec.Struct):
    """A piece of a transcript and how sure the model was. The figures are Whisper's."""

    text: str = ""
    avg_logprob: float | None = None
    no_speech_prob: float | None = None

    def invented(self, settings: OpenAISettings) -> bool:
        """Whether this is probably what the model makes of noise ("Thank you for watching")."""
        silent = self.no_speech_prob is not None and self.no_speech_prob > settings.no_speech_limit
        return silent and (self.avg_logprob is None or self.avg_logprob <= settings.logprob_limit)


class Piece(msgspec.Struct):
    """vLLM's delta."""

    content: str | None = None


class Choice(msgspec.Struct):
    """vLLM's only choice."""

    delta: Piece | None = None
    finish_reason: str | None = None


class Billed(msgspec.Struct):
    """Usage: tokens or a duration."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    seconds: float | None = None


class Heard(msgspec.Struct):
    """A whole answer or one event of it."""

    text: str | None = None
    language: str | None = None
    languages: list[Any] | None = None
    segments: list[Segment] | None = None
    usage: msgspec.Raw = msgspec.Raw()
    error: object = None
    type: str | None = None
    delta: str | None = None
    choices: list[Choice] | None = None


heard_decoder = msgspec.json.Decoder(Heard, strict=False)
billed_decoder: msgspec.json.Decoder[Billed | None] = msgspec.json.Decoder(Billed | None, strict=False)


class TranscriptReader:
    """The body of one answer in pieces → its words. `so_far` may be shown while more is to come."""

    def __init__(self, name: str, settings: OpenAISettings, content_type: str) -> None:
        self.so_far = ""
        self.over = False
        self._name, self._settings, self._content_type = name, settings, content_type
        self._sse: SseReader | None = SseReader() if "event-stream" in content_type else None
        self._body = b""
        self._done = Heard()

    def feed(self, data: bytes) -> None:
        """The next bytes. Raises ProviderError."""
        if self._sse is None:
            self._body += data
            if "json" in self._content_type or not self._body.lstrip().startswith((b"data:", b"event:")):
                return
            self._sse, data = SseReader(), self._body
        try:
            events = self._sse.feed(data)
        except ValueError as error:
            raise StreamCut(f"{self._name}: {error}", provider=self._name) from error
        for event, payload in events:
            self._take(event, payload)

    def end(self) -> Transcript:
        """The body is complete: all its words. Raises ProviderError."""
        if self._sse is None:
            return self._whole()
        for event, payload in self._sse.end():
            self._take(event, payload)
        if not self.over and not self._ends_silently():
            raise StreamCut(f"{self._name}: the transcript ended in the middle", provider=self._name)
        return self._transcript(self.so_far, self._done)

    def _ends_silently(self) -> bool:
        """Speaches says nothing at the end; whoever types its events does."""
        return self._done.text is not None and self._done.type is None

    def _whole(self) -> Transcript:
        if "json" not in self._content_type and not self._body.lstrip().startswith(b"{"):
            return Transcript(self._body.decode("utf-8", "replace").strip())
        heard = self._decoded(self._body)
        if heard.text is None:
            raise StreamCut(f"{self._name}: the answer holds no transcript", provider=self._name)
        return self._transcript(heard.text, heard)

    def _decoded(self, data: bytes) -> Heard:
        try:
            heard = heard_decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise StreamCut(f"{self._name}: the transcript is broken JSON", provider=self._name) from error
        if heard.error is not None:
            raise from_payload(self._name, {"error": heard.error})
        return heard

    def _take(self, event: bytes, payload: bytes) -> None:
        if self.over or not payload:
            return
        if payload == DONE:
            self.over = True
            return
        if event == b"error":
            raise from_payload(self._name, payload)
        heard = self._decoded(payload)
        if heard.type == "error":
            raise from_payload(self._name, payload)
        if heard.choices:
            choice = heard.choices[0]
            self.so_far += (choice.delta.content if choice.delta else None) or ""
        elif heard.delta is not None:
            self.so_far += heard.delta
        elif heard.type is None and heard.text is not None:
            self.so_far = joined(self.so_far, heard.text)
            self._done = heard
        elif heard.type == "transcript.text.done":
            self.so_far = heard.text or self.so_far
            self._done, self.over = heard, True
        if heard.usage and self._done is not heard:
            self._done.usage = heard.usage

    def _transcript(self, text: str, heard: Heard) -> Transcript:
        confidence = None
        if heard.segments:
            kept = [segment for segment in heard.segments if not segment.invented(self._settings)]
            if len(kept) < len(heard.segments):
                text = "".join(segment.text for segment in kept)
            sure = [segment.avg_logprob for segment in kept if segment.avg_logprob is not None]
            confidence = min(1.0, math.exp(sum(sure) / len(sure))) if sure else None
        try:
            billed = billed_decoder.decode(heard.usage) if heard.usage else None
        except (msgspec.DecodeError, UnicodeDecodeError):
            billed = None
        billed = billed or Billed()
        language = heard.language or (str(heard.languages[0]) if heard.languages else None)
        return Transcript(
            text.strip(),
            confidence,
            language,
            billed_s=billed.seconds,
            input_tokens=billed.input_tokens,
            output_tokens=billed.output_tokens,
        )


def joined(before: str, after: str) -> str:
    """Two pieces of a text; a blank between them unless there is one."""
    blank = "" if not before or before[-1:].isspace() or after[:1].isspace() else " "
    return before + blank + after
