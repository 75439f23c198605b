"""Every fault of the fakes does on the wire what its name says, seen by a client without any HTTP library."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import trio

from tests.fakes import faults
from tests.fakes.client import Raw, ask
from tests.fakes.faults import NAMES
from tests.fakes.server import Fakes, serve_fakes
from tests.fakes.sound import encoded
from tests.fakes.world import Pace, Said, World
from tests.test_fakes_sockets import TESTED

QUICK = Pace(ttft_s=0.01, gap_s=0.002, hear_s=0.005, ttfb_s=0.01, audio_gap_s=0.002)
ASKED = {
    "model": "m", "stream": True, "stream_options": {"include_usage": True, "include_obfuscation": False},
    "messages": [{"role": "user", "content": "Hello"}],
}  # fmt: skip
SPEECH = {"model": "m", "input": "Hello there.", "voice": "alloy", "response_format": "pcm"}
TEXT = "One two three four five six. Seven eight nine ten."
ANSWER = {"hosted": "openai", "target": "/v1/chat/completions", "payload": ASKED}
Check = Callable[[Raw], bool]


def events(raw: Raw) -> list[str]:
    """The SSE events of the chunks that came whole, and what came of the next one."""
    return [text for text in raw.body.decode().split("\n\n") if text]


def datas(raw: Raw) -> list[dict[str, Any]]:
    texts = [text.removeprefix("data: ") for text in events(raw) if text != "data: [DONE]"]
    return [json.loads(text) for text in texts]


def deltas(raw: Raw) -> list[dict[str, Any]]:
    return [data["choices"][0]["delta"] for data in datas(raw) if data["choices"]]


def finish(raw: Raw) -> str | None:
    reasons = [choice["finish_reason"] for data in datas(raw) for choice in data["choices"] if choice["finish_reason"]]
    return reasons[-1] if reasons else None


def calls(raw: Raw) -> list[dict[str, Any]]:
    return [call for delta in deltas(raw) for call in delta.get("tool_calls", ())]


def text(raw: Raw) -> str:
    return "".join(delta.get("content") or "" for delta in deltas(raw))


def code(raw: Raw) -> Any:
    return json.loads(raw.body)["error"]["code"]


def ended(raw: Raw) -> bool:
    """A body with its proper end."""
    return raw.end == "eof" and raw.chunks[-1:] == [b""]


def started(raw: Raw) -> bool:
    """The role and one token came."""
    return len(raw.chunks) == 2 and b'"content": "One"' in raw.chunks[1]


CHAT: dict[str, Check] = {
    "silent": lambda raw: raw.end == "silence" and not raw.reads,
    "unauthorized": lambda raw: raw.status == 401 and code(raw) == "invalid_api_key",
    "forbidden": lambda raw: raw.status == 403,
    "not_found": lambda raw: raw.status == 404 and code(raw) == "model_not_found",
    "context_length": lambda raw: raw.status == 400 and code(raw) == "context_length_exceeded",
    "validation": lambda raw: raw.status == 422,
    "rate_limited": lambda raw: raw.status == 429 and {"retry-after", "retry-after-ms"} <= raw.headers.keys(),
    "rate_limited_ms": lambda raw: "retry-after-ms" in raw.headers and "retry-after" not in raw.headers,
    "rate_limited_s": lambda raw: "retry-after" in raw.headers and "retry-after-ms" not in raw.headers,
    "rate_limited_bare": lambda raw: raw.status == 429 and "retry-after" not in str(raw.headers),
    "rate_limited; retry_after_s=2": lambda raw: raw.headers["retry-after"] == "2",
    "rate_limited; retry_after_ms=150": lambda raw: raw.headers["retry-after-ms"] == "150",
    "slow_down": lambda raw: raw.status == 429 and code(raw) == "slow_down",
    "quota": lambda raw: raw.status == 429 and code(raw) == "insufficient_quota",
    "credit": lambda raw: raw.status == 429 and code(raw) == "credit_balance_exhausted",
    "error_500": lambda raw: raw.status == 500 and b'"server_error"' in raw.body,
    "bad_gateway": lambda raw: raw.status == 502 and raw.body.startswith(b"<html>") and "html" in str(raw.headers),
    "overloaded_503": lambda raw: raw.status == 503 and code(raw) == "server_is_overloaded",
    "loading_503": lambda raw: raw.status == 503 and code(raw) == 503,
    "rst": lambda raw: raw.end == "reset" and not raw.reads,
    "cut": lambda raw: raw.end != "silence" and not ended(raw) and not raw.body.endswith(b"\n\n"),
    "cut_between": lambda raw: raw.end != "silence" and not ended(raw) and started(raw) and raw.body.endswith(b"\n\n"),
    "cut; chunks=3": lambda raw: len(raw.chunks) == 4 and not raw.chunks[3].endswith(b"\n\n"),
    "rst_mid": lambda raw: raw.end == "reset" and started(raw),
    "stall": lambda raw: raw.end == "silence" and started(raw),
    "headers_then_silent": lambda raw: raw.end == "silence" and raw.status == 200 and raw.raw_body == b"",
    "drip; drip_s=0.0002": lambda raw: {len(chunk) for chunk in raw.chunks} <= {0, 1} and len(raw.chunks) > 200,
    "malformed": lambda raw: ended(raw) and len(broken(raw)) == 1,
    "empty": lambda raw: raw.status == 200 and raw.headers["content-length"] == "0" and raw.body == b"",
    "hold_after_done": lambda raw: raw.end == "silence" and events(raw)[-1] == "data: [DONE]",
    "crlf": lambda raw: raw.body.count(b"\n") == raw.body.count(b"\r\n") > 10,
    "comments": lambda raw: b": PROCESSING\n\ndata:" in raw.body and b"\n:\n" in raw.body,
    "split_events": lambda raw: raw.chunks[:1] == [b"dat"] and text(raw) == TEXT,
    "split_utf8": lambda raw: any(not whole(chunk) for chunk in raw.chunks) and "Zürich" in text(raw),
    "merged_writes": lambda raw: len(raw.chunks) == 2 and text(raw) == TEXT,
    "no_done": lambda raw: ended(raw) and b"[DONE]" not in raw.body and finish(raw) == "stop",
    "done_unterminated": lambda raw: ended(raw) and raw.body.endswith(b"data: [DONE]"),
    "unterminated": lambda raw: ended(raw) and raw.body.endswith(b"}"),
    "error_in_stream": lambda raw: ended(raw) and json.loads(events(raw)[-1][6:]) == faults.ERROR,
    "error_text": lambda raw: ended(raw) and events(raw)[-1] == 'data: {"error": "boom"}',
    "error_event": lambda raw: ended(raw) and events(raw)[-1].startswith("event: error\ndata: {"),
    "error_line": lambda raw: ended(raw) and events(raw)[-1].startswith("error: {"),
    "text_plain": lambda raw: raw.headers["content-type"].startswith("text/plain") and text(raw) == TEXT,
    "no_content_type": lambda raw: "content-type" not in raw.headers and text(raw) == TEXT,
    "wrong_content_type": lambda raw: raw.headers["content-type"] == "audio/mpeg",
    "no_usage": lambda raw: ended(raw) and not any(data.get("usage") for data in datas(raw)),
    "usage_every_chunk": lambda raw: all(data["usage"]["total_tokens"] for data in datas(raw)),
    "obfuscation": lambda raw: all(data["obfuscation"] and "x_new_field" in data for data in datas(raw)),
    "unknown_events": lambda raw: b"event: rate_limits\n" in raw.body,
    "one_shot_json": lambda raw: json.loads(raw.body)["choices"][0]["message"]["content"] == TEXT,
    "error_document": lambda raw: raw.status == 200 and json.loads(raw.body) == faults.ERROR,
    "no_finish": lambda raw: ended(raw) and finish(raw) is None and len(deltas(raw)) > 5,
    "finish_null": lambda raw: deltas(raw)[-1] == {} and finish(raw) is None,
    "tools_interleaved": lambda raw: [call["index"] for call in calls(raw)][:4] == [0, 1, 0, 1],
    "tools_no_index": lambda raw: len(calls(raw)) == 2 and not any("index" in call for call in calls(raw)),
    "tools_index_0": lambda raw: [call["index"] for call in calls(raw)] == [0, 0],
    "tools_whole": lambda raw: all(json.loads(call["function"]["arguments"]) for call in calls(raw)),
    "tools_dict": lambda raw: all(isinstance(call["function"]["arguments"], dict) for call in calls(raw)),
    "tools_invalid": lambda raw: not "".join(c["function"]["arguments"] for c in calls(raw)).endswith("}"),
    "tools_stop": lambda raw: len(calls(raw)) > 2 and finish(raw) == "stop",
    "refusal": lambda raw: text(raw) == "" and " can't help" in "".join(d.get("refusal") or "" for d in deltas(raw)),
    "content_filter": lambda raw: finish(raw) == "content_filter" and 0 < len(text(raw)) < len(TEXT),
    "length": lambda raw: finish(raw) == "length" and TEXT.startswith(text(raw)) and not text(raw).endswith("."),
    "think_tags": lambda raw: text(raw).startswith("<think>") and text(raw).endswith(TEXT),
}  # fmt: skip


def whole(data: bytes) -> bool:
    """Whether no character is cut."""
    try:
        return bool(data.decode()) or True
    except UnicodeDecodeError:
        return False


def broken(raw: Raw) -> list[str]:
    """Events that are no JSON."""
    found = []
    for event in events(raw)[:-1]:
        try:
            json.loads(event.removeprefix("data: "))
        except ValueError:
            found.append(event)
    return found


async def one(fakes: Fakes, vendor: str, target: str, payload: Any, fault: str) -> Raw:
    return await ask(fakes, vendor, target, payload, fault=fault, patience_s=0.5)


@pytest.mark.parametrize("fault", CHAT)
async def test_a_fault_of_a_chat_is_what_it_says(fault: str) -> None:
    async with serve_fakes(World(says=[TEXT], pace=QUICK), "openai") as fakes:
        raw = await one(fakes, "openai", "/v1/chat/completions", ASKED, fault)
        assert fakes.seen[0].fault == fault.partition(";")[0]
        assert CHAT[fault](raw), raw


VOICE = "/v1/text-to-speech/21m00Tcm4TlvDq8ikWAM/stream"
LINES = f"{VOICE}/with-timestamps?output_format=pcm_24000"
SAID = {"text": "Hello there, you two.", "model_id": "eleven_flash_v2_5"}
WAV = {**SPEECH, "response_format": "wav"}


def lines(raw: Raw) -> list[dict[str, Any]]:
    return [json.loads(line) for line in raw.body.splitlines()]


def status_word(raw: Raw) -> str:
    return str(json.loads(raw.body)["detail"]["status"])


OTHERS: list[tuple[str, str, str, Any, Check]] = [
    ("unauthorized", "xai", "/v1/chat/completions", ASKED, lambda raw: raw.status == 400 and "Incorrect API key" in
        json.loads(raw.body)["error"]),
    ("unauthorized", "elevenlabs", LINES, SAID, lambda raw: raw.status == 401 and "invalid" in status_word(raw)),
    ("quota", "elevenlabs", LINES, SAID, lambda raw: raw.status == 401 and status_word(raw) == "quota_exceeded"),
    ("validation", "elevenlabs", LINES, SAID, lambda raw: raw.status == 422 and isinstance(
        json.loads(raw.body)["detail"], list)),
    ("too_many_concurrent", "elevenlabs", LINES, SAID, lambda raw: raw.status == 429 and status_word(raw) ==
        "too_many_concurrent_requests" and "maximum-concurrent-requests" in raw.headers),
    ("system_busy", "elevenlabs", LINES, SAID, lambda raw: raw.status == 429 and status_word(raw) == "system_busy"),
    ("relative_times", "elevenlabs", LINES, SAID, lambda raw: {
        line["alignment"]["character_start_times_seconds"][0] for line in lines(raw)} == {0}),
    ("no_alignment", "elevenlabs", LINES, SAID, lambda raw: all(line["alignment"] is None for line in lines(raw))),
    ("split_events", "elevenlabs", LINES, SAID, lambda raw: len(raw.chunks) > 3 * len(lines(raw)) - 1),
    ("malformed", "elevenlabs", LINES, SAID, lambda raw: ended(raw) and not raw.body.splitlines()[1].endswith(b"}")),
    ("malformed", "openai", "/v1/audio/speech", SPEECH, lambda raw: raw.raw_body.endswith(b"no chunk size\r\n")),
    ("cut", "openai", "/v1/audio/speech", SPEECH, lambda raw: raw.end == "eof" and not ended(raw) and raw.body > b""),
    ("stall", "openai", "/v1/audio/speech", SPEECH, lambda raw: raw.end == "silence" and len(raw.chunks) == 1),
    ("empty", "openai", "/v1/audio/speech", SPEECH, lambda raw: raw.status == 200 and raw.body == b""),
    ("odd_chunks", "openai", "/v1/audio/speech", SPEECH, lambda raw: any(len(chunk) % 2 for chunk in raw.chunks)),
    ("wrong_content_type", "openai", "/v1/audio/speech", SPEECH, lambda raw: "mpeg" in raw.headers["content-type"]),
    ("fake_wav_length", "openai", "/v1/audio/speech", WAV, lambda raw: raw.body[40:44] == b"\xff" * 4),
    ("zero_wav_length", "openai", "/v1/audio/speech", WAV, lambda raw: raw.body[40:44] == bytes(4)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "vendor", "target", "payload", "check"), OTHERS, ids=[f"{row[1]}-{row[0]}" for row in OTHERS]
)
async def test_a_fault_of_a_voice_or_another_vendor_is_what_it_says(
    fault: str, vendor: str, target: str, payload: Any, check: Check
) -> None:
    async with serve_fakes(World(pace=QUICK), vendor) as fakes:
        assert check(raw := await one(fakes, vendor, target, payload, fault)), raw


STT: dict[str, Check] = {
    "": lambda raw: json.loads(raw.body)["text"] == "hello there",
    "no_words": lambda raw: json.loads(raw.body)["text"] == "",
    "cut": lambda raw: raw.end == "eof" and 0 < len(raw.body) < int(raw.headers["content-length"]),
    "stall": lambda raw: raw.end == "silence" and raw.status == 200,
    "malformed": lambda raw: raw.end == "eof" and not raw.body.endswith(b"}") and len(raw.body) > 5,
    "empty": lambda raw: raw.status == 200 and raw.headers["content-length"] == "0",
    "drip; drip_s=0.0002": lambda raw: json.loads(raw.body)["text"] == "hello there" and len(raw.reads) > 10,
    "bad_gateway": lambda raw: raw.status == 502,
}


def form(file: bytes, name: str = 'filename="speech.wav"', kind: str = "Content-Type: audio/wav\r\n") -> bytes:
    head = f'--b\r\nContent-Disposition: form-data; name="file"; {name}\r\n{kind}\r\n'
    return (
        head.encode() + file + b'\r\n--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--b--\r\n'
    )


async def transcribe(fakes: Fakes, body: bytes, fault: str = "") -> Raw:
    kind = "multipart/form-data; boundary=b"
    target = "/v1/audio/transcriptions"
    return await ask(fakes, "openai", target, fault=fault, patience_s=0.5, body=body, kind=kind)


@pytest.mark.parametrize("fault", STT)
async def test_a_fault_of_a_transcription_is_what_it_says(fault: str) -> None:
    async with serve_fakes(World(heard=["hello there"], pace=QUICK), "openai") as fakes:
        assert STT[fault](raw := await transcribe(fakes, form(encoded(0.5, 16_000, "wav")), fault)), raw


GOOD = encoded(0.5, 16_000, "wav")
BAD_UPLOADS = {
    "no name": form(GOOD, name=""),
    "a name without extension": form(GOOD, name='filename="speech"'),
    "no content type": form(GOOD, kind=""),
    "raw samples under the name of a WAV": form(GOOD[44:]),
    "a length that is too large": form(GOOD[:-10]),
    "a length of nothing": form(encoded(0.5, 16_000, "wav", 0)),
    "an unknown kind of file": form(GOOD, name='filename="speech.xyz"'),
    "no end": form(GOOD)[:-4],
}


@pytest.mark.parametrize("upload", BAD_UPLOADS)
async def test_an_upload_is_read_strictly(upload: str) -> None:
    async with serve_fakes(World(pace=QUICK), "openai") as fakes:
        assert (await transcribe(fakes, BAD_UPLOADS[upload])).status == 400


async def test_refused_closes_the_port_of_one_vendor_and_clear_opens_it_again() -> None:
    async with serve_fakes(World(pace=QUICK), "openai", backup="openai") as fakes:
        fakes.fault("chat", "refused", vendor="openai")
        with pytest.raises(OSError, match="connect"):
            await ask(fakes, "openai", "/v1/models")
        assert (await ask(fakes, "backup", "/v1/models")).status == 200
        fakes.clear()
        assert (await ask(fakes, "openai", "/v1/models")).status == 200


async def test_refused_ends_connections_that_wait_for_their_next_request() -> None:
    async with serve_fakes(World(pace=QUICK), "openai") as fakes:
        stream = await trio.open_tcp_stream("127.0.0.1", fakes.vendors["openai"].port)
        async with stream:
            await stream.send_all(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
            with trio.fail_after(1):
                got = b""
                while not got.endswith(b"]}"):
                    got += await stream.receive_some(65536)
                fakes.fault("*", "refused")
                assert await stream.receive_some(65536) == b""


async def test_faults_are_counted_and_chosen_by_kind_path_and_vendor() -> None:
    async with serve_fakes(World(says=["Hi."], pace=QUICK), "openai", "xai") as fakes:
        fakes.fault("chat", "error_500", times=2, vendor="openai")
        fakes.fault("/v1/models", "bad_gateway")
        chat = [(await one(fakes, "openai", "/v1/chat/completions", ASKED, "")).status for _ in range(3)]
        assert chat == [500, 500, 200]
        assert (await one(fakes, "xai", "/v1/chat/completions", ASKED, "")).status == 200
        assert (await ask(fakes, "xai", "/v1/models")).status == 502
        with pytest.raises(ValueError, match="no fault 'nonsense'"):
            fakes.fault("chat", "nonsense")


async def test_faults_can_be_switched_over_http() -> None:
    async with serve_fakes(World(pace=QUICK), "openai", "xai") as fakes:
        fault = {"kind": "models", "name": "rate_limited", "vendor": "xai", "times": 1, "retry_after_s": 7}
        told = await ask(fakes, "openai", "/_fakes/fault", fault)
        row = {"kind": "models", "name": "rate_limited", "vendor": "xai", "left": 1, "retry_after_s": 7}
        assert json.loads(told.body) == {"faults": [row]}
        assert (await ask(fakes, "xai", "/v1/models")).headers["retry-after"] == "7"
        assert (await ask(fakes, "xai", "/v1/models")).status == 200
        assert (await ask(fakes, "openai", "/_fakes/fault", {"name": "nonsense"})).status == 400


def test_no_fault_is_untested() -> None:
    tested = {name.partition(";")[0] for name in (*CHAT, *STT, *TESTED)} | {row[0] for row in OTHERS}
    assert NAMES.keys() - tested == {"refused"}, "and that has tests of its own"
    assert tested - NAMES.keys() == {""}


async def test_a_model_may_refuse_call_tools_and_think_by_itself() -> None:
    said = Said("Hm.", tools=(("f", '{"a": 1}'),), reasoning="Let me think.")
    async with serve_fakes(World(says=[said], pace=QUICK), "openai") as fakes:
        raw = await one(fakes, "openai", "/v1/chat/completions", ASKED, "")
    assert finish(raw) == "tool_calls"
    assert "".join(call["function"]["arguments"] for call in calls(raw)) == '{"a": 1}'
    assert "".join(delta.get("reasoning_content", "") for delta in deltas(raw)) == "Let me think."
