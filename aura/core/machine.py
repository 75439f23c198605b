"""The table on the `transitions` package: rows become its transitions, without what the table has no use for."""

from __future__ import annotations

from typing import Any

from transitions import Event as Trigger
from transitions import EventData, Machine, Transition

from aura.core.guards import Moment
from aura.core.table import STATES, TABLE, Row


def transition(row: Row) -> dict[str, Any]:
    """A row as the package wants it."""
    guard = "unless" if row.when.startswith("!") else "conditions"
    return {
        "trigger": row.event.__name__,
        "source": row.states.split(),
        "dest": None if row.to in ("=", "bug") else row.to,
        "before": ["bug"] if row.to == "bug" else row.do.split(),
        guard: [row.when.removeprefix("!")] if row.when else [],
    }


class Move(Transition):
    """A transition without what the table has no use for: enter, exit and state-change hooks, and a log line for each.

    Every fact passes here several times, live and replayed; this is three times as fast.
    """

    def execute(self, event_data: EventData) -> bool:
        """Take this row if its guard holds."""
        if not self._eval_conditions(event_data):
            return False
        for name in self.before:
            event_data.machine.callback(name, event_data)
        if self.dest:
            event_data.machine.set_state(self.dest, event_data.model)
        return True


class Fact(Trigger):
    """The rows of one kind of fact, tried from top to bottom; likewise without hooks and queue."""

    def trigger(self, model: object, *args: Any, **kwargs: Any) -> bool:
        """Decide."""
        assert isinstance(model, Moment)
        event_data = EventData(None, self, self.machine, model, args, kwargs)
        return any(row.execute(event_data) for row in self.transitions[model.state])


class Table(Machine):
    """The package's machine over the two."""

    transition_cls, event_cls = Move, Fact


def build() -> Table:
    """The machine of `TABLE`."""
    return Table(
        model=None,
        states=list(STATES),
        initial="idle",
        transitions=[transition(row) for row in TABLE],
        auto_transitions=False,
    )
