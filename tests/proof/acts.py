"""What people do on the phone: patient ones, hasty ones, and those whose client is broken.

A conversation is a few acts and an ending, drawn at random. An act says or does something and waits for what comes of
it; whatever goes wrong on the way is part of the conversation.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from random import Random

import trio
from wsproto.utilities import LocalProtocolError

from aura.client import CallError
from tests.proof.decks import Deck
from tests.proof.modern import asides, functions, lost, patient, written
from tests.proof.people import Person, any_device, on_the_phone
from tests.proof.speech import shortened

LONGEST_S = 20.0
"""A conversation is over after this time, wherever it stands."""
GIVES_UP = (CallError, trio.BusyResourceError, trio.BrokenResourceError, trio.ClosedResourceError, LocalProtocolError)
"""What a client's library may raise when the other side ends or blocks the connection."""

Act = Callable[[Person], Awaitable[object]]


# ---- acts ---------------------------------------------------------------------------------------------------------


async def plain(who: Person) -> None:
    """A question, and its answer heard out."""
    await who.ask()
    await who.heard_out()


async def halting(who: Person) -> None:
    """A question with pauses for thought."""
    await who.ask(who.rng.choice(who.speech.halting))


async def barge_in(who: Person) -> None:
    """Somebody knows better."""
    await who.ask()
    await who.wait(who.rng.uniform(0.1, 1.2))
    briefly = who.rng.random() < 0.4
    end = who.begin(who.rng.choice(who.speech.short) if briefly else who.speech.interruption(who.rng))
    await who.reply_begins(end, end - trio.current_time() + 3.0)


async def barge_in_on_thinking(who: Person) -> None:
    """Speaks on before the answer comes."""
    end = who.begin(who.rng.choice(who.speech.plain))
    await who.wait(end - trio.current_time() + who.rng.uniform(0.5, 1.1))
    end = who.begin(who.rng.choice((*who.speech.short, who.speech.interruption(who.rng))))
    await who.reply_begins(end, end - trio.current_time() + 3.0)


async def backchannel(who: Person) -> None:
    """Uh-huh, or a single word."""
    await who.ask()
    for _ in range(2):
        await who.wait(who.rng.uniform(0.3, 0.8))
        end = who.begin(who.rng.choice(who.speech.short))
        await who.wait(end - trio.current_time() + 0.6)


async def cough(who: Person) -> None:
    """A noise over the answer, or instead of a question."""
    if who.rng.random() < 0.8:
        await who.ask()
        await who.wait(who.rng.uniform(0.2, 0.8))
    who.begin(shortened(who.speech.noise, who.rng))
    await who.wait(2.5)


async def typed(who: Person) -> None:
    """Writes instead of speaking."""
    await who.call.send_text(who.rng.choice(("What is 50 + 50?", "Hi!", "Où est la gare – s'il vous plaît? 🚆")))
    if who.rng.random() < 0.5:
        await who.reply_begins(trio.current_time(), 3.0)
        await who.call.send_text("And then?")  # while the answer is spoken: refused
    await who.reply_begins(trio.current_time(), 2.0)


async def push_to_talk(who: Person) -> None:
    """Says itself when it is finished."""
    await who.call.update(audio={"input": {"turn_detection": None}})
    for _ in range(who.rng.choice((1, 2))):
        end = who.begin(who.rng.choice(who.speech.plain))
        await who.wait(end - trio.current_time() + 0.2)
        await who.call.commit()
        if who.rng.random() < 0.85:
            await who.call.send("response.create")
            await who.reply_begins(trio.current_time(), 3.0)
    await who.call.commit()
    await who.detect()


async def cancel(who: Person) -> None:
    """Presses stop."""
    began = await who.ask()
    await who.wait(who.rng.uniform(0.0, 0.8))
    if began and who.rng.random() < 0.4:
        await who.call.send("response.cancel", response_id=who.response)
    else:
        await who.call.cancel()
    await who.wait(0.5)
    await who.call.cancel()  # there is nothing to cancel
    await who.call.send("response.cancel", response_id="resp_nobody_knows")


async def truncate(who: Person) -> None:
    """As stock clients do after an interruption."""
    await who.ask()
    await who.wait(0.6)
    if who.item:
        await who.call.truncate(who.item, who.rng.choice((0, 350, 700, 99_999)))
    await who.call.truncate("item_nobody_knows", 10)
    await who.wait(0.5)


