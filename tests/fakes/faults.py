"""Everything that can go wrong, by name: instead of an answer, in the middle of one, or on a WebSocket.

Three tables: INSTEAD replaces the answer (and refuses a handshake), BEND changes the bytes of an HTTP answer, GATES in
`faults_ws` stand between a dialect and its socket. IN_DIALECT names those that only a dialect can make.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tests.fakes.faults_ws import GATES, gate
from tests.fakes.wire import Answer, Seen, document, page

if TYPE_CHECKING:
    from tests.fakes.server import Call

FOREVER = float("inf")
DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class Fault:
    """A name and its parameters, as `retry_after_s=2`."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Fault:
        """From a header: `rate_limited; retry_after_s=2`."""
        name, *options = (part.strip() for part in text.split(";"))
        pairs = (option.partition("=") for option in options)
        return cls(name, {key.strip(): json.loads(value) for key, _, value in pairs})


@dataclass
class Active:
    """A fault that was switched on."""

    fault: Fault
    kind: str
    vendor: str
    left: int | None

    def meets(self, seen: Seen) -> bool:
        """Whether it concerns this request."""
        what = self.kind == "*" or (seen.path.startswith(self.kind) if "/" in self.kind else seen.kind == self.kind)
        return what and self.vendor in ("", seen.vendor) and self.left != 0


class Plan:
    """The faults that are switched on; the newest counts."""

    def __init__(self) -> None:
        self.active: list[Active] = []

    def add(self, fault: Fault, kind: str, vendor: str, times: int | None) -> None:
        """Switch on."""
        if fault.name not in NAMES:
            raise ValueError(f"there is no fault {fault.name!r}; there are {', '.join(sorted(NAMES))}")
        self.active.insert(0, Active(fault, kind, vendor, times))

    def clear(self, kind: str, vendor: str) -> None:
        """Switch off."""
        self.active = [a for a in self.active if not (kind in ("*", a.kind) and vendor in ("", a.vendor))]

    def take(self, seen: Seen) -> Fault | None:
        """The fault that this request meets."""
        if header := seen.headers.get("x-fake-fault"):
            return Fault.parse(header)
        for active in self.active:
            if active.fault.name != "refused" and active.meets(seen):
                active.left = None if active.left is None else active.left - 1
                return active.fault
        return None

    def refuses(self, vendor: str) -> bool:
        """Whether the vendor's port is closed."""
        return any(a.fault.name == "refused" and a.vendor in ("", vendor) for a in self.active)

    def rows(self) -> list[dict[str, Any]]:
        """For people."""
        return [
            {"kind": a.kind, "name": a.fault.name, "vendor": a.vendor or "*", "left": a.left, **a.fault.options}
            for a in self.active
            if a.left != 0
        ]


# ---- instead of an answer --------------------------------------------------------------------------------------

