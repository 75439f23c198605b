"""The sending half of a call: nothing that is given is lost, doubled or out of order."""

from __future__ import annotations

from typing import Any, Final
from uuid import uuid4

import msgspec
import trio

from aura.client.link import ENDED, LOST, Address, Link, LinkLost
from aura.client.outbox import ANSWER, ITEM, UPDATE, CallError, Letter, Outbox
from aura.client.playout import Playout
from aura.client.settings import ClientSettings
from aura.client.story import Story

DEFAULT_RATE_HZ: Final = 24_000


class Sender:
    """What a user of a call says to the server."""

    def __init__(self, address: Address, settings: ClientSettings) -> None:
        self._address, self._settings = address, settings
        self._outbox, self._story = Outbox(settings.keep_messages), Story()
        self.link: Link | None = None
        """The present connection."""
        self.session: dict[str, Any] = {}
        """The session as the server last described it."""
        self.playout = Playout(DEFAULT_RATE_HZ)
        self.closed: tuple[int, str] | None = None
        """Code and reason, once the call is over."""

    @property
    def rate_in_hz(self) -> int:
        """Rate of the audio to send."""
        return rate_of(self.session, "input")

    async def send(self, type_: str, **fields: Any) -> None:
        """Send any event of the protocol; while the connection is lost it waits."""
        item = fields.get("item")
        if type_ == ITEM and isinstance(item, dict):
            item = fields["item"] = {"id": f"item_{uuid4().hex[:16]}", **item}
            self._story.item(item)
        if type_ == UPDATE and isinstance(fields.get("session"), dict):
            self._story.updated(fields["session"])
            if format_of(fields["session"]):
                self._outbox.new_format()
        self._still_open()
        text = msgspec.json.encode({"type": type_, **fields}).decode()
        self._outbox.letter(type_, text, item["id"] if isinstance(item, dict) and type_ == ITEM else "")
        await self._flush()

    async def send_audio(self, pcm: bytes) -> None:
        """Send microphone audio: 16-bit PCM at `rate_in_hz`. While the connection is lost it is kept."""
        self._still_open()
        self._outbox.audio(pcm, online=self.link is not None and self.link.ready)
        await self._flush()

    async def send_text(self, text: str) -> None:
        """Say something in writing and ask for an answer."""
        content = [{"type": "input_text", "text": text}]
        await self.send(ITEM, item={"type": "message", "role": "user", "content": content})
        await self.send(ANSWER)

    async def update(self, **session: Any) -> None:
        """Change the session (`session.update`)."""
        await self.send(UPDATE, session={"type": "realtime", **session})

    async def commit(self) -> None:
        """The audio so far is a whole utterance."""
        await self.send("input_audio_buffer.commit")

    async def cancel(self) -> None:
        """Stop the reply, here and at the server."""
        self.playout.flush(trio.current_time())
        await self.send("response.cancel")

    async def truncate(self, item_id: str, heard_ms: int) -> None:
        """Say how much of a reply was heard, as stock clients do after an interruption."""
        await self.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=heard_ms)

    async def ask_for_item(self, item_id: str) -> None:
        """Ask what the server remembers of an item; `ItemDone` is the answer."""
        await self.send("conversation.item.retrieve", item_id=item_id)

    def _still_open(self) -> None:
        if self.closed is not None:
            raise CallError(f"the server ended the call{shown(self.closed)}")

    async def _flush(self) -> None:
        """Send everything that waits, in order, if there is a connection for it."""
        link = self.link
        if link is None or not link.ready:
            return await trio.lowlevel.checkpoint()
        async with link.lock:
            while (piece := self._due(link)) is not None:
                try:
                    with trio.fail_after(self._settings.send_timeout_s):
                        await link.send(self._framed(piece))
                except trio.TooSlowError:
                    raise CallError("the server does not take any more audio: it is overloaded or stuck") from None
                except LinkLost:
                    link.ready = False
                    if self._is_over(link):
                        self._still_open()
                    return None
                self._outbox.done(piece)
        return None

    def _due(self, link: Link) -> Letter | bytes | None:
        return self._outbox.next() if link.ready else None

    def _framed(self, piece: Letter | bytes) -> str | bytes:
        if isinstance(piece, Letter):
            return piece.text
        if self._address.binary:
            return piece
        return msgspec.json.encode({"type": "input_audio_buffer.append", "audio": piece}).decode()

    async def _catch_up(self, link: Link) -> None:
        """Send what has waited for this connection, beside everything else."""
        try:
            await self._flush()
        except CallError:
            await link.cut()  # whoever iterates learns of it

    def _is_over(self, link: Link) -> bool:
        """Whether the end of a connection is the end of the call."""
        closed = link.closed or (LOST, "")
        if closed[0] in ENDED or self._settings.resume_for_s <= 0:
            self.closed = closed
        return self.closed is not None


def rate_of(session: dict[str, Any], side: str) -> int:
    """Sample rate of one direction in a session object."""
    try:
        return int(session["audio"][side]["format"]["rate"])
    except (KeyError, TypeError, ValueError):
        return DEFAULT_RATE_HZ


def format_of(session: dict[str, Any]) -> Any:
    """Format of the audio to send in a session object, or in a change of it."""
    try:
        return session["audio"]["input"]["format"]
    except (KeyError, TypeError):
        return None


def shown(closed: tuple[int, str] | None) -> str:
    return f" (code {closed[0]}{': ' if closed[1] else ''}{closed[1]})" if closed else ""
