"""Metrics, health and the stall watch."""

from __future__ import annotations

from time import perf_counter
from typing import get_args

import pytest
import trio
import trio.lowlevel
from prometheus_client.parser import text_string_to_metric_families

from aura.observe.health import Health
from aura.observe.metrics import METRICS, Metrics, Name
from aura.observe.stalls import PassWatch, StallWatch
from aura.providers.meter import BREAKER_STATES, UNMETERED, Counted, Measured, Meter, Shown


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """What a scraper reads."""
    return {
        (sample.name, *(f"{key}={value}" for key, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    }


def test_a_scraper_reads_what_was_counted() -> None:
    metrics = Metrics()
    metrics.add("turns")
    metrics.add("turns", by=2)
    metrics.add("conversations_open")
    metrics.add("conversations_open", by=-1)
    metrics.add("errors", "openai", "rate_limited")
    metrics.observe("stage_seconds", 0.15, "stt")
    metrics.observe("stage_seconds", 99.0, "stt")
    read = samples(metrics)
    assert read[("aura_turns_total",)] == 3
    assert read[("aura_conversations_open",)] == 0
    assert read[("aura_errors_total", "code=rate_limited", "provider=openai")] == 1
    assert read[("aura_stage_seconds_bucket", "le=0.1", "stage=stt")] == 0
    assert read[("aura_stage_seconds_bucket", "le=0.15", "stage=stt")] == 1
    assert read[("aura_stage_seconds_bucket", "le=+Inf", "stage=stt")] == 2
    assert read[("aura_stage_seconds_sum", "stage=stt")] == pytest.approx(99.15)
    assert metrics.value("stage_seconds", "stt") == 2


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_can_be_used_and_scraped(name: Name) -> None:
    metrics = Metrics()
    labels = METRICS[name].labels
    if METRICS[name].kind == "histogram":
        metrics.observe(name, 0.5, *labels)
    else:
        metrics.add(name, *labels)
    assert metrics.value(name, *labels) == 1
    assert any(key[0].startswith(f"aura_{name}") and value for key, value in samples(metrics).items())


def test_a_gauge_shows_what_was_set_last() -> None:
    metrics = Metrics()
    for state in ("open", "half_open", "probing"):
        metrics.set("breaker_state", BREAKER_STATES[state], "chat", "openai", "gpt")
    assert samples(metrics)[("aura_breaker_state", "model=gpt", "part=chat", "provider=openai")] == 1


def test_engines_can_count_with_the_metrics_of_the_process() -> None:
    meter: Meter = Metrics()  # mypy checks the same for names and arguments
    for names, kinds in ((Counted, {"counter"}), (Measured, {"histogram"}), (Shown, {"gauge"})):
        assert {METRICS[name].kind for name in get_args(names)} == kinds
    meter.add("cache_requests", "audio", "hit")
    assert isinstance(meter, Metrics)
    assert meter.value("cache_requests", "audio", "hit") == 1
    UNMETERED.add("cache_requests", "audio", "hit")


def test_an_untouched_metric_without_labels_is_shown_as_zero() -> None:
    read = samples(Metrics())
    assert read[("aura_conversations_total",)] == 0
    assert read[("aura_voice_to_voice_seconds_count",)] == 0


def test_health_names_what_is_not_ready() -> None:
    health = Health()
    health.add("stt workers", lambda: "1 of 2 started")
    health.add("disk", lambda: None)
    assert health.reasons() == {"stt workers": "1 of 2 started"}
    health.remove("stt workers")
    assert health.reasons() == {}


async def test_a_long_step_is_reported_with_its_task() -> None:
    seen: list[tuple[str, float]] = []
    watch = StallWatch(0.02, lambda task, seconds: seen.append((task, seconds)))

    async def hog() -> None:
        until = perf_counter() + 0.04
        while perf_counter() < until:
            pass
        await trio.lowlevel.checkpoint()

    trio.lowlevel.add_instrument(watch)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hog, name="hog")
        await trio.sleep(0.05)
    trio.lowlevel.remove_instrument(watch)
    assert any(task == "hog" and seconds >= 0.04 for task, seconds in seen)
    assert watch.longest_s >= 0.04


async def test_the_cheap_watch_sees_a_blocked_loop_and_calls_in_the_one_that_names_the_task() -> None:
    seen: list[tuple[str, float]] = []
    watch = PassWatch(0.02, lambda task, seconds: seen.append((task, seconds)))
    trio.lowlevel.add_instrument(watch)
    try:
        for _ in range(2):
            await trio.lowlevel.checkpoint()
            end = perf_counter() + 0.03
            while perf_counter() < end:
                pass
            await trio.sleep(0.001)
    finally:
        trio.lowlevel.remove_instrument(watch)

    assert seen[0][0] == "unknown"
    assert "test_the_cheap_watch" in seen[1][0]
    assert all(seconds > 0.02 for _, seconds in seen)
