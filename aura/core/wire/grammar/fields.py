"""What every event of the server must hold: its fields and their types (realtime-protocol.md 1.3, 1.5, 1.6, 1.8).

`name:type`, with `?` behind a name that may be missing. Types: `id` a string that is not empty, `str`, `int` (not
negative), `num`, `bool`, `b64`, `obj`, `null`, `=word` the word itself, `[type]` a list, or a shape from `SHAPES`;
`a|b` either. A shape with a dot is chosen by a field of the object: see `CHOICES`. Further fields are allowed: clients
pass over them (2.3).
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

Problem = tuple[str, str]
"""Code of the rule and what is wrong."""

_PART = "response_id:id item_id:id output_index:int content_index:int"
_TEXT = "item_id:id content_index?:int"
_MCP = "item_id:id output_index:int"

EVENTS: dict[str, str] = {
    # 1.5, the 46 of OpenAI
    "session.created": "session:session",
    "session.updated": "session:session",
    "conversation.created": "conversation:conversation",
    "conversation.item.added": "item:item previous_item_id?:id|null",
    "conversation.item.done": "item:item previous_item_id?:id|null",
    "conversation.item.created": "item:item previous_item_id?:id|null",
    "conversation.item.retrieved": "item:item",
    "conversation.item.deleted": "item_id:id",
    "conversation.item.truncated": "item_id:id content_index:int audio_end_ms:int",
    "conversation.item.input_audio_transcription.delta": f"{_TEXT} delta:str logprobs?:[obj]|null",
    "conversation.item.input_audio_transcription.completed": "item_id:id content_index:int transcript:str usage:spent",
    "conversation.item.input_audio_transcription.failed": "item_id:id content_index:int error:failure",
    "conversation.item.input_audio_transcription.segment": (
        "item_id:id content_index:int id:id text:str speaker:str start:num end:num"
    ),
    "input_audio_buffer.speech_started": "item_id:id audio_start_ms:int",
    "input_audio_buffer.speech_stopped": "item_id:id audio_end_ms:int",
    "input_audio_buffer.committed": "item_id:id previous_item_id?:id|null",
    "input_audio_buffer.cleared": "",
    "input_audio_buffer.timeout_triggered": "item_id:id audio_start_ms:int audio_end_ms:int",
    "input_audio_buffer.dtmf_event_received": "event:str received_at:num",
    "response.created": "response:response",
    "response.done": "response:response",
    "response.output_item.added": "response_id:id output_index:int item:item",
    "response.output_item.done": "response_id:id output_index:int item:item",
    "response.content_part.added": f"{_PART} part:part",
    "response.content_part.done": f"{_PART} part:part",
    "response.output_audio.delta": f"{_PART} delta:b64",
    "response.output_audio.done": _PART,
    "response.output_audio_transcript.delta": f"{_PART} delta:str",
    "response.output_audio_transcript.done": f"{_PART} transcript:str",
    "response.output_text.delta": f"{_PART} delta:str",
    "response.output_text.done": f"{_PART} text:str",
    "response.function_call_arguments.delta": "response_id:id item_id:id output_index:int call_id:id delta:str",
    "response.function_call_arguments.done": (
        "response_id:id item_id:id output_index:int call_id:id name:id arguments:str"
    ),
    "response.mcp_call_arguments.delta": f"response_id:id {_MCP} delta:str",
    "response.mcp_call_arguments.done": f"response_id:id {_MCP} arguments:str",
    "response.mcp_call.in_progress": _MCP,
    "response.mcp_call.completed": _MCP,
    "response.mcp_call.failed": _MCP,
    "mcp_list_tools.in_progress": "item_id:id",
    "mcp_list_tools.completed": "item_id:id",
    "mcp_list_tools.failed": "item_id:id",
    "rate_limits.updated": "rate_limits:[rate_limit]",
    "output_audio_buffer.started": "response_id:id",
    "output_audio_buffer.stopped": "response_id:id",
    "output_audio_buffer.cleared": "response_id:id",
    "error": "error:error",
    # AURA's own, after the opt-in (own_events.py and the resume protocol)
    "aura.state": "was:str now:str cause:str",
    "aura.playout.hold": "response_id:id item_id:id",
    "aura.playout.resume": "response_id:id item_id:id from_ms:int",
    "aura.playout.flush": "response_id:id item_id:id heard_ms:int",
    "aura.turn.metrics": "turn:int item_id:str metrics:obj",
    "aura.resumed": "session_id:id conversation_id:id input_bytes:int items:[item]",
}
WITHOUT_ID = frozenset({"input_audio_buffer.dtmf_event_received"})
"""1.5: all require `event_id` except this one."""

SHAPES: dict[str, str] = {
    # 1.3: the whole effective session; what decides whether clients live is typed closely (2.3)
    "session.realtime": (
        "id:id model:str object:=realtime.session expires_at:int output_modalities:[=audio|=text] instructions:str"
        " tools:[obj] tool_choice:str max_output_tokens:int|=inf tracing:obj|=auto|null truncation:str|obj"
        " prompt:obj|null include:[str]|null audio:audio aura?:opt_in"
    ),
    "session.transcription": (
        "id:id object:=realtime.transcription_session expires_at:int include:[str]|null audio:audio_in aura?:opt_in"
    ),
    "audio": "input:input output:output",
    "audio_in": "input:input",
    "input": "format:format transcription:transcription|null noise_reduction:obj|null turn_detection:detection|null",
    "output": "format:format voice:id speed:num",
    "format.audio/pcm": "rate:int",
    "format.audio/pcmu": "",
    "format.audio/pcma": "",
    "format.audio/opus": "",
    "transcription": "model:str language?:str|null prompt?:str|null",
    "detection.server_vad": (
        "threshold:num prefix_padding_ms:int silence_duration_ms:int idle_timeout_ms?:int|null create_response:bool"
        " interrupt_response:bool"
    ),
    "detection.semantic_vad": "eagerness:=low|=medium|=high|=auto create_response:bool interrupt_response:bool",
    "opt_in": "transport:=json|=binary events:bool",
    "conversation": "id:id object:=realtime.conversation",
    # 1.6
    "item.message": "id:id role:=user|=assistant|=system status?:status|null content:[content]",
    "item.function_call": "id:id status?:status|null name:str call_id:id arguments:str",
    "item.function_call_output": "id:id call_id:id output:str",
    "item.mcp_call": "id:id",
    "item.mcp_list_tools": "id:id",
    "item.mcp_approval_request": "id:id",
    "item.mcp_approval_response": "id:id",
    "content.input_text": "text:str",
    "content.input_audio": "transcript:str|null audio?:b64|null",
    "content.input_image": "image_url:str",
    "content.output_text": "text:str",
    "content.output_audio": "transcript?:str|null audio?:b64|null",
    "status": "=in_progress|=completed|=incomplete",
    "part.audio": "transcript:str",
    "part.text": "text:str",
    "response": (
        "object:=realtime.response id:id status:ended status_details:details|null output:[item] conversation_id:id|null"
        " output_modalities:[=audio|=text] max_output_tokens:int|=inf audio?:spoken usage:usage|null metadata:obj|null"
    ),
    "spoken": "output?:spoken_as",
    "spoken_as": "format?:format voice?:str",
    "ended": "=in_progress|=completed|=cancelled|=incomplete|=failed",
    "details.cancelled": "reason:=turn_detected|=client_cancelled",
    "details.incomplete": "reason:=max_output_tokens|=content_filter",
    "details.failed": "error:failure",
    "failure": "type?:str code?:str|null message?:str param?:str|null",
    "usage": (
        "total_tokens:int input_tokens:int output_tokens:int input_token_details:tokens_in"
        " output_token_details:tokens_out"
    ),
    "tokens_in": "text_tokens:int audio_tokens:int image_tokens?:int cached_tokens:int cached_tokens_details?:cached",
    "cached": "text_tokens?:int audio_tokens?:int image_tokens?:int",
    "tokens_out": "text_tokens:int audio_tokens:int",
    "spent.duration": "seconds:num",
    "spent.tokens": "input_tokens:int output_tokens:int total_tokens:int input_token_details?:obj",
    "rate_limit": "name:=requests|=tokens limit:int remaining:int reset_seconds:num",
    # 1.8
    "error": (
        "type:=invalid_request_error|=server_error|=rate_limit_error message:str code?:str|null param?:str|null"
        " event_id?:str|null"
    ),
}
CHOICES: dict[str, str] = dict.fromkeys(
    ("session", "format", "detection", "item", "content", "part", "details", "spent"), "type"
)
"""The field of an object that says which of the shapes with this first word it has."""

Check = Callable[[Any, str], Iterator[Problem]]
_NAMES = {
    dict: "an object",
    list: "a list",
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
}


def check(kind: str, event: dict[str, Any]) -> list[Problem]:
    """What is wrong with the fields of an event. Its words and values are never named."""
    problems = [] if kind in WITHOUT_ID else list(_ID(event, ""))
    problems += _EVENTS[kind](event, "")
    if isinstance(part := event.get("part"), dict):  # agents-js passes over an event with a null there
        problems += [("field.type", f"part.{key} is null") for key, value in part.items() if value is None]
    return list(dict.fromkeys(problems))


def _plain(name: str, fits: Callable[[Any], bool]) -> Check:
    def run(value: Any, path: str) -> Iterator[Problem]:
        if not fits(value):
            got = "null" if value is None else _NAMES.get(type(value), "something else")
            yield "field.type", f"{path} is {got} that is no {name}" if value is not None else f"{path} is null"

    return run


def is_base64(value: Any) -> bool:
    """Whether this is audio, as a string."""
    try:
        return isinstance(value, str) and (not value or bool(binascii.a2b_base64(value, strict_mode=True)))
    except ValueError:
        return False


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


_PLAIN: dict[str, Callable[[Any], bool]] = {
    "id": lambda value: isinstance(value, str) and bool(value),
    "str": lambda value: isinstance(value, str),
    "int": _whole,
    "num": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "bool": lambda value: isinstance(value, bool),
    "b64": is_base64,
    "obj": lambda value: isinstance(value, dict),
    "null": lambda value: value is None,
}


def _type(text: str) -> Check:
    """The check for what stands behind a colon."""
    if text.startswith("["):
        end = text.index("]")
        inner, rest = _type(text[1:end]), text[end + 1 :].lstrip("|")

        def every(value: Any, path: str) -> Iterator[Problem]:
            for index, one in enumerate(value):
                yield from inner(one, f"{path}[{index}]")

        listed = _guarded("list", lambda value: isinstance(value, list), every)
        return _either([listed, _type(rest)]) if rest else listed
    kinds = text.split("|")
    words = frozenset(kind[1:] for kind in kinds if kind.startswith("="))
    checks = [_named(kind) for kind in kinds if not kind.startswith("=")]
    if words:
        checks.insert(0, _plain(" or ".join(sorted(words)), lambda value: isinstance(value, str) and value in words))
    return checks[0] if len(checks) == 1 else _either(checks)


def _named(kind: str) -> Check:
    if kind in _PLAIN:
        return _plain(kind, _PLAIN[kind])
    if kind in CHOICES:
        return _chosen(kind)
    if SHAPES[kind].startswith("="):
        return _type(SHAPES[kind])
    return _guarded(kind, lambda value: isinstance(value, dict), _shape(SHAPES[kind]))


def _guarded(name: str, fits: Callable[[Any], bool], inner: Check) -> Check:
    outer = _plain(name, fits)

    def run(value: Any, path: str) -> Iterator[Problem]:
        yield from inner(value, path) if fits(value) else outer(value, path)

    return run


def _either(checks: list[Check]) -> Check:
    """Any of the types will do; of several complaints the one that is nearest to the value's own type."""

    def run(value: Any, path: str) -> Iterator[Problem]:
        complaints = [list(one(value, path)) for one in checks]
        if all(complaints):
            inside = [found for found in complaints if found[0][1].partition(" ")[0] != path]
            yield from (inside or complaints)[0]

    return run