async def change(who: Person) -> None:
    """Other settings while the conversation goes on."""
    update = who.call.update
    end = who.begin(who.rng.choice(who.speech.plain))
    await who.wait(who.rng.uniform(0.2, 2.0))
    changes: tuple[Callable[[], Awaitable[None]], ...] = (
        lambda: update(audio={"output": {"voice": "verse", "speed": 1.2}}),
        lambda: who.detect(silence_duration_ms=900, threshold=0.6, prefix_padding_ms=200),
        lambda: update(audio={"input": {"turn_detection": {"type": "semantic_vad", "eagerness": "high"}}}),
        lambda: update(instructions="Answer like a pirate."),
        lambda: update(audio={"input": {"transcription": None}}, max_output_tokens=40),
        lambda: update(audio={"output": {"format": {"type": "audio/pcm", "rate": 16_000}}}),
    )
    for act in who.rng.sample(changes, 2):
        await act()
    await who.reply_begins(end, end - trio.current_time() + 3.0)


async def unasked(who: Person) -> None:
    """Wants answers only when it asks for them."""
    await who.detect(create_response=False)
    end = who.begin(who.rng.choice(who.speech.plain))
    await who.wait(end - trio.current_time() + 1.5)
    await who.call.send("response.create", response={"metadata": {"mine": "1"}})
    await who.reply_begins(trio.current_time(), 2.5)
    who.begin(who.speech.interruption(who.rng))
    await who.wait(2.5)
    await who.detect(create_response=True)


DECEPTIVE = (
    '{"type":"conversation.item.create","item":{"type":"message","role":"user","content":'
    '[{"type":"input_text","text":"\\"type\\":\\"input_audio_buffer.append\\""}]}}'
)
"""Looks like audio at first glance."""
JUNK: tuple[str | bytes, ...] = (
    "{", "[]", '{"type": 5}', '{"type":"no.such.event"}', '{"type":"session.update","session":3}',
    '{"type":"input_audio_buffer.append","audio":"%%%"}', '{"type":"input_audio_buffer.append","audio":""}',
    '{"audio":"AAAA","x":1,"type" : "input_audio_buffer.append","event_id":"é\\u0000"}', "\x00" * 50, b"", b"\x01",
    '{"type":"input_audio_buffer.append","audio":"AAA="}', "🙂", '{"type":"aura.resume","session_id":"x"}',
    DECEPTIVE, "[" * 3000,
)  # fmt: skip


async def junk(who: Person) -> None:
    """Messages that are none."""
    for message in who.rng.sample(JUNK, 9):
        await who.raw(message)
        if who.rng.random() < 0.3:
            await who.wait(0.1)


async def flood(who: Person) -> None:
    """Far too many messages, and far too small ones."""
    who.begin(who.rng.choice(who.speech.plain))
    for i in range(300):
        if who.rng.random() < 0.5:
            await who.call.send("aura.playout.ack", item_id=who.item or "x", played_ms=i)
        else:
            await who.call.send_audio(b"\0\0" * who.rng.choice((1, 5, 40)))
        if i % 60 == 0:
            await who.wait(0.02)
    await who.wait(1.5)


async def mind_changed(who: Person) -> None:
    """Throws away what it has said, or closes it by hand."""
    who.begin(who.rng.choice(who.speech.plain))
    await who.wait(who.rng.uniform(0.6, 1.8))
    await who.call.send("input_audio_buffer.clear")
    who.begin(who.rng.choice(who.speech.plain))
    await who.wait(who.rng.uniform(0.9, 1.8))
    await who.call.commit()
    await who.call.send("response.create")
    await who.reply_begins(trio.current_time(), 2.5)


async def silent_microphone(who: Person) -> None:
    """Stops sending in the middle of a word."""
    if who.rng.random() < 0.4:
        await who.ask()
    who.begin(who.rng.choice(who.speech.plain))
    await who.wait(who.rng.uniform(0.5, 1.2))
    who.muted = True
    await who.wait(who.rng.uniform(0.5, 2.5))
    who.muted = False
    await who.wait(1.0)


async def deaf(who: Person) -> None:
    """Does not read for a while."""
    who.begin(who.rng.choice(who.speech.plain))
    who.deaf = True
    await who.wait(who.rng.uniform(1.5, 3.0))
    who.deaf = False
    await who.wait(1.0)


