"""`aura talk`: speak to a server with recordings or the microphone; show, play and save what it answers."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import trio
from rich.console import Console

from aura.client import Call, ClientSettings, connect
from aura.config import Config
from aura.core.ports import LISTEN_RATE_HZ
from aura.tools.caller import FRAME_S, Caller
from aura.tools.play import SoundDeviceError, loudspeaker, microphone
from aura.tools.protocol_check import ProtocolCheck
from aura.tools.recordings import Clip, Recorder, read, speech_bounds
from aura.tools.view import View


class TalkSettings(msgspec.Struct, frozen=True):
    """How `aura talk` waits."""

    answer_timeout_s: float = 20.0
    """A file has no answer when none begins within this time."""
    reply_max_s: float = 180.0
    """The longest answer that is heard out."""
    lead_s: float = 0.5
    """Silence before each file."""


class Plan(msgspec.Struct, frozen=True):
    """What to do in one conversation."""

    url: str
    files: Sequence[Path]
    save: Path | None
    mic: bool
    play: bool
    barge_in_after_s: float | None
    token: str
    settings: TalkSettings
    check: bool = False


def run(
    config: Config,
    files: Sequence[Path],
    url: str,
    save: Path | None,
    mic: bool,
    play: bool,
    barge_in_after_s: float | None = None,
    *,
    check: bool = False,
    token: str = "",
    settings: TalkSettings = TalkSettings(),  # noqa: B008  (frozen)
    console: Console | None = None,
) -> int:
    """Hold the conversation: 0 when every file got an answer, else 1.

    `save` is a stereo WAV (left the user, right the replies as they are heard). With `barge_in_after_s` the next file
    begins that many seconds after a reply does. With `mic` the microphone follows the files until Ctrl-C. With `check`
    the server's events are checked, and a violation of the protocol gives 1 too. Raises `AuraError` for what the user
    can mend.
    """
    plan = Plan(url, files, save, mic, play, barge_in_after_s, token, settings, check)
    return trio.run(hold, plan, console or Console())


async def hold(plan: Plan, console: Console) -> int:
    """The conversation; see `run`."""
    for path in plan.files:
        await trio.to_thread.run_sync(read, path, LISTEN_RATE_HZ)  # a wrong file is found before anybody is called
    check = ProtocolCheck(lambda text: console.print(f"check: {text}", markup=False)) if plan.check else None
    once = ClientSettings(resume_for_s=0)  # the protocol's rules are those of one connection
    settings = once if check else ClientSettings()
    async with connect(plan.url, token=plan.token, settings=settings, observer=check) as call:
        clips = [await trio.to_thread.run_sync(as_clip, path, call.rate_in_hz) for path in plan.files]
        recorder = Recorder(call.rate_in_hz, call.playout.rate_hz, trio.current_time()) if plan.save else None
        caller = Caller(call, recorder.said if recorder else None)
        with ExitStack() as stack:
            view = stack.enter_context(View(console))
            caller.watchers.append(view)
            if check:
                check.tell = lambda text: view.line("check", text, "red")
            if recorder:
                call.playout.sinks.append(lambda heard: recorder.heard(heard.at, heard.pcm))
            if plan.play:
                stack.enter_context(_played(call, view))
            if plan.mic:
                stack.enter_context(microphone(call.rate_in_hz, FRAME_S, caller.hear_live))
            answered = await _converse(caller, clips, plan, view)
            if caller.gone:
                view.line("error", caller.gone, "red")
            if check:
                check.end(call.closed)
        if recorder and plan.save:
            await trio.to_thread.run_sync(recorder.write, plan.save)
            console.print(f"saved {plan.save}")
    legal = check is None or check.sum_up(console)
    return 0 if legal and answered == len(clips) else 1


def as_clip(path: Path, rate_hz: int) -> Clip:
    """A recording to say. Raises `RecordingError`."""
    pcm = read(path, rate_hz)
    start, end = speech_bounds(pcm, rate_hz)
    return Clip(path.name, "turn", pcm, rate_hz, start, end)


@contextmanager
def _played(call: Call, view: View) -> Iterator[None]:
    """Play replies aloud where that is possible; without a device the conversation goes on silently."""
    with ExitStack() as stack:
        try:
            call.playout.sinks.append(stack.enter_context(loudspeaker(call.playout.rate_hz)))
            call.tick_s = FRAME_S
        except SoundDeviceError as error:
            view.line("note", f"the answers are not played: {error}", "dim")
        yield


async def _converse(caller: Caller, clips: Sequence[Clip], plan: Plan, view: View) -> int:
    """Say everything; the number of recordings that were answered."""
    answered, settings = 0, plan.settings
    async with trio.open_nursery() as nursery:
        nursery.start_soon(caller.listen)
        nursery.start_soon(caller.speak)
        await caller.wait(settings.lead_s)
        for number, clip in enumerate(clips, 1):
            view.line("file", clip.id, "dim")
            spoken = caller.say(clip)
            if not await caller.reply_begins(spoken.end, clip.seconds + settings.answer_timeout_s):
                view.line("error", f"no answer within {settings.answer_timeout_s:g} s", "red")
                continue
            answered += 1
            if plan.barge_in_after_s is not None and number < len(clips):
                await caller.wait(plan.barge_in_after_s)
            else:
                await caller.reply_over(settings.reply_max_s)
                await caller.wait(settings.lead_s)
        if plan.mic:
            view.line("note", "speak; Ctrl-C ends the call", "dim")
            await _until_interrupted(caller)
        nursery.cancel_scope.cancel()
    return answered


async def _until_interrupted(caller: Caller) -> None:
    """Wait for Ctrl-C (so that the recording can still be saved) or the end of the call."""
    with trio.open_signal_receiver(signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:

            async def ended() -> None:
                await caller.until(lambda: False, float("inf"))
                nursery.cancel_scope.cancel()

            nursery.start_soon(ended)
            await anext(signals)
            nursery.cancel_scope.cancel()
