"""A scripted client that types, and looks at what it was sent."""

from __future__ import annotations

from typing import Any

import trio

from tests.script import Scene


def item(text: str, role: str = "user", **fields: Any) -> dict[str, Any]:
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}], **fields}


def types(scene: Scene) -> list[str]:
    return [message["type"] for message in scene.messages()]


def last(scene: Scene, kind: str) -> dict[str, Any]:
    return scene.messages(kind)[-1]


async def ask(scene: Scene, text: str = "hello", **response: Any) -> None:
    """A typed question."""
    scene.user.send(type="conversation.item.create", item=item(text))
    scene.user.send(type="response.create", response=response)


async def done(scene: Scene, count: int = 1, limit_s: float = 30.0) -> dict[str, Any]:
    """Wait for that many responses to end; the last one."""
    with trio.fail_after(limit_s):
        while len(scene.messages("response.done")) < count:
            await scene.user.silent(0.1)
    response: dict[str, Any] = last(scene, "response.done")["response"]
    return response


def shown(scene: Scene, request: int = -1) -> list[str]:
    """What the model was shown, without the instructions."""
    return [f"{m.role[0]}:{m.text}" for m in scene.chat.requests[request].messages if m.role != "system"]
