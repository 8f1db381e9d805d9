"""When each kind of thing was last seen: requests by endpoint, facts by name. What `absent` rules ask.

A `feed.Consumer`, memory only and bounded; what was before the feed began is asked of the ledger once for each question
(`seed`). Time is event time of requests and the time at which a fact was learnt.
"""

from __future__ import annotations

from collections.abc import Sequence

from andon.ledger.facts.model import Evaluation, Fact, Feedback, KpiEvent, Label
from andon.ledger.queries import Bounds, Engine
from andon.ledger.reader import Entry
from andon.ledger.row import Outcome

KEYS_MAX = 2000  # kinds and names; what comes beyond is remembered under its kind alone

Key = tuple[str, str]  # what: requests, label, feedback, kpi, evaluation; and its name, empty = any

# Per kind of thing: view, column of its name.
VIEWS = {
    "requests": ("requests", "endpoint"),
    "label": ("labels", "name"),
    "feedback": ("feedback", "kind"),
    "kpi": ("kpi_events", "name"),
    "evaluation": ("evaluations", "name"),
}
_BOUNDS = Bounds(seconds=30.0, rows=1)


class Sightings:
    """The last time of each."""

    name = "sightings"

    def __init__(self) -> None:
        self._last: dict[Key, int] = {}
        self._seeded: set[Key] = set()

    def take_rows(self, entries: Sequence[Entry]) -> None:
        """Final outcomes of requests."""
        for entry in entries:
            row = entry.row
            if isinstance(row, Outcome) and row.final:
                self._see("requests", row.endpoint or "", row.at_ns)

    def take_facts(self, facts: Sequence[Fact]) -> None:
        """Facts by their names."""
        for fact in facts:
            if isinstance(fact, Label):
                self._see("label", fact.name, fact.at_ns)
            elif isinstance(fact, Feedback):
                self._see("feedback", fact.kind, fact.at_ns)
            elif isinstance(fact, KpiEvent):
                self._see("kpi", fact.name, fact.at_ns)
            elif isinstance(fact, Evaluation):
                self._see("evaluation", fact.name, fact.at_ns)

    def last_ns(self, key: Key) -> int:
        """When it was last seen; 0 = never."""
        return self._last.get(key, 0)

    def is_seeded(self, key: Key) -> bool:
        """Whether the ledger was asked for what came before the feed."""
        return key in self._seeded

    def seed(self, key: Key, at_ns: int) -> None:
        """What the ledger answered."""
        self._seeded.add(key)
        self._last[key] = max(at_ns, self._last.get(key, 0))

    def _see(self, what: str, name: str, at_ns: int) -> None:
        for key in ((what, ""), (what, name)):
            if key in self._last or len(self._last) < KEYS_MAX:
                self._last[key] = max(at_ns, self._last.get(key, 0))


def ask_last(engine: Engine, key: Key) -> int:
    """When the ledger last saw it; 0 = never. Blocks."""
    view, column = VIEWS[key[0]]
    # The view and the column are of the closed table above; the name travels as a parameter.
    where = f" WHERE {column} = ?" if key[1] else ""
    sql = f"SELECT max(at_ns) FROM {view}{where}"  # noqa: S608  # see above
    found = engine.query(sql, [key[1]] if key[1] else [], _BOUNDS).column(0).to_pylist()
    return int(found[0] or 0) if found else 0
