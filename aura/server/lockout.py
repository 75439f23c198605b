"""Who tried too many wrong keys."""

from __future__ import annotations

from collections import OrderedDict, deque
from ipaddress import IPv6Address, ip_address

FAILURES_MAX = 8
FAILURES_S = 300.0
"""After so many wrong keys within so long, an address has to wait."""
ADDRESSES_MAX = 10_000


class Lockout:
    """Counts wrong keys by address, so that nobody can try many."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_s(self, address: str, now: float) -> float:
        """How long this address has to wait before it may try a key; 0: not at all."""
        failures = self._failures.get(network(address))
        while failures and failures[0] <= now - FAILURES_S:
            failures.popleft()
        return failures[0] + FAILURES_S - now if failures and len(failures) >= FAILURES_MAX else 0.0

    def failed(self, address: str, now: float) -> None:
        """A wrong key came from there."""
        failures = self._failures.setdefault(network(address), deque(maxlen=FAILURES_MAX))
        failures.append(now)
        self._failures.move_to_end(network(address))
        while len(self._failures) > ADDRESSES_MAX:
            self._failures.popitem(last=False)

    def forgive(self, address: str) -> None:
        """The right key came from there."""
        self._failures.pop(network(address), None)


def network(address: str) -> str:
    """Whom an address belongs to: one user has a whole /64 of IPv6."""
    try:
        known = ip_address(address)
    except ValueError:
        return address
    if isinstance(known, IPv6Address):
        inner = known.ipv4_mapped  # how IPv4 clients of a socket for both look
        return str(inner) if inner else str(IPv6Address(int(known) >> 64 << 64))
    return address
