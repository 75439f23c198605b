"""What AURA answers to plain HTTP: the page, health, metrics. A Starlette application, imported when first needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

import trio

from aura.observe.health import Health
from aura.observe.metrics import CONTENT_TYPE, Metrics

from .bridge import AsgiApp, Message
from .drain import Drain
from .handshake import error_json

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

CODES = {404: "not_found", 405: "method_not_allowed"}


class LazyApp:
    """An ASGI application built in a thread, at the first request or by `warm`: Starlette takes 0.1 s to import."""

    def __init__(self, build: Callable[[], AsgiApp]) -> None:
        self._build = build
        self._app: AsgiApp | None = None
        self._lock = trio.Lock()

    async def warm(self, after_s: float = 0.0) -> AsgiApp:
        """Build the application unless it is there."""
        await trio.sleep(after_s)
        async with self._lock:
            if self._app is None:
                self._app = await trio.to_thread.run_sync(self._build)
            return self._app

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        """ASGI."""
        app = self._app or await self.warm()
        await app(scope, receive, send)


def pages(health: Health, metrics: Metrics, drain: Drain, routes: Callable[[], Sequence[BaseRoute]] = tuple) -> LazyApp:
    """The application. `routes` makes further Starlette routes, which come before the static files."""
    return LazyApp(lambda: build_app(health, metrics, drain, routes()))


def build_app(health: Health, metrics: Metrics, drain: Drain, routes: Sequence[BaseRoute] = ()) -> AsgiApp:
    """Build the Starlette application."""
    import prometheus_client  # noqa: F401  (here so that the first scrape does not block the loop with the import)
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Mount, Route
    from starlette.staticfiles import StaticFiles

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def readyz(request: Request) -> Response:
        reasons = health.reasons()
        if drain.draining:
            reasons["server"] = "shutting down"
        status = "not ready" if reasons else "ready"
        return JSONResponse({"status": status, "reasons": reasons}, 503 if reasons else 200)

    async def scrape(request: Request) -> Response:
        return Response(metrics.text(), headers={"content-type": CONTENT_TYPE})

    async def refused(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        detail = error.detail if isinstance(error, HTTPException) else "the server failed; its log says why"
        headers = dict((error.headers if isinstance(error, HTTPException) else None) or {})
        body = error_json(status, CODES.get(status, "http_error" if status < 500 else "internal_error"), detail)
        return Response(body, status, headers, media_type="application/json")

    class Shared(StaticFiles):
        """Every page may use AURA's modules: they are public, and hold nothing of a user."""

        def file_response(self, *args: Any, **kwargs: Any) -> Response:
            response = super().file_response(*args, **kwargs)
            response.headers["access-control-allow-origin"] = "*"
            return response

    static = Shared(directory=str(resources.files("aura") / "web"), html=True, check_dir=False)
    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", scrape),
            *routes,
            Mount("/", static),
        ],
        exception_handlers={HTTPException: refused, Exception: refused},
    )
