"""Whole conversations against their golden journals: what happened, and what was done about it, fact by fact.

`python -m tests.test_golden` writes the journals anew; a commit that changes one says why.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from aura.core.errors import Unavailable
from aura.core.journal import Entry, Header, decode, encode, first_divergence
from tests.script import Scene, stage

GOLDEN = Path(__file__).parent / "golden"
ANSWER = "It opens at nine. The last entry is at five, and on Sundays it is closed all day long."
Script = Callable[[Scene], Awaitable[None]]


async def plain(scene: Scene) -> None:
    """A question and its answer."""
    await scene.user.says(1.2, "what time does the museum open")
    await scene.user.until("speaking")
    await scene.user.until("idle")


async def barge_in(scene: Scene) -> None:
    """The answer is interrupted by another question."""
    await scene.user.says(1.0, "what time does the museum open")
    await scene.user.until("speaking")
    await scene.user.silent(1.5)
    await scene.user.says(1.2, "wait, how much is a ticket")
    await scene.user.until("speaking")
    await scene.user.until("idle")


async def backchannel(scene: Scene) -> None:
    """The user says that they are still there."""
    await scene.user.says(1.0, "what time does the museum open")
    await scene.user.until("speaking")
    await scene.user.silent(1.5)
    await scene.user.says(0.3, "mm hmm")
    await scene.user.until("idle")


async def hesitation(scene: Scene) -> None:
    """A pause in the middle of a sentence."""
    await scene.user.says(0.8, "what time does the")
    await scene.user.silent(0.6)
    await scene.user.says(0.8, "what time does the museum open")
    await scene.user.until("speaking")
    await scene.user.until("idle")


async def failure(scene: Scene) -> None:
    """The model is down for good."""
    scene.chat.answers[:] = [Unavailable("down")] * 4
    await plain(scene)


SCRIPTS: dict[str, Script] = {script.__name__: script for script in (plain, barge_in, backchannel, hesitation, failure)}


async def played(script: Script) -> bytes:
    """The journal of a script, without times."""
    async with stage([ANSWER, "Ten euros.", "Ten euros."], first_token_s=0.2, token_s=0.03) as scene:
        await script(scene)
    lines = [encode(Header("golden", ""))]
    for fact in scene.facts:
        step = fact.step
        lines.append(encode(Entry(fact.n, 0.0, fact.event, step.was, step.now, step.effects, step.verdict)))  # type: ignore[arg-type]
    return b"".join(lines)


@pytest.mark.parametrize("name", SCRIPTS)
async def test_the_journal_is_the_golden_one(autojump_clock: MockClock, name: str) -> None:
    made = decode(await played(SCRIPTS[name]))
    golden = decode((GOLDEN / f"{name}.jsonl").read_bytes())

    assert first_divergence(golden.entries, made.entries) is None


def main() -> None:
    """Write the golden journals."""
    for name, script in SCRIPTS.items():
        journal = trio.run(played, script, clock=MockClock(autojump_threshold=0))
        (GOLDEN / f"{name}.jsonl").write_bytes(journal)


if __name__ == "__main__":
    main()
