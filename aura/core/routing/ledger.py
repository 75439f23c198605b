"""Books of what was spent: by turn, conversation and tenant."""

from __future__ import annotations

import msgspec

from aura.core.routing.pricing import Amount


class Spend(msgspec.Struct):
    """A sum."""

    exact_usd: float = 0.0
    """Told by providers."""
    estimated_usd: float = 0.0
    """Worked out with the table of prices."""
    calls: int = 0
    unpriced: int = 0
    """Calls for which there is no price: what they cost is not in the sum."""

    @property
    def usd(self) -> float:
        """The whole sum."""
        return self.exact_usd + self.estimated_usd

    def add(self, amount: Amount) -> None:
        """One call more."""
        self.calls += 1
        if amount.usd is None:
            self.unpriced += 1
        elif amount.exact:
            self.exact_usd += amount.usd
        else:
            self.estimated_usd += amount.usd


class _Conversation(msgspec.Struct):
    tenant: str
    spend: Spend
    turns: dict[int, Spend]


class Books:
    """The sums of one process. Conversations are forgotten when they end; tenants' sums begin anew with a period."""

    def __init__(self) -> None:
        self._conversations: dict[str, _Conversation] = {}
        self._tenants: dict[str, Spend] = {}
        self._period = ""
        self.total = Spend()

    def add(self, amount: Amount, *, tenant: str, conversation: str, turn: int) -> None:
        """Enter a call."""
        book = self._conversations.get(conversation)
        if book is None:
            book = self._conversations[conversation] = _Conversation(tenant, Spend(), {})
        for spend in (
            book.turns.setdefault(turn, Spend()),
            book.spend,
            self._tenants.setdefault(tenant, Spend()),
            self.total,
        ):
            spend.add(amount)

    def restore(self, tenant: str, spend: Spend) -> None:
        """What a tenant had spent in this period before the process began."""
        self._tenants[tenant] = spend

    def turn(self, conversation: str, turn: int) -> Spend:
        """The sum of one turn."""
        book = self._conversations.get(conversation)
        return (book.turns.get(turn) if book else None) or Spend()

    def conversation(self, conversation: str) -> Spend:
        """The sum of one conversation."""
        book = self._conversations.get(conversation)
        return book.spend if book else Spend()

    def tenant(self, tenant: str) -> Spend:
        """The sum of a tenant in this period."""
        return self._tenants.get(tenant) or Spend()

    def tenants(self) -> dict[str, Spend]:
        """Those of all."""
        return dict(self._tenants)

    def left(
        self,
        *,
        tenant: str,
        conversation: str,
        tenant_limit_usd: float | None = None,
        conversation_limit_usd: float | None = None,
    ) -> float | None:
        """What may still be spent; at or below 0: nothing. None: there is no limit."""
        limits = (
            (tenant_limit_usd, self.tenant(tenant).usd),
            (conversation_limit_usd, self.conversation(conversation).usd),
        )
        rests = [limit - spent for limit, spent in limits if limit is not None]
        return min(rests) if rests else None

    def close(self, conversation: str) -> Spend:
        """A conversation is over: its sum, for the log."""
        book = self._conversations.pop(conversation, None)
        return book.spend if book else Spend()

    def period(self, name: str) -> None:
        """It is this month (or day): when that changes, the tenants' sums begin anew."""
        if name != self._period:
            if self._period:
                self._tenants = {}
            self._period = name
