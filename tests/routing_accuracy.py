"""How well the classifier does on labelled questions: `python -m tests.routing_accuracy [--misses] [FILE …]`."""

from __future__ import annotations

import sys
import tomllib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from time import thread_time

from aura.core.routing.classify import classify
from aura.core.routing.query import Query
from aura.core.routing.rules import KINDS, Rules
from aura.providers.routing_data import rules

DATA = Path(__file__).with_name("data")
TUNED, HELD_OUT = DATA / "queries.toml", DATA / "queries_held_out.toml"
TOOLS = (
    "calculate",
    "convert_units",
    "current_time",
    "set_timer",
    "list_timers",
    "cancel_timer",
    "get_weather",
    "web_search",
    "send_message",
    "control_lights",
    "play_music",
    "create_appointment",
)
"""The functions that are declared with every question."""

Labelled = tuple[str, str, str, str]
"""Text, kind, tier, language."""
Judged = tuple[Labelled, Query]


def read(path: Path) -> list[Labelled]:
    return [(text, kind, tier, language) for text, kind, tier, language in tomllib.loads(path.read_text())["queries"]]


def judge(labelled: Iterable[Labelled], known: Rules) -> list[Judged]:
    return [(one, classify(one[0], known, tools=TOOLS)) for one in labelled]


def right(judged: Judged, part: str) -> bool:
    (_, kind, tier, language), found = judged
    return {"kind": found.kind == kind, "tier": found.tier == tier, "language": found.language == language}[part]


def share(all_judged: list[Judged], part: str) -> float:
    return sum(right(one, part) for one in all_judged) / len(all_judged)


def by(all_judged: list[Judged], column: int, part: str) -> dict[str, tuple[int, int]]:
    """Label → how many are right, of how many."""
    totals = Counter(one[0][column] for one in all_judged)
    good = Counter(one[0][column] for one in all_judged if right(one, part))
    return {label: (good[label], count) for label, count in totals.items()}


def percentile_ms(known: Rules, texts: list[str], part: float, rounds: int = 20) -> float:
    """How much CPU time one classification takes; other processes of a busy machine do not count."""
    times = []
    for _ in range(rounds):
        for text in texts:
            began = thread_time()
            classify(text, known, tools=TOOLS)
            times.append(thread_time() - began)
    return sorted(times)[int(part * (len(times) - 1))] * 1000


def lines(name: str, all_judged: list[Judged]) -> list[str]:
    out = [f"{name}: {len(all_judged)} questions"]
    out += [f"  {part:9} {share(all_judged, part):6.1%}" for part in ("kind", "tier", "language")]
    for part, column in (("kind", 1), ("tier", 2), ("language", 3)):
        shares = (f"{label} {good}/{count}" for label, (good, count) in by(all_judged, column, part).items())
        out.append(f"  {part} by label: " + ", ".join(shares))
    out.append("  kind   label \\ verdict" + "".join(f"{kind:>12}" for kind in KINDS))
    confusion = Counter((one[0][1], one[1].kind) for one in all_judged)
    out += [f"  {kind:>22} " + "".join(f"{confusion[kind, other] or '.':>12}" for other in KINDS) for kind in KINDS]
    return out


def misses(all_judged: list[Judged]) -> list[str]:
    return [
        f"  {label} -> {found.kind}/{found.tier}/{found.language} {', '.join(found.why)}"
        for label, found in all_judged
        if not all(right((label, found), part) for part in ("kind", "tier", "language"))
    ]


def main(arguments: list[str]) -> int:
    known = rules()
    paths = [Path(name) for name in arguments if not name.startswith("-")] or [TUNED, HELD_OUT]
    texts = []
    for path in paths:
        labelled = read(path)
        all_judged = judge(labelled, known)
        texts += [one[0] for one in labelled]
        print("\n".join(lines(path.stem, all_judged)))
        if "--misses" in arguments:
            print("\n".join(misses(all_judged)))
    figures = ", ".join(
        f"{name} {percentile_ms(known, texts, part):.3f} ms" for name, part in (("p50", 0.5), ("p99", 0.99))
    )
    print(f"CPU time for one: {figures}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
