"""What each tenant has spent today, in a small file that outlives the process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import structlog
import trio

from aura.core.routing.ledger import Books, Spend
from aura.core.routing.pricing import Amount

log = structlog.get_logger()
SAVE_EVERY_S = 10.0


class Day(msgspec.Struct):
    """One day's books (UTC)."""

    date: str = ""
    usd: dict[str, Spend] = {}
    """By tenant; "" is everybody who has none."""


class Spending:
    """The books of today; `today` gives the ISO date. Without a file nothing outlives the process."""

    def __init__(self, today: Callable[[], str], file: Path | None = None) -> None:
        self.today, self._file = today, file
        self.books = Books()
        self.books.period(today())
        if file is not None:
            self._read(file)
        self._saved = self.books.total.calls

    def _read(self, file: Path) -> None:
        try:
            day = msgspec.json.decode(file.read_bytes(), type=Day)
        except FileNotFoundError:
            return
        except (OSError, msgspec.DecodeError) as error:
            log.warning("spending.unreadable", file=file.name, error=str(error))
            return
        if day.date == self.today():
            for tenant, spend in day.usd.items():
                self.books.restore(tenant, spend)

    def add(self, amount: Amount, tenant: str, conversation: str, turn: int) -> None:
        """A call was made."""
        self.books.period(self.today())
        self.books.add(amount, tenant=tenant, conversation=conversation, turn=turn)

    def left(
        self, tenant: str, conversation: str, daily_usd: float | None, conversation_usd: float | None
    ) -> float | None:
        """What may still be spent; None: there is no limit."""
        self.books.period(self.today())
        return self.books.left(
            tenant=tenant,
            conversation=conversation,
            tenant_limit_usd=daily_usd,
            conversation_limit_usd=conversation_usd,
        )

    async def keep(self) -> None:
        """Save whenever something was spent, and at the end."""
        try:
            while True:
                await trio.sleep(SAVE_EVERY_S)
                await self._save()
        finally:
            with trio.move_on_after(2) as shield:
                shield.shield = True
                await self._save()

    async def _save(self) -> None:
        if self._file is None or self.books.total.calls == self._saved:
            return
        self.books.period(self.today())  # or yesterday's sums would be kept as today's
        calls = self.books.total.calls
        text = msgspec.json.encode(Day(self.today(), self.books.tenants()))
        try:
            await trio.to_thread.run_sync(_write, self._file, text)
            self._saved = calls
        except OSError as error:
            log.warning("spending.unsaved", file=self._file.name, error=str(error))


def _write(file: Path, text: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_suffix(".new")
    fresh.write_bytes(text)
    fresh.replace(file)
