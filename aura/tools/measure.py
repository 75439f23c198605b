"""Figures from what simulated callers experienced.

Definitions (those of the side-by-side benchmark, so that its figures and these compare):
voice to voice      true end of speech to the arrival of the first reply audio that is not silence
barge-in stop       true onset of the interrupting speech to the last moment the old reply is heard; over 2 s: missed
cut-in              reply sound between start and true end of a turn; such a turn has no voice-to-voice figure
no reply            none before the next turn
underrun            silence inside a reply because the playout buffer ran dry / reply time heard
backchannel stopped the reply fell silent within 2 s of a backchannel; resumed: it went on
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from itertools import pairwise

import msgspec

from aura.client import Heard

MISSED_S = 2.0
BRIDGE_S = 0.25
"""Silences inside a reply up to this long do not end it."""
SETTLE_S = 0.2
"""Sound so soon after the start of a turn is the rest of what went before."""
JOINT_S = 0.002
"""Stretches played with less between them are one."""


class Span(msgspec.Struct):
    """Reply sound heard without a break."""

    item_id: str
    start: float
    end: float


class Said(msgspec.Struct):
    """A turn of a simulated caller."""

    kind: str
    start: float
    end: float
    closed: bool = False
    """Whether the caller waited for the answer to end, so that a missing one is a fact."""


class Experience:
    """What one caller said and heard. `hear` is a sink of the playout."""

    def __init__(self) -> None:
        self.said: list[Said] = []
        self.arrived: list[float] = []
        """When reply audio with sound arrived."""
        self.spans: list[Span] = []
        self.stages: list[tuple[float, dict[str, float]]] = []
        """The server's own account of each turn, with its time."""
        self.gap_s = 0.0
        self.heard_s = 0.0

    def hear(self, heard: Heard) -> None:
        """A stretch of reply audio was played."""
        self.heard_s += heard.seconds
        self.gap_s += heard.gap_s
        if not heard.voiced:
            return
        last = self.spans[-1] if self.spans else None
        if last and last.item_id == heard.item_id and heard.at - last.end < JOINT_S:
            last.end = heard.at + heard.seconds
        else:
            self.spans.append(Span(heard.item_id, heard.at, heard.at + heard.seconds))

    def sounding_at(self, at: float) -> Span | None:
        """The stretch that is heard at that moment, or was just before and goes on."""
        for index, span in enumerate(self.spans):
            if span.start <= at < span.end:
                return span
            after = self.spans[index + 1] if index + 1 < len(self.spans) else span
            if span.end <= at < after.start < span.end + BRIDGE_S and after.item_id == span.item_id:
                return span
        return None


class Outcome(msgspec.Struct):
    """What became of one turn; None where the figure does not apply."""

    kind: str
    v2v: float | None = None
    stop: float | None = None
    cut_in: bool = False
    no_reply: bool = False
    during: bool = False
    """Whether an interruption or a backchannel really met a sounding reply."""
    silenced: bool = False
    resumed: bool = False

    @property
    def missed(self) -> bool:
        """Whether the interruption was not obeyed in time."""
        return self.stop is not None and self.stop > MISSED_S


def outcomes(who: Experience, since: float) -> list[Outcome]:
    """One for each turn that began after `since`."""
    limits = [turn.start for turn in who.said[1:]] + [float("inf")]
    return [_outcome(who, turn, limit) for turn, limit in zip(who.said, limits, strict=True) if turn.start >= since]


def _outcome(who: Experience, turn: Said, limit: float) -> Outcome:
    result = Outcome(turn.kind)
    sounding = who.sounding_at(turn.start)
    if turn.kind in ("interrupt", "back"):
        result.during = sounding is not None
        if sounding is not None:
            _talked_over(who, turn, limit, sounding, result)
        return result
    if sounding is not None:  # the reply before was still running: neither figure means anything
        return result
    result.cut_in = any(turn.start + SETTLE_S < at < turn.end for at in who.arrived)
    first = next((at for at in who.arrived if turn.end <= at < limit), None)
    if first is None:
        result.no_reply = turn.closed or limit < float("inf")
    elif not result.cut_in:
        result.v2v = first - turn.end
    return result


