"""AURA: a self-hosted, realtime voice-AI server."""

from __future__ import annotations


def __getattr__(name: str) -> str:
    """`__version__`, when somebody asks: to look it up takes longer than all else that `aura --help` needs."""
    if name != "__version__":
        raise AttributeError(f"module 'aura' has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("aura-voice")
    except PackageNotFoundError:  # a checkout that was never installed
        return "unknown"
