"""What a stream of audio is, by its first bytes. Labels are only asked where the bytes say nothing.

Servers ignore `response_format`, and name MPEG what is PCM (Speaches, Kokoro-FastAPI, LocalAI, Nov 2026).
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

Kind = Literal["pcm", "mulaw", "alaw", "wav", "mp3", "aac", "ogg", "flac"]
Headerless = Literal["pcm", "mulaw", "alaw"]

_MAGIC: tuple[tuple[bytes, Kind], ...] = ((b"RIFF", "wav"), (b"OggS", "ogg"), (b"fLaC", "flac"), (b"ID3", "mp3"))
_LABELS: tuple[tuple[re.Pattern[str], Kind], ...] = (
    (re.compile(r"mpeg|mp3"), "mp3"),
    (re.compile(r"aac"), "aac"),
    (re.compile(r"audio/basic|mulaw|ulaw|pcmu"), "mulaw"),
    (re.compile(r"alaw|pcma"), "alaw"),
)
_PARAMETER = re.compile(r";\s*(rate|channels)=\"?(\d+)")
_KBPS_V1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBPS_V2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
HEAD_BYTES = 6
"""Enough of a frame to tell its length."""


class Label(msgspec.Struct, frozen=True):
    """What a content type says."""

    kind: Kind | None = None
    rate_hz: int | None = None
    channels: int = 1


def read_label(content_type: str) -> Label:
    """Look for a known name and for `rate=` and `channels=`. L16 is taken as little-endian, as engines mean it."""
    text = content_type.lower()
    numbers = {name: int(value) for name, value in _PARAMETER.findall(text)}
    kind = next((kind for pattern, kind in _LABELS if pattern.search(text)), None)
    return Label(kind, numbers.get("rate") or None, numbers.get("channels") or 1)


def sniff(start: bytes, label: Label, asked: Kind) -> Kind | None:
    """The kind of a stream that begins so; None while there are too few bytes to tell."""
    for magic, kind in _MAGIC:
        if start.startswith(magic):
            return kind
        if magic.startswith(start):
            return None
    headerless: Kind = label.kind if label.kind in ("mulaw", "alaw") else asked
    if headerless not in ("mulaw", "alaw"):
        headerless = "pcm"
    if start[0] != 0xFF:
        return headerless
    return _framed(start, label.kind in ("mp3", "aac") or asked in ("mp3", "aac"), headerless)


def _framed(start: bytes, believed: bool, headerless: Kind) -> Kind | None:
    """MPEG or AAC frames. Their mark is so weak that PCM may begin with it: unlabelled, a second frame must follow."""
    if len(start) < HEAD_BYTES:
        return None if len(start) < 2 or start[1] & 0xE0 == 0xE0 else headerless
    for kind, length in (("mp3", mpeg_frame_bytes(start)), ("aac", adts_frame_bytes(start))):
        if not length:
            continue
        if believed:
            return kind  # type: ignore[return-value]
        if len(start) < length + HEAD_BYTES:
            return None
        follows = mpeg_frame_bytes if kind == "mp3" else adts_frame_bytes
        if follows(start[length:]):
            return kind  # type: ignore[return-value]
    return headerless


def mpeg_frame_bytes(head: bytes) -> int:
    """Length of the MPEG layer III frame that begins so, 0 if none does."""
    if head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return 0
    version, bitrate, rate = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or bitrate in (0, 15) or rate == 3:
        return 0
    kbps = (_KBPS_V1 if version == 3 else _KBPS_V2)[bitrate]
    return (144_000 if version == 3 else 72_000) * kbps // _RATES[version][rate] + (head[2] >> 1 & 1)


def adts_frame_bytes(head: bytes) -> int:
    """Length of the AAC frame with ADTS header that begins so, 0 if none does."""
    if head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or head[2] >> 2 & 15 > 12:
        return 0
    length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return length if length > 7 else 0
