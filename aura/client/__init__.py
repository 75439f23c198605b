"""A client of `/v1/realtime` on Trio: what the tools, and whoever needs one, talk to AURA (or another server) with.

    async with connect("ws://127.0.0.1:8080/v1/realtime") as call:
        await call.send_audio(pcm)
        async for event in call: ...

One task iterates over the call for as long as it lasts; others may send. A lost connection is made again by itself:
the iteration goes on (`Reconnecting`, then `Resumed`), microphone audio is kept meanwhile, and no word is lost or said
twice. `call.playout` follows the reply as a caller would hear it: with AURA's events it obeys hold, resume and flush
and reports what has been played, without them it drops unplayed audio when the server hears the user, as stock clients
do.
"""

from aura.client import events
from aura.client.call import Call, connect
from aura.client.events import Event, Fault, Reconnecting, ReplyAudio, ReplyDone, ReplyText, Resumed, UserSaid
from aura.client.outbox import CallError
from aura.client.playout import Heard, Playout
from aura.client.sender import DEFAULT_RATE_HZ
from aura.client.settings import ClientSettings

__all__ = [
    "DEFAULT_RATE_HZ",
    "Call",
    "CallError",
    "ClientSettings",
    "Event",
    "Fault",
    "Heard",
    "Playout",
    "Reconnecting",
    "ReplyAudio",
    "ReplyDone",
    "ReplyText",
    "Resumed",
    "UserSaid",
    "connect",
    "events",
]
