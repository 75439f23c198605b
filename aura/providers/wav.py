"""WAV around raw PCM: written for engines that want a file, read from engines that stream one."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import count

import msgspec

HEADER_BYTES = 44
MAX_HEADER_BYTES = 64 * 1024
PCM, FLOAT, ALAW, ULAW, EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
"""Format tags of Microsoft's mmreg.h."""


class WavFormat(msgspec.Struct, frozen=True):
    """What a WAV header says."""

    rate_hz: int
    channels: int
    bits: int
    data_at: int
    """Offset of the first sample."""
    tag: int = PCM
    """How samples are written, one of the tags above; never EXTENSIBLE, which is looked through."""
    data_bytes: int = 0
    """The length as stated. Streams carry 0, 0xFFFFFFFF or anything else there: not to be trusted alone."""


def wav_header(pcm_bytes: int, rate_hz: int) -> bytes:
    """The 44 bytes that make mono 16-bit PCM a WAV file."""
    riff = struct.pack("<4sI4s", b"RIFF", 36 + pcm_bytes, b"WAVE")
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate_hz, rate_hz * 2, 2, 16)
    return riff + fmt + struct.pack("<4sI", b"data", pcm_bytes)


def wav_form(pcm: bytes, rate_hz: int, texts: Sequence[tuple[str, str]]) -> tuple[str, bytes]:
    """(content type, body) of a multipart form: these fields, then the audio as the file `speech.wav`.

    httpx's encoder reads files and costs 0.5 ms where joining bytes costs nothing. The boundary is one that does not
    occur.
    """
    joined = "".join(value for _, value in texts).encode()
    boundary = next(b for n in count() if (b := f"aura-{n}-form").encode() not in pcm and b.encode() not in joined)
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in texts
    ]
    parts.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="speech.wav"\r\n'
        "Content-Type: audio/wav\r\n\r\n"
    )
    head = "".join(parts).encode() + wav_header(len(pcm), rate_hz)
    return f"multipart/form-data; boundary={boundary}", b"".join((head, pcm, f"\r\n--{boundary}--\r\n".encode()))


def read_wav_header(start: bytes) -> WavFormat | None:
    """Read the header at the start of a stream; None while it is not complete. Raises ValueError if it is broken."""
    if len(start) >= 12 and start[8:12] != b"WAVE":
        raise ValueError("RIFF, but no WAV")
    at, fmt = 12, WavFormat(0, 0, 0, 0)
    while len(start) >= at + 8:
        name, size = struct.unpack_from("<4sI", start, at)
        at += 8
        if name == b"data":
            return msgspec.structs.replace(fmt, data_at=at, data_bytes=size)
        if name == b"fmt " and len(start) >= at + 16:
            tag, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", start, at)
            if tag == EXTENSIBLE and size >= 26 and len(start) >= at + 26:
                tag = struct.unpack_from("<H", start, at + 24)[0]  # the first two bytes of the sub-format's GUID
            fmt = WavFormat(rate_hz, channels, bits, 0, tag)
        at += size + size % 2
        if at > MAX_HEADER_BYTES:
            break
    if at > MAX_HEADER_BYTES or len(start) > MAX_HEADER_BYTES:
        raise ValueError("no audio in the WAV header")
    return None
