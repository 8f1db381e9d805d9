"""Statuses and the journal: each change once, and nothing while nothing was read."""

from __future__ import annotations

from andon.observability.objectives.board import Reading, Severity, SliceReading, State
from andon.observability.objectives.controller import changes, status_of
from andon.observability.objectives.verdicts import Budget
from andon.store.model import Record


def reading(state: State = "ok", firing: Severity = "") -> Reading:
    budget = Budget(
        events=1_000,
        bad=1,
        attained=0.999,
        remaining=-0.5 if state == "exhausted" else 0.5,
        exhaustion_s=None,
    )
    one = SliceReading(
        slice={}, state=state, firing=firing, since_ns=0, budget=budget, burns={"1h": 1.0}, verdicts=()
    )
    return Reading(
        name="o",
        at_ns=5,
        state=state,
        firing=firing,
        frozen=state == "exhausted",
        history=True,
        slices=(one,),
    )


def test_each_change_is_told_once_with_a_number_of_its_own() -> None:
    record = Record(kind="Objective", name="o", spec={})
    told: list[tuple[str, int]] = []
    seen: tuple[tuple[State, Severity], ...] = (
        ("ok", ""),
        ("burning", "ticket"),
        ("burning", "ticket"),
        ("burning", "page"),
        ("burning", "ticket"),
        ("exhausted", "page"),
        ("exhausted", ""),
        ("ok", ""),
        ("burning", "page"),
    )
    for state, firing in seen:
        now = reading(state, firing)
        told += [(step.verb, step.data["episode"]) for step in changes(record, now)]
        record = Record(kind="Objective", name="o", spec={}, status=status_of(record.status, now, ()))
    assert told == [
        ("objective.burning", 1),
        ("objective.burning", 2),  # louder
        ("objective.burning", 3),  # louder again
        ("objective.exhausted", 1),
        ("objective.recovered", 1),
        ("objective.restored", 1),
        ("objective.burning", 4),
    ]


def test_without_a_reading_nothing_is_told() -> None:
    record = Record(kind="Objective", name="o", spec={}, status={"firing": "page", "state": "burning"})
    assert changes(record, None) == ()


def test_an_exhausted_budget_asks_releases_to_wait() -> None:
    status = status_of({}, reading("exhausted", "page"), ())
    assert (status["frozen"], status["state"], status["budgetRemaining"]) == (True, "exhausted", -0.5)
