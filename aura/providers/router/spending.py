"""What each tenant has spent today, in a small file that outlives the process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import structlog
import trio

log = structlog.get_logger()
SAVE_EVERY_S = 10.0


class Day(msgspec.Struct):
    """One day's books (UTC)."""

    date: str = ""
    usd: dict[str, float] = {}
    """By tenant; "" is everybody who has none."""


class Spending:
    """The books of today; `today` gives the ISO date. Without a file nothing outlives the process."""

    def __init__(self, today: Callable[[], str], file: Path | None = None) -> None:
        self.today, self._file = today, file
        self._day = Day(today())
        self._saved = 0.0
        if file is not None:
            try:
                self._day = msgspec.json.decode(file.read_bytes(), type=Day)
            except FileNotFoundError:
                pass
            except (OSError, msgspec.DecodeError) as error:
                log.warning("spending.unreadable", file=file.name, error=str(error))
        self._turn_page()
        self._saved = self.total

    @property
    def total(self) -> float:
        """USD of all tenants today."""
        return sum(self._day.usd.values())

    def add(self, tenant: str, usd: float) -> None:
        """A tenant spent this."""
        self._turn_page()
        self._day.usd[tenant] = self._day.usd.get(tenant, 0.0) + usd

    def of(self, tenant: str) -> float:
        """What a tenant spent today."""
        self._turn_page()
        return self._day.usd.get(tenant, 0.0)

    def tenants(self) -> dict[str, float]:
        """What each spent today."""
        self._turn_page()
        return dict(self._day.usd)

    def _turn_page(self) -> None:
        if self._day.date != (today := self.today()):
            self._day = Day(today)

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
        if self._file is None or self.total == self._saved:
            return
        text, self._saved = msgspec.json.encode(self._day), self.total
        try:
            await trio.to_thread.run_sync(_write, self._file, text)
        except OSError as error:
            log.warning("spending.unsaved", file=self._file.name, error=str(error))


def _write(file: Path, text: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_suffix(".new")
    fresh.write_bytes(text)
    fresh.replace(file)