def _talked_over(who: Experience, turn: Said, limit: float, sounding: Span, result: Outcome) -> None:
    """The old reply may be held and go on before it stops for good: the last moment counts."""
    old = [s for s in who.spans if s.item_id == sounding.item_id and s.end > turn.start and s.start < limit]
    result.stop = max(span.end for span in old) - turn.start
    silences = [(a.end, b.start) for a, b in pairwise(old) if b.start - a.end > BRIDGE_S]
    first_silence = silences[0][0] if silences else old[-1].end
    result.silenced = first_silence - turn.start < MISSED_S
    result.resumed = bool(silences) and result.silenced
    if turn.kind == "interrupt" and not result.missed:
        answer = max(turn.end, turn.start + result.stop + 0.1)
        first = next((at for at in who.arrived if answer <= at < limit), None)
        result.v2v = None if first is None else first - turn.end
        result.no_reply = first is None and (turn.closed or limit < float("inf"))


# ---- figures -----------------------------------------------------------------------------------------------------


class Quantiles(msgspec.Struct, frozen=True):
    """Of seconds, in whole milliseconds; None without any values."""

    n: int
    p50: int | None = None
    p95: int | None = None
    p99: int | None = None
    max: int | None = None
    mean: int | None = None


def quantiles(values: Iterable[float | None], scale: float = 1000.0) -> Quantiles:
    """By nearest rank, as the side-by-side benchmark does it; None values are left out."""
    known = sorted(value * scale for value in values if value is not None)
    if not known:
        return Quantiles(0)

    def rank(share: float) -> int:
        return round(known[min(len(known) - 1, int(share * len(known)))])

    return Quantiles(len(known), rank(0.5), rank(0.95), rank(0.99), rank(1.0), round(statistics.fmean(known)))


class Figures(msgspec.Struct, frozen=True):
    """The result of a run; times in milliseconds."""

    turns: int
    voice_to_voice: Quantiles
    by_kind: dict[str, Quantiles]
    after_barge_in: Quantiles
    stages: dict[str, Quantiles]
    barge_ins: int
    barge_in_stop: Quantiles
    barge_in_missed: int
    backchannels: int
    backchannels_stopped: int
    backchannels_resumed: int
    cut_ins: int
    no_replies: int
    heard_s: float
    underrun_ratio: float
    send_lag_p99_ms: float


PLAIN = ("turn", "pause")


def figures(callers: Sequence[Experience], lags: Sequence[float], since: float) -> Figures:
    """Everything measured after `since`."""
    all_ = [outcome for who in callers for outcome in outcomes(who, since)]
    plain = [outcome for outcome in all_ if outcome.kind in PLAIN]
    barge = [outcome for outcome in all_ if outcome.kind == "interrupt" and outcome.during]
    back = [outcome for outcome in all_ if outcome.kind == "back" and outcome.during]
    heard_s = sum(who.heard_s for who in callers)
    accounts = [stages for who in callers for at, stages in who.stages if at >= since]
    names = dict.fromkeys(name for stages in accounts for name in stages)
    late = sorted(lags)
    return Figures(
        turns=len(plain),
        voice_to_voice=quantiles(outcome.v2v for outcome in plain),
        by_kind={kind: quantiles(o.v2v for o in plain if o.kind == kind) for kind in PLAIN},
        after_barge_in=quantiles(outcome.v2v for outcome in barge),
        stages={name: quantiles((stages.get(name) for stages in accounts), 1.0) for name in names},
        barge_ins=len(barge),
        barge_in_stop=quantiles(outcome.stop for outcome in barge if not outcome.missed),
        barge_in_missed=sum(outcome.missed for outcome in barge),
        backchannels=len(back),
        backchannels_stopped=sum(outcome.silenced for outcome in back),
        backchannels_resumed=sum(outcome.resumed for outcome in back),
        cut_ins=sum(outcome.cut_in for outcome in plain),
        no_replies=sum(outcome.no_reply for outcome in all_),
        heard_s=round(heard_s, 1),
        underrun_ratio=round(sum(who.gap_s for who in callers) / heard_s, 5) if heard_s else 0.0,
        send_lag_p99_ms=round(late[int(len(late) * 0.99)] * 1000, 2) if late else 0.0,
    )
