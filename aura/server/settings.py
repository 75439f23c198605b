"""Settings of the network server. A leaf module, so that whoever composes the settings imports nothing heavy."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from aura.core.secret import Secret


class ServerSettings(msgspec.Struct, frozen=True):
    """Where AURA listens and what it lets a client do."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for every network interface."""
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8080
    """TCP port for HTTP and WebSocket alike; 0 takes any free one."""
    tls_cert: str = ""
    """Certificate chain (PEM file). With tls_key it turns https and wss on."""
    tls_key: str = ""
    """Private key (PEM file) of tls_cert."""
    origins: tuple[str, ...] = ()
    """Web origins that may connect, such as https://example.org; * for all. Empty: this host and loopback, and every
    page that shows an API key or a client secret."""
    open_to_all: bool = False
    """Let everybody who reaches the server hold conversations without an API key. Without it a server needs keys
    (`aura keys create`): on other addresses than loopback to start at all, anywhere as soon as there is one."""
    keys_check_s: Annotated[float, msgspec.Meta(gt=0, le=60)] = 1.0
    """How often the server looks whether API keys were made or revoked."""
    client_secrets_max: Annotated[int, msgspec.Meta(ge=1)] = 10_000
    """Client secrets that have not expired, at one time; further ones get HTTP 429."""
    conversations_max: int = 200
    """Conversations at one time; further ones get HTTP 503."""
    connections_max: int = 1000
    """Open network connections of any kind at one time; further ones get HTTP 503."""
    message_bytes_max: int = 21 * 1024 * 1024
    """Largest WebSocket message taken from a client; a larger one closes with 1009."""
    events_per_s_max: Annotated[float, msgspec.Meta(ge=0)] = 2000.0
    """Messages that a client may send in a second, on the average; more close its conversation with 1008. 0: any."""
    events_burst_max: Annotated[int, msgspec.Meta(ge=1)] = 10_000
    """Messages that it may send at once."""
    head_bytes_max: int = 32 * 1024
    """Largest HTTP request head."""
    body_bytes_max: int = 1024 * 1024
    """Largest HTTP request body."""
    handshake_timeout_s: float = 10.0
    """Time for a client to send its request head, and for the WebSocket handshake."""
    request_timeout_s: float = 30.0
    """Time to answer one HTTP request, its body included."""
    keepalive_s: float = 75.0
    """How long an HTTP connection may stay open without a request."""
    idle_timeout_s: float = 600.0
    """A conversation whose client sends no message for so long is closed with 1001."""
    ping_interval_s: float = 20.0
    """Time between WebSocket pings."""
    pong_timeout_s: float = 60.0
    """A client that sends nothing at all, not even a pong, for so long is given up."""
    slow_client_s: float = 5.0
    """A message that the client's network has not taken after so long closes the connection with 1008."""
    close_timeout_s: float = 2.0
    """Time for the client to answer a WebSocket close."""
    resume_grace_s: float = 20.0
    """How long a conversation waits for a client whose connection broke off. 0: it ends with its connection."""
    drain_grace_s: float = 30.0
    """On shutdown, how long running conversations may go on."""
    drain_close: Literal[1001, 1012] = 1001
    """How conversations are closed that still go on then: 1001 going away, 1012 service restart. SIGHUP asks for a
    restart and always closes with 1012."""
    operator_key: Secret = msgspec.field(default_factory=Secret)
    """Opens the session page, /sessions; at least 16 characters. Empty: a server that records and listens on loopback
    makes one and keeps it in the file operator.key in the data folder; any other has no such page."""
    check_protocol: bool = False
    """Check every event sent against the protocol's grammar and log violations; for debugging, costs CPU. Also on when
    logs.level is debug."""
    tcp_nodelay: bool = True
    """Send every message at once instead of collecting small ones (Nagle)."""
