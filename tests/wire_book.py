"""Scripts of the Realtime protocol written by hand, from its text alone: what a client sends (`>`) and gets (`<`).

Nothing of AURA's own code makes these events, so that they can judge it.
"""

from __future__ import annotations

import copy
from typing import Any

Event = dict[str, Any]
Script = list[tuple[str, Event | bytes]]
"""Direction and event."""

SESSION: Event = {
    "type": "realtime",
    "object": "realtime.session",
    "id": "sess_1",
    "model": "gpt-realtime",
    "output_modalities": ["audio"],
    "instructions": "Be brief.",
    "tools": [],
    "tool_choice": "auto",
    "max_output_tokens": "inf",
    "tracing": None,
    "truncation": "auto",
    "prompt": None,
    "expires_at": 1_800_003_600,
    "include": None,
    "audio": {
        "input": {
            "format": {"type": "audio/pcm", "rate": 24000},
            "transcription": {"model": "whisper-1", "language": None, "prompt": None},
            "noise_reduction": None,
            "turn_detection": {
                "type": "server_vad",
                "threshold": 0.5,
                "prefix_padding_ms": 300,
                "silence_duration_ms": 200,
                "idle_timeout_ms": None,
                "create_response": True,
                "interrupt_response": True,
            },
        },
        "output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "alloy", "speed": 1.0},
    },
}
USAGE: Event = {
    "total_tokens": 30,
    "input_tokens": 20,
    "output_tokens": 10,
    "input_token_details": {
        "text_tokens": 12,
        "audio_tokens": 8,
        "image_tokens": 0,
        "cached_tokens": 0,
        "cached_tokens_details": {"text_tokens": 0, "audio_tokens": 0, "image_tokens": 0},
    },
    "output_token_details": {"text_tokens": 4, "audio_tokens": 6},
}


def session(**changes: Any) -> Event:
    """The session with other values at dotted paths (`audio__input__transcription=None`)."""
    changed = copy.deepcopy(SESSION)
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = changed
        for name in parents:
            place = place[name]
        place[last] = value
    return changed


class Book:
    """A script under construction."""

    def __init__(self, *, beta: bool = False, **changes: Any) -> None:
        self.script: Script = []
        self.session = session(**changes)
        self.last: str | None = None
        self.get("session.created", session=self.session)
        if beta:
            self.get("conversation.created", conversation={"id": "conv_1", "object": "realtime.conversation"})

    def get(self, kind: str, **fields: Any) -> None:
        """The server sends."""
        self.script.append(("<", {"type": kind, "event_id": f"event_{len(self.script)}", **copy.deepcopy(fields)}))

    def put(self, kind: str, **fields: Any) -> None:
        """The client sends."""
        self.script.append((">", {"type": kind, **fields}))

    def update(self, patch: Event, *, event_id: str | None = None, **changes: Any) -> None:
        """A session.update and its answer."""
        self.session = session(**changes)
        self.put(
            "session.update", session={"type": "realtime", **patch}, **({"event_id": event_id} if event_id else {})
        )
        self.get("session.updated", session=self.session)

    def item(self, item: Event) -> None:
        """An item joins the conversation at its end."""
        self.get("conversation.item.added", item=item, previous_item_id=self.last)
        self.get("conversation.item.done", item=item, previous_item_id=self.last)
        self.last = item["id"]

    def user(self, item_id: str, *, words: bool = True) -> None:
        """The turn's audio becomes an item."""
        self.get("input_audio_buffer.committed", item_id=item_id, previous_item_id=self.last)
        content = [{"type": "input_audio", "transcript": None}]
        self.item({"id": item_id, "type": "message", "status": "completed", "role": "user", "content": content})
        if words:
            self.words(item_id)

    def words(self, item_id: str) -> None:
        """What the user said."""
        about = {"item_id": item_id, "content_index": 0}
        self.get("conversation.item.input_audio_transcription.delta", delta="Good", **about)
        usage = {"type": "duration", "seconds": 1.2}
        completed = "conversation.item.input_audio_transcription.completed"
        self.get(completed, transcript="Good day", usage=usage, **about)

    def turn(self, item_id: str = "item_u1", at: int = 100, *, words: bool = True) -> None:
        """The user speaks and stops."""
        self.get("input_audio_buffer.speech_started", item_id=item_id, audio_start_ms=at)
        self.get("input_audio_buffer.speech_stopped", item_id=item_id, audio_end_ms=at + 1200)
        self.user(item_id, words=words)


