"""Acts of clients that know more of the protocol: functions, asides, text, patience; and of networks that break."""

from __future__ import annotations

import trio

from tests.proof.people import Person


async def patient(who: Person) -> None:
    """Speaks over the answer and does not want to interrupt it."""
    await who.detect(interrupt_response=False)
    await who.ask()
    await who.wait(who.rng.uniform(0.1, 0.6))
    end = who.begin(who.rng.choice(who.speech.plain))
    await who.wait(end - trio.current_time() + who.rng.uniform(0.5, 2.0))
    await who.detect(interrupt_response=True)


async def functions(who: Person) -> None:
    """Has functions of its own; the result may come late, or not at all."""
    await who.call.update(tools=[{"type": "function", "name": "no_such_tool"}])
    for _ in range(3):
        who.function = ""
        await who.call.send_text("Look it up, please.")
        await who.until(lambda: bool(who.function), 2.0)
        if who.function:
            await who.wait(who.rng.uniform(0.0, 0.8))
            output = {"type": "function_call_output", "call_id": who.function, "output": "42"}
            await who.call.send("conversation.item.create", item=output)
            await who.call.send("response.create")
            await who.reply_begins(trio.current_time(), 2.0)
            return
        await who.call.cancel()


async def asides(who: Person) -> None:
    """Wants something beside the conversation, written and spoken."""
    await who.ask()
    content = [{"type": "input_text", "text": "What is this about?"}]
    asked = {"conversation": "none", "input": [{"type": "message", "role": "user", "content": content}]}
    await who.call.send("response.create", response={**asked, "output_modalities": ["text"], "metadata": {"a": "b"}})
    await who.wait(who.rng.uniform(0.0, 0.3))
    await who.call.send("response.create", response=asked)
    await who.wait(who.rng.uniform(0.1, 0.8))
    if who.rng.random() < 0.9:
        await who.call.send("response.cancel", response_id=who.response)
    await who.heard_out()


async def written(who: Person) -> None:
    """Reads the answers."""
    await who.call.update(output_modalities=["text"])
    await who.call.send_text("Hi!")
    await who.wait(who.rng.uniform(0.3, 1.5))
    who.begin(who.rng.choice(who.speech.plain))
    await who.wait(2.0)
    await who.call.update(output_modalities=["audio"])


async def lost(who: Person) -> None:
    """The network breaks off, in the middle of a question or of an answer; the client comes back by itself."""
    if who.rng.random() < 0.6:
        await who.ask()
        await who.wait(who.rng.uniform(0.0, 0.6))
    else:
        who.begin(who.rng.choice(who.speech.plain))
        await who.wait(who.rng.uniform(0.4, 1.5))
    await who.cut()
    await who.wait(who.rng.uniform(1.0, 2.5))
    await who.heard_out()
