"""What an engine tells about itself beside its answers.

Engines on the network may have, besides the methods of their port: `model`, as the engine names it; `left`, see below;
`async warm()`, to connect in advance; `async probe()`, to find out without generating anything whether key and server
are good, which raises ProviderError. All of it is optional: ask with `getattr`.
"""

from __future__ import annotations

import msgspec


class Left(msgspec.Struct):
    """What an account may still use, as the headers of the last reply said. None: not said."""

    requests: float | None = None
    """Share of the requests of the present window that are left, 0-1."""
    tokens: float | None = None
    """The same of tokens, characters or credits."""
    concurrent_max: int | None = None
    """Requests that the account may have under way at a time."""