async def gardening(who: Person) -> None:
    """Puts things into the history, looks at them, and takes them out."""
    content = [{"type": "input_text", "text": "My name is Ada."}]
    item = {"id": "mine", "type": "message", "role": "user", "content": content}
    await who.call.send("conversation.item.create", item=item)
    await who.call.send("conversation.item.create", item=item)
    await who.call.ask_for_item("mine")
    await who.ask()
    await who.call.send("conversation.item.delete", item_id="mine")
    if who.item:
        await who.call.ask_for_item(who.item)
        await who.call.send("conversation.item.delete", item_id=who.item)
    await who.call.send("conversation.item.delete", item_id="nobody")
    await who.heard_out()


async def timer(who: Person) -> None:
    """Wants to be told when the time is up, or not after all (needs the offline assistant)."""
    await who.call.send_text("Set a timer for two seconds.")
    await who.reply_begins(trio.current_time(), 3.0)
    if who.rng.random() < 0.3:
        await who.heard_out()
        await who.call.send_text("Cancel the timer.")
    else:
        who.begin(who.rng.choice(who.speech.plain))  # the announcement has to wait
    await who.wait(5.0)


ACTS: tuple[tuple[Act, int], ...] = (
    (plain, 3), (halting, 2), (barge_in, 5), (barge_in_on_thinking, 2), (backchannel, 4), (cough, 2), (typed, 2),
    (push_to_talk, 2), (cancel, 2), (truncate, 2), (change, 2), (unasked, 2), (junk, 2), (flood, 1),
    (mind_changed, 2), (silent_microphone, 2), (deaf, 1), (gardening, 1), (patient, 2), (functions, 2),
    (asides, 2), (written, 1), (lost, 3),
)  # fmt: skip


# ---- endings ------------------------------------------------------------------------------------------------------


async def polite(who: Person) -> None:
    """Hangs up."""
    await who.heard_out()


async def hasty(who: Person) -> None:
    """Hangs up in mid-sentence."""
    await who.ask()


async def vanish(who: Person) -> None:
    """Is gone without a word, while it speaks or is spoken to."""
    if who.rng.random() < 0.5:
        await who.ask()
    who.begin(who.rng.choice(who.speech.plain))
    await who.wait(who.rng.uniform(0.1, 0.9))
    await who.cut()


async def broken_frame(who: Person) -> None:
    """Sends what is no WebSocket frame (text that is not UTF-8)."""
    await who.ask()
    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError, AttributeError):
        await who.call.link.stream.send_all(b"\x81\x84\0\0\0\0\xff\xfe\xff\xfe")
    await who.wait(1.0)


async def never_reads(who: Person) -> None:
    """Asks for more and more and reads nothing of it."""
    who.deaf = True
    with trio.move_on_after(8.0):
        for _ in range(400):
            await who.call.update(instructions="Speak. " * 8000)
    await who.wait(3.0)


ENDINGS: tuple[tuple[Act, int], ...] = ((polite, 8), (hasty, 3), (vanish, 5), (broken_frame, 1), (never_reads, 1))


# ---- a conversation -----------------------------------------------------------------------------------------------

Script = Callable[[], tuple[Act, ...]]
"""Draws what somebody does; the last is how they end it."""


def anything(rng: Random) -> Script:
    """One or two acts and an ending."""
    acts, endings = Deck(ACTS, rng), Deck(ENDINGS, rng)
    return lambda: (*(acts.draw() for _ in range(rng.choice((1, 2, 2)))), endings.draw())


def with_timers(rng: Random) -> Script:
    """What only the offline assistant can do, and an interruption."""
    return lambda: (timer, rng.choice((barge_in, plain)), polite)


DELICATE: tuple[tuple[Act, int], ...] = ((backchannel, 4), (barge_in, 3), (cough, 3), (truncate, 2), (cancel, 1))
"""What needs a server that keeps up."""


def delicate(rng: Random) -> Script:
    """Two of them."""
    deck = Deck(DELICATE, rng)
    return lambda: (deck.draw(), deck.draw(), polite)


async def converse(url: str, seed: int, script: Script, *, longest_s: float = LONGEST_S) -> None:
    """One conversation, from the call to its end; the server may end it at any moment."""
    rng = Random(seed)
    *before, ending = script()
    with trio.move_on_after(longest_s):
        try:
            async with on_the_phone(url, any_device(rng), rng) as who:
                with trio.move_on_after(longest_s * 0.7):
                    await who.wait(rng.uniform(0.1, 0.6))
                    for act in before:
                        await act(who)
                if who.gone is None:
                    await ending(who)
        except* GIVES_UP:
            pass  # the server is draining or dead, has hung up on somebody who deserved it, or takes no more
