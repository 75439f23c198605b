"""A data folder with recordings of a conversation in which everything private occurs that can."""

from __future__ import annotations

import io
import json
import os
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import trio
from rich.console import Console
from trio.testing import MockClock

from aura.core import tape
from aura.core.errors import Unavailable
from aura.core.ports import ToolCall
from aura.storage.taping import TAPE, finish
from aura.tools.logs.output import Output
from aura.tools.recorded import listing
from aura.tools.recorded.find import JOURNAL
from aura.tools.recorded.summary import Summary
from tests.script import Scene, stage

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)
NOTE = json.dumps({"seconds": 0.5, "note": "the walrus"})
PRIVATE = {
    "zebra": "the user said it",
    "lighthouse": "the assistant said it",
    "pelican": "the user typed it",
    "walrus": "an argument of a function",
    "cucumber": "an instruction",
    "marmalade": "the greeting",
    "trombone": "a message that is no JSON",
    "violin": "metadata",
    "trumpet": "a key of metadata",
    "accordion": "description of a function of the client's",
    "bassoon": "name of its parameter",
    "oboe": "a key that the protocol does not have",
    "saxophone": "what an engine complains about",
    "harpsichord": "the persona in the address",
    "xylophone": "something else in the address",
}
STREAMS = ("in.pcm16.16000", "out.pcm16.24000", "voice.pcm16.24000")


async def talk(scene: Scene) -> None:
    """Everything private that can be: a tool, an interruption, typed text, junk, an engine that fails."""
    function = {"type": "function", "name": "play", "description": "An accordion.",
                "parameters": {"type": "object", "properties": {"bassoon": {"type": "string"}}}}  # fmt: skip
    scene.user.send(
        type="session.update", session={"type": "realtime", "instructions": "Love the cucumber.", "tools": [function]}
    )
    await scene.user.until("speaking")
    await scene.user.until("idle")
    await scene.user.says(1.0, "how tall is the zebra")
    await scene.user.until("speaking")
    await scene.user.silent(1.5)
    await scene.user.says(1.2, "wait how heavy is the zebra")
    await scene.user.until("speaking")
    await scene.user.until("idle")
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a pelican"}]}
    scene.user.send(type="conversation.item.create", item=item, oboe=1)
    scene.user.send(type="response.create", response={"metadata": {"trumpet": "violin"}})
    scene.inbox.send_nowait('{"type": "trombone')
    await scene.user.until("speaking", 20.0)
    await scene.user.until("idle", 20.0)


async def hold(folder: Path) -> None:
    answers = [
        "The lighthouse is forty metres tall, and so is the one behind it, as everybody on the island knows.",
        [ToolCall("call_1", "wait", NOTE)],
        "That lighthouse is heavy.",
        Unavailable("the saxophone is broken"),
        Unavailable("the saxophone is broken"),
        "Yes.",
    ]
    async with stage(answers, greeting="Have some marmalade.", record=folder) as scene:
        await talk(scene)


def template(parent: Path) -> Path:
    """Record the conversation in a folder of `parent`."""
    folder = parent / "sess_test"
    trio.run(hold, folder, clock=MockClock(autojump_threshold=0))
    head = tape.decode_header((folder / TAPE).read_bytes().split(b"\n")[0])
    query = {"persona": "harpsichord", "token": "xylophone"}
    change(folder / TAPE, msgspec.structs.replace(head, query={**head.query, **query}))
    finish(folder)
    for file in folder.iterdir():
        os.utime(file, (1.7e9, 1.7e9))
    return folder


def change(path: Path, head: tape.TapeHeader) -> None:
    """Give a tape another first line."""
    path.write_bytes(tape.encode([head]) + path.read_bytes().partition(b"\n")[2])


class Shelf:
    """A data folder with recordings."""

    def __init__(self, folder: Path, template: Path) -> None:
        self.folder, self.template = folder, template

    def put(self, session: str, started: str = "2026-03-14T09:26:53+00:00") -> Path:
        """One more recording."""
        folder = self.folder / "recordings" / started[:10] / session
        shutil.copytree(self.template, folder)
        head = tape.decode_header((folder / TAPE).read_bytes().split(b"\n")[0])
        change(folder / TAPE, msgspec.structs.replace(head, session=session, started=started))
        rest = (folder / JOURNAL).read_bytes().partition(b"\n")[2]
        told = msgspec.json.decode((folder / JOURNAL).read_bytes().partition(b"\n")[0])
        (folder / JOURNAL).write_bytes(
            msgspec.json.encode({**told, "session": session, "started": started}) + b"\n" + rest
        )
        for file in folder.iterdir():
            os.utime(file, (1.7e9, 1.7e9))
        return folder

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.glob("recordings/*/*"))

    def listed(self, **options: object) -> list[Summary]:
        return listing.chosen(self.folder, now=NOW, **options)  # type: ignore[arg-type]


@contextmanager
def screen(width: int = 160) -> Iterator[tuple[Output, io.StringIO]]:
    text = io.StringIO()
    yield Output(text, Console(file=text, width=width, highlight=False)), text


def contents(path: Path) -> dict[str, bytes]:
    if path.is_dir():
        return {file.name: file.read_bytes() for file in path.iterdir()}
    with zipfile.ZipFile(path) as packed:
        return {Path(name).name: packed.read(name) for name in packed.namelist()}
