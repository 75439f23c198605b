"""AURA: a self-hosted, realtime voice-AI server."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("aura-voice")
except PackageNotFoundError:  # run from a checkout that was never installed
    __version__ = "unknown"
