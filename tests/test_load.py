"""The load test itself works: its server serves, its readers read. Its figures are judged by the command, not here."""

from __future__ import annotations

import pytest
import trio

from tests.load import streams


# Not "openai": each stream that it reads to the end leaves four ResourceWarnings, which are errors here.
@pytest.mark.parametrize("reader", ["bare", "aura", "router", "openai-raw"])
def test_every_reader_gets_all_chunks(reader: str) -> None:
    with streams.server(20, 0.002) as port:
        found = trio.run(streams.run, reader, 3, 1, port)
    assert found.us > 0


def test_a_step_that_takes_long_is_seen() -> None:
    steps = streams.LongestStep()

    async def busy() -> None:
        await trio.lowlevel.checkpoint()
        sum(range(1_500_000))
        await trio.lowlevel.checkpoint()

    trio.run(busy, instruments=[steps])
    assert steps.longest_s > 0.005
