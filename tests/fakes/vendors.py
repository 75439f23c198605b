"""The table of vendors: who speaks which dialect at which addresses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.fakes import openai_chat, openai_models
from tests.fakes.server import Dialect, Route


def openai_like(**facts: Any) -> Callable[[], Dialect]:
    """OpenAI's addresses, with what tells this server apart."""

    def make() -> Dialect:
        return Dialect(
            [
                Route("/v1/chat/completions", "chat", openai_chat.chat),
                Route("/v1/models", "models", openai_models.models),
                Route("/v1/models/{id}", "models", openai_models.model),
            ],
            check_key=openai_models.bearer,
            facts=facts,
        )

    return make


VENDORS: dict[str, Callable[[], Dialect]] = {
    "openai": openai_like(models="openai", pads=True, base={"service_tier": "default", "system_fingerprint": "fp_1"}),
    "ollama": openai_like(
        base={"system_fingerprint": "fp_ollama"}, delta={"role": "assistant"}, reasoning="reasoning", whole_calls=True
    ),
    "vllm": openai_like(stt="vllm"),
    "speaches": openai_like(stt="speaches"),
    "llamacpp": openai_like(first_content=None),
}
