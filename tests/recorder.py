"""What the tests of the recording writer share: conversations that happen by hand."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import trio

from aura.core import tape
from aura.core.tape import TapeError
from aura.storage.recordings import Recording, Recordings, RecordingSettings, open_recordings
from aura.storage.tapes import read_tape

TODAY = date(2026, 3, 14)
QUICK = RecordingSettings(flush_s=0.01)
SOUND = bytes(range(256)) * 4


def head(session: str = "sess_1") -> tape.TapeHeader:
    return tape.TapeHeader(session, "2026-03-14T09:26:53+00:00", 5.0, {})


def opened(folder: Path, chosen: RecordingSettings = QUICK) -> AbstractAsyncContextManager[Recordings]:
    return open_recordings(chosen, folder, today=lambda: TODAY)


def place(folder: Path, session: str = "sess_1") -> Path:
    return folder / "recordings" / TODAY.isoformat() / session


def append_message(data: bytes, **more: Any) -> str:
    return msgspec.json.encode(
        {"type": "input_audio_buffer.append", "audio": b64encode(data).decode(), **more}
    ).decode()


def delta_message(data: bytes) -> str:
    told = {
        "event_id": "e",
        "type": "response.output_audio.delta",
        "item_id": "item_1",
        "delta": b64encode(data).decode(),
    }
    return msgspec.json.encode(told).decode()


def describes(into: str, out: str) -> str:
    audio = {"input": {"format": {"type": f"audio/{into}"}}, "output": {"format": {"type": f"audio/{out}"}}}
    return msgspec.json.encode({"type": "session.updated", "session": {"audio": audio}}).decode()


def receive(recording: Recording, at: float, message: str | bytes) -> None:
    recording.outcome(at, 2, recording.received(message))


async def until(condition: Callable[[], object]) -> None:
    with trio.fail_after(5):
        while not condition():  # noqa: ASYNC110  a file appears, there is no event to wait for
            await trio.sleep(0.005)


def ends_with(folder: Path, kind: type[tape.Note]) -> bool:
    try:
        return isinstance(read_tape(folder).lines[-1], kind)
    except (TapeError, IndexError):
        return False
