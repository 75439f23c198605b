"""What must be so on the wire and at the engines, whichever client it was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from openai.types.realtime.realtime_server_event import RealtimeServerEvent
from pydantic import TypeAdapter, ValidationError

from tests.stock.engines import LETTER_S, STORY, TICKET, conversations
from tests.stock.house import House
from tests.stock.job import Job, Outcome
from tests.stock.wire import Line, Recording

TYPES: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
BENIGN = {"response_cancel_not_active"}
SHOWN = 5
CLOSES = {1000, 1001, 1005}
EARLY_LETTERS, LATE_LETTERS = 25, 12
"""By so much the heard text may be shorter or longer than the position that the client told: a word and its half."""
DECIDED_S = 1.0
"""It may take so long to believe that the user means it; the client plays silence meanwhile."""
PLAYED_LEAD_S = 0.6
"""Without a client's word on what it played, the server may believe in so much more than the clock allows."""


def verify(outcome: Outcome, job: Job, house: House, recording: Recording, *, strict: bool) -> None:
    """Add what is wrong to the outcome."""
    outcome.errors = list(errors(recording))
    outcome.failures += [f"error on the wire: {text}" for text in outcome.errors if text.split(":")[0] not in BENIGN]
    outcome.failures += closes(recording)
    outcome.failures += [f"AURA's log: {text}" for text in complaints(house)]
    outcome.failures += grammar(recording)
    outcome.failures += misfits(recording) if strict else ()
    outcome.facts["judged"] = sum(judge.grammar.events for judge in recording.judges.values())
    if house.engines is not None:
        outcome.failures += EACH[job.scenario](job, house, recording)


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


def complaints(house: House) -> Iterator[str]:
    """Errors in AURA's own log since this was last asked."""
    if not house.log.is_file():
        return
    lines = house.log.read_text(encoding="utf-8", errors="replace").splitlines()
    new, house.log_lines = lines[house.log_lines :], len(lines)
    for text in new:
        try:
            entry = json.loads(text)
        except ValueError:
            yield text[:300]
            continue
        if entry.get("level") in ("error", "critical"):
            yield text[:500]


def grammar(recording: Recording) -> Iterator[str]:
    """What the protocol's grammar says."""
    for call, judge in recording.judges.items():
        yield from (f"connection {call}, {text}" for text in judge.violations[:SHOWN])
        if len(judge.violations) > SHOWN:
            yield f"connection {call}: {len(judge.violations) - SHOWN} more violations of the grammar"


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
    else:
        yield from shown(last[-1], recording)


def shown(messages: list[dict[str, Any]], recording: Recording) -> Iterator[str]:
    """Whether a request to the model holds, of every reply that was cut off, what was heard of it and no more."""
    stories = [str(m["content"]) for m in messages if m["role"] == "assistant" and str(m["content"])[:9] == STORY[:9]]
    cut = list(limits(recording))
    if len(stories) != len(cut):
        yield f"{len(cut)} replies were cut off and the model was shown {len(stories)}: {stories}"
    for story, (low, high, source) in zip(reversed(stories), reversed(cut), strict=False):
        heard = story.rstrip(" —–-")
        if not STORY.startswith(heard):
            yield f"the model was shown words that it did not say: {heard!r}"
        if not low <= len(heard) <= high:
            yield f"the model was shown {len(heard)} letters, {low:.0f} to {high:.0f} were heard by {source}: {heard!r}"
    after = late_audio(recording)
    if after:
        yield f"{after} audio deltas of a cut reply after its response.done"


def limits(recording: Recording) -> Iterator[tuple[float, float, str]]:
    """How many letters of each cut reply may have been heard: by the client's word, else by the clock."""
    first: dict[str, Line] = {}
    spoken_at = 0.0
    told = {m["item_id"]: m["audio_end_ms"] for m in recording.messages("client", "conversation.item.truncate")}
    for line in recording.lines:
        if line.by != "server" or line.kind != "text":
            continue
        match line.message.get("type"):
            case "response.output_audio.delta":
                first.setdefault(line.message["response_id"], line)
            case "input_audio_buffer.speech_started":
                spoken_at = line.at
            case "response.done" if line.message["response"]["status"] == "cancelled":
                begin = first.get(line.message["response"]["id"])
                if begin is not None:
                    yield limit(begin, spoken_at, told.get(begin.message["item_id"]))


def limit(begin: Line, spoken_at: float, told_ms: int | None) -> tuple[float, float, str]:
    """The least and the most letters that were heard of one reply, and who says so."""
    if told_ms is not None:
        letters = told_ms / 1000 / LETTER_S
        return letters - EARLY_LETTERS, letters + LATE_LETTERS, f"truncate at {told_ms} ms"
    seconds = spoken_at - begin.at
    low, high = (seconds - DECIDED_S) / LETTER_S, (seconds + PLAYED_LEAD_S) / LETTER_S
    return low - EARLY_LETTERS, high + LATE_LETTERS, f"the clock, {seconds:.2f} s"


def long(job: Job, house: House, recording: Recording) -> Iterator[str]:
    """The same of every reply that was cut off in the course of a long conversation, as far as the model remembers."""
    last = requests(house)[-1]
    remembered = sum(str(m["content"])[:9] == STORY[:9] for m in last if m["role"] == "assistant")
    found = list(shown(last, recording))
    yield from found[1:] if 0 < remembered < job.barges else found


def late_audio(recording: Recording) -> int:
    """Audio of responses that are over."""
    over, late = set[str](), 0
    for message in recording.messages("server"):
        if message["type"] == "response.done":
            over.add(message["response"]["id"])
        elif message["type"] == "response.output_audio.delta":
            late += message["response_id"] in over
    return late


def misfits(recording: Recording) -> Iterator[str]:
    """Events that do not fit OpenAI's own types."""
    for message in recording.messages("server"):
        try:
            TYPES.validate_python(message)
        except ValidationError as error:
            yield f"{message['type']} does not fit OpenAI's types: {error}"[:500]


def cut(job: Job, house: House, recording: Recording) -> Iterator[str]:
    """After the loss the model still knows what was said before it."""
    if len(recording.judges) != 2:
        yield f"{len(recording.judges)} connections were made instead of two"
    asked = [m for m in requests(house) if job.words["more"] in str(m[-1]["content"])]
    if not asked:
        yield f"the model was never asked {job.words['more']!r}"
        return
    told = [(m["role"], str(m["content"])) for m in asked[-1]]
    for role, part in (("user", job.words["ask"]), ("assistant", job.replies["ask"])):
        found = sum(who == role and part in text for who, text in told)
        if found != 1:
            yield f"the model was told {found} times what the {role} had said before the loss: {told}"


EACH = {"cut": cut, "turn": turn, "ptt": turn, "text": text, "tool": tool, "barge": barge, "long": long}
