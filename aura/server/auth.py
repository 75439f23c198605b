"""Who a client is and what it may do: API keys and client secrets, however they come.

Where no key was ever made, everybody who reaches the server may converse (`check_reach` keeps such a server on
loopback). From the first key on every client needs one, on loopback too: behind a reverse proxy or a tunnel all the
world comes from there. Keys that were revoked count as well, so that revoking the last one opens nothing.

Many wrong keys from one address are refused without a closer look, but a right key is let in all the same: a proxy has
one address for everybody behind it, and nobody finds a key of 240 bits by trying.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog
import trio

from aura.core.errors import ConfigError
from aura.observe.metrics import Metrics
from aura.storage.keyring import KeyRing
from aura.storage.keys import PREFIX, Scope, digest

from .client_secrets import PREFIX as SECRET_PREFIX
from .client_secrets import ClientSecrets
from .denial import TRY_LATER, UNAUTHORISED, Denial, not_a_key, too_much, turn_away
from .handshake import Request, is_loopback, tokens
from .lockout import Lockout
from .principal import ANYBODY, Principal, principal_of
from .socket import Closed, Socket

KEY_PROTOCOL = "openai-insecure-api-key."
"""Browsers can send no header with a WebSocket: this sub-protocol, never selected, holds the key."""
BETA_PROTOCOL, BETA_HEADER = "openai-beta.realtime-v1", "realtime=v1"
DEFAULT_MODEL = "aura"
FORWARDED = frozenset({"x-forwarded-for", "forwarded"})
"""Headers of requests that a proxy hands on."""
log = structlog.get_logger()


def credential_of(request: Request) -> str:
    """The key or client secret that came with a request; empty without one. The first of the three ways counts."""
    scheme, _, bearer = request.headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer" and bearer.strip():
        return bearer.strip()
    if key := request.headers.get("api-key", "").strip():
        return key
    hidden = (offer.removeprefix(KEY_PROTOCOL) for offer in request.subprotocols if offer.startswith(KEY_PROTOCOL))
    return next(hidden, "")


def check_offer(request: Request, principal: Principal) -> None:
    """Whether AURA can hold the conversation that is asked for. Raises Denial."""
    beta = BETA_HEADER in tokens(request.headers.get("openai-beta", "").lower())
    if beta or BETA_PROTOCOL in request.subprotocols:
        message = (
            "The beta shape of the Realtime API is not spoken here: leave out the header OpenAI-Beta: realtime=v1 "
            "(sub-protocol openai-beta.realtime-v1) and use the GA events, or a newer version of your SDK."
        )
        raise Denial(400, "beta_api_shape_disabled", message)
    intent = request.query.get("intent")
    if intent not in (None, "", "transcription", "conversation"):
        message = f"Invalid value: '{intent[:64]}'. The only intent besides a conversation is 'transcription'."
        raise Denial(400, "invalid_value", message, param="intent")
    if "call_id" in request.query:
        message = "There are no WebRTC or SIP calls to join here: connect without call_id."
        raise Denial(400, "invalid_value", message, param="call_id")
    check_model(wanted_model(request, principal), principal)


def wanted_model(request: Request, principal: Principal) -> str:
    """The model that is asked for; a client need not name one."""
    begun = (principal.session or {}).get("model")
    return request.query.get("model") or (begun if isinstance(begun, str) else "") or DEFAULT_MODEL


def check_model(model: str, principal: Principal, param: str = "model") -> None:
    """Whether the model may be asked for. Raises Denial."""
    if not principal.may_use(model):
        message = f"The model '{model[:64]}' may not be used with this API key: use {' or '.join(principal.models)}."
        raise Denial(400, "invalid_model", message, param=param)


class Seat:
    """One conversation of a key."""

    def __init__(self, principal: Principal) -> None:
        self.principal = principal
        self.socket: Socket | None = None
        """The connection, once there is one."""
        self.leaving = False


class Gate:
    """Lets clients in. The default lets everybody in."""

    def __init__(
        self,
        ring: KeyRing | None = None,
        secrets: ClientSecrets | None = None,
        metrics: Metrics | None = None,
        *,
        open_to_all: bool = False,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.ring = ring or KeyRing()
        self.secrets = secrets or ClientSecrets()
        self.wall = wall
        """Unix time, in which keys and secrets expire."""
        self._metrics, self._open_to_all = metrics or Metrics(), open_to_all
        self._lockout = Lockout()
        self._seats: dict[str, set[Seat]] = {}
        self._warned = False

    @property
    def needs_key(self) -> bool:
        """Whether nobody gets in without a key."""
        return self.ring.exist and not self._open_to_all

    # ---- who it is

    async def admit(self, request: Request, scope: Scope = "converse") -> Principal:
        """Who sent a request, if they may do this. Raises Denial."""
        principal = await self.admit_key(credential_of(request), request.remote, scope)
        if principal.anonymous and not self._open_to_all and not self._warned and FORWARDED & request.headers.keys():
            self._warned = True
            log.warning("auth.open_behind_proxy", cure="make a key with `aura keys create`: others can come in here")
        return principal

    async def admit_key(self, credential: str, remote: str, scope: Scope = "converse") -> Principal:
        """Whose key this is, if it is good for `scope`. Raises Denial."""
        found = self._look_up(credential)
        wait_s = self._lockout.wait_s(remote, trio.current_time())
        if found is None and credential.startswith(PREFIX) and self.needs_key and not wait_s:
            await self.ring.next_look()  # it may just have been made
            found, wait_s = self._look_up(credential), self._lockout.wait_s(remote, trio.current_time())
        if found is not None:
            return self._allow(found, remote, scope)
        if not self.needs_key and scope in ANYBODY.scopes and not credential.startswith(SECRET_PREFIX):
            return ANYBODY  # SDKs insist on sending some key
        if not credential:
            message = "No API key was given. Send one as `Authorization: Bearer KEY`; `aura keys create` makes them."
            raise self._failed("missing", not_a_key(message), remote)
        if wait_s:
            message = f"Too many wrong API keys came from your address: try again in {int(wait_s) + 1} s."
            raise self._failed("locked_out", too_much(message, UNAUTHORISED, wait_s), remote)
        self._lockout.failed(remote, trio.current_time())
        if credential.startswith(SECRET_PREFIX):
            message = "This client secret has expired or is not one of this server: get a new one."
        else:
            message = "Incorrect API key: it is not one of this server. `aura keys list` shows those there are."
        raise self._failed("wrong", not_a_key(message), remote)

    def bearer(self, credential: str, scope: Scope) -> Principal | None:
        """Whose key this is, if it is good for `scope` at this moment; for who else may let a client in."""
        found = self._look_up(credential)
        key = self.ring.get(found.key_id) if found else None
        fine = key is not None and key.state(self.wall()) == "active" and scope in key.scopes
        return found if fine else None

    def _look_up(self, credential: str) -> Principal | None:
        if credential.startswith(SECRET_PREFIX):
            return self.secrets.find(credential, self.wall())
        key = self.ring.find(digest(credential)) if credential else None
        return principal_of(key) if key else None

    def _allow(self, principal: Principal, remote: str, scope: Scope) -> Principal:
        """The same, unless its key has ended or is not meant for this. Raises Denial."""
        now, ident = self.wall(), principal.key_id
        if ident:
            key = self.ring.get(ident)
            state = key.state(now) if key else "revoked"
            if state != "active":
                message = f"This API key has {'expired' if state == 'expired' else 'been revoked'}: use another one."
                raise self._failed(state, not_a_key(message), remote, ident)
            self.ring.used(ident, now)
        if scope not in principal.scopes:
            message = f"This API key may not be used for this: it lacks the scope '{scope}'."
            raise self._failed("scope", not_a_key(message, 403), remote, ident)
        self._lockout.forgive(remote)
        return principal

    def _failed(self, reason: str, denial: Denial, remote: str, ident: str = "") -> Denial:
        self._metrics.add("auth_failures", reason)
        report = log.debug if reason == "locked_out" else log.warning  # nobody shall fill the log
        report("auth.failed", reason=reason, remote=remote, **({"key_id": ident} if ident else {}))
        return denial

    # ---- how many, and for how long

    def sit(self, request: Request) -> Seat:
        """Room for one more conversation of the client's key. Raises Denial.

        The connection that a resumed conversation comes from may not have been missed yet: there is room for one such.
        Closed with 1013, unlike a client's own mistakes: a conversation that ends makes room, and clients that know
        how to try again do so on this code.
        """
        principal = request.principal
        seat = Seat(principal)
        if principal.anonymous:
            return seat
        resumes = "resume" in request.query or "conversation_id" in request.query
        taken = self._seats.setdefault(principal.key_id, set())
        if principal.conversations_max and len(taken) >= principal.conversations_max + resumes:
            many = principal.conversations_max
            message = f"This API key may hold {many} conversation{'s' * (many > 1)} at a time, and does: end one first."
            raise too_much(message, TRY_LATER, retry_after_s=10)
        taken.add(seat)
        return seat

    def leave(self, seat: Seat) -> None:
        """The conversation is over."""
        ident = seat.principal.key_id
        if ident:
            self._seats[ident].discard(seat)
            if not self._seats[ident]:
                del self._seats[ident]

    async def watch(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the keys up to date and end the conversations of revoked ones. Runs until cancelled."""
        async with trio.open_nursery() as nursery:

            def looked() -> None:
                for seat in self._revoked():
                    seat.leaving = True
                    nursery.start_soon(put_out, seat)

            await nursery.start(self.ring.watch, looked)
            task_status.started()

    def _revoked(self) -> list[Seat]:
        gone = [ident for ident in self._seats if (key := self.ring.get(ident)) is None or key.revoked]
        return [seat for ident in gone for seat in self._seats[ident] if seat.socket and not seat.leaving]


async def put_out(seat: Seat) -> None:
    """End a conversation whose key was revoked."""
    assert seat.socket is not None
    log.info("conversation.revoked", key_id=seat.principal.key_id)
    try:
        await turn_away(seat.socket, not_a_key("This API key has been revoked: use another one."))
    except Closed:
        return


def check_reach(host: str, ring: KeyRing, *, open_to_all: bool) -> None:
    """A server that others can reach needs keys, or to be told that it needs none. Raises ConfigError."""
    if not ring.exist and not open_to_all and not is_loopback(host):
        raise ConfigError(
            f"server.host={host or '*'} lets others in, and there is no API key: make one with `aura keys create`, "
            "or set server.open_to_all=true to let everybody in"
        )
