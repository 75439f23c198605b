"""`aura demo`: a whole conversation with a server of our own, offline, and proof that what it should do happened.

A caller made of recordings asks for the time, makes a pause in the middle of a sum, and talks over a story.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec
import trio
from rich.console import Console
from rich.table import Table

from aura.client import Heard, connect
from aura.client.events import Event, Flush, ItemDone, ReplyCreated, ReplyText, TurnMetrics
from aura.config import Config
from aura.core.heard import LETTERS_PER_S
from aura.tools.caller import Caller, Spoken
from aura.tools.child import own_server
from aura.tools.recordings import Recorder, shipped
from aura.tools.view import View

Kind = TypeVar("Kind", bound=Event)
VOICE_TO_VOICE = "voice_to_voice"
SHORT = {"llm_first_token": "llm", "first_sentence": "sentence", "tts_first_audio": "tts"}
"""Column headings for an 80-column terminal; other stages keep the server's names."""
RATE_SLACK, LETTERS_SLACK = 1.35, 12
"""Sentences differ in speed; how many letters more than the average may have been heard."""
TIME = re.compile(
    r"\d|o'clock|\b(one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|half|quarter|noon|midnight)\b"
)
DATE = re.compile(
    "january|february|march|april|may|june|july|august|september|october|november|december|"
    "monday|tuesday|wednesday|thursday|friday|saturday|sunday"
)


class DemoSettings(msgspec.Struct, frozen=True):
    """What the demo waits for and calls a success."""

    answer_timeout_s: float = 10.0
    """An answer must begin within this time after the end of the question."""
    reply_max_s: float = 20.0
    """The longest answer that is heard out."""
    lead_s: float = 0.8
    """Silence before each question."""
    barge_in_after_s: float = 2.0
    """How long the story is listened to before it is interrupted."""
    stop_max_ms: float = 1000.0
    """The story must fall silent within this time after the true onset of the interruption."""
    heard_error_ms: float = 250.0
    """What the server believes was heard may differ from the truth by so much."""


class Check(msgspec.Struct, frozen=True):
    """One fact that makes a scenario a success."""

    what: str
    ok: bool
    detail: str = ""


class Turn(msgspec.Struct):
    """One question and its answer, measured."""

    name: str
    voice_to_voice_ms: float | None = None
    stages: dict[str, float] = {}
    stop_ms: float | None = None


def run(
    config: Config,
    out: Path | None,
    verbose: bool,
    *,
    settings: DemoSettings = DemoSettings(),  # noqa: B008  (frozen)
    console: Console | None = None,
) -> int:
    """Hold the conversation: 0 when everything happened, else 1. `out` is the stereo WAV to write.

    Without `out` the recording lies with journal and log in the data folder. Raises `AuraError`.
    """
    return trio.run(_run, config, out, verbose, settings, console or Console())


async def _run(config: Config, out: Path | None, verbose: bool, settings: DemoSettings, console: Console) -> int:
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    folder = (config.storage.data_dir / "demo" / stamp).absolute()
    recording = out or folder / "conversation.wav"
    console.print("[dim]starting a server with the offline engines[/dim]")
    async with own_server(config, folder) as address:
        show = await perform(f"{address.replace('http', 'ws', 1)}/v1/realtime", recording, verbose, settings, console)
    console.print(show.table())
    console.print(f"recording   {recording}  (left the caller, right what they heard)", soft_wrap=True)
    for journal in sorted((folder / "journals").glob("**/*.jsonl")):
        console.print(f"journal     {journal}", soft_wrap=True)
    console.print(f"server log  {folder / 'server.log'}", soft_wrap=True)
    good = all(check.ok for check in show.checks)
    console.print("[green]Everything happened.[/green]" if good else "[red]Not everything happened: see ✗ above.[/red]")
    return 0 if good else 1


