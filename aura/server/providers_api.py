"""GET /providers: how each engine is (`ProviderReport` as JSON), for `aura providers` and for monitoring.

As open as /metrics, which tells the same: there is nothing of any conversation in it, and no key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from aura.core.routing.status import ProviderReport
from aura.observe.metrics import Metrics

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

PATH = "/providers"


def provider_routes(report: Callable[[], ProviderReport]) -> Sequence[BaseRoute]:
    """The route, which comes before the static files."""
    from starlette.responses import Response
    from starlette.routing import Route

    async def providers(request: Request) -> Response:
        body = msgspec.json.encode(report())
        return Response(body, media_type="application/json", headers={"cache-control": "no-store"})

    return [Route(PATH, providers)]


def cache_counts(metrics: Metrics) -> dict[str, dict[str, float]]:
    """The caches' counters as the report holds them; a cache that nobody asked is left out."""
    counts = {}
    for cache in ("audio", "replies"):
        results = {name: metrics.value("cache_requests", cache, name) for name in ("hit", "shared", "miss", "corrupt")}
        if any(results.values()):
            counts[cache] = results | {"bytes": metrics.value("cache_bytes", cache)}
    return counts
