"""A call on the terminal: the state while it lasts, and one line for everything that was said."""

from __future__ import annotations

from types import TracebackType

import trio
from rich.console import Console
from rich.markup import escape
from rich.status import Status

from aura.client.events import (
    Event,
    Fault,
    Flush,
    Hold,
    ItemDone,
    Reconnecting,
    ReplyAudio,
    ReplyDone,
    ReplyText,
    Resume,
    Resumed,
    SpeechStarted,
    SpeechStopped,
    State,
    TurnMetrics,
    UserSaid,
)

STATES = {
    SpeechStarted: "hears you",
    SpeechStopped: "thinks",
    Hold: "holds its tongue",
    Resume: "goes on speaking",
    Flush: "stops",
}
"""What is shown for an event; `aura.state` says it better where there is one."""


class View:
    """Watches a call's events. A context manager: the line with the state lives inside the block."""

    def __init__(self, console: Console, *, verbose: bool = False) -> None:
        self._console, self._verbose = console, verbose
        self._start = trio.current_time()
        self._status = Status("connected", console=console)
        self._reply = self._item = ""
        self._known = ""  # the latest item of the user whose words were shown
        self._has_states = False
        self.user: list[str] = []
        """What the recogniser understood, turn by turn."""
        self.replies: list[str] = []
        """What was answered, reply by reply."""

    def __enter__(self) -> View:
        self._status.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._status.stop()

    def line(self, who: str, text: str, style: str = "") -> None:
        """Print something that happened, with its time in the call."""
        at = trio.current_time() - self._start
        body = f"[{style}]{escape(text)}[/{style}]" if style else escape(text)
        self._console.print(f"[dim]{at:6.2f} s[/dim] [bold]{who:>6}[/bold]  {body}", highlight=False)

    def state(self, text: str) -> None:
        """Show what is going on now."""
        self._status.update(f"[cyan]{escape(text)}[/cyan]")
        if self._verbose:
            self.line("state", text, "cyan")

    def __call__(self, event: Event) -> None:
        """An event has arrived."""
        match event:
            case State():
                self._has_states = True
                self.state(event.now)
            case UserSaid():
                self._said(event.item_id, event.transcript)
            case ReplyText():
                self._item = event.item_id
                self._reply = event.delta if event.anew else self._reply + event.delta
                self._status.update(f"[cyan]speaking[/cyan] {escape(self._reply[-60:])}")
            case ReplyDone():
                self._finish(event.status)
            case Fault():
                self.line("error", event.message, "red")
            case TurnMetrics() if self._verbose:
                self.line(
                    "timing", "  ".join(f"{key} {ms:.0f}" for key, ms in event.ms.items() if ms is not None), "dim"
                )
            case ReplyAudio():
                pass
            case _:
                self._rest(event)

    def _rest(self, event: Event) -> None:
        match event:
            case Reconnecting():
                self.state("the connection is lost; what you say is kept")
            case Resumed():
                self._back(event)
            case _ if type(event) in STATES and not self._has_states:
                self.state(STATES[type(event)])
            case _ if self._verbose:
                self.line("event", event.type, "dim")
            case _:
                pass

    def _said(self, item_id: str, transcript: str) -> None:
        self._known = item_id
        self.user.append(transcript)
        self.line("you", transcript or "(no words)", "green")

    def _finish(self, status: str) -> None:
        text, self._reply = self._reply.strip(), ""
        if text:
            self.replies.append(text)
        cut = "" if status in ("completed", "") else f"  ({status})"
        if text or cut:
            self.line("AURA", text + cut, "yellow" if cut else "")

    def _back(self, event: Resumed) -> None:
        """There is a connection again: say so, and what was missed."""
        kind = "" if event.same else ", with a new session that was told what was said"
        lost = f"; {event.lost_audio_s:.1f} s of what you said are lost" if event.lost_audio_s else ""
        self.line("line", f"connected again after {event.gap_s:.1f} s{kind}{lost}", "yellow")
        ids = [item.get("id") for item in event.items]
        for item in event.items[ids.index(self._known) + 1 if self._known in ids else len(ids) :]:
            if item.get("role") == "user" and (words := ItemDone(item=item).text):
                self._said(str(item["id"]), words)
        reply = next((item for item in event.items if item.get("id") == self._item), {})
        if self._reply and reply.get("status") in ("completed", "incomplete"):
            self._reply = ItemDone(item=reply).text or self._reply
            self._finish("completed" if reply["status"] == "completed" else "cancelled")
