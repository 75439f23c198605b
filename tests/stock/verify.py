"""What must be so on the wire and at the engines, whichever client it was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.stock.engines import LETTER_S, STORY, TICKET, conversations
from tests.stock.house import House
from tests.stock.job import Job, Outcome
from tests.stock.wire import Recording

BENIGN = {"response_cancel_not_active"}
CLOSES = {1000, 1001, 1005}
EARLY_LETTERS, LATE_LETTERS = 25, 12
"""By so much the heard text may be shorter or longer than the position that the client told: a word and its half."""
PLAYED_LEAD_S = 0.6
"""Without a client's word on what it played, the server may believe in so much more than the clock allows."""


def verify(outcome: Outcome, job: Job, house: House, recording: Recording) -> None:
    """Add what is wrong to the outcome."""
    outcome.errors = list(errors(recording))
    outcome.failures += [f"error on the wire: {text}" for text in outcome.errors if text.split(":")[0] not in BENIGN]
    outcome.failures += closes(recording)
    outcome.failures += [f"AURA's log: {text}" for text in complaints(house.log)]
    outcome.failures += grammar(recording)
    if house.engines is not None:
        outcome.failures += {"barge": barge, "text": text, "tool": tool, "turn": turn, "ptt": turn}.get(
            job.scenario, nothing
        )(job, house, recording)


def errors(recording: Recording) -> Iterator[str]:
    """Protocol errors."""
    for message in recording.messages("server", "error"):
        error = message["error"]
        yield f"{error.get('code')}: {error.get('message')} (param {error.get('param')})"


def closes(recording: Recording) -> Iterator[str]:
    """Connections that did not end well."""
    for line in recording.lines:
        if line.kind == "close" and line.message["code"] not in CLOSES:
            yield f"{line.by} closed with {line.message['code']} {line.message['reason']}"
        elif line.kind == "unreadable":
            yield f"{line.by} sent no WebSocket frames: {line.message}"
        elif line.kind == "head" and line.by == "server" and " 101 " not in line.message.partition("\r\n")[0]:
            yield f"the upgrade was refused: {line.message[:300]}"


def complaints(log: Path) -> Iterator[str]:
    """Errors in AURA's own log."""
    if not log.is_file():
        return
    for text in log.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(text)
        except ValueError:
            yield text[:300]
            continue
        if entry.get("level") in ("error", "critical"):
            yield text[:500]


def grammar(recording: Recording) -> Iterator[str]:
    """Orders of events that the protocol does not know."""
    return iter(())


def nothing(job: Job, house: House, recording: Recording) -> Iterator[str]:
    """No more to be said of this scenario."""
    return iter(())


def requests(house: House) -> list[list[dict[str, Any]]]:
    assert house.engines is not None
    return list(conversations(house.engines))


def turn(job: Job, house: House, recording: Recording) -> Iterator[str]:
    """The model was told what the user said."""
    asked = requests(house)
    if not any(job.words["ask"] in str(messages[-1]["content"]) for messages in asked):
        yield f"the model was never asked {job.words['ask']!r}: {asked[-1:]}"


def text(job: Job, house: House, recording: Recording) -> Iterator[str]:
    """Nothing was spoken for a reply in writing."""
    assert house.engines is not None
    if house.engines.of("tts"):
        yield f"{len(house.engines.of('tts'))} requests for a voice that nobody hears"
    if list(recording.messages("server", "response.output_audio.delta")):
        yield "audio was sent"


def tool(job: Job, house: House, recording: Recording) -> Iterator[str]:
    """The model got the function's result."""
    results = [m["content"] for messages in requests(house) for m in messages if m["role"] == "tool"]
    if not results or not all(TICKET in str(content) for content in results):
        yield f"the model was given {results} as the function's result"
    calls = list(recording.messages("server", "response.function_call_arguments.done"))
    if len(calls) != 1:
        yield f"{len(calls)} function calls reached the client"


def barge(job: Job, house: House, recording: Recording) -> Iterator[str]:
    """The model's next request holds only what was heard of the reply."""
    last = [m for m in requests(house) if job.words["over"] in str(m[-1]["content"])]
    if not last:
        yield f"the model was never asked {job.words['over']!r}"
        return
    shown = [str(m["content"]) for m in last[-1] if m["role"] == "assistant" and m["content"] != job.replies["typed"]]
    if len(shown) != 1:
        yield f"the model was shown {len(shown)} replies of its own instead of the one that was cut off: {shown}"
        return
    heard = shown[0].rstrip(" —–-")
    if not STORY.startswith(heard):
        yield f"the model was shown words that it did not say: {heard!r}"
    low, high, source = limits(recording)
    if not low <= len(heard) <= high:
        yield f"the model was shown {len(heard)} letters, but {low:.0f} to {high:.0f} were heard by {source}: {heard!r}"
    after = late_audio(recording)
    if after:
        yield f"{after} audio deltas of the cut reply after its response.done"


def limits(recording: Recording) -> tuple[float, float, str]:
    """How many letters of the first reply may have been heard: by the client's word, else by the clock."""
    first, spoken, cut = None, None, cancelled(recording)
    for line in recording.lines:
        if line.by == "server" and line.kind == "text" and isinstance(line.message, dict):
            kind = line.message.get("type")
            if kind == "response.output_audio.delta" and first is None and line.message["response_id"] == cut:
                first = line
            elif kind == "input_audio_buffer.speech_started" and first is not None and spoken is None:
                spoken = line
    if first is None or spoken is None:
        return 0, 0, "nobody"
    for message in recording.messages("client", "conversation.item.truncate"):
        if message["item_id"] == first.message["item_id"]:
            letters = message["audio_end_ms"] / 1000 / LETTER_S
            return letters - EARLY_LETTERS, letters + LATE_LETTERS, f"truncate at {message['audio_end_ms']} ms"
    seconds = spoken.at - first.at
    low, high = (seconds - 1.0) / LETTER_S, (seconds + PLAYED_LEAD_S) / LETTER_S
    return low - EARLY_LETTERS, high + LATE_LETTERS, f"the clock, {seconds:.2f} s"


def cancelled(recording: Recording) -> str:
    """The response that was cut off."""
    done = (message["response"] for message in recording.messages("server", "response.done"))
    return next((response["id"] for response in done if response["status"] == "cancelled"), "")


def late_audio(recording: Recording) -> int:
    """Audio of responses that are over."""
    over, late = set[str](), 0
    for message in recording.messages("server"):
        if message["type"] == "response.done":
            over.add(message["response"]["id"])
        elif message["type"] == "response.output_audio.delta":
            late += message["response_id"] in over
    return late
