"""A call on the terminal: the state while it lasts, and one line for everything that was said."""

from __future__ import annotations

from types import TracebackType

import trio
from rich.console import Console
from rich.markup import escape
from rich.status import Status

from aura.tools.client_events import (
    Event,
    Fault,
    Flush,
    Hold,
    ReplyAudio,
    ReplyDone,
    ReplyText,
    Resume,
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
        self._reply = ""
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
                self.user.append(event.transcript)
                self.line("you", event.transcript or "(no words)", "green")
            case ReplyText():
                self._reply += event.delta
                self._status.update(f"[cyan]speaking[/cyan] {escape(self._reply[-60:])}")
            case ReplyDone():
                self._finish(event)
            case Fault():
                self.line("error", event.message, "red")
            case TurnMetrics() if self._verbose:
                self.line(
                    "timing", "  ".join(f"{key} {ms:.0f}" for key, ms in event.ms.items() if ms is not None), "dim"
                )
            case ReplyAudio():
                pass
            case _ if type(event) in STATES and not self._has_states:
                self.state(STATES[type(event)])
            case _ if self._verbose:
                self.line("event", event.type, "dim")
            case _:
                pass

    def _finish(self, event: ReplyDone) -> None:
        text, self._reply = self._reply.strip(), ""
        if text:
            self.replies.append(text)
        cut = "" if event.status in ("completed", "") else f"  ({event.status})"
        if text or cut:
            self.line("AURA", text + cut, "yellow" if cut else "")
