"""What was wrong with the input: one line each, with its place; repetitions are counted, not repeated."""

from __future__ import annotations

import re

import msgspec

from aura.core.errors import AuraError

FILES_NAMED = 5
"""Of files with the same trouble so many are named, the rest counted."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class LogsError(AuraError):
    """`aura logs` was asked for something that cannot be done; the message says what to do."""

    code = "logs_error"


def clean(text: str) -> str:
    """Text from a file, safe to show: what would steer a terminal is blotted out."""
    return _CONTROL.sub("·", text)


def excerpt(line: bytes, width: int = 60) -> str:
    """The beginning of a line that could not be read, for people."""
    text = clean(line[: 4 * width].decode(errors="replace").strip())
    return f"“{text[:width]}…”" if len(text) > width else f"“{text}”"


class Problem(msgspec.Struct):
    """One kind of trouble with one file."""

    file: str
    line: int
    """The first one; 0: the file as a whole."""
    what: str
    more: int = 0
    last: int = 0

    def __str__(self) -> str:
        place = f"{clean(self.file)}:{self.line}" if self.line else clean(self.file)
        rest = f" (and {self.more} more, the last in line {self.last})" if self.more else ""
        return f"{place}: {self.what}{rest}"


class Problems:
    """All trouble with the input, in the order in which it was met."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Problem] = {}

    def __len__(self) -> int:
        return len(self._found)

    def add(self, file: str, line: int, kind: str, detail: str = "") -> None:
        """Note trouble. What is of the same `kind` in the same file is one problem; `detail` is that of the first."""
        known = self._found.get((file, kind))
        if known is None:
            self._found[file, kind] = Problem(file, line, kind + detail)
        else:
            known.more, known.last = known.more + 1, line

    def lines(self) -> list[str]:
        """One line for each problem; the same trouble with many files is told in a few."""
        files: dict[str, int] = {}
        lines = []
        for (_, kind), problem in self._found.items():
            files[kind] = files.get(kind, 0) + 1
            if files[kind] <= FILES_NAMED:
                lines.append(str(problem))
        for kind, count in files.items():
            if count > FILES_NAMED:
                lines.append(f"{count - FILES_NAMED} more files: {kind}")
        return lines
