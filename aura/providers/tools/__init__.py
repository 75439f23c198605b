"""Functions that a model may call on the server. Modules named in `tools.modules` need only what stands here."""

from aura.core.ports import ToolHost
from aura.providers.tools.registry import ToolFault, tool

__all__ = ["ToolFault", "ToolHost", "tool"]
