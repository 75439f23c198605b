"""Phone calls: each is picked up, becomes a conversation on a `PhoneLine`, and is ended at its vendor."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import structlog
import trio

from aura.core.audio import AudioFormat
from aura.core.ports import Kit
from aura.core.wire.phone import PhoneCodec, Started, audio_format
from aura.core.wire.plivo import Plivo
from aura.core.wire.telnyx import Telnyx
from aura.core.wire.twilio import Twilio
from aura.providers.phone_calls import Account, PhoneCalls
from aura.providers.tools.phone import with_hang_up
from aura.session.build import Sections
from aura.session.line import Line

from .phone_access import Vendor
from .phone_line import Formats, PhoneLine, Wishes
from .phone_settings import PhoneSettings

log = structlog.get_logger()

CODECS: dict[str, Callable[[], PhoneCodec]] = {"twilio": Twilio, "telnyx": Telnyx, "plivo": Plivo}
MESSAGES_BEFORE_START = 20
ASKED = ("model", "persona", "tenant")
"""Parameters that say whom the caller talks to: they count like those of an address."""
WISHED = ("greeting", "instructions", "voice")
"""Parameters that the line hands to the session."""
CURES = {
    "twilio": "AURA reads audio/x-mulaw with 8000 Hz, which is all that Media Streams have",
    "telnyx": "set stream_codec and stream_bidirectional_codec to PCMU, PCMA or L16 when the call is answered",
    "plivo": 'set contentType="audio/x-mulaw;rate=8000" or audio/x-l16 in <Stream>',
}


class NotTaken(Exception):
    """The call does not become a conversation; str() says why, `started` which call it is, where that is known."""

    def __init__(self, why: str, started: Started | None = None) -> None:
        super().__init__(why)
        self.started = started


class Call(msgspec.Struct, frozen=True):
    """A call that was picked up."""

    vendor: Vendor
    started: Started
    line: PhoneLine

    def asked(self, *, recorded: bool) -> dict[str, str]:
        """What counts as the client's address. Numbers are in it only where the call is recorded or asks for it."""
        params = self.started.params
        asked = {name: params[name] for name in ASKED if name in params}
        numbers = {"caller": self.started.caller, "called": self.started.called}
        if recorded:
            asked |= {name: value for name, value in numbers.items() if value}
        return asked | {name: params[name] for name in numbers if name in params} | {"aura": "binary"}

    def sections(self, sections: Sections, settings: PhoneSettings) -> Sections:
        """The settings of a conversation on the phone. The greeting is said by the line, once its format is known."""
        playout = msgspec.structs.replace(sections.playout, lead_s=settings.lead_s, chunk_ms=settings.chunk_ms)
        session = msgspec.structs.replace(sections.session, greeting="")
        return msgspec.structs.replace(sections, playout=playout, session=session)

    def kit(self, kit: Kit) -> Kit:
        """The engines, with a tool that ends the call."""
        return msgspec.structs.replace(kit, toolbox=with_hang_up(kit.toolbox, self.line.hang_up))


class Phones:
    """Picks up and ends the calls of a process."""

    def __init__(self, settings: PhoneSettings, greeting: str, calls: PhoneCalls) -> None:
        self.settings, self._greeting, self._calls = settings, greeting, calls

    async def pick_up(self, vendor: Vendor, line: Line, query: dict[str, str]) -> Call:
        """Wait for the call's first message and read it. Raises NotTaken, or Ended when the vendor has gone."""
        codec = CODECS[vendor]()
        started = None
        with trio.move_on_after(self.settings.start_timeout_s):
            started = await self._start(codec, line)
        if started is None:
            why = f"no start message within {self.settings.start_timeout_s:g} s"
            raise NotTaken(f"{why} (phone.start_timeout_s)")
        params = {name: query[name] for name in (*ASKED, *WISHED) if name in query} | started.params
        started = msgspec.structs.replace(started, params=params)
        formats = self._formats(vendor, started)
        wishes = Wishes(params.get("greeting", self._greeting), params.get("instructions", ""), params.get("voice", ""))
        log.info("phone.call", vendor=vendor, call=started.call_id, audio=formats.caller.describe())
        phone = PhoneLine(line, codec, formats, wishes, self.settings)
        return Call(vendor, started, phone)

    async def _start(self, codec: PhoneCodec, line: Line) -> Started:
        for _ in range(MESSAGES_BEFORE_START):
            message = await line.receive()
            fact = codec.read(message) if isinstance(message, str | bytes) else None
            if isinstance(fact, Started):
                return fact
        raise NotTaken(f"{MESSAGES_BEFORE_START} messages without the start of {codec.vendor}'s protocol")

    def _formats(self, vendor: str, started: Started) -> Formats:
        caller = started.audio()
        if caller is None:
            what = f"{started.encoding[:40]} with {started.rate_hz} Hz and {started.channels} channel(s)"
            raise NotTaken(f"the call's audio is {what}: {CURES[vendor]}", started)
        if vendor != "telnyx":
            return Formats(caller, caller)
        return Formats(caller, self.settings.telnyx_format() or _telnyx_default(caller))

    async def hang_up(self, vendor: Vendor, started: Started) -> None:
        """End the call at its vendor, if there are keys for that; otherwise the end of the WebSocket must do."""
        settings = self.settings
        accounts = {
            "twilio": Account(
                settings.twilio_api_url, settings.twilio_account_sid or started.account, settings.twilio_auth_token
            ),
            "telnyx": Account(settings.telnyx_api_url, "", settings.telnyx_api_key),
            "plivo": Account(settings.plivo_api_url, settings.plivo_auth_id, settings.plivo_auth_token),
        }
        with trio.CancelScope(shield=True):  # it has its own time limit
            ended = await self._calls.end(vendor, accounts[vendor], started.call_id)
        log.info("phone.hung_up", vendor=vendor, call=started.call_id, by_api=ended)


def _telnyx_default(caller: AudioFormat) -> AudioFormat:
    """Telnyx plays PCMU unless it was told otherwise; nobody gets L16 without having asked for it, both ways."""
    pcmu = audio_format("PCMU", 8_000)
    assert pcmu
    return caller if caller.encoding == "pcm16" else pcmu
