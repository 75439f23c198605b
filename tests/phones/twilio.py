"""Twilio's end of a call (`<Connect><Stream>`)."""

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
STREAM, CALL, ACCOUNT = "MZ" + "1" * 32, "CA" + "2" * 32, "AC" + "3" * 32


def signature(token: str, url: str) -> str:
    """X-Twilio-Signature (twilio.com/docs/usage/security)."""
    return base64.b64encode(hmac.new(token.encode(), url.encode(), hashlib.sha1).digest()).decode()


class TwilioPhone(Phone):
    """Every number a text, every message counted."""

    def __init__(self, ws: trio_websocket.WebSocketConnection, params: dict[str, str]) -> None:
        super().__init__(ws, ULAW, ULAW)
        self.params = params
        self.sequence = 0

    def _counted(self, event: str, **more: Any) -> dict[str, Any]:
        self.sequence += 1
        return {"event": event, "sequenceNumber": str(self.sequence), "streamSid": STREAM, **more}

    def opening(self) -> list[dict[str, Any]]:
        start = {
            "accountSid": ACCOUNT, "streamSid": STREAM, "callSid": CALL, "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": self.params,
        }  # fmt: skip
        return [{"event": "connected", "protocol": "Call", "version": "1.0.0"}, self._counted("start", start=start)]

    def media(self, frame: bytes) -> list[dict[str, Any]]:
        payload = base64.b64encode(frame).decode()
        at = str((self.sent - 1) * 20)
        media = {"track": "inbound", "chunk": str(self.sent), "timestamp": at, "payload": payload}
        return [self._counted("media", media=media)]

    def digit(self, key: str) -> dict[str, Any]:
        return self._counted("dtmf", dtmf={"track": "inbound_track", "digit": key})

    def reached(self, name: str) -> dict[str, Any]:
        return self._counted("mark", mark={"name": name})

    def ending(self) -> list[dict[str, Any]]:
        return [self._counted("stop", stop={"accountSid": ACCOUNT, "callSid": CALL})]

    def after_flush(self, marks: list[str]) -> list[dict[str, Any]]:
        return [self.reached(name) for name in marks]

    def check(self, message: dict[str, Any]) -> tuple[str, Any]:
        wanted: dict[str, dict[str, Any]] = {"media": {"payload": str}, "mark": {"name": str}}
        event = message.get("event")
        if event == "clear":
            return ("flush" if self.fields(message, {"event": "clear", "streamSid": STREAM}, "clear") else "", None)
        if event not in wanted or not self.fields(message, {"event": event, "streamSid": STREAM, event: dict}, event):
            self.complaints.append(f"31951 {event}")
            return "", None
        if not self.fields(message[event], wanted[event], event):
            return "", None
        if event == "mark":
            return "mark", message["mark"]["name"]
        return "play", self.payload(message["media"]["payload"])


def call(
    port: int, *, params: dict[str, str] | None = None, token: str = "", url: str = ""
) -> AbstractAsyncContextManager[TwilioPhone]:
    """A call; `token` signs it for `url`."""
    headers = {"X-Twilio-Signature": signature(token, url)} if token else {}
    return dial(f"ws://127.0.0.1:{port}/v1/twilio", headers, lambda ws: TwilioPhone(ws, params or {}))
