"""What tests made by `aura replay --to-test` ask about the recording beside them."""

from __future__ import annotations

from pathlib import Path

from aura.core.rerun import rerun
from aura.storage.taping import TAPE
from aura.tools.replay import free, trial
from aura.tools.replay.source import JOURNAL, Source, read
from aura.tools.replay.strip import load
from aura.tools.replay.symptom import parse
from aura.tools.replay.transitions import why
from aura.tools.replay.trial import Detector


def difference(folder: Path, detector: Detector | None = None) -> str:
    """How a recording, or a journal alone, comes out otherwise than it was, in one line; empty when it does not.

    Raises AuraError when it cannot be read.
    """
    if (folder / TAPE).exists():
        return trial.one_line(trial.run(load(folder), detector))
    source = Source(str(folder / JOURNAL), folder / JOURNAL)
    outcome = rerun(read(source))
    if outcome.parting:
        recorded, replayed = outcome.parting.recorded, outcome.parting.replayed
        then, now = (f"{entry.now} {list(entry.effects)}" for entry in (recorded, replayed))
        return f"{why(outcome.parting)}; then: {then}; now: {now}"
    return "".join(str(source.trouble(trouble)) for trouble in outcome.troubles[-1:])


def occurrence(symptom: str, folder: Path, detector: Detector | None = None) -> str:
    """The first fact that shows a symptom when a recording's input is run anew; empty when none does.

    Raises AuraError when the recording cannot be read.
    """
    given, wrong = free.input_of(folder), parse(symptom)
    ran = free.run(given, free.at_their_times(given.messages), given.end, until=wrong.shown_by, detector=detector)
    found = wrong.first(ran.entries)
    return "" if found is None else f"fact {found.n}, {found.at:.3f} s: {found.event}, {found.verdict}, {found.effects}"