async def perform(
    url: str,
    recording: Path,
    verbose: bool,
    settings: DemoSettings,
    console: Console,
    scenes: Mapping[Scene, str] | None = None,
) -> Show:
    """Hold the conversation with the server at `url`."""
    async with connect(url) as call:
        recorder = Recorder(call.rate_in_hz, call.playout.rate_hz, trio.current_time())
        caller = Caller(call, recorder.said)
        call.playout.sinks.append(lambda heard: recorder.heard(heard.at, heard.pcm))
        with View(console, verbose=verbose) as view:
            show = Show(caller, view, settings)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(caller.listen)
                nursery.start_soon(caller.speak)
                for number, (scene, title) in enumerate((scenes or SCENES).items(), 1):
                    console.rule(f"{number}. {title}", align="left")
                    await scene(show)
                    show.print_new_checks()
                nursery.cancel_scope.cancel()
        await trio.to_thread.run_sync(recorder.write, recording)
    return show


class Show:
    """The conversation as it goes on, and what has been found out about it."""

    def __init__(self, caller: Caller, view: View, settings: DemoSettings) -> None:
        self.caller, self.view, self.settings = caller, view, settings
        self.clips = shipped(caller.call.rate_in_hz)
        self.turns: list[Turn] = []
        self.checks: list[Check] = []
        self.heard: list[Heard] = []
        self.events: list[Event] = []
        self.texts: dict[str, str] = {}
        self._printed = 0
        caller.call.playout.sinks.append(self.heard.append)
        caller.watchers += [view, self.watch]

    def watch(self, event: Event) -> None:
        """Remember what the scenes look at, and the stages of a turn."""
        if isinstance(event, Flush | ItemDone | ReplyCreated | ReplyText):
            self.events.append(event)
        if isinstance(event, ReplyText):
            self.texts[event.item_id] = self.texts.get(event.item_id, "") + event.delta
        if isinstance(event, TurnMetrics) and self.turns:
            self.turns[-1].stages = event.stages

    def check(self, what: str, ok: object, detail: str = "") -> None:
        """Note a fact."""
        self.checks.append(Check(what, bool(ok), detail))

    def print_new_checks(self) -> None:
        """Show what was found out since the last time."""
        for check in self.checks[self._printed :]:
            mark, style = ("✓", "green") if check.ok else ("✗", "bold red")
            self.view.line(mark, f"{check.what}{': ' if check.detail else ''}{check.detail}", style)
        self._printed = len(self.checks)

    async def ask(self, name: str, title: str, lead_s: float) -> Spoken:
        """Say a clip and wait for the answer's first sound, which is checked."""
        await self.caller.wait(lead_s)
        turn, spoken = Turn(title), self.caller.say(self.clips[name])
        self.turns.append(turn)
        await self.caller.reply_begins(spoken.end, spoken.clip.seconds + self.settings.answer_timeout_s)
        began = self.caller.began_after(spoken.end)
        if began is not None:
            turn.voice_to_voice_ms = (began - spoken.end) * 1000
        late = (
            f"within {self.settings.answer_timeout_s:g} s"
            if began is None
            else f"after {turn.voice_to_voice_ms:.0f} ms"
        )
        self.check(f"answers “{spoken.clip.text}”", began is not None, late)
        return spoken

    async def hear_out(self) -> None:
        """Listen until the reply is over."""
        await self.caller.reply_over(self.settings.reply_max_s)

    def of(self, kind: type[Kind], since: float) -> list[Kind]:
        """The events of a kind since a point in time."""
        return [event for event in self.events if isinstance(event, kind) and event.at >= since]

    def words_since(self, since: float) -> str:
        """What was answered since then, in lower case."""
        return "".join(event.delta for event in self.of(ReplyText, since)).strip().lower()

    def seconds_heard(self, item_id: str) -> float:
        """How much of an item the caller heard."""
        return sum(piece.seconds for piece in self.heard if piece.item_id == item_id)

    def letters_per_second(self) -> float:
        """How fast the voice speaks at most: the usual rate or a reply's own (one with figures has few letters)."""
        rates = [
            len(words) / self.seconds_heard(item) for item, words in self.texts.items() if self.seconds_heard(item)
        ]
        return max([LETTERS_PER_S, *rates])

    def table(self) -> Table:
        """The latencies."""
        stages = list(dict.fromkeys(stage for turn in self.turns for stage in turn.stages if stage != VOICE_TO_VOICE))
        table = Table(
            title="ms from the true end of speech to the first sound of the answer (v2v)", title_justify="left"
        )
        for heading in ("turn", "v2v", *(SHORT.get(stage, stage) for stage in stages), "stop"):
            table.add_column(heading, justify="left" if heading == "turn" else "right")
        for turn in self.turns:
            cells = [turn.voice_to_voice_ms, *(turn.stages.get(stage) for stage in stages), turn.stop_ms]
            table.add_row(turn.name, *("" if cell is None else f"{cell:.0f}" for cell in cells))
        return table


