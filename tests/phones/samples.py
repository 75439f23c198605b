"""Messages as the vendors' documents show them, what they say, and how the verbs must look."""

from __future__ import annotations

import base64
from typing import Any

from aura.core.wire.phone import Complaint, Digit, Flushed, Malformed, Media, Other, Played, Started, Stopped

AUDIO = base64.b64encode(b"\x00\x7f\xff" * 53 + b"\x01").decode()
RAW = base64.b64decode(AUDIO)

TWILIO_START = {
    "event": "start", "sequenceNumber": "1", "streamSid": "MZ1",
    "start": {
        "accountSid": "AC1", "streamSid": "MZ1", "callSid": "CA1", "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {"FirstName": "Jane", "model": "reception"},
    },
}  # fmt: skip
TELNYX_START = {
    "event": "start", "sequence_number": "1", "stream_id": "S1",
    "start": {
        "user_id": "U1", "call_control_id": "v2:C1", "client_state": "aGF2ZQ==", "from": "+13122010094",
        "to": "+13122123456", "custom_parameters": [{"name": "model", "value": "reception"}],
        "media_format": {"encoding": "L16", "sample_rate": 16000, "channels": 1},
    },
}  # fmt: skip
PLIVO_START = {
    "sequenceNumber": 0, "event": "start", "extra_headers": "{X-PH-model: reception, floor: 3}",
    "start": {
        "callId": "P1", "streamId": "S1", "accountId": 20040401, "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-l16", "sampleRate": 16000},
    },
}  # fmt: skip
STARTS: dict[str, dict[str, Any]] = {"twilio": TWILIO_START, "telnyx": TELNYX_START, "plivo": PLIVO_START}

FACTS: list[tuple[str, object, object]] = [
    ("twilio", {"event": "connected", "protocol": "Call", "version": "1.0.0"}, Other("connected")),
    (
        "twilio",
        TWILIO_START,
        Started("MZ1", "CA1", "audio/x-mulaw", 8000, 1, {"FirstName": "Jane", "model": "reception"}, "AC1"),
    ),
    (
        "twilio",
        {
            "event": "media",
            "sequenceNumber": "4",
            "streamSid": "MZ1",
            "media": {"track": "inbound", "chunk": "2", "timestamp": "20", "payload": AUDIO},
        },
        Media(RAW, 2, 20),
    ),
    (
        "twilio",
        {"event": "media", "media": {"track": "outbound", "chunk": "2", "timestamp": "20", "payload": AUDIO}},
        Other("media"),
    ),
    (
        "twilio",
        {"event": "dtmf", "streamSid": "MZ1", "sequenceNumber": "5", "dtmf": {"track": "inbound_track", "digit": "#"}},
        Digit("#"),
    ),
    (
        "twilio",
        {"event": "mark", "sequenceNumber": "4", "streamSid": "MZ1", "mark": {"name": "aura-1"}},
        Played("aura-1"),
    ),
    (
        "twilio",
        {"event": "stop", "sequenceNumber": "5", "streamSid": "MZ1", "stop": {"accountSid": "AC1", "callSid": "CA1"}},
        Stopped(),
    ),
    ("twilio", {"event": "start"}, Malformed("start without its contents")),
    ("twilio", {"event": "video", "sequenceNumber": "6"}, Other("video")),
    ("telnyx", {"event": "connected", "version": "1.0.0"}, Other("connected")),
    (
        "telnyx",
        TELNYX_START,
        Started("S1", "v2:C1", "L16", 16000, 1, {"model": "reception"}, "U1", "+13122010094", "+13122123456"),
    ),
    (
        "telnyx",
        {
            "event": "media",
            "sequence_number": "4",
            "stream_id": "S1",
            "media": {"track": "inbound", "chunk": "2", "timestamp": "5", "payload": AUDIO},
        },
        Media(RAW, 2, 5),
    ),
    (
        "telnyx",
        {"event": "media", "stream_id": "S1", "media": {"track": "outbound", "chunk": "2", "payload": AUDIO}},
        Other("media"),
    ),
    (
        "telnyx",
        {"event": "dtmf", "stream_id": "S1", "occurred_at": "2026-01-01T00:00:00Z", "dtmf": {"digit": "1"}},
        Digit("1"),
    ),
    ("telnyx", {"event": "mark", "stream_id": "S1", "mark": {"name": "aura-1"}}, Played("aura-1")),
    (
        "telnyx",
        {
            "event": "error",
            "stream_id": "S1",
            "payload": {"code": 100004, "title": "invalid_media", "detail": "too short"},
        },
        Complaint("100004 invalid_media too short"),
    ),
    (
        "telnyx",
        {"event": "stop", "sequence_number": "5", "stop": {"user_id": "U1", "call_control_id": "v2:C1"}},
        Stopped(),
    ),
    (
        "plivo",
        PLIVO_START,
        Started("S1", "P1", "audio/x-l16", 16000, 1, {"model": "reception", "floor": "3"}, "20040401"),
    ),
    (
        "plivo",
        {
            "sequenceNumber": 2,
            "streamId": "S1",
            "event": "media",
            "media": {"track": "inbound", "timestamp": "1657267246803", "chunk": 2, "payload": AUDIO},
            "extra_headers": "{}",
        },
        Media(RAW, 2, 1657267246803),
    ),
    (
        "plivo",
        {"event": "dtmf", "streamId": "S1", "dtmf": {"track": "inbound", "digit": "9", "timestamp": "1"}},
        Digit("9"),
    ),
    ("plivo", {"event": "playedStream", "streamId": "S1", "name": "aura-1"}, Played("aura-1")),
    ("plivo", {"event": "clearedAudio", "streamId": "S1"}, Flushed()),
    ("plivo", {"event": "playFailed", "reason": "bad payload"}, Complaint("playFailed bad payload")),
    ("plivo", {"event": "stop"}, Stopped()),
]


SAID = {
    "twilio": (
        {"event": "media", "streamSid": "MZ1", "media": {"payload": AUDIO}},
        {"event": "mark", "streamSid": "MZ1", "mark": {"name": "m"}},
        {"event": "clear", "streamSid": "MZ1"},
    ),
    "telnyx": (
        {"event": "media", "media": {"payload": AUDIO}},
        {"event": "mark", "mark": {"name": "m"}},
        {"event": "clear"},
    ),
    "plivo": (
        {"event": "playAudio", "media": {"contentType": "audio/x-l16", "sampleRate": 16000, "payload": AUDIO}},
        {"event": "checkpoint", "streamId": "S1", "name": "m"},
        {"event": "clearAudio", "streamId": "S1"},
    ),
}