OPENAI_ERRORS = {
    "unauthorized": (401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided: sk-no."),
    "forbidden": (403, "invalid_request_error", "unsupported_country_region_territory", "Country not supported"),
    "not_found": (404, "invalid_request_error", "model_not_found", "The model does not exist"),
    "context_length": (400, "invalid_request_error", "context_length_exceeded", "Maximum context length is 8 tokens."),
    "validation": (422, "invalid_request_error", "invalid_type", "A field is wrong."),
    "rate_limited": (429, "tokens", "rate_limit_exceeded", "Rate limit reached for requests"),
    "slow_down": (429, "rate_limit_error", "slow_down", "Slow down"),
    "quota": (429, "insufficient_quota", "insufficient_quota", "You exceeded your current quota"),
    "credit": (429, "insufficient_quota", "credit_balance_exhausted", "Your credit balance is exhausted"),
    "error_500": (500, "server_error", None, "The server had an error while processing your request"),
    "overloaded_503": (503, "service_unavailable_error", "server_is_overloaded", "Our servers are overloaded"),
}


def openai_error(kind: str, message: str = "") -> tuple[int, Any]:
    """Status and body of an error as OpenAI writes it."""
    status, sort, code, text = OPENAI_ERRORS[kind]
    return status, {"error": {"message": message or text, "type": sort, "param": None, "code": code}}


def refused_as(kind: str, retry: Sequence[str] = ()) -> Callable[[Call], Answer]:
    """An error in the vendor's words."""

    def make(call: Call) -> Answer:
        status, body = call.vendor.dialect.refuse(kind, "")
        status = call.option("status", status)
        seconds = call.option("retry_after_s", None)
        told = {"retry-after-ms": "400", "retry-after": "1"}
        headers = {name: told[name] for name in retry}
        if "retry_after_ms" in (options := call.fault.options if call.fault else {}):
            headers = {"retry-after-ms": str(options["retry_after_ms"])}
        elif seconds is not None:
            headers = {"retry-after": str(seconds)}
        return document(call.seen.kind, body, status, headers=headers)

    return make


BAD_GATEWAY = (
    "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n"
    "<hr><center>cloudflare</center>\r\n</body>\r\n</html>\r\n"
)
LOADING = {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}

BOTH = ("retry-after-ms", "retry-after")

INSTEAD: dict[str, tuple[str, Callable[[Call], Answer]]] = {
    "silent": ("accepts the connection and never answers", lambda call: Answer(call.seen.kind, head_delay_s=FOREVER)),
    "unauthorized": ("401 (xAI: 400): the key is wrong", refused_as("unauthorized")),
    "rate_limited": ("429 with retry-after-ms and retry-after", refused_as("rate_limited", BOTH)),
    "rate_limited_ms": ("429 with retry-after-ms", refused_as("rate_limited", ("retry-after-ms",))),
    "rate_limited_s": ("429 with retry-after", refused_as("rate_limited", ("retry-after",))),
    "rate_limited_bare": ("429 without any advice", refused_as("rate_limited")),
    "slow_down": ("429 slow_down", refused_as("slow_down", ("retry-after",))),
    "quota": ("429 insufficient_quota (ElevenLabs: 401 quota_exceeded)", refused_as("quota")),
    "credit": ("429 credit_balance_exhausted", refused_as("credit")),
    "error_500": ("500 with a JSON body", refused_as("error_500")),
    "bad_gateway": ("502 with an HTML page", lambda call: page(call.seen.kind, 502, BAD_GATEWAY)),
    "overloaded_503": ("503 server_is_overloaded", refused_as("overloaded_503")),
    "loading_503": ("503 with an integer code (llama.cpp loads)", lambda call: document(call.seen.kind, LOADING, 503)),
    "forbidden": ("403", refused_as("forbidden")),
    "not_found": ("404 model_not_found", refused_as("not_found")),
    "context_length": ("400 context_length_exceeded", refused_as("context_length")),
    "validation": ("422 (FastAPI list at ElevenLabs)", refused_as("validation")),
    "ws_401": ("ws: 401 at the handshake", lambda call: document(call.seen.kind, {"error": "Unauthorized"}, 401)),
    "rst": ("reset before any answer", lambda call: Answer(call.seen.kind, after="reset", framing="none")),
}  # fmt: skip


def instead(call: Call) -> Answer | None:
    """The answer that a fault gives in place of the dialect's."""
    found = INSTEAD.get(call.fault.name) if call.fault else None
    return found[1](call) if found else None


# ---- in the middle of an answer --------------------------------------------------------------------------------


def beginning(steps: Iterable[bytes | float], whole: int, rest: list[bytes | float]) -> Iterator[bytes | float]:
    """The first chunks of an answer with their pauses; `rest` gets the chunk after them."""
    for step in steps:
        if isinstance(step, bytes) and not (whole := whole - 1) + 1:
            rest.append(step)
            return
        yield step


def fixed(answer: Answer) -> Answer:
    """The same answer, its length told now, so that its body may be changed."""
    if answer.framing != "length":
        return answer
    size = sum(len(step) for step in answer.steps if isinstance(step, bytes))
    return replace(answer, framing="raw", headers={**answer.headers, "content-length": str(size)})


def first(answer: Answer) -> int:
    """How many chunks are let through before trouble: up to the first with content, none of a document."""
    return 0 if answer.framing == "length" else answer.lead + 1


def broken_off(after: str, *, half: bool) -> Callable[[Call, Answer], Answer]:
    """Ends after the first chunk with content, or in the middle of the next."""

    def bend(call: Call, answer: Answer) -> Answer:
        def steps() -> Iterator[bytes | float]:
            rest: list[bytes | float] = []
            yield from beginning(answer.steps, call.option("chunks", first(answer)), rest)
            if half and rest and isinstance(rest[0], bytes):
                yield rest[0][: max(1, len(rest[0]) // 2)]

        return replace(fixed(answer), steps=steps(), after=after)  # type: ignore[arg-type]

    return bend


def drip(call: Call, answer: Answer) -> Answer:
    """Every byte for itself."""

    def steps() -> Iterator[bytes | float]:
        for step in answer.steps:
            if isinstance(step, bytes):
                for byte in step:
                    yield bytes([byte])
                    yield float(call.option("drip_s", 0.02))
            else:
                yield step

    return replace(fixed(answer), steps=steps())


def malformed(call: Call, answer: Answer) -> Answer:
    """JSON that stops too early, in a stream that goes on; audio has no syntax, so there the chunking breaks."""
    if answer.framing == "length":
        body = b"".join(step for step in answer.steps if isinstance(step, bytes))
        return replace(answer, steps=[body[: len(body) // 2]])

    def steps() -> Iterator[bytes | float]:
        rest: list[bytes | float] = []
        source = iter(answer.steps)
        yield from beginning(source, first(answer), rest)
        for step in rest:
            assert isinstance(step, bytes)
            if binary:
                return
            end = b"\n\n" if step.endswith(b"\n\n") else b"\n"
            yield step[: len(step) // 2] + end
        yield from source

    binary = answer.content_type.startswith("audio/")
    return replace(answer, steps=steps(), framing="broken" if binary else answer.framing)


def then(*last: bytes) -> Callable[[Call, Answer], Answer]:
    """After the first content, this, and the end."""

    def bend(call: Call, answer: Answer) -> Answer:
        def steps() -> Iterator[bytes | float]:
            yield from beginning(answer.steps, first(answer), [])
            yield from last

        return replace(answer, steps=steps())

    return bend


def each(change: Callable[[bytes], Iterable[bytes]]) -> Callable[[Call, Answer], Answer]:
    """Every chunk becomes others."""

    def bend(call: Call, answer: Answer) -> Answer:
        def steps() -> Iterator[bytes | float]:
            for step in answer.steps:
                yield from change(step) if isinstance(step, bytes) else (step,)

        return replace(answer, steps=list(steps())) if answer.framing == "length" else replace(answer, steps=steps())

    return bend


def splinters(data: bytes) -> Iterator[bytes]:
    """Three pieces, cut where it hurts: in the field name and in the middle."""
    yield from (data[:3], data[3 : len(data) // 2], data[len(data) // 2 :])


def in_characters(data: bytes) -> Iterator[bytes]:
    """Cut inside every character of several bytes."""
    start = 0
    for i, byte in enumerate(data):
        if byte & 0xC0 == 0x80:
            yield data[start:i]
            start = i
    yield data[start:]


def odd(data: bytes) -> Iterator[bytes]:
    """Pieces of an odd length."""
    for start in range(0, len(data), 777):
        yield data[start : start + 777]


def merged(call: Call, answer: Answer) -> Answer:
    """Everything in one write, pauses first."""
    steps = list(answer.steps)
    pauses = sum(step for step in steps if not isinstance(step, bytes))
    return replace(answer, steps=[float(pauses), b"".join(step for step in steps if isinstance(step, bytes))])


ERROR = {"error": {"message": "boom", "type": "server_error", "param": None, "code": "server_error"}}
LINE = json.dumps(ERROR).encode()

BEND: dict[str, tuple[str, Callable[[Call, Answer], Answer]]] = {
    "cut": ("the connection ends in the middle of an event", broken_off("cut", half=True)),
    "cut_between": ("the connection ends between two events", broken_off("cut", half=False)),
    "rst_mid": ("a reset after the first content", broken_off("reset", half=False)),
    "stall": ("nothing more after the first token or chunk", broken_off("hold", half=False)),
    "headers_then_silent": ("status and headers, then nothing", lambda _, a: replace(fixed(a), steps=[], after="hold")),
    "drip": ("byte by byte", drip),
    "malformed": ("JSON that stops too early (audio: a broken chunk)", malformed),
    "empty": ("200 with an empty body", lambda _, a: replace(a, steps=[], framing="length")),
    "hold_after_done": ("the body stays open after its last byte", lambda _, a: replace(fixed(a), after="hold")),
    "crlf": ("lines end with CR LF", each(lambda data: [data.replace(b"\n", b"\r\n")])),
    "comments": ("SSE comments in between", each(lambda data: [b": PROCESSING\n\n", data, b":\n"])),
    "split_events": ("events cut anywhere", each(splinters)),
    "split_utf8": ("characters cut in the middle", each(in_characters)),
    "merged_writes": ("all events in one write", merged),
    "no_done": ("no [DONE]", each(lambda data: [] if data == DONE else [data])),
    "done_unterminated": ("[DONE] without the blank line", each(
        lambda data: [data.rstrip() if data == DONE else data])),
    "unterminated": ("the last event without its blank line, no [DONE]", each(
        lambda data: [] if data == DONE else [data.rstrip() if b'"choices": []' in data else data])),
    "error_in_stream": ("an error event after the first content", then(b"data: " + LINE + b"\n\n")),
    "error_text": ("an error event whose error is a text", then(b'data: {"error": "boom"}\n\n')),
    "error_event": ("`event: error` without an error object", then(b'event: error\ndata: {"message": "boom"}\n\n')),
    "error_line": ("llama.cpp's `error:` line", then(b'error: {"code":500,"message":"boom"}\n\n')),
    "text_plain": ("SSE under text/plain", lambda _, a: replace(a, content_type="text/plain; charset=utf-8")),
    "no_content_type": ("no Content-Type", lambda _, a: replace(a, content_type="")),
    "wrong_content_type": ("a Content-Type that is not what comes", lambda _, a: replace(
        a, content_type="audio/mpeg" if "mpeg" not in a.content_type else "audio/wav")),
    "odd_chunks": ("pieces of an odd length", each(odd)),
}  # fmt: skip


def bend(call: Call, answer: Answer) -> Answer:
    """Apply a fault to a good answer."""
    if call.fault is None or call.fault.name not in BEND or answer.status >= 400:
        return answer
    return BEND[call.fault.name][1](call, answer)


IN_DIALECT = {
    "no_usage": "chat: no usage although it was asked for",
    "usage_every_chunk": "chat: usage in every chunk",
    "obfuscation": "chat: random padding and unknown fields in every chunk",
    "unknown_events": "events and messages that nobody knows",
    "one_shot_json": "chat: the whole completion as one JSON document",
    "error_document": "chat: 200 with an error as JSON document",
    "no_finish": "chat: [DONE] without a finish_reason",
    "finish_null": "chat: finish_reason stays null to the end",
    "tools_interleaved": "chat: two calls, their arguments interleaved",
    "tools_no_index": "chat: calls without index",
    "tools_index_0": "chat: index 0 for all calls",
    "tools_whole": "chat: each call whole in one chunk",
    "tools_dict": "chat: arguments as an object",
    "tools_invalid": "chat: arguments that are no JSON",
    "tools_stop": "chat: calls, but finish_reason stop",
    "refusal": "chat: a refusal instead of content",
    "content_filter": "chat: content_filter in the middle of a sentence",
    "length": "chat: finish_reason length in the middle of a sentence",
    "think_tags": "chat: <think>…</think> inside the content, cut anywhere",
    "no_words": "stt: words are not understood: an empty text",
    "fake_wav_length": "tts: WAV with 0xFFFFFFFF as its length",
    "zero_wav_length": "tts: WAV with 0 as its length",
    "late_audio": "ws tts: more audio of a context that is closed",
    "no_final": "ws tts: isFinal never comes",
    "relative_times": "tts: ElevenLabs' times per line, not from the beginning",
    "timestamps_apart": "ws tts: xAI's timestamps in deltas without audio",
    "no_alignment": "tts: alignment is null",
    "rewords": "ws tts: OpenAI's speaking model says something else than it was given",
    "other_spelling": "ws tts: the other spelling of every field that has two",
    "too_many_concurrent": "429 too_many_concurrent_requests",
    "system_busy": "429 system_busy (ElevenLabs)",
}
"""Faults that a dialect makes itself, where they mean something to it."""

NAMES: dict[str, str] = {
    "refused": "the vendor's port is closed: connection refused",
    **{name: about for name, (about, _) in (INSTEAD | BEND).items()},
    **{name: about for name, (about, _) in GATES.items() if name not in BEND},
    **IN_DIALECT,
}

__all__ = ["NAMES", "Fault", "Plan", "bend", "gate", "instead", "openai_error"]
