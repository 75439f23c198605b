"""The REST side of the Realtime API.

    POST /v1/realtime/client_secrets   a short-lived key for a browser, made for one session configuration
    GET  /v1/models, /v1/models/NAME   what SDKs ask to see whether a server is there
    all else under /v1/realtime        what to use instead, as JSON

Each also without `/v1`, as LiveKit calls a host that is given without a path. Refusals are 4xx even where 501 would say
it better: SDKs send a request with a 5xx answer again, twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import trio

from aura.core.errors import ProtocolFault
from aura.core.wire import faults
from aura.core.wire.session_object import RealtimeSession

from . import handshake
from .auth import DEFAULT_MODEL, Gate, check_model
from .denial import Denial
from .handshake import Refusal, check_origin
from .principal import Principal
from .settings import ServerSettings

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

SECRETS_HINT = "POST /v1/realtime/client_secrets makes keys for browsers"
SOCKET_HINT = "connect a WebSocket to /v1/realtime"
INSTEAD = {
    "calls": f"there are no WebRTC or SIP calls here: {SOCKET_HINT}",
    "sessions": f"this belongs to the beta API: {SECRETS_HINT}",
    "transcription_sessions": f"this belongs to the beta API: {SECRETS_HINT}, also for transcription",
    "translations": f"there are no translation sessions here: {SOCKET_HINT}, with instructions to translate",
    "live": f"the live API is not spoken here: {SOCKET_HINT}",
}
"""Other services of the real API, and what AURA has instead."""
Describe = Callable[[dict[str, Any]], RealtimeSession]
"""Raises ProtocolFault."""
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
PRIVATE = {"cache-control": "no-store"}


class ExpiresAfter(msgspec.Struct, frozen=True):
    """How long a client secret opens conversations. Those that it opened go on."""

    anchor: Literal["created_at"] = "created_at"
    seconds: Annotated[int, msgspec.Meta(ge=10, le=7200)] = 600


class SecretWanted(msgspec.Struct, frozen=True):
    """The body of a request for a client secret."""

    expires_after: ExpiresAfter | None = None
    session: dict[str, Any] | None = None


def realtime_routes(
    gate: Gate, settings: ServerSettings, describe: Describe, models: Sequence[str]
) -> Sequence[BaseRoute]:
    """Routes that come before the static files. `describe` makes the session that begins with a configuration."""
    from starlette.routing import Route

    api = RealtimeApi(gate, settings, describe, models)
    routes: list[BaseRoute] = []
    for root in ("/v1", ""):
        routes += [
            Route(f"{root}/realtime/client_secrets", answering(api.make_secret), methods=["POST"]),
            Route(f"{root}/realtime", answering(api.no_upgrade), methods=list(METHODS)),
            Route(f"{root}/realtime/{{rest:path}}", answering(api.instead), methods=list(METHODS)),
        ]
    return [
        *routes,
        Route("/v1/live", answering(api.instead), methods=list(METHODS)),
        Route("/v1/live/{rest:path}", answering(api.instead), methods=list(METHODS)),
        Route("/v1/models", answering(api.list_models)),
        Route("/v1/models/{name:path}", answering(api.show_model)),
    ]


def answering(endpoint: Callable[[Request], Awaitable[bytes]]) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint, whose refusals become answers too."""

    async def answered(request: Request) -> Response:
        from starlette.responses import Response

        status, headers = 200, PRIVATE
        try:
            body = await endpoint(request)
        except Refusal as refusal:
            body, status, headers = refusal.body(), refusal.status, PRIVATE | refusal.headers
        return Response(body, status, headers, media_type="application/json")

    return answered


class RealtimeApi:
    """Answers under /v1."""

    def __init__(self, gate: Gate, settings: ServerSettings, describe: Describe, models: Sequence[str]) -> None:
        self._gate, self._settings, self._describe = gate, settings, describe
        self._models = tuple(dict.fromkeys(models))

    async def _principal(self, request: Request, scope: Literal["converse", "secrets"]) -> Principal:
        """Who asks. Where no key is needed, pages of other sites may still not ask. Raises Refusal."""
        asked = _plain(request.scope)
        principal = await self._gate.admit(asked, scope)
        if principal.anonymous:
            check_origin(asked, self._settings.origins, self._settings.host)
        return principal

    async def make_secret(self, request: Request) -> bytes:
        """A client secret."""
        principal = await self._principal(request, "secrets")
        body = await request.body()

        def read() -> tuple[SecretWanted, dict[str, Any]]:
            wanted = _wanted(body)
            begun = self._describe(wanted.session or {})
            check_model(begun.model, principal, "session.model")
            return wanted, begun.echo() | {"expires_at": 0}

        try:
            wanted, shown = await trio.to_thread.run_sync(read)  # a body may be long
        except ProtocolFault as fault:
            raise Denial(400, fault.code, str(fault), param=fault.param) from None
        seconds = (wanted.expires_after or ExpiresAfter()).seconds
        value, expires_at = self._gate.secrets.make(principal, wanted.session or {}, seconds, self._gate.wall())
        return msgspec.json.encode({"value": value, "expires_at": expires_at, "session": shown})

    async def list_models(self, request: Request) -> bytes:
        """The models that the client may name. Any other name does as well, where its key allows it."""
        principal = await self._principal(request, "converse")
        names = principal.models or self._models
        return msgspec.json.encode({"object": "list", "data": [_model(name) for name in names]})

    async def show_model(self, request: Request) -> bytes:
        """One of them."""
        principal = await self._principal(request, "converse")
        name = str(request.path_params["name"])
        if name not in (principal.models or self._models):
            raise Refusal(404, "model_not_found", f"The model '{name[:64]}' is not known; GET /v1/models lists some.")
        return msgspec.json.encode(_model(name))

    async def no_upgrade(self, request: Request) -> bytes:
        """A conversation, asked for in plain HTTP."""
        await self._principal(request, "converse")
        raise Refusal(426, "upgrade_required", f"Conversations are held elsewhere: {SOCKET_HINT}.", UPGRADE)

    async def instead(self, request: Request) -> bytes:
        """What AURA has instead."""
        parts = [part for part in request.url.path.split("/") if part not in ("", "v1", "realtime")]
        hint = INSTEAD.get(parts[0] if parts else "", f"{SOCKET_HINT}, or {SECRETS_HINT}")
        raise Refusal(404, "not_supported", f"There is nothing at {request.url.path[:100]}: {hint}.")


UPGRADE = {"Upgrade": "websocket"}


def _plain(scope: Mapping[str, Any]) -> handshake.Request:
    """The request of an ASGI scope. Raises Refusal."""
    client: tuple[str, int] = scope.get("client") or ("", 0)
    method, target = str(scope["method"]).encode(), bytes(scope["raw_path"])
    return handshake.parse(method, target, list(scope["headers"]), client[0])


def _wanted(body: bytes) -> SecretWanted:
    """What a request for a client secret says; nothing at all is fine. Raises ProtocolFault."""
    try:
        return msgspec.json.decode(body or b"{}", type=SecretWanted)
    except msgspec.ValidationError as error:
        raise faults.invalid(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ProtocolFault("invalid_json", "The request's body is not JSON.") from None


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "aura"}


def models_of(chat_model: str) -> tuple[str, ...]:
    """The names that AURA shows: its own, and the chat model behind it."""
    return (DEFAULT_MODEL, chat_model) if chat_model else (DEFAULT_MODEL,)