# ---- the scenes --------------------------------------------------------------------------------------------------


async def plain_turn(show: Show) -> None:
    """A question, an answer."""
    since = trio.current_time()
    await show.ask("ask_time", "question", show.settings.lead_s)
    await show.hear_out()
    show.check("the reply is not silent", any(piece.voiced and piece.at >= since for piece in show.heard))
    words = show.words_since(since)
    show.check("it tells the time", TIME.search(words), words)


async def pause_inside(show: Show) -> None:
    """A pause in the middle of the sentence must not be taken for its end."""
    since = trio.current_time()
    spoken = await show.ask("arithmetic", "pause inside", show.settings.lead_s)
    await show.hear_out()
    early = [piece for piece in show.heard if piece.voiced and spoken.start < piece.at < spoken.end]
    show.check("the pause is not taken for the end", not early)
    replies = len(show.of(ReplyCreated, since))
    show.check("it is answered once", replies == 1, f"{replies} replies")
    words = show.words_since(since)
    show.check("the sum is right", "hundred" in words or "100" in words, words)


async def barge_in(show: Show) -> None:
    """Talk over a story: it stops, the new question is answered, and only what was heard is remembered."""
    settings = show.settings
    await show.ask("ask_story", "story", settings.lead_s)
    item_id = next(reversed(show.caller.began), "")
    spoken = await show.ask("interrupt", "interruption", settings.barge_in_after_s)
    await show.hear_out()
    story = [piece for piece in show.heard if piece.item_id == item_id and piece.voiced]
    stop = (max((piece.at + piece.seconds for piece in story), default=spoken.start) - spoken.start) * 1000
    show.turns[-1].stop_ms = stop
    show.check("the story stops", 0 < stop <= settings.stop_max_ms, f"{stop:.0f} ms after the first sound of “stop”")
    words = show.words_since(spoken.end)
    show.check("the new question is answered", DATE.search(words), words)
    flushed = [event for event in show.of(Flush, spoken.start) if event.item_id == item_id]
    truth, believed = show.seconds_heard(item_id) * 1000, flushed[0].heard_ms if flushed else -1
    right = abs(truth - believed) <= settings.heard_error_ms
    show.check("the server knows what was heard", right, f"{believed} ms, really {truth:.0f} ms")
    await only_heard_words(show, item_id, show.texts.get(item_id, ""))


async def only_heard_words(show: Show, item_id: str, told: str) -> None:
    """Ask the server what it remembers of the story: not more than can have been said in the time that was heard."""
    asked, call = trio.current_time(), show.caller.call
    await call.ask_for_item(item_id)
    await show.caller.until(lambda: bool(show.of(ItemDone, asked)), show.settings.answer_timeout_s)
    kept = next((event.text for event in show.of(ItemDone, asked)), "")
    possible = show.seconds_heard(item_id) * show.letters_per_second() * RATE_SLACK + LETTERS_SLACK
    fits = bool(kept) and told.startswith(kept.rstrip("… .-–—")) and len(kept) <= possible
    show.check("only the words that were heard are kept", fits, f"“{kept}”")


Scene = Callable[[Show], Awaitable[None]]
SCENES: dict[Scene, str] = {
    plain_turn: "a question",
    pause_inside: "a pause in the middle of a sentence",
    barge_in: "talking over the answer",
}
