"""Plivo's end of a call (`<Stream bidirectional="true">`)."""

from __future__ import annotations

import base64
import hashlib
import hmac
from contextlib import AbstractAsyncContextManager
from typing import Any

import trio_websocket

from aura.core.audio import AudioFormat
from tests.phones.shared import Phone, dial

ULAW = AudioFormat("pcmu", 8_000)
STREAM, CALL = "20170ada-f610-433b-8758-c02a2aab3662", "56d8c2c6-7d2d-4c4b-8a71-b4b3c8c5b2d4"


def signature(token: str, url: str, nonce: str) -> str:
    """X-Plivo-Signature-V3 of an address without a query (plivo.com/docs, "Signature validation")."""
    return base64.b64encode(hmac.new(token.encode(), f"{url}.{nonce}".encode(), hashlib.sha256).digest()).decode()


class PlivoPhone(Phone):
    """Numbers are numbers, and the play message says what it is."""

    def __init__(self, ws: trio_websocket.WebSocketConnection, fmt: AudioFormat, headers: str) -> None:
        super().__init__(ws, fmt, fmt)
        self.sequence = -1
        self.headers = headers
        self.content = "audio/x-mulaw" if fmt.encoding == "pcmu" else "audio/x-l16"

    def _counted(self, event: str, **more: Any) -> dict[str, Any]:
        self.sequence += 1
        return {"sequenceNumber": self.sequence, "event": event, **more, "extra_headers": self.headers}

    def opening(self) -> list[dict[str, Any]]:
        form = {"encoding": self.content, "sampleRate": self.format.rate_hz}
        start = {
            "callId": CALL, "streamId": STREAM, "accountId": "20040401", "tracks": ["inbound"], "mediaFormat": form,
        }  # fmt: skip
        return [self._counted("start", start=start)]

    def media(self, frame: bytes) -> list[dict[str, Any]]:
        at = str(1_764_000_000_000 + (self.sent - 1) * 20)
        payload = base64.b64encode(frame).decode()
        media = {"track": "inbound", "timestamp": at, "chunk": self.sent, "payload": payload}
        return [self._counted("media", streamId=STREAM, media=media)]

    def digit(self, key: str) -> dict[str, Any]:
        return {"event": "dtmf", "streamId": STREAM, "dtmf": {"track": "inbound", "digit": key, "timestamp": "1"}}

    def reached(self, name: str) -> dict[str, Any]:
        return {"event": "playedStream", "streamId": STREAM, "name": name}

    def ending(self) -> list[dict[str, Any]]:
        return []

    def after_flush(self, marks: list[str]) -> list[dict[str, Any]]:
        return [{"event": "clearedAudio", "streamId": STREAM}]

    def check(self, message: dict[str, Any]) -> tuple[str, Any]:
        event = message.get("event")
        if event == "playAudio":
            fine = self.fields(message, {"event": event, "media": dict}, event)
            wanted = {"contentType": self.content, "sampleRate": self.format.rate_hz, "payload": str}
            if fine and self.fields(message["media"], wanted, event):
                return "play", self.payload(message["media"]["payload"])
        elif event == "checkpoint" and self.fields(message, {"event": event, "streamId": STREAM, "name": str}, event):
            return "mark", message["name"]
        elif event == "clearAudio" and self.fields(message, {"event": event, "streamId": STREAM}, event):
            return "flush", None
        else:
            self.complaints.append(f"unknown event {event}")
        return "", None


def call(
    port: int, *, fmt: AudioFormat = ULAW, headers: str = "", token: str = "", url: str = ""
) -> AbstractAsyncContextManager[PlivoPhone]:
    """A call; `token` signs it for `url`."""
    nonce = "12345678901234567890"
    signed = {"X-Plivo-Signature-V3": signature(token, url, nonce), "X-Plivo-Signature-V3-Nonce": nonce}
    url = f"ws://127.0.0.1:{port}/v1/plivo"
    return dial(url, signed if token else {}, lambda ws: PlivoPhone(ws, fmt, headers))