class Reply:
    """A response in a book."""

    def __init__(
        self, book: Book, name: str = "1", *, text: bool = False, outside: bool = False, metadata: Event | None = None
    ) -> None:
        self.book, self.text, self.outside = book, text, outside
        self.item_id, self.outputs = f"item_a{name}", list[Event]()
        self.place = {"response_id": f"resp_{name}", "item_id": self.item_id, "output_index": 0, "content_index": 0}
        self.response = {
            "object": "realtime.response",
            "id": f"resp_{name}",
            "status": "in_progress",
            "status_details": None,
            "output": [],
            "conversation_id": None if outside else "conv_1",
            "output_modalities": ["text" if text else "audio"],
            "max_output_tokens": "inf",
            "audio": {"output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "alloy"}},
            "usage": None,
            "metadata": metadata,
        }
        book.get("response.created", response=self.response)

    @property
    def ident(self) -> str:
        return str(self.response["id"])

    def both(self, what: str, item: Event, index: int, previous: str | None) -> None:
        """The item's event of the conversation and of the response, in the order of A."""
        shown = ("conversation.item." + what, {"item": item, "previous_item_id": previous})
        own = (f"response.output_item.{what}", {"response_id": self.ident, "output_index": index, "item": item})
        for kind, fields in [own, shown] if what == "added" else [shown, own]:
            if not (self.outside and kind.startswith("conversation.")):
                self.book.get(kind, **fields)

    def begin(self) -> None:
        """The message is opened."""
        message = {"id": self.item_id, "type": "message", "status": "in_progress", "role": "assistant", "content": []}
        self.both("added", message, 0, self.book.last)
        self.before, self.book.last = self.book.last, self.book.last if self.outside else self.item_id
        self.book.get("response.content_part.added", part=self.part(""), **self.place)

    def part(self, text: str) -> Event:
        return {"type": "text", "text": text} if self.text else {"type": "audio", "transcript": text}

    def say(self, text: str) -> None:
        """More words, and more audio where it is spoken."""
        kind = "response.output_text.delta" if self.text else "response.output_audio_transcript.delta"
        self.book.get(kind, delta=text, **self.place)
        if not self.text:
            self.book.get("response.output_audio.delta", delta="AAAAAA==", **self.place)

    def close(self, text: str, status: str = "completed", *, heard: str | None = None) -> None:
        """The message is closed: its events tell all that was said, the item of a cut one what was `heard` of it."""
        if self.text:
            self.book.get("response.output_text.done", text=text, **self.place)
        else:
            self.book.get("response.output_audio.done", **self.place)
            self.book.get("response.output_audio_transcript.done", transcript=text, **self.place)
        self.book.get("response.content_part.done", part=self.part(text), **self.place)
        kept = text if heard is None else heard
        content = {"type": "output_text", "text": kept} if self.text else {"type": "output_audio", "transcript": kept}
        message = {"id": self.item_id, "type": "message", "status": status, "role": "assistant", "content": [content]}
        self.both("done", message, 0, self.before)
        self.outputs.append(message)

    def call(self, arguments: str = '{"zone":"utc"}') -> None:
        """A function call from beginning to end."""
        index, item_id = len(self.outputs), f"item_c{self.ident}"
        begun = {"id": item_id, "type": "function_call", "status": "in_progress", "name": "clock", "call_id": "call_1"}
        self.both("added", {**begun, "arguments": ""}, index, self.book.last)
        about = {"response_id": self.ident, "item_id": item_id, "output_index": index, "call_id": "call_1"}
        half = len(arguments) // 2
        for delta in (arguments[:half], arguments[half:]):
            self.book.get("response.function_call_arguments.delta", delta=delta, **about)
        self.book.get("response.function_call_arguments.done", name="clock", arguments=arguments, **about)
        call = {**begun, "status": "completed", "arguments": arguments}
        self.both("done", call, index, self.book.last)
        self.book.last = self.book.last if self.outside else item_id
        self.outputs.append(call)

    def done(self, status: str = "completed", details: Event | None = None, usage: Event | None = USAGE) -> None:
        """The end of the response."""
        ended = {"status": status, "status_details": details, "output": self.outputs, "usage": usage}
        self.book.get("response.done", response={**self.response, **ended})

    def whole(self, *texts: str) -> Reply:
        """All of it."""
        self.begin()
        for text in texts or ("Good ", "day."):
            self.say(text)
        self.close("".join(texts or ("Good ", "day.")))
        self.done()
        return self
