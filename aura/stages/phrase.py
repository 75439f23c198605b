"""reply deltas → sentences: the first phrase early, the rest in whole sentences, a filler where there is none."""

from __future__ import annotations

from collections.abc import Callable

import trio

from aura.core.data import Phrase
from aura.core.sentences import Sentence, SentenceSplitter
from aura.stages.filler import Filler
from aura.stages.think import BREAKS_OFF, STANDS_ALONE


async def phrase(
    words: trio.MemoryReceiveChannel[str],
    sentences: trio.MemorySendChannel[Phrase],
    splitter: SentenceSplitter,
    note: Callable[[Phrase], None],
    filler: Filler | None = None,
) -> None:
    """Cut the deltas into sentences until there are no more; `note` learns of each before it is passed on."""
    index = 0

    async def send(ready: list[Sentence], *, is_filler: bool = False) -> None:
        nonlocal index
        for sentence in ready:
            text = filler.spaced(sentence.text, is_filler=is_filler, begun=index > 0) if filler else sentence.text
            piece = Phrase(index, text, sentence.spoken, is_filler)
            index += 1
            note(piece)
            await sentences.send(piece)

    with words, sentences:
        while True:
            try:
                delta = await (filler.next_words(words) if filler else words.receive())
            except trio.EndOfChannel:
                break
            if delta is None:
                text = filler.take() if filler else ""
                await send([Sentence(text, text)], is_filler=True)
            elif delta == BREAKS_OFF:
                await send(splitter.break_off())
            else:
                await send(splitter.finish() if delta == STANDS_ALONE else splitter.push(delta))
        await send(splitter.finish())
