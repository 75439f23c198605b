"""WebSocket frames by hand, for servers that have to break the rules."""

from __future__ import annotations

import base64
import hashlib
import re
import struct

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accepted(head: bytes, *headers: str) -> bytes:
    """The answer to a handshake."""
    found = re.search(rb"sec-websocket-key: *(\S+)", head, re.I)
    assert found
    token = base64.b64encode(hashlib.sha1(found[1] + GUID, usedforsecurity=False).digest()).decode()
    lines = ["HTTP/1.1 101 Switching", "Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Accept: {token}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode()


def frame(opcode: int, payload: bytes) -> bytes:
    """One final frame of a server."""
    size = len(payload)
    if size < 126:
        return struct.pack("!BB", 0x80 | opcode, size) + payload
    return struct.pack("!BBH", 0x80 | opcode, 126, size) + payload


def unmasked(data: bytes) -> tuple[int, bytes, bytes] | None:
    """(opcode, payload, rest) of a client's first frame; None while it is not complete."""
    if len(data) < 6:
        return None
    size, at = data[1] & 0x7F, 2
    if size == 126:
        size, at = struct.unpack_from("!H", data, 2)[0], 4
    elif size == 127:
        if len(data) < 10:
            return None
        size, at = struct.unpack_from("!Q", data, 2)[0], 10
    if len(data) < at + 4 + size:
        return None
    mask, body = data[at : at + 4], data[at + 4 : at + 4 + size]
    return data[0] & 0x0F, bytes(b ^ mask[i % 4] for i, b in enumerate(body)), data[at + 4 + size :]