def _chosen(kind: str) -> Check:
    """A shape that depends on a field of the object."""
    field = CHOICES[kind]
    shapes = {name.partition(".")[2]: _shape(text) for name, text in SHAPES.items() if name.partition(".")[0] == kind}

    def choose(value: Any, path: str) -> Iterator[Problem]:
        chosen = value.get(field)
        if chosen is None:
            yield "field.missing", f"{path}.{field} is missing"
        elif not isinstance(chosen, str) or chosen not in shapes:
            yield "field.type", f"{path}.{field} is none of {', '.join(shapes)}"
        else:
            yield from shapes[chosen](value, path)

    return _guarded("object", lambda value: isinstance(value, dict), choose)


_FIELD = re.compile(r"(?P<name>\w+)(?P<optional>\??):(?P<type>\S+)")


def _shape(text: str) -> Check:
    """The check for all fields of an object."""
    fields = [(match["name"], bool(match["optional"]), _type(match["type"])) for match in _FIELD.finditer(text)]

    def run(value: Any, path: str) -> Iterator[Problem]:
        for name, optional, inner in fields:
            where = f"{path}.{name}" if path else name
            if name in value:
                yield from inner(value[name], where)
            elif not optional:
                yield "field.missing", f"{where} is missing"

    return run


_EVENTS: dict[str, Check] = {kind: _shape(text) for kind, text in EVENTS.items()}
_ID = _shape("event_id:id")


def read_huge(raw: str) -> dict[str, Any] | None:
    """An event whose only fault is a number that is too large; None when it has others."""
    try:
        msgspec.json.decode(raw)
    except (ValueError, RecursionError) as error:
        if "out of range" not in str(error):
            return None
    try:
        event = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None


def read(raw: str) -> dict[str, Any] | None:
    """A text frame as an event; None when it is none."""
    try:
        event = msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None
