"""Deepgram's live recognisers: v1 (nova) and v2 (Flux). Source: providers.md 5, 8.4 (2026-11-22)."""

from __future__ import annotations

import uuid
from typing import Any

import trio

from tests.fakes.ear import NEVER_S, Ear, Noticed, Word
from tests.fakes.openai_models import key_fault
from tests.fakes.server import Call
from tests.fakes.sockets import Message, Socket
from tests.fakes.wire import Answer, document

SEGMENT_WORDS = 5
"""So many words become final before the turn ends."""


def error(kind: str, message: str) -> tuple[int, Any]:
    """Status and body of an error."""
    status, code, text = {
        "unauthorized": (401, "INVALID_AUTH", "Invalid credentials."),
        "forbidden": (403, "INSUFFICIENT_PERMISSIONS", "You do not have access to the specified model."),
        "rate_limited": (429, "TOO_MANY_REQUESTS", "Too many requests. Please try again later"),
        "slow_down": (429, "TOO_MANY_REQUESTS", "Too many requests. Please try again later"),
        "quota": (402, "ASR_PAYMENT_REQUIRED", "Project does not have enough credits."),
        "credit": (402, "ASR_PAYMENT_REQUIRED", "Project does not have enough credits."),
        "error_500": (500, "INTERNAL_SERVER_ERROR", "Internal server error"),
        "overloaded_503": (503, "SERVICE_UNAVAILABLE", "Overloaded"),
        "not_found": (404, "NOT_FOUND", "Not found"),
    }.get(kind, (400, "Bad Request", "Bad request"))
    return status, {"err_code": code, "err_msg": message or text, "request_id": str(uuid.uuid4())}


def in_band(kind: str) -> tuple[dict[str, Any], int]:
    """The message of an error on an open socket, and the close code after it."""
    _, body = error(kind, "")
    return {"type": "Error", "code": body["err_code"], "description": body["err_msg"]}, 1011


def check_key(call: Call) -> Answer | None:
    """`Authorization: Token KEY` (or Bearer), or the subprotocol `token, KEY`."""
    given = call.seen.headers.get("authorization", "")
    offered = call.seen.headers.get("sec-websocket-protocol", "").split(",")
    scheme, _, key = given.partition(" ") if given else (offered[0], "", offered[-1].strip())
    if given and scheme not in ("Token", "Bearer"):
        key = "wrong scheme"
    return key_fault(call, key, "unauthorized")


def control(message: Message) -> str:
    """The type of a control message; audio has none. No bytes at all mean the end."""
    if isinstance(message, bytes):
        return "" if message else "CloseStream"
    return str(message.get("type", "?"))


def number(query: dict[str, str], name: str, default: float) -> float:
    """A parameter; `false` is off."""
    text = query.get(name, "")
    return default if text in ("", "true") else NEVER_S if text == "false" else float(text)


