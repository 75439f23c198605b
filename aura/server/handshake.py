"""Who may connect: the request head of a WebSocket upgrade, judged without any I/O."""

from __future__ import annotations

import base64
import binascii
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from .principal import ANYBODY, Principal

AZURE_PATHS = frozenset({"/openai/v1/realtime", "/openai/realtime"})
"""Where clients that are set up for Azure dial; the older one names the model `deployment`."""
PATHS = frozenset({"/v1/realtime", "/realtime", "/v1/twilio", "/v1/telnyx", "/v1/plivo"}) | AZURE_PATHS
"""Where conversations are held. LiveKit dials `/realtime` when it is given a host without a path; phones the rest."""
SUBPROTOCOL = "realtime"
"""Selected whenever offered: browsers abort when the server selects none of those they offer."""


class Request(msgspec.Struct, frozen=True):
    """What a client asked for. Header names are lower case; a repeated header's values are joined with commas."""

    method: str
    path: str
    query: dict[str, str]
    """Decoded; of a repeated name the last value counts."""
    headers: dict[str, str]
    remote: str = ""
    """The client's address."""
    target: str = ""
    """Path and query exactly as they came: phone vendors sign them."""
    principal: Principal = ANYBODY
    """On whose behalf the client is here; filled in by the listener."""

    @property
    def subprotocols(self) -> tuple[str, ...]:
        """What the client offers in Sec-WebSocket-Protocol, in its order."""
        return tokens(self.headers.get("sec-websocket-protocol", ""))

    @property
    def wants_websocket(self) -> bool:
        """Whether this is an upgrade to WebSocket."""
        upgrade = tokens(self.headers.get("upgrade", "").lower())
        return "websocket" in upgrade and "upgrade" in tokens(self.headers.get("connection", "").lower())


class Refusal(Exception):
    """Answered with HTTP `status` and `body()`."""

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers or {}

    def body(self) -> bytes:
        """The JSON that Realtime clients expect of an error."""
        return error_json(self.status, self.code, self.message)


def error_json(status: int, code: str, message: str) -> bytes:
    """An error as OpenAI's API shows it."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    error: dict[str, Any] = {"message": message, "type": kind, "code": code}
    return msgspec.json.encode({"error": error})


def tokens(text: str) -> tuple[str, ...]:
    """The items of a comma-separated header."""
    return tuple(item.strip() for item in text.split(",") if item.strip())


def parse(method: bytes, target: bytes, headers: list[tuple[bytes, bytes]], remote: str = "") -> Request:
    """A request from the parts that h11 found. Raises `Refusal`."""
    try:
        parts = urlsplit(target.decode("ascii"))
    except ValueError:
        raise Refusal(400, "bad_target", "the request's URL cannot be read") from None
    found: dict[str, str] = {}
    for name, value in headers:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        found[key] = f"{found[key]},{text}" if key in found else text
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    if parts.path in AZURE_PATHS and "deployment" in query:
        query.setdefault("model", query["deployment"])
    return Request(method.decode("latin-1"), parts.path or "/", query, found, remote, target.decode("ascii"))


def check_upgrade(request: Request, paths: frozenset[str] = PATHS) -> None:
    """RFC 6455 section 4.2.1, and that the path is one for conversations. Raises `Refusal`."""
    if request.path.rstrip("/") not in paths:
        known = ", ".join(sorted(paths))
        raise Refusal(404, "unknown_path", f"no conversations at {request.path[:100]}: connect to one of {known}")
    if request.method != "GET":
        raise Refusal(405, "method_not_allowed", "a WebSocket is opened with GET", {"Allow": "GET"})
    if request.headers.get("sec-websocket-version") != "13":
        message = "only WebSocket version 13 is spoken here"
        raise Refusal(426, "websocket_version", message, {"Sec-WebSocket-Version": "13", "Upgrade": "websocket"})
    try:
        key = base64.b64decode(request.headers.get("sec-websocket-key", ""), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != 16 or "host" not in request.headers:
        raise Refusal(400, "bad_handshake", "the WebSocket handshake lacks Host or a 16-byte Sec-WebSocket-Key")


def check_origin(request: Request, allowed: tuple[str, ...], listen_host: str) -> None:
    """Keep web pages of other sites out: a browser lets every page open a WebSocket to every host. Raises `Refusal`.

    Programs send no Origin and pass. With an empty list a page passes that came from loopback, or from the host that
    it now talks to; the latter not on a server that listens on loopback only, where such a page shows that somebody
    points a foreign name at this machine (DNS rebinding).
    """
    origin = request.headers.get("origin")
    if origin is None or "*" in allowed:
        return
    if allowed:
        fine = origin.rstrip("/").lower() in {item.rstrip("/").lower() for item in allowed}
    else:
        site, host = host_of(origin), host_of("//" + request.headers.get("host", ""))
        same = site == host and site[0] != ""
        fine = is_loopback(site[0]) or (same and not is_loopback(listen_host))
    if not fine:
        message = f'pages of {origin[:100]} may not connect: add it to the setting server.origins, as "{origin[:100]}"'
        raise Refusal(403, "origin_not_allowed", message)


def host_of(url: str) -> tuple[str, int | None]:
    """Host and port of a URL; an empty host when it has none. The schemes' default ports count as none."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "", None
    return (parts.hostname or "").lower(), None if port in (80, 443) else port


def is_loopback(host: str) -> bool:
    """Whether the name or address always means this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def choose_subprotocol(request: Request) -> str | None:
    """What to select of the offered sub-protocols."""
    return SUBPROTOCOL if SUBPROTOCOL in request.subprotocols else None
