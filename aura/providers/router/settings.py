"""Settings of the router. Importing this imports no engine."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

Seconds = Annotated[float, msgspec.Meta(gt=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Dollars = Annotated[float, msgspec.Meta(ge=0)]


class RouterSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How one of several engines is chosen for a request, and what happens when it does not answer."""

    strategy: Literal["balanced", "fastest", "cheapest", "best"] = "balanced"
    """What counts when several engines can do it."""
    hedge_after_s: Seconds = 0.5
    """When the first language model has not begun to answer after this time, a second is asked too and the slower one
    is cancelled. Once enough was learned about an engine, its own 95th percentile takes the place of this."""
    hedge_stt_after_s: Seconds = 0.35
    """The same for a transcript."""
    hedge_tts_after_s: Seconds = 0.4
    """The same for a voice."""
    hedge_least_s: Seconds = 0.25
    """The learned time is never less than this."""
    hedge_most_s: Seconds = 1.0
    """The learned time is never more than this."""
    hedge_spend_share: Share = 0.1
    """Second requests may cost at most this share of all that was spent."""
    hedge_free_usd: Dollars = 0.02
    """What second requests may cost before that share counts."""
    last_resort_after_s: Seconds = 0.9
    """When a voice has not begun to speak after this time, the offline voice takes over (only if it is none of the
    chosen ones)."""
    offline_voice: bool = True
    """Whether the offline voice stands in when every other voice fails."""
    first_item_s: Seconds = 2.5
    """Longest wait for the first word, audio or transcript of one engine while another could be asked."""
    stall_s: Seconds = 1.0
    """Longest silence in the middle of an answer while another engine could go on with it."""
    stall_least_s: Seconds = 0.4
    """That silence is cut to this when nothing is left to be heard meanwhile."""
    turn_budget_s: Seconds = 6.0
    """After this time nothing more is tried for a request that has not been answered."""
    attempts_max: Annotated[int, msgspec.Meta(ge=1, le=20)] = 4
    """How many requests may be made for one, second and repeated ones included."""
    retry_wait_s: Seconds = 0.15
    """Pause before the only engine is asked once more, where it does not say how long to wait itself."""
    probe_every_s: Annotated[float, msgspec.Meta(ge=0)] = 15.0
    """How often an engine that failed is asked for its health, without generating anything. 0: never."""
    probe_timeout_s: Seconds = 5.0
    """Longest wait for the answer to that."""
    conversation_usd: Dollars = 0.0
    """What one conversation may cost. 0: no limit."""
    tenant_usd_per_day: Dollars = 0.0
    """What all conversations of a tenant may cost in a day (UTC). 0: no limit."""
    tenant_engines: dict[str, tuple[str, ...]] = {}
    """Tenant → the engines it may use (by name), for example {"acme": ["openai", "offline"]}. Others may use all."""
    models: dict[str, dict[str, Any]] = {}
    """What is known of models before they were measured, for example {"kitchen/*": {"quality": 0.7, "ttft_s": 0.4,
    "tools": false}}; the rows of router/models.toml hold for the rest."""
    budget_notice: str = "I have to stop here: the budget for this conversation is used up. Please try again later."
    """Spoken instead of an answer when a budget is used up."""