class Nova:
    """One v1 session."""

    def __init__(self, call: Call, socket: Socket) -> None:
        query = call.seen.query
        self.call, self.socket, self.query = call, socket, query
        self.request_id = str(uuid.uuid4())
        end_s = number(query, "endpointing", 10) / 1000
        self.gap_s = number(query, "utterance_end_ms", NEVER_S) / 1000
        rate_hz, encoding = int(query.get("sample_rate", 16000)), query.get("encoding", "linear16")
        self.ear = Ear(call.world, call.vendor.name, rate_hz, encoding=encoding, end_s=max(end_s, 0.02))
        self.told = 0
        """Words of this utterance that are final."""
        self.start_s = 0.0
        self.last_word_s: float | None = None

    async def audio(self, data: bytes) -> None:
        """Results as they come."""
        for noticed in self.ear.feed(data):
            await self.notice(noticed)
        if self.last_word_s is not None and self.ear.clock_s - self.last_word_s >= self.gap_s:
            end = {"type": "UtteranceEnd", "channel": [0, 1], "last_word_end": self.last_word_s}
            self.last_word_s = None
            await self.socket.send(end)

    async def notice(self, noticed: Noticed, **more: Any) -> None:
        """What one thing that the ear noticed looks like on the wire."""
        if noticed.what == "started":
            self.told, self.last_word_s = 0, None
            self.start_s = noticed.speech_s[0]
            if self.query.get("vad_events") == "true":
                started = {"type": "SpeechStarted", "channel": [0], "timestamp": noticed.speech_s[0]}
                await self.socket.send(started)
        elif noticed.what == "interim":
            fresh = noticed.words[self.told :]
            if len(fresh) > SEGMENT_WORDS:
                await self.results(fresh[:SEGMENT_WORDS], is_final=True)
                self.told += SEGMENT_WORDS
                fresh = fresh[SEGMENT_WORDS:]
            if fresh and self.query.get("interim_results") == "true":
                await self.results(fresh)
        elif noticed.what == "ended":
            await trio.sleep(self.call.world.draw(self.call.vendor.name, "hear_s"))
            await self.results(noticed.words[self.told :], is_final=True, speech_final=True, **more)
            self.last_word_s = noticed.words[-1].end if noticed.words else None

    async def results(self, words: tuple[Word, ...], **flags: bool) -> None:
        """One `Results`."""
        ends = {"is_final": False, "speech_final": False, "from_finalize": False} | flags
        text = " ".join(word.text for word in words)
        spoken = [
            {"word": w.text.lower().strip(".,?!"), "start": w.start, "end": w.end, "confidence": 0.98,
             **({"punctuated_word": w.text} if self.query.get("smart_format") == "true" else {})}
            for w in words
        ]  # fmt: skip
        best = {"transcript": text, "confidence": 0.98 if words else 0.0, "words": spoken}
        end_s = words[-1].end if words else self.ear.clock_s
        payload = {
            "type": "Results", "channel_index": [0, 1], "duration": round(max(0.0, end_s - self.start_s), 3),
            "start": round(self.start_s, 3), "is_final": ends["is_final"], "speech_final": ends["speech_final"],
            "channel": {"alternatives": [best]},
            "metadata": {"request_id": self.request_id, "model_info": {"name": self.query.get("model", "general")}},
            "from_finalize": ends["from_finalize"],
        }  # fmt: skip
        if ends["is_final"]:
            self.start_s = end_s
        await self.socket.send(payload, content=bool(words))

    async def flush(self) -> None:
        """`Finalize`: what is there is final."""
        noticed = self.ear.finish()
        if noticed:
            await self.notice(noticed, from_finalize=True)
        else:
            await self.results((), is_final=True, from_finalize=True)

    async def end(self) -> None:
        """`CloseStream`."""
        if noticed := self.ear.finish():
            await self.notice(noticed)
        await self.socket.send({
            "type": "Metadata", "transaction_key": "deprecated", "request_id": self.request_id, "sha256": "",
            "created": "2026-11-22T10:00:00.000Z", "duration": round(self.ear.clock_s, 3), "channels": 1,
        })  # fmt: skip
        await self.socket.close(1000)


async def v1(call: Call, socket: Socket) -> None:
    """WS /v1/listen."""
    session = Nova(call, socket)
    async for message in socket:
        match control(message):
            case "":
                await session.audio(message)  # type: ignore[arg-type]
            case "Finalize":
                await session.flush()
            case "CloseStream":
                await session.end()
                return
            case "KeepAlive" | "Configure":
                pass
            case other:
                await socket.send({"type": "Error", "description": f"unknown message {other}", "variant": "Parse"})
    await timed_out(socket)


async def timed_out(socket: Socket) -> None:
    """Too long without audio and KeepAlive."""
    if socket.timed_out:
        await socket.close(
            1011, "Deepgram did not receive audio data or a text message within the timeout window. NET-0001"
        )


