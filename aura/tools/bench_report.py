"""What `aura bench` found out, for people and as JSON."""

from __future__ import annotations

import msgspec
from rich.table import Table

from aura.tools.measure import Figures, Quantiles


class Result(msgspec.Struct, frozen=True):
    """What `--json` writes."""

    url: str
    callers: int
    seconds: float
    failed: int
    valid: bool
    figures: Figures
    server_cpu: float | None = None
    """Cores used by the server, all its processes."""
    cpu_per_conversation: float | None = None
    memory_per_conversation_mb: float | None = None
    server_memory_mb: float | None = None


def tables(result: Result) -> list[Table]:
    """The figures for people."""
    found = result.figures
    title = f"{result.callers} callers, {result.seconds:g} s, {found.turns} turns: milliseconds"
    times = Table(title=title, title_justify="left")
    for heading in ("", "n", "p50", "p95", "p99", "max"):
        times.add_column(heading, justify="right" if heading else "left")
    rows = {
        "voice to voice": found.voice_to_voice,
        **{f"  {kind}": values for kind, values in found.by_kind.items()},
        "  after a barge-in": found.after_barge_in,
        "barge-in stop": found.barge_in_stop,
        **{f"server: {name.replace('_', ' ')}": values for name, values in found.stages.items()},
    }
    for name, values in rows.items():
        times.add_row(name, *_cells(values))
    facts = Table(show_header=False)
    for name, value in _facts(result).items():
        facts.add_row(name, value)
    return [times, facts]


def _cells(values: Quantiles) -> list[str]:
    shown = (values.n, values.p50, values.p95, values.p99, values.max)
    return ["" if value is None else str(value) for value in shown]


def _facts(result: Result) -> dict[str, str]:
    found = result.figures
    stopped = f"{found.backchannels_stopped} of {found.backchannels} ({found.backchannels_resumed} resumed)"
    facts = {
        "cut-ins": str(found.cut_ins),
        "no reply": str(found.no_replies),
        "barge-ins missed": f"{found.barge_in_missed} of {found.barge_ins}",
        "stopped by a backchannel": stopped,
        "silence inside replies": f"{100 * found.underrun_ratio:.2f} % of {found.heard_s:g} s",
        "calls failed": str(result.failed),
        "send lag p99": f"{found.send_lag_p99_ms:g} ms",
    }
    if result.server_cpu is not None:
        facts |= {
            "server CPU": f"{result.server_cpu:.2f} cores, {100 * (result.cpu_per_conversation or 0):.2f} % a call",
            "server memory": f"{result.server_memory_mb:g} MB, {result.memory_per_conversation_mb:g} MB a call",
        }
    return facts
