"""How a `session.update` is put onto a session: plain dicts, checked afterwards by `RealtimeSession`.

Update rules and xAI's dialect: realtime-protocol.md 1.3 and 1.9.
"""

from __future__ import annotations

from typing import Any

_FIXED = ("id", "object", "model", "expires_at")  # clients echo them; the model cannot change once connected

_BRANCHES = frozenset(
    {
        "aura",
        "audio",
        "audio.input",
        "audio.input.format",
        "audio.input.transcription",
        "audio.input.noise_reduction",
        "audio.input.turn_detection",
        "audio.output",
        "audio.output.format",
    }
)
_CLEARABLE = frozenset(
    {
        "tracing",
        "prompt",
        "include",
        "audio.input.transcription",
        "audio.input.transcription.language",
        "audio.input.transcription.prompt",
        "audio.input.noise_reduction",
        "audio.input.turn_detection",
        "audio.input.turn_detection.idle_timeout_ms",
    }
)


def merge(base: dict[str, Any], patch: dict[str, Any], path: str = "") -> dict[str, Any]:
    """`base` with what `patch` holds; a null counts only where something can be switched off."""
    merged = dict(base)
    for key, value in patch.items():
        where = f"{path}{key}"
        if value is None:
            if where in _CLEARABLE:
                merged[key] = None
        elif isinstance(value, dict) and where in _BRANCHES:
            old = merged.get(key)
            merged[key] = merge(old if isinstance(old, dict) else {}, value, f"{where}.")
        else:
            merged[key] = value
    return merged


def in_ga_shape(patch: dict[str, Any], *, transcribes: bool) -> dict[str, Any]:
    """The update in GA shape: xAI's top-level `voice`, `turn_detection` and `modalities` at their places.

    `transcribes` tells whether the session transcribes already: a client that speaks xAI's dialect expects it.
    """
    folded = {key: value for key, value in patch.items() if key not in _FIXED}
    audio = folded.get("audio")
    audio = dict(audio) if isinstance(audio, dict) else {} if audio is None else audio
    if not isinstance(audio, dict):
        return folded  # refused by validation
    flat = {key: folded.pop(key) for key in ("voice", "turn_detection") if key in folded}
    sides = {side: dict(part) if isinstance(part := audio.get(side), dict) else {} for side in ("input", "output")}
    if "voice" in flat:
        sides["output"].setdefault("voice", flat["voice"])
    if "turn_detection" in flat:
        sides["input"].setdefault("turn_detection", flat["turn_detection"])
    if flat and not transcribes:
        sides["input"].setdefault("transcription", {"model": "grok-transcribe"})  # xAI transcribes by default
    voice = sides["output"].get("voice")
    if isinstance(voice, dict) and "id" in voice:
        sides["output"]["voice"] = voice["id"]
    folded["audio"] = audio | {side: part for side, part in sides.items() if part}
    return _with_modalities(folded)


def _with_modalities(patch: dict[str, Any]) -> dict[str, Any]:
    """One modality: the old `["text", "audio"]` means audio with its transcript."""
    old = patch.pop("modalities", None)
    asked = patch.get("output_modalities", old)
    if asked is not None:
        patch["output_modalities"] = ["audio"] if isinstance(asked, list) and "audio" in asked else asked
    return patch
