"""Messages that no client should send: recordings of the stock clients, spoilt, and messages made up from the protocol.

The recordings (tests/data/stock_clients, realtime-protocol.md 2.2 and 1.9) hold what each client sends in five
situations. In them `$audio:N` stands for N bytes of sound, `$item`, `$user`, `$response` and `$call` for what the
server named last.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from aura.core.wire.grammar.requests import ANSWERS, REQUIRED

FOLDER = Path(__file__).resolve().parents[1] / "data" / "stock_clients"
MODES = ("turn", "ptt", "text", "tool", "barge")
DEPTHS = (5, 63, 64, 65, 300, 20_000)
KEYS = (
    "type", "event_id", "item", "item_id", "session", "audio", "response", "id", "role", "content", "status", "voice",
    "previous_item_id", "audio_end_ms", "played_ms", "metadata", "conversation", "turn_detection", "transcription",
    "format", "rate", "aura", "tools", "instructions", "output_modalities", "input", "output", "content_index",
    "response_id", "max_output_tokens", "call_id", "tool_choice",
)  # fmt: skip
AUDIO = b"\x01\x10" * 32_000
"""Loud, for the scripted detector."""


@cache
def recordings() -> dict[tuple[str, str], list[dict[str, Any]]]:
    """(client, situation) → its messages."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for path in sorted(FOLDER.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            found.setdefault((path.stem, entry["mode"]), []).append(entry["message"])
    return found


