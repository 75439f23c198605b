"""Where the views go: a terminal, JSON lines, CSV; quietly over when nobody reads any more."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import IO, Any, NoReturn

import msgspec
from rich.console import Console, RenderableType

BATCH = 1000
"""Lines that are written at once."""


class PipeClosed(Exception):
    """Whoever read the output has gone (`| head`): there is nothing left to do, and nothing wrong."""


class _Console(Console):
    def on_broken_pipe(self) -> NoReturn:
        raise PipeClosed


class Output:
    """Standard output, in one of its forms."""

    def __init__(self, stream: IO[str] | None = None, console: Console | None = None) -> None:
        self._stream = stream or sys.stdout
        if isinstance(self._stream, io.TextIOWrapper):
            self._stream.reconfigure(errors="replace")  # a bar is no reason to fail in an ASCII terminal
        self.console = console or _Console(file=self._stream, highlight=False, soft_wrap=False)

    def show(self, parts: Iterable[RenderableType]) -> None:
        """Tables and lines, each set off from the next."""
        for index, part in enumerate(parts):
            if index:
                self.console.print()
            self.console.print(part)

    def json(self, lines: Iterable[msgspec.Struct | dict[str, Any]]) -> None:
        """One object per line."""
        self._write(encode(line) + "\n" for line in lines)

    def csv(self, kind: type[msgspec.Struct], lines: Sequence[msgspec.Struct]) -> None:
        """A table with a heading; what is no single value is JSON, apart from a turn's parts."""
        rows = [flat(line) for line in lines]
        names = list(rows[0]) if rows else list(kind.__struct_fields__)
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow(row)
        self._write(iter([text.getvalue()]))

    def flush(self) -> None:
        """Nothing may wait when the process ends. Raises PipeClosed."""
        self._write(iter(()))

    def _write(self, texts: Iterable[str]) -> None:
        try:
            batch: list[str] = []
            for text in texts:
                batch.append(text)
                if len(batch) >= BATCH:
                    self._stream.write("".join(batch))
                    batch.clear()
            self._stream.write("".join(batch))
            self._stream.flush()
        except BrokenPipeError:
            raise PipeClosed from None


def encode(value: object) -> str:
    """JSON of whatever a log may hold."""
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:  # half a surrogate pair, which some writers of JSON let through
        return json.dumps(msgspec.to_builtins(value))


def flat(line: msgspec.Struct) -> dict[str, Any]:
    """A line of a view as the cells of a CSV row."""
    cells: dict[str, Any] = {}
    for name, value in msgspec.structs.asdict(line).items():
        if name == "parts_ms":
            cells |= {f"{part}_ms": ms for part, ms in value.items()}
        elif isinstance(value, list | dict):
            cells[name] = encode(value) if value else ""
        else:
            cells[name] = harmless(value) if isinstance(value, str) else value
    return cells


def harmless(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def silence() -> None:
    """Let the interpreter flush at its end into nothing, rather than complain about the closed pipe."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
