"""GET /providers: how each engine is (`ProviderReport` as JSON), for `aura providers` and for monitoring.

As open as /metrics, which tells the same: there is nothing of any conversation in it, and no key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from aura.core.routing.status import ProviderReport

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