class Names:
    """What the server named last."""

    def __init__(self) -> None:
        self.item = self.user = self.response = self.call = "none_yet"

    def note(self, event: dict[str, Any]) -> None:
        """An event of the server."""
        item = event.get("item") or {}
        if item.get("role") == "assistant":
            self.item = item["id"]
        elif item.get("role") == "user":
            self.user = item["id"]
        self.call = item.get("call_id") or self.call
        self.response = (event.get("response") or {}).get("id") or self.response

    def fill(self, value: Any) -> Any:
        """A message with its place holders filled in."""
        if isinstance(value, dict):
            return {key: self.fill(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.fill(inner) for inner in value]
        if isinstance(value, str) and value.startswith("$"):
            kind, _, size = value[1:].partition(":")
            return base64.b64encode(AUDIO[: int(size)]).decode() if kind == "audio" else getattr(self, kind)
        return value


class Mutants:
    """An endless supply. The same seed and the same answers of the server give the same messages."""

    def __init__(self, rng: random.Random, names: Names) -> None:
        self._rng, self._names = rng, names
        self._queue: list[dict[str, Any]] = []
        self._count = 0
        self._kinds: list[tuple[float, str, Callable[[], str | bytes]]] = [
            (0.20, "recorded", self._recorded),
            (0.75, "mutated", self._mutated),
            (0.93, "made up", self._made_up),
            (1.01, "garbage", self._garbage),
        ]

    def next(self) -> tuple[str, str | bytes]:
        """How it was made, and the message."""
        draw = self._rng.random()
        _, kind, make = next(entry for entry in self._kinds if draw < entry[0])
        return kind, make()

    # ---- whole messages

    def _message(self) -> dict[str, Any]:
        """The next message of a stock client: a situation is played to its end before another begins."""
        if not self._queue:
            self._queue = list(recordings()[self._rng.choice(list(recordings()))])
        message: dict[str, Any] = self._names.fill(self._queue.pop(0))
        self._count += 1
        if "event_id" in message:  # clients never use one twice
            message["event_id"] += f"_{self._count}"
        item = message.get("item", {})
        if "id" in item and self._rng.random() < 0.8:
            item["id"] += f"_{self._count}"
        return message

    def _recorded(self) -> str:
        return json.dumps(self._message())

    def _mutated(self) -> str | bytes:
        message: Any = self._message()
        for _ in range(self._rng.choice((1, 1, 2, 3))):
            paths = list(_paths(message))
            if paths:
                self._rng.choice((self._drop, self._retype, self._add, self._nest, self._rename))(
                    message, self._rng.choice(paths)
                )
        text = json.dumps(message, ensure_ascii=self._rng.random() < 0.5)
        return self._rng.choice((lambda t: t,) * 5 + (self._cut, self._flip, self._double))(text)

    def _made_up(self) -> str:
        """Right types of message with any fields, and fields of other messages."""
        message: dict[str, Any] = {"type": self._rng.choice(list(ANSWERS))}
        for name in REQUIRED.get(message["type"], ()):
            if self._rng.random() < 0.8:
                right = {"item_id": self._names.item, "audio": "AAAA", "session": {}, "session_id": "sess_1"}
                message[name] = right.get(name, self._rng.choice((0, 20, 12.5, 1e9)))
        for _ in range(self._rng.randint(0, 4)):
            message[self._key()] = self._value(2)
        return json.dumps(message)

    def _garbage(self) -> str | bytes:
        rng = self._rng
        kind = rng.randrange(6)
        if kind == 0:
            return rng.randbytes(rng.randint(0, 80))
        if kind == 1:
            return "".join(
                chr(rng.choice((rng.randrange(0x80), rng.randrange(0xD7FF)))) for _ in range(rng.randint(0, 60))
            )
        if kind == 2:
            depth = rng.choice(DEPTHS)
            return '{"type":"session.update","session":' + '{"a":' * depth + "1" + "}" * (depth + 1)
        if kind == 3:
            depth = rng.choice(DEPTHS)
            return "[" * depth + rng.choice(("", "]" * depth))
        if kind == 4:
            return json.dumps(self._value(3))
        return (
            '{"type":"input_audio_buffer.append","audio":"'
            + "A" * rng.randint(0, 3)
            + rng.choice(("=", "%", '"}', "é"))
        )

    # ---- spoiling

    def _drop(self, message: Any, path: tuple[Any, ...]) -> None:
        del _parent(message, path)[path[-1]]

    def _retype(self, message: Any, path: tuple[Any, ...]) -> None:
        _parent(message, path)[path[-1]] = self._value(2)

    def _add(self, message: Any, path: tuple[Any, ...]) -> None:
        parent = _parent(message, path)
        if isinstance(parent, dict):
            parent[self._key()] = self._value(1)
        else:
            parent.append(self._value(1))

    def _nest(self, message: Any, path: tuple[Any, ...]) -> None:
        value = _parent(message, path)[path[-1]]
        for _ in range(self._rng.choice((1, 2, 70))):
            value = self._rng.choice(([value], {self._key(): value}))
        _parent(message, path)[path[-1]] = value

    def _rename(self, message: Any, path: tuple[Any, ...]) -> None:
        parent = _parent(message, path)
        if isinstance(parent, dict):
            parent[self._key()] = parent.pop(path[-1])

    def _cut(self, text: str) -> str:
        return text[: self._rng.randint(0, len(text))]

    def _double(self, text: str) -> str:
        return text[:-1] + "," + text[1:] if self._rng.random() < 0.5 else text + text

    def _flip(self, text: str) -> str:
        """Some bits of some bytes; what is no UTF-8 any more never gets past the WebSocket (1007)."""
        data = bytearray(text.encode(errors="replace"))
        for _ in range(self._rng.randint(1, 3)):
            data[self._rng.randrange(len(data))] ^= 1 << self._rng.randrange(8)
        return data.decode(errors="replace")

    # ---- values

    def _key(self) -> str:
        rng = self._rng
        odd = ("", "x" * 600, "\ud800", "\x00", "__class__", "é")
        return rng.choice(KEYS) if rng.random() < 0.9 else rng.choice(odd)

    def _value(self, depth: int) -> Any:
        rng, names = self._rng, self._names
        values = (
            None, True, False, 0, -1, 1, 7.5, -0.0, 1e308, 10**30, 2**63, -(2**63) - 1, "", "x", "none", "root", "auto",
            "in_progress", "message", "x" * 513, "\ud800", "\u0000", "audio/pcm", "audio/pcmu", "server_vad", "inf",
            names.item, names.user, names.response, names.call, "resp_of_nobody", {}, [], float("inf"), float("nan"),
        )  # fmt: skip
        if depth and rng.random() < 0.35:
            many = range(rng.randint(0, 3))
            return (
                [self._value(depth - 1) for _ in many]
                if rng.random() < 0.4
                else {self._key(): self._value(depth - 1) for _ in many}
            )
        return rng.choice(values)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in below:
        yield (*path, key)
        yield from _paths(child, (*path, key))


def _parent(message: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        message = message[key]
    return message