class Flux:
    """One v2 session."""

    def __init__(self, call: Call, socket: Socket) -> None:
        query = call.seen.query
        self.call, self.socket = call, socket
        self.request_id, self.sequence, self.turn = str(uuid.uuid4()), 0, 0
        eager = number(query, "eager_eot_threshold", NEVER_S)
        self.ear = Ear(
            call.world, call.vendor.name, int(query.get("sample_rate", 16000)),
            encoding=query.get("encoding", "linear16"),
            end_s=0.1 + 0.3 * number(query, "eot_threshold", 0.7), eager_s=0.3 * eager,
        )  # fmt: skip
        self.window_s = 0.0

    async def send(self, payload: dict[str, Any], *, content: bool = False) -> None:
        """A message with its number."""
        await self.socket.send(
            {**payload, "request_id": self.request_id, "sequence_id": self.sequence}, content=content
        )
        self.sequence += 1

    async def info(self, event: str, noticed: Noticed, confidence: float, **more: Any) -> None:
        """One `TurnInfo`: its transcript is the whole turn's."""
        words = [{"word": word.text, "confidence": 0.97} for word in noticed.words]
        await self.send({
            "type": "TurnInfo", "event": event, "turn_index": self.turn,
            "audio_window_start": round(self.window_s, 3), "audio_window_end": round(noticed.clock_s, 3),
            "transcript": noticed.text, "words": words, "end_of_turn_confidence": confidence, **more,
        }, content=event not in ("StartOfTurn", "TurnResumed"))  # fmt: skip

    async def notice(self, noticed: Noticed, trigger: str = "model") -> None:
        """What the ear noticed."""
        match noticed.what:
            case "started":
                await self.info("StartOfTurn", noticed, 0.01)
            case "interim":
                await self.info("Update", noticed, 0.05)
            case "eager":
                await self.info("EagerEndOfTurn", noticed, 0.5)
            case "resumed":
                await self.info("TurnResumed", noticed, 0.1)
            case "ended":
                await trio.sleep(self.call.world.draw(self.call.vendor.name, "hear_s"))
                await self.info("EndOfTurn", noticed, 0.9, trigger=trigger)
                self.turn, self.window_s = self.turn + 1, noticed.clock_s

    async def run(self) -> None:
        """Until the client has enough."""
        await self.send({"type": "Connected"})
        async for message in self.socket:
            match control(message):
                case "":
                    for noticed in self.ear.feed(message):  # type: ignore[arg-type]
                        await self.notice(noticed)
                case "ForceEndTurn":
                    if forced := self.ear.finish():
                        await self.notice(forced, "manual")
                case "Configure":
                    assert isinstance(message, dict)
                    settings = {name: message.get(name) for name in ("thresholds", "keyterms")}
                    await self.send({"type": "ConfigureSuccess", **settings})
                case "CloseStream":
                    if last := self.ear.finish():
                        await self.notice(last)
                    await self.socket.close(1000)
                    return
                case "KeepAlive":
                    pass
                case other:
                    await self.send({"type": "Error", "code": "UNPARSABLE_CLIENT_MESSAGE", "description": other})
        await timed_out(self.socket)


def refused(query: dict[str, str]) -> str:
    """What Flux does not like about the address."""
    if not query.get("model", "").startswith("flux"):
        return "model must be a flux model"
    if not 0.5 <= number(query, "eot_threshold", 0.7) <= 0.9:
        return "eot_threshold must lie between 0.5 and 0.9"
    return "" if query.get("encoding", "") else "encoding is required with raw audio"


async def v2(call: Call, socket: Socket) -> None:
    """WS /v2/listen."""
    session, wrong = Flux(call, socket), refused(call.seen.query)
    if wrong:
        await session.send({"type": "Error", "code": "INVALID_PARAMETERS", "description": wrong})
        await socket.close(1008, wrong)
    else:
        await session.run()


async def projects(call: Call) -> Answer:
    """GET /v1/projects: a cheap check of the key."""
    return document("health", {"projects": [{"project_id": "p1", "name": "fake"}]})
