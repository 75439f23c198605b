"""What an MCP server answers, as a text for the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from mcp.types import CallToolResult

BASE64 = 3 / 4
"""Bytes per letter."""


def text_of(result: CallToolResult) -> str:
    """All blocks of a result, one behind the other: texts as they are, other kinds described."""
    blocks = [shown for block in result.content if (shown := _block(block))]
    if not blocks and result.structured_content is not None:
        return msgspec.json.encode(result.structured_content).decode()
    return "\n".join(blocks)


def _block(block: Any) -> str:
    match block.type:
        case "text":
            return str(block.text)
        case "image" | "audio":
            return f"[{block.type}, {block.mime_type}, {_size(block.data)}]"
        case "resource_link":
            return f"[{block.title or block.name}: {block.uri}]"
        case "resource":
            resource = block.resource
            if (text := getattr(resource, "text", None)) is not None:
                return str(text)
            return f"[{resource.mime_type or 'data'}, {_size(resource.blob)}: {resource.uri}]"
        case kind:
            return f"[{kind}]"


def _size(base64: str) -> str:
    return f"{max(1, round(len(base64) * BASE64 / 1024))} kB"
