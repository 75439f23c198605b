"""Whether xAI takes a key: `/api-key`, which generates nothing. Source: docs.x.ai, Nov 2026."""

from __future__ import annotations

import httpx
import msgspec

from aura.core.errors import AuthFailed
from aura.providers.http import Endpoint
from aura.providers.openai.common import check


class KeyState(msgspec.Struct):
    """What `/api-key` says."""

    api_key_blocked: bool = False
    api_key_disabled: bool = False
    team_blocked: bool = False


decode_key = msgspec.json.Decoder(KeyState).decode


async def check_key(name: str, endpoint: Endpoint, sent: httpx.Headers, timeout_s: float) -> None:
    """Whether server and key are good. Raises ProviderError."""
    said = await check(name, endpoint, "/api-key", sent, timeout_s)
    try:
        state = decode_key(said)
    except msgspec.DecodeError:
        return  # it answered with 200: the key is known
    if state.api_key_blocked or state.api_key_disabled or state.team_blocked:
        raise AuthFailed(f"{name}: the key or its team is blocked (see console.x.ai)", provider=name)
