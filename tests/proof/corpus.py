"""A few short conversations that guard every change: recorded once, replayed by every test run.

They are recorded with the clips that AURA ships, from a server of its own, and lie in `corpus/`. A change that alters
behaviour on purpose records them anew (`python -m tests.proof record-corpus`) and says why in its commit.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

import msgspec
import trio
from rich.console import Console

from tests.fakes.openai_server import Answer, FakeOpenAI, chat, failure, speech, transcript
from tests.proof import again, arithmetic, coverage
from tests.proof.engines import ANSWERS, SHORT_DEADLINES, STALL_S, STORY, Engines, buzz, engines, options
from tests.proof.houses import House, server
from tests.proof.people import Device, Person, on_the_phone

FOLDER = Path(__file__).parent / "corpus"
LARGEST_BYTES = 1_500_000
"""All of it."""


class Piece(msgspec.Struct, frozen=True):
    """One conversation."""

    name: str
    play: Callable[[Person], Awaitable[None]]
    holds: frozenset[str]
    """What it is there for, in the words of `coverage`."""
    device: Device = Device("pcm16", 16_000, piece_ms=60)
    heard: str = "tell me a short story"
    answer: str = ANSWERS[0]
    chat: tuple[Answer, ...] = ()
    """Come before the steady answer."""
    tts: tuple[Answer, ...] = ()


def install(fake: FakeOpenAI, piece: Piece) -> None:
    """Let the fake answer as the conversation wants it."""
    fake.default["stt"] = lambda _: transcript(piece.heard, head_delay_s=0.05)
    fake.default["chat"] = lambda _: chat(piece.answer, ttft_s=0.1)
    fake.default["tts"] = lambda seen: speech(buzz(0.05 * len(seen.json["input"])), ttfb_s=0.05)
    for kind, answers in (("chat", piece.chat), ("tts", piece.tts)):
        fake.queue[kind].clear()  # type: ignore[index]
        fake.queue[kind].extend(answers)  # type: ignore[index]


# ---- what is said -------------------------------------------------------------------------------------------------


def clip(who: Person, name: str) -> float:
    """Say one of the shipped clips; when its speech will end."""
    every = (*who.speech.plain, *who.speech.halting, *who.speech.short, *who.speech.noise)
    return who.begin(next(clip for clip in every if clip.id == name))


async def asks(who: Person, name: str = "ask_story") -> None:
    """Ask, and wait for the answer to begin."""
    assert await who.reply_begins(clip(who, name), 6.0)


async def barge_in(who: Person) -> None:
    """Interrupts a story with one word."""
    await asks(who)
    await who.wait(0.8)
    await asks(who, "right")
    await who.wait(1.0)


async def backchannel(who: Person) -> None:
    """Says okay, and coughs, while it listens."""
    await asks(who)
    await who.wait(0.4)
    clip(who, "okay")
    await who.wait(2.2)
    clip(who, "cough")
    await who.wait(1.5)


async def apology(who: Person) -> None:
    """The model is down: tried again, then apologised for."""
    await asks(who, "ask_time")
    await who.wait(1.5)


async def tool(who: Person) -> None:
    """Typed; the answer needs a sum. The voice stalls."""
    await who.call.send_text("What is 50 + 50?")
    await who.reply_begins(0.0, 5.0)
    await who.wait(1.5)


async def push_to_talk(who: Person) -> None:
    """A stock client that ends its turns itself, cancels, and says what it has heard."""
    await who.call.update(audio={"input": {"turn_detection": None}})
    await who.until(lambda: trio.current_time() > clip_end, (clip_end := clip(who, "ask_time")) - trio.current_time())
    await who.call.commit()
    await who.call.send("response.create")
    assert await who.reply_begins(0.0, 5.0)
    await who.wait(0.7)
    await who.call.cancel()
    await who.call.truncate(who.item, 500)
    await who.raw('{"type":"no.such.event"}')
    await who.wait(0.4)


async def hesitation(who: Person) -> None:
    """Thinks in the middle of the sentence, and then has no time for the answer; on a telephone."""
    await asks(who, "arithmetic")
    await who.wait(0.5)
    clip(who, "ask_story")
    await who.wait(1.5)


async def gone(who: Person) -> None:
    """The microphone fails in the middle of a word, comes back, and the client is gone."""
    clip(who, "ask_story")
    await who.wait(0.9)
    who.muted = True
    await who.wait(0.7)
    who.muted = False
    clip(who, "thanks")
    await who.wait(0.8)
    await who.call.link.cut()


async def lost(who: Person) -> None:
    """The network breaks off in the middle of an answer; the client comes back and hears the rest."""
    await asks(who, "ask_time")
    await who.wait(0.6)
    await who.cut()
    await who.wait(2.5)


SUM = [{"index": 0, "id": "call_0", "type": "function",
        "function": {"name": "calculate", "arguments": '{"expression": "50 + 50"}'}}]  # fmt: skip
DOWN = failure("chat", 503, {"error": "down"})
STOCK = Device("pcm16", 24_000, binary=False, events=False, piece_ms=100)

PIECES = (
    # first, so that the server has given it up when the others are over
    Piece("gone", gone, frozenset({"stopped sending", "vanished"}), Device("pcma", 8_000, binary=False, piece_ms=40)),
    Piece("barge_in", barge_in, frozenset({"barge-in: words", "acknowledged"}), answer=STORY),
    Piece(
        "backchannel", backchannel, frozenset({"not meant: backchannel", "brake", "odd pieces"}),
        Device("pcm16", 16_000, odd=True), heard="okay", answer=STORY,
    ),
    Piece(
        "apology", apology, frozenset({"retry", "apology", "failed: unavailable", "failed: timed_out"}),
        chat=(DOWN, Answer("chat", [], head_delay_s=STALL_S), DOWN, DOWN),
    ),
    Piece(
        "tool", tool, frozenset({"tool", "typed", "failed: timed_out", "in speak"}),
        chat=(chat("", ttft_s=0.1, finish="tool_calls", tool_deltas=[SUM]),),
        tts=(speech(buzz(0.5), ttfb_s=0.05, after="hold"),),
    ),
    Piece(
        "push_to_talk", push_to_talk,
        frozenset({"push to talk", "turn answered when asked", "cut off by the client", "truncated", "protocol error"}),
        STOCK, answer=ANSWERS[3],
    ),
    Piece(
        "telephone", hesitation, frozenset({"draft dropped", "barge-in: sustained"}),
        Device("pcmu", 8_000, piece_ms=60), answer=STORY,
    ),
    Piece(
        "lost", lost, frozenset({"connection lost", "came back"}), Device("pcm16", 16_000, piece_ms=60),
        answer=ANSWERS[1],
    ),
)  # fmt: skip


# ---- recording ----------------------------------------------------------------------------------------------------


async def play(house: House, piece: Piece) -> str:
    """Hold one conversation; returns its id."""
    ident = ""
    with trio.fail_after(30):
        async with on_the_phone(house.url, piece.device, Random(1), shared=False) as who:
            ident = str(who.call.session["id"])
            await who.wait(0.5)
            await piece.play(who)
    return ident


async def record_into(folder: Path, fake: Engines) -> dict[str, Path]:
    """Record all of them; the folders by name."""
    idents = {}
    async with server(folder, *options(fake), *SHORT_DEADLINES) as house:
        for piece in PIECES:
            install(fake, piece)
            idents[piece.name] = await play(house, piece)
    folders = {path.name: path for path in house.recordings()}
    return {name: folders[ident] for name, ident in idents.items()}


async def record_anew(folder: Path) -> dict[str, Path]:
    """The same with engines of its own."""
    async with engines() as fake:
        return await record_into(folder, fake)


def record(console: Console) -> int:
    """`python -m tests.proof record-corpus`; the exit code."""
    again.be_quiet()
    with tempfile.TemporaryDirectory(prefix="aura-corpus-") as temporary:
        made = trio.run(record_anew, Path(temporary))
        problems = [problem for piece in PIECES for problem in wrong(piece, made[piece.name])]
        size = sum(file.stat().st_size for folder in made.values() for file in folder.iterdir())
        if size > LARGEST_BYTES:
            problems.append(f"{size} bytes are too many: {LARGEST_BYTES} at most")
        for problem in problems:
            console.print(f"[red]✗[/red] {problem}")
        if problems:
            return 1
        shutil.rmtree(FOLDER, ignore_errors=True)
        for name, folder in made.items():
            shutil.copytree(folder, FOLDER / name)
        arithmetic.keep()
    console.print(f"{len(PIECES)} conversations, {size / 1e6:.2f} MB, in {FOLDER}: say in the commit why they changed")
    return 0


def wrong(piece: Piece, folder: Path) -> list[str]:
    """What is wrong with a conversation."""
    result = again.run_again(folder)
    found = coverage.happened(folder)
    missing = sorted(piece.holds - set(found))
    problems = [f"{piece.name}: {result.divergence}"] if result.divergence else []
    problems += [f"{piece.name}: it breaks off"] if not result.complete else []
    return problems + ([f"{piece.name}: it holds no {', no '.join(missing)}, but {dict(found)}"] if missing else [])
