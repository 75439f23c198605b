"""Telnyx's end of a call (`stream_bidirectional_mode=rtp`), which delivers audio in any order, or not at all."""

from __future__ import annotations

import base64
import random
from contextlib import AbstractAsyncContextManager
from typing import Any

import trio_websocket

from aura.core.audio import AudioFormat
from tests.phones.shared import Phone, dial

PCMU, PCMA, L16 = AudioFormat("pcmu", 8_000), AudioFormat("pcma", 8_000), AudioFormat("pcm16", 16_000)
NAMES = {"pcmu": "PCMU", "pcma": "PCMA", "pcm16": "L16"}
STREAM, CALL = "32DE0DEA-53CB-4B21-89A4-9E1819C043BC", "v2:T02llQxIyaRkhfRKxgAP8nY511EhFLizdvdUKJiSw8d6A9BborherQ"


class TelnyxPhone(Phone):
    """Snake case, marks that a clear swallows, media out of order."""

    def __init__(
        self, ws: trio_websocket.WebSocketConnection, fmt: AudioFormat, played: AudioFormat, disorder: bool
    ) -> None:
        super().__init__(ws, fmt, played)
        self.sequence = 0
        self.disorder = random.Random(7) if disorder else None
        self.held: list[dict[str, Any]] = []
        self.dropped = 0

    def _counted(self, event: str, **more: Any) -> dict[str, Any]:
        self.sequence += 1
        return {"event": event, "sequence_number": str(self.sequence), "stream_id": STREAM, **more}

    def opening(self) -> list[dict[str, Any]]:
        form = {"encoding": NAMES[self.format.encoding], "sample_rate": self.format.rate_hz, "channels": 1}
        start = {
            "user_id": "3E6F995F-85F7-4705-9741-53B116D28237", "call_control_id": CALL, "call_session_id": "ff55a038",
            "from": "+13122010094", "to": "+13122123456", "tags": [], "client_state": "aGF2ZSBhIG5pY2UgZGF5ID1d",
            "custom_parameters": [{"name": "model", "value": "receptionist"}], "media_format": form,
        }  # fmt: skip
        return [{"event": "connected", "version": "1.0.0"}, self._counted("start", start=start)]

    def media(self, frame: bytes) -> list[dict[str, Any]]:
        payload = base64.b64encode(frame).decode()
        at = str((self.sent - 1) * 20)
        media = {"track": "inbound", "chunk": str(self.sent), "timestamp": at, "payload": payload}
        message = self._counted("media", media=media)
        if self.disorder is None:
            return [message]
        if self.disorder.random() < 0.02:
            self.dropped += 1
            return []
        self.held.append(message)
        if len(self.held) < 3:
            return []
        self.disorder.shuffle(self.held)
        out, self.held = self.held, []
        return [*out, *out[:1]]  # and one of them twice

    def digit(self, key: str) -> dict[str, Any]:
        return {"event": "dtmf", "stream_id": STREAM, "occurred_at": "2026-11-28T10:00:00Z", "dtmf": {"digit": key}}

    def reached(self, name: str) -> dict[str, Any]:
        return {"event": "mark", "stream_id": STREAM, "mark": {"name": name}}

    def ending(self) -> list[dict[str, Any]]:
        return [self._counted("stop", stop={"user_id": "3E6F995F", "call_control_id": CALL})]

    def after_flush(self, marks: list[str]) -> list[dict[str, Any]]:
        return []

    def check(self, message: dict[str, Any]) -> tuple[str, Any]:
        wanted: dict[str, dict[str, Any]] = {"media": {"payload": str}, "mark": {"name": str}}
        event = message.get("event")
        if message == {"event": "clear"}:
            return "flush", None
        if event not in wanted or not self.fields(message, {"event": event, event: dict}, event):
            self.complaints.append(f"100003 malformed_frame {event}")
            return "", None
        if not self.fields(message[event], wanted[event], event):
            return "", None
        if event == "mark":
            return "mark", message["mark"]["name"]
        audio = self.payload(message["media"]["payload"])
        if not 0.02 <= self.played.seconds_in(len(audio)) <= 30:
            self.complaints.append(f"100004 invalid_media: {self.played.seconds_in(len(audio))} s")
        return "play", audio


def call(
    port: int,
    *,
    fmt: AudioFormat = PCMU,
    played: AudioFormat | None = None,
    disorder: bool = False,
    token: str = "",
) -> AbstractAsyncContextManager[TelnyxPhone]:
    """A call; `token` is the stream_auth_token."""
    headers = {"x-telnyx-streaming-auth-token": token} if token else {}
    url = f"ws://127.0.0.1:{port}/v1/telnyx"
    return dial(url, headers, lambda ws: TelnyxPhone(ws, fmt, played or fmt, disorder))
