"""How a client learns that it may not: in the protocol's own words where it speaks WebSocket, else as HTTP.

A refused upgrade shows as a bare status to Python clients and as nothing at all in a browser, while every client hands
on the code of an `error` event. So the upgrade is taken, the error sent and the connection closed, as the real service
does (realtime-protocol.md 1.1 and 2.3).
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import msgspec

from aura.core.wire.ids import id_source
from aura.core.wire.server import Error, stamped
from aura.core.wire.shapes import ErrorDetail

from .handshake import Refusal

if TYPE_CHECKING:
    from .socket import Socket

UNAUTHORISED, BAD_REQUEST, TRY_LATER, POLICY = 3000, 4000, 1013, 1008
"""Close codes: the real service's for keys and for requests; two of RFC 6455."""


class Denial(Refusal):
    """A refusal that a WebSocket client gets as an `error` event and a close with `close_code`."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        close_code: int = BAD_REQUEST,
        *,
        param: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(status, code, message, headers)
        self.close_code, self.param = close_code, param
        self.kind = "rate_limit_error" if code == "rate_limit_exceeded" else "invalid_request_error"

    def body(self) -> bytes:
        """The error for plain HTTP."""
        error = {"message": self.message, "type": self.kind, "code": self.code, "param": self.param}
        return msgspec.json.encode({"error": error})

    def event(self) -> str:
        """The `error` event."""
        new_id = id_source(secrets.token_bytes(12))
        return stamped(Error(ErrorDetail(self.kind, self.code, self.message, self.param)), new_id("event"))

    @property
    def reason(self) -> str:
        """Of the close frame."""
        return f"{self.kind}.{self.code}"


async def turn_away(socket: Socket, denial: Denial) -> None:
    """Tell a connected client, and hang up. Raises `Closed` when it has gone already."""
    await socket.send(denial.event())
    await socket.close(denial.close_code, denial.reason)


def not_a_key(message: str, status: int = 401) -> Denial:
    """No key, or one that opens nothing."""
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return Denial(status, "invalid_api_key", message, UNAUTHORISED, headers=headers)


def too_much(message: str, close_code: int, retry_after_s: float = 0) -> Denial:
    """More than is allowed."""
    headers = {"Retry-After": str(int(retry_after_s) + 1)} if retry_after_s else None
    return Denial(429, "rate_limit_exceeded", message, close_code, headers=headers)


FLOODING = Denial(429, "rate_limit_exceeded", "Too many messages: send fewer, and larger ones.", POLICY)
"""For a client that sends more messages than `server.events_per_s_max`."""
