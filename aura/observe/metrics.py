"""Every number that AURA shows an operator, declared in one table.

Counting is a dictionary addition, so that it may be done at every event. `prometheus_client` is imported at the first
scrape (it takes 70 ms) and only writes the text format.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

LATENCY_S = (0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0, 1.2, 1.5, 2.0, 3.0, 5.0, 10.0)
"""Buckets around the budgets of a conversation: 0.2-0.35 s for stopping, 0.9-1.2 s from voice to voice."""
WAIT_S = (0.001, 0.01, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
STALL_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
LENGTH_S = (1.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
ENGINE = ("part", "provider", "model")
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Name = Literal[
    "conversations_open",
    "conversations",
    "conversations_refused",
    "auth_failures",
    "conversation_seconds",
    "turns",
    "barge_ins",
    "voice_to_voice_seconds",
    "stage_seconds",
    "errors",
    "events_late",
    "loop_stall_seconds",
    "bytes_received",
    "bytes_sent",
    "clients_slow",
    "clients_flooding",
    "protocol_violations",
    "provider_calls",
    "provider_ttft_seconds",
    "provider_hedges",
    "provider_failovers",
    "provider_retries",
    "provider_cost_usd",
    "provider_healthy",
    "breaker_state",
    "breaker_changes",
    "rate_left",
    "throttle_wait_seconds",
    "throttle_waiting",
    "throttle_refused",
    "cache_requests",
    "cache_bytes",
]


class Declared(msgspec.Struct, frozen=True):
    """One metric. With buckets it is a histogram."""

    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


METRICS: dict[Name, Declared] = {
    "conversations_open": Declared("gauge", "Conversations going on."),
    "conversations": Declared("counter", "Conversations begun."),
    "conversations_refused": Declared("counter", "Conversations refused.", ("code",)),
    "auth_failures": Declared(
        "counter", "API keys refused: missing, wrong, revoked, expired, scope, locked_out.", ("reason",)
    ),
    "conversation_seconds": Declared("histogram", "Length of a conversation.", (), LENGTH_S),
    "turns": Declared("counter", "User turns committed."),
    "barge_ins": Declared("counter", "Speech over a reply.", ("decision",)),
    "voice_to_voice_seconds": Declared("histogram", "End of the user's speech to first reply audio.", (), LATENCY_S),
    "stage_seconds": Declared(
        "histogram",
        "Time a stage takes: stt, llm_first_token, first_sentence, tts_first_audio, playout.",
        ("stage",),
        LATENCY_S,
    ),
    "errors": Declared("counter", "Failures of engines.", ("provider", "code")),
    "events_late": Declared("counter", "Events of an old turn, dropped."),
    "loop_stall_seconds": Declared("histogram", "Steps of a task that blocked the event loop.", (), STALL_S),
    "bytes_received": Declared("counter", "WebSocket bytes from clients."),
    "bytes_sent": Declared("counter", "WebSocket bytes to clients."),
    "clients_slow": Declared("counter", "Conversations closed because the client did not read."),
    "clients_flooding": Declared("counter", "Conversations closed because the client sent too many messages."),
    "protocol_violations": Declared("counter", "Events against the protocol, if it is checked.", ("rule",)),
    "provider_calls": Declared(
        "counter", "Calls of engines: ok, cancelled, or the error's code.", (*ENGINE, "outcome")
    ),
    "provider_ttft_seconds": Declared("histogram", "Time to the first token, audio or words.", ENGINE, LATENCY_S),
    "provider_hedges": Declared("counter", "Calls beside one that was slow.", ("part", "provider")),
    "provider_failovers": Declared("counter", "Calls in place of one that failed elsewhere.", ("part", "provider")),
    "provider_retries": Declared("counter", "Calls made again after a failure.", ("part", "provider")),
    "provider_cost_usd": Declared(
        "counter", "US dollars spent: stated by the engine, priced, or guessed.", (*ENGINE, "basis")
    ),
    "provider_healthy": Declared("gauge", "1: it has answered and may be asked, 0: not.", ENGINE),
    "breaker_state": Declared("gauge", "0: closed, 1: half open, 2: open.", ENGINE),
    "breaker_changes": Declared(
        "counter", "Circuit breakers that became closed, open, half_open, probing.", (*ENGINE, "state")
    ),
    "rate_left": Declared("gauge", "Share of an account's limits that is left, 0-1.", (*ENGINE, "limit")),
    "throttle_wait_seconds": Declared("histogram", "Wait for a free slot before a call.", ("provider",), WAIT_S),
    "throttle_waiting": Declared("gauge", "Calls that wait for a free slot.", ("provider",)),
    "throttle_refused": Declared("counter", "Calls that waited for a free slot in vain.", ("provider",)),
    "cache_requests": Declared(
        "counter", "Requests to the caches (audio, replies): hit, shared, miss, corrupt.", ("cache", "result")
    ),
    "cache_bytes": Declared("gauge", "What the caches hold.", ("cache",)),
}


class Histogram:
    """Observations of one metric with one set of label values."""

    __slots__ = ("buckets", "counts", "longest", "total")

    def __init__(self, buckets: tuple[float, ...]) -> None:
        self.buckets = buckets
        self.counts = [0] * (len(buckets) + 1)
        self.total = 0.0
        self.longest = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.buckets, value)] += 1
        self.total += value
        self.longest = max(self.longest, value)

    def cumulative(self) -> Iterator[tuple[str, float]]:
        """Prometheus buckets: upper bound and how many values are not above it."""
        so_far = 0
        for bound, count in zip((*self.buckets, float("inf")), self.counts, strict=True):
            so_far += count
            yield ("+Inf" if bound == float("inf") else repr(bound)), so_far


class Metrics:
    """The metrics of one process. `labels` are the values of the declared labels, in that order."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, ...], float] = {(n,): 0 for n, d in METRICS.items() if not d.labels}
        self._histograms: dict[tuple[str, ...], Histogram] = {}
        for name, declared in METRICS.items():
            if declared.kind == "histogram" and not declared.labels:
                self._histograms[(name,)] = Histogram(declared.buckets)

    def add(self, name: Name, *labels: str, by: float = 1) -> None:
        """Count: a counter goes up, a gauge either way."""
        key = (name, *labels)
        self._numbers[key] = self._numbers.get(key, 0) + by

    def set(self, name: Name, value: float, *labels: str) -> None:
        """Show a gauge as it is now."""
        self._numbers[(name, *labels)] = value

    def observe(self, name: Name, seconds: float, *labels: str) -> None:
        """Note one duration."""
        histogram = self._histograms.get((name, *labels))
        if histogram is None:
            histogram = self._histograms[(name, *labels)] = Histogram(METRICS[name].buckets)
        histogram.observe(seconds)

    def value(self, name: Name, *labels: str) -> float:
        """A counter or gauge as it is now; of a histogram how many values it has."""
        histogram = self._histograms.get((name, *labels))
        return self._numbers.get((name, *labels), 0) if histogram is None else sum(histogram.counts)

    def longest(self, name: Name, *labels: str) -> float:
        """The largest value that a histogram has seen."""
        histogram = self._histograms.get((name, *labels))
        return 0.0 if histogram is None else histogram.longest

    def text(self) -> bytes:
        """All metrics in Prometheus' text format (`CONTENT_TYPE`)."""
        from prometheus_client import CollectorRegistry, generate_latest

        registry = CollectorRegistry()
        registry.register(self._collector())
        return generate_latest(registry)

    def _collector(self) -> Collector:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
        from prometheus_client.registry import Collector

        metrics = self

        class Snapshot(Collector):
            def collect(self) -> Iterator[Metric]:
                for name, declared in METRICS.items():
                    title = f"aura_{name}"
                    if declared.kind == "histogram":
                        histograms = HistogramMetricFamily(title, declared.help, labels=declared.labels)
                        for key, histogram in metrics._histograms.items():
                            if key[0] == name:
                                histograms.add_metric(key[1:], list(histogram.cumulative()), histogram.total)
                        yield histograms
                        continue
                    family = CounterMetricFamily if declared.kind == "counter" else GaugeMetricFamily
                    numbers = family(title, declared.help, labels=declared.labels)
                    for key, number in metrics._numbers.items():
                        if key[0] == name:
                            numbers.add_metric(key[1:], number)
                    yield numbers
                longest = GaugeMetricFamily("aura_loop_stall_seconds_max", "The longest such step.")
                longest.add_metric((), metrics.longest("loop_stall_seconds"))
                yield longest

        return Snapshot()
