"""Faults of a WebSocket: gates between a dialect and the wire."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import trio

from tests.fakes.sockets import TEXT, Gate, Gone, Socket, frame

if TYPE_CHECKING:
    from tests.fakes.server import Call


def after(chunks: int, trouble: Gate) -> Gate:
    """Let so many frames with content pass (and all without before them), then trouble."""
    passed = 0

    async def gate(socket: Socket, data: bytes, content: bool) -> None:
        nonlocal passed
        if passed < chunks:
            passed += content
            await socket.raw(data)
        else:
            await trouble(socket, data, content)

    return gate


async def nothing(socket: Socket, data: bytes, content: bool) -> None:
    """The server has stopped to think."""
    await trio.sleep_forever()


async def half(socket: Socket, data: bytes, content: bool) -> None:
    """The connection ends in mid-frame."""
    await socket.raw(data[: max(1, len(data) // 2)])
    await between(socket, data, content)


async def between(socket: Socket, data: bytes, content: bool) -> None:
    """The connection ends between two frames."""
    socket.open = False
    await trio.aclose_forcefully(socket.stream)
    raise Gone


async def reset(socket: Socket, data: bytes, content: bool) -> None:
    """The connection is reset."""
    from tests.fakes.wire import reset as reset_stream

    socket.open = False
    reset_stream(socket.stream)
    raise Gone


def broken() -> Gate:
    """One broken JSON text, then on as usual."""
    told = False

    async def gate(socket: Socket, data: bytes, content: bool) -> None:
        nonlocal told
        if not told:
            told = True
            await socket.raw(frame(TEXT, b'{"type":"audio.delta","delta":"AAA'))
        await socket.raw(data)

    return gate


async def without_content(socket: Socket, data: bytes, content: bool) -> None:
    """Only what holds no words and no audio."""
    if not content:
        await socket.raw(data)


def closing(code: int, reason: str) -> Gate:
    """A close frame instead of more content."""

    async def gate(socket: Socket, data: bytes, content: bool) -> None:
        await socket.close(code, reason)
        raise Gone

    return gate


def dripping(pause_s: float) -> Gate:
    """Every byte of every frame for itself."""

    async def gate(socket: Socket, data: bytes, content: bool) -> None:
        await socket.raw(data, pause_s)

    return gate


def many_frames(socket_fragment: int = 100) -> Gate:
    """Messages cut into fragments (RFC 6455, 5.4), with a ping in between."""
    from tests.fakes.sockets import PING

    async def gate(socket: Socket, data: bytes, content: bool) -> None:
        opcode, head = data[0] & 0x0F, {126: 4, 127: 10}.get(data[1], 2)
        body = data[head:]
        pieces = [body[i : i + socket_fragment] for i in range(0, len(body), socket_fragment)] or [b""]
        for number, piece in enumerate(pieces):
            last = number == len(pieces) - 1
            await socket.raw(frame(0 if number else opcode, piece, fin=last) + (b"" if last else frame(PING, b"x")))

    return gate


GATES: dict[str, tuple[str, Callable[[Call], Gate | None]]] = {
    "cut": ("the connection ends in mid-frame", lambda call: after(call.option("chunks", 1), half)),
    "cut_between": ("the connection ends between frames", lambda call: after(call.option("chunks", 1), between)),
    "rst_mid": ("a reset after the first content", lambda call: after(call.option("chunks", 1), reset)),
    "stall": ("nothing more after the first content", lambda call: after(call.option("chunks", 1), nothing)),
    "headers_then_silent": ("101, then nothing", lambda _: after(0, nothing)),
    "drip": ("byte by byte", lambda call: dripping(call.option("drip_s", 0.02))),
    "malformed": ("a text that is no JSON", lambda _: after(1, broken())),
    "empty": ("everything but words and audio", lambda _: without_content),
    "fragments": ("ws: messages in fragments with pings between them", lambda _: many_frames()),
    "ws_1000": ("ws: close 1000 in mid-audio", lambda call: after(call.option("chunks", 1), closing(1000, ""))),
    "ws_1008": ("ws: close 1008 in mid-audio", lambda call: after(call.option("chunks", 1), closing(1008, "policy"))),
    "ws_1011": ("ws: close 1011 in mid-audio", lambda call: after(call.option("chunks", 1), closing(1011, "internal"))),
    "ping_unanswered": ("ws: pings are not answered", lambda _: None),
    "inactivity_close": ("ws: closed after 0.2 s without a message (idle_s=)", lambda _: None),
    "ws_error": ("ws: an error message (kind=, default quota), then closed", lambda _: None),
    "error_then_alive": ("ws: an error message (kind=), then everything as usual", lambda _: None),
    "unknown_events": ("events and messages that nobody knows", lambda _: between_unknown),
}


async def between_unknown(socket: Socket, data: bytes, content: bool) -> None:
    """A message of a type that did not exist yesterday before each."""
    await socket.raw(frame(TEXT, b'{"type": "x.new_thing", "message_type": "x_new", "x": [1]}') + data)


def reason_of(message: dict[str, Any]) -> str:
    """What a close says after an error: the words of the error, as far as they fit."""
    error = message.get("error")
    if isinstance(error, dict):
        return ".".join(str(error[key]) for key in ("type", "code") if error.get(key))
    return str(error or message.get("code") or message.get("message") or "")


async def gate(call: Call, socket: Socket, in_band: Callable[[str], tuple[dict[str, Any], int]]) -> bool:
    """Put the fault between the dialect and the wire, and accept. False: the conversation is over already."""
    socket.idle_s = call.world.idle_s.get(call.vendor.name, float("inf"))
    name = call.fault.name if call.fault else ""
    if name in GATES:
        socket.gate = GATES[name][1](call)
        socket.answers_pings = name != "ping_unanswered"
    if name == "inactivity_close":
        socket.idle_s = call.option("idle_s", 0.2)
    await socket.accept()
    if name in ("ws_error", "error_then_alive"):
        message, code = in_band(call.option("kind", "quota" if name == "ws_error" else "validation"))
        await socket.send(message)
        if name == "ws_error":
            await socket.close(call.option("code", code), call.option("reason", reason_of(message)))
            return False
    return True
