"""A phone call's line without a network: what the session is told and what the vendor is told, and who may call."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing

from aura.core.audio import AudioFormat
from aura.core.wire.twilio import Twilio
from aura.providers.http import open_http
from aura.providers.phone_calls import PhoneCalls
from aura.server.phone_line import MALFORMED_MAX, Formats, PhoneLine, Wishes
from aura.server.phone_settings import PhoneSettings
from aura.server.phones import NotTaken, Phones
from aura.session.line import Ended
from tests.phones.samples import AUDIO, PLIVO_START, RAW, TELNYX_START, TWILIO_START

ULAW, NO_WISHES = AudioFormat("pcmu", 8_000), Wishes()
DELTA = '{"type":"response.output_audio.delta","item_id":"item_1","delta":""}'


class Vendor:
    """The vendor's end of a line that has no network."""

    def __init__(self) -> None:
        self._in, self._out = trio.open_memory_channel[str](1000)
        self.sent: list[dict[str, Any]] = []

    async def receive(self) -> str | bytes:
        try:
            return await self._out.receive()
        except trio.EndOfChannel:
            raise Ended("closed 1006") from None

    async def send(self, *messages: str | bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.sent += [json.loads(message) for message in messages]

    def say(self, **message: Any) -> None:
        self._in.send_nowait(json.dumps(message))

    def mark(self, number: int) -> None:
        self.say(event="mark", mark={"name": f"aura-{number}"})

    def events(self) -> list[str]:
        return [message["event"] for message in self.sent]

    def gone(self) -> None:
        self._in.close()


class Told:
    """The session's end: everything that it received, at which second."""

    def __init__(self, line: PhoneLine) -> None:
        self.line = line
        self.messages: list[tuple[float, Any]] = []
        self.over = ""
        self.ended = trio.Event()

    async def run(self) -> None:
        began = trio.current_time()
        try:
            while True:
                raw = await self.line.receive()
                message = raw if isinstance(raw, bytes) else json.loads(raw)
                self.messages.append((round(trio.current_time() - began, 2), message))
        except Ended as end:
            self.over = str(end)
            self.ended.set()

    def types(self) -> list[str]:
        return ["audio" if isinstance(m, bytes) else m["type"] for _, m in self.messages]


async def on_the_line(
    talk: Callable[[Vendor, PhoneLine, Told], Awaitable[None]], wishes: Wishes = NO_WISHES, **changes: Any
) -> Told:
    """A call that has begun, and what the session was told until a second after `talk` is over."""
    vendor, codec = Vendor(), Twilio()
    codec.read(json.dumps(TWILIO_START))
    line = PhoneLine(vendor, codec, Formats(ULAW, ULAW), wishes, PhoneSettings(**changes))
    told = Told(line)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(told.run)
        await trio.testing.wait_all_tasks_blocked()
        await talk(vendor, line, told)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    return told


def done(status: str) -> str:
    return json.dumps({"type": "response.done", "response": {"status": status}})


CREATED = '{"type":"response.created","response":{"status":"in_progress"}}'
ANSWERED = ["conversation.item.create", "response.create"]
CONFIRMED = '{"type":"input_audio_buffer.speech_started","item_id":"x","audio_start_ms":1}'


async def test_the_session_learns_format_and_wishes_before_any_audio(autojump_clock: object) -> None:
    async def talk(vendor: Vendor, line: PhoneLine, told: Told) -> None:
        vendor.say(event="media", media={"chunk": "1", "timestamp": "0", "payload": AUDIO})

    told = await on_the_line(talk, Wishes("Welcome", "Be brief", "coral"))
    assert told.types() == ["session.update", "conversation.item.create", "audio"]
    assert told.messages[0][1]["session"] == {
        "type": "realtime", "instructions": "Be brief",
        "audio": {"input": {"format": {"type": "audio/pcmu"}},
                  "output": {"format": {"type": "audio/pcmu"}, "voice": "coral"}},
    }  # fmt: skip
    assert told.messages[1][1]["item"] == {"type": "force_message", "text": "Welcome"}
    assert told.messages[2][1] == RAW


async def test_a_suspected_interruption_plays_on_and_a_confirmed_one_flushes_once(autojump_clock: object) -> None:
    async def talk(vendor: Vendor, line: PhoneLine, told: Told) -> None:
        await line.send(CREATED, DELTA, b"\0" * 4800)
        assert vendor.events() == ["media", "mark"]
        vendor.mark(1)
        await trio.sleep(0.1)
        await line.send(b"\0" * 4800)
        await line.send(CONFIRMED, done("cancelled"))
        assert vendor.events() == ["media", "mark", "media", "mark", "clear"]
        vendor.mark(2)  # back because of the clear

    told = await on_the_line(talk)
    acks = [message for _, message in told.messages[1:]]
    assert acks == [{"type": "aura.playout.ack", "item_id": "item_1", "played_ms": 600}]


@pytest.mark.parametrize(
    ("changes", "running", "types", "at"),
    [
        ({}, True, ["response.cancel", "response.cancel", "input_audio_buffer.clear", *ANSWERED], 1.5),
        ({"digits_interrupt": False}, False, ANSWERED, 1.5),
        ({"digits_interrupt": False}, True, ANSWERED, 2.0),
        (
            {"digits_wait_s": 0.5, "digits_interrupt": False},
            False,
            ["conversation.item.create", "response.create"],
            0.5,
        ),
    ],
)
async def test_keys_become_words_after_a_pause(
    autojump_clock: object, changes: dict[str, Any], running: bool, types: list[str], at: float
) -> None:
    async def talk(vendor: Vendor, line: PhoneLine, told: Told) -> None:
        if running:
            await line.send(CREATED)
        vendor.say(event="dtmf", dtmf={"digit": "4"})
        vendor.say(event="dtmf", dtmf={"digit": "2"})
        await trio.sleep(2)
        await line.send(done("completed"))

    told = await on_the_line(talk, **changes)
    assert told.types()[1:] == types
    item = next(message["item"] for _, message in told.messages if message["type"] == "conversation.item.create")
    assert item["content"] == [{"type": "input_text", "text": "[The caller pressed 4 2]"}]
    assert told.messages[-1][0] == at


async def test_an_answer_that_was_refused_comes_when_the_other_is_over(autojump_clock: object) -> None:
    async def talk(vendor: Vendor, line: PhoneLine, told: Told) -> None:
        vendor.say(event="dtmf", dtmf={"digit": "#"})
        await trio.sleep(0.1)
        await line.send('{"type":"error","error":{"code":"conversation_already_has_active_response"}}')
        await line.send(CREATED, done("completed"))

    told = await on_the_line(talk)
    assert told.types()[1:].count("response.create") == 2


@pytest.mark.parametrize(("answers", "over_after"), [(True, 0.4), (False, 5.0)])
async def test_the_assistant_hangs_up_when_its_goodbye_was_heard(
    autojump_clock: object, answers: bool, over_after: float
) -> None:
    async def talk(vendor: Vendor, line: PhoneLine, told: Told) -> None:
        await line.send(CREATED, DELTA, b"\0" * 2400)
        line.hang_up()
        await line.send(done("completed"))
        began = trio.current_time()
        assert vendor.events() == ["media", "mark"]
        await trio.sleep(0.4)
        assert not told.over
        if answers:
            vendor.mark(1)
        with trio.fail_after(6):
            await told.ended.wait()
        assert trio.current_time() - began == pytest.approx(over_after, abs=0.05)
        assert line.hung_up

    assert (await on_the_line(talk)).over == "the assistant hung up"


async def test_a_caller_who_interrupts_the_goodbye_stays_on_the_line(autojump_clock: object) -> None:
    async def talk(vendor: Vendor, line: PhoneLine, told: Told) -> None:
        await line.send(CREATED, DELTA, b"\0" * 2400)
        line.hang_up()
        await line.send(CONFIRMED, done("cancelled"))
        await line.send(CREATED, DELTA, b"\0" * 2400, done("completed"))
        await trio.sleep(20)

    assert (await on_the_line(talk)).over == ""


async def test_the_end_of_a_call_comes_after_all_that_was_said(autojump_clock: object) -> None:
    async def talk(vendor: Vendor, line: PhoneLine, told: Told) -> None:
        vendor.say(event="media", media={"chunk": "1", "timestamp": "0", "payload": AUDIO})
        vendor.say(event="media", media={"chunk": "3", "timestamp": "40", "payload": AUDIO})
        vendor.say(event="stop")

    told = await on_the_line(talk)
    assert told.types()[1:] == ["audio", "audio"]
    assert (told.over, told.line.caller_gone, told.line.hung_up) == ("the caller hung up", True, False)


async def test_nonsense_is_borne_for_a_while(autojump_clock: object) -> None:
    async def talk(vendor: Vendor, line: PhoneLine, told: Told) -> None:
        for _ in range(MALFORMED_MAX - 1):
            vendor.say(event=5)
        await trio.sleep(0.1)
        assert not told.over
        vendor.say(event=5)

    assert (await on_the_line(talk)).over == "100 messages that are not twilio's protocol"


# ---- picking up


async def picked_up(vendor: str, start: dict[str, Any], query: dict[str, str] | None = None, **changes: Any) -> Any:
    line = Vendor()
    line.say(event="connected")
    line.say(**start)
    async with open_http() as http:
        phones = Phones(PhoneSettings(**changes), "Hello", PhoneCalls(http, 1))
        return await phones.pick_up(vendor, line, query or {})


async def test_parameters_count_like_an_address_and_numbers_only_where_they_may() -> None:
    call = await picked_up("telnyx", TELNYX_START, {"model": "other", "tenant": "acme"})
    assert call.asked(recorded=False) == {"model": "reception", "tenant": "acme", "aura": "binary"}
    assert call.asked(recorded=True)["caller"] == "+13122010094"
    first = [json.loads(str(await call.line.receive())) for _ in range(2)]
    assert first[1]["item"] == {"type": "force_message", "text": "Hello"}
    assert (await picked_up("plivo", PLIVO_START)).asked(recorded=True) == {"model": "reception", "aura": "binary"}


@pytest.mark.parametrize(
    ("caller", "setting", "played"),
    [
        ({"encoding": "PCMU", "sample_rate": 8000}, "auto", "pcmu@8000"),
        ({"encoding": "PCMA", "sample_rate": 8000}, "auto", "pcmu@8000"),
        ({"encoding": "L16", "sample_rate": 16000}, "auto", "pcm16@16000"),
        ({"encoding": "PCMU", "sample_rate": 8000}, "PCMA", "pcma@8000"),
        ({"encoding": "PCMU", "sample_rate": 8000}, "L16", "pcm16@16000"),
        ({"encoding": "PCMA", "sample_rate": 8000}, "L16@8000", "pcm16@8000"),
    ],
)
async def test_telnyx_may_play_another_codec_than_it_sends(caller: dict[str, Any], setting: str, played: str) -> None:
    start = TELNYX_START | {"start": TELNYX_START["start"] | {"media_format": caller}}  # type: ignore[operator]
    line = Vendor()
    line.say(**start)
    async with open_http() as http:
        call = await Phones(PhoneSettings(telnyx_send_codec=setting), "", PhoneCalls(http, 1)).pick_up(
            "telnyx", line, {}
        )
    session = json.loads(str(await call.line.receive()))["session"]["audio"]["output"]["format"]
    name = {"audio/pcm": "pcm16", "audio/pcmu": "pcmu", "audio/pcma": "pcma"}[session["type"]]
    assert f"{name}@{session.get('rate', 8000)}" == played


async def test_a_call_without_its_start_is_not_taken(autojump_clock: object) -> None:
    async with open_http() as http:
        phones, line = Phones(PhoneSettings(), "", PhoneCalls(http, 1)), Vendor()
        with pytest.raises(NotTaken, match=r"no start message within 10 s \(phone\.start_timeout_s\)"):
            await phones.pick_up("twilio", line, {})
        for _ in range(20):
            line.say(event="connected")
        with pytest.raises(NotTaken, match="20 messages without the start"):
            await phones.pick_up("twilio", line, {})
        gone = Vendor()
        gone.gone()
        with pytest.raises(Ended):
            await phones.pick_up("twilio", gone, {})


@pytest.mark.parametrize("changes", [{"chunk_ms": 50}, {"telnyx_send_codec": "OPUS"}, {"telnyx_send_codec": "L16@x"}])
def test_settings_that_cannot_be_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        PhoneSettings(**changes)
