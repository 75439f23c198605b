"""reply deltas → sentences: the first phrase early, the rest in whole sentences."""

from __future__ import annotations

from collections.abc import Callable

import trio

from aura.core.data import Phrase
from aura.core.sentences import Sentence, SentenceSplitter


async def phrase(
    words: trio.MemoryReceiveChannel[str],
    sentences: trio.MemorySendChannel[Phrase],
    splitter: SentenceSplitter,
    note: Callable[[Phrase], None],
) -> None:
    """Cut the deltas into sentences until there are no more; `note` learns of each before it is passed on."""
    index = 0

    async def send(ready: list[Sentence]) -> None:
        nonlocal index
        for sentence in ready:
            piece = Phrase(index, sentence.text, sentence.spoken)
            index += 1
            note(piece)
            await sentences.send(piece)

    with words, sentences:
        async for delta in words:
            await send(splitter.push(delta))
        await send(splitter.finish())
