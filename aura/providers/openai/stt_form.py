"""The upload of a transcription: a multipart form with one WAV file, built in memory.

httpx's multipart encoder reads files and costs 0.5 ms where joining bytes costs nothing. Raw PCM is refused by the API,
so the audio gets a 44-byte header.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import Literal

import msgspec

from aura.core.ports import LISTEN_RATE_HZ
from aura.providers.openai.settings import OpenAISettings
from aura.providers.wav import wav_form

Format = Literal["json", "verbose_json", "text"]


class Accepts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a model accepts."""

    names: tuple[str, ...] = ()
    format: Format = "json"
    stream: bool = True
    lists: bool = False


@cache
def known_models() -> tuple[Accepts, ...]:
    """The file stt_models.toml."""
    text = files("aura.providers.openai").joinpath("stt_models.toml").read_bytes()
    return msgspec.toml.decode(text, type=dict[str, tuple[Accepts, ...]])["models"]


def accepts(model: str) -> Accepts:
    """What is known of a model; of others the simplest is taken to be true."""
    found = (known for known in known_models() if any(fnmatchcase(model, name) for name in known.names))
    return next(found, Accepts())


def fields(settings: OpenAISettings) -> list[tuple[str, str]]:
    """The texts of the form."""
    model = accepts(settings.stt_model)
    streamed = settings.stt_interim and settings.stt_stream != "none" and model.stream
    form = model.format if settings.stt_format == "auto" else settings.stt_format
    made = [("model", settings.stt_model), ("response_format", "json" if streamed else form)]
    languages = settings.languages or ((settings.language,) if settings.language else ())
    prompt = settings.stt_prompt
    if model.lists and settings.languages:
        made += [("languages[]", language) for language in languages]
    elif len(languages) == 1:
        made.append(("language", languages[0]))
    if model.lists:
        made += [("keywords[]", keyword) for keyword in settings.keywords]
    else:
        prompt = ". ".join(filter(None, (prompt, ", ".join(settings.keywords))))
    made += [("prompt", prompt)] if prompt else []
    made += [("stream", "true")] if streamed else []
    return made


def form(pcm: bytes, settings: OpenAISettings) -> tuple[str, bytes]:
    """(content type, body) of the multipart form."""
    return wav_form(pcm, LISTEN_RATE_HZ, fields(settings))
