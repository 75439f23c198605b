"""Settings that all live recognisers share. Importing this imports no HTTP library."""

from __future__ import annotations

from typing import Annotated

import msgspec

Seconds = Annotated[float, msgspec.Meta(gt=0)]


class LiveSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Hearing over a WebSocket, while the user speaks."""

    stt_connect_s: Seconds = 3.0
    """Longest wait for the connection of an utterance, the engine's welcome included; audio is kept meanwhile."""
    stt_so_far_s: Seconds = 0.5
    """Longest wait in a pause for the words until then; after it the newest tentative ones are taken."""
    stt_final_s: Seconds = 1.2
    """Longest wait for the words of the whole utterance; then tentative ones are taken, or the engine has failed."""
    stt_buffer_s: Seconds = 30.0
    """Audio that is kept for a connection that does not stand yet or is slow; what comes then is dropped."""
    stt_send_s: Seconds = 3.0
    """Longest wait for the network to take a piece of audio in."""
    stt_ping_s: Annotated[float, msgspec.Meta(ge=0)] = 5.0
    """An engine that says nothing for this long is asked whether it is still there. 0: never."""
    stt_pong_s: Seconds = 3.0
    """Longest wait for the answer to that."""
