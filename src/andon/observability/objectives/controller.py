"""The controller of objectives: writes what the board reads into statuses, and journals each change once.

It decides nothing about traffic. An objective that the board has not read yet keeps the status that it had.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from andon.control.controller import Result
from andon.kernel.decision import Plan, Step
from andon.kernel.events import Event
from andon.observability.objectives.board import Board, Reading, SliceReading
from andon.observability.objectives.live import LiveObjectives
from andon.observability.objectives.windows import Window
from andon.store.model import Lease, Record, Store, Unit

KIND = "Objective"
NAME = "objectives"
PERIOD_S = 10.0
REFRESH_NS = 60 * 1_000_000_000  # figures in a status are at most this old
SLICES_SHOWN = 20


class ObjectiveFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One objective as it is and as its status says."""

    record: Record
    reading: Reading | None
    windows: tuple[Window, ...] = ()


class ObjectiveController:
    """See `control/controller.Controller`."""

    name = NAME
    period_s = PERIOD_S

    def __init__(self, store: Store, live: LiveObjectives, board: Board) -> None:
        self._store = store
        self._live = live
        self._board = board

    def subjects(self, unit: Unit) -> Sequence[str]:
        """Every objective."""
        return [f"{KIND}/{record.name}" for record in unit.list(KIND)]

    async def observe(self, subject: str) -> ObjectiveFacts | None:
        """The objective and its reading; None if it is gone."""
        name = subject.partition("/")[2]
        record = await self._store.transact(lambda unit: unit.get(KIND, name))
        if record is None:
            return None
        live = self._live.objectives.get(name)
        if live is None or live.generation != record.generation:
            return ObjectiveFacts(record=record, reading=None)
        reading = self._board.readings.get(name)
        return ObjectiveFacts(record=record, reading=reading, windows=live.windows)

    def plan(self, facts: ObjectiveFacts, now_ns: int) -> Plan:
        """What to journal."""
        return Plan(
            controller=NAME,
            subject=f"{KIND}/{facts.record.name}",
            generation=facts.record.generation,
            steps=changes(facts.record, facts.reading),
        )

    def veto(self, facts: ObjectiveFacts, plan: Plan) -> str | None:
        """Nothing here can do harm."""
        return None

    async def act(self, facts: ObjectiveFacts, step: Step, lease: Lease) -> None:
        """Journal one change, once: its number is in its key."""
        unique = f"{step.verb}/{facts.record.name}/{facts.record.created_ns}/{step.data['episode']}"
        event = Event(
            name=step.verb, subject=step.subject, actor=f"controller:{NAME}", data=step.data, unique=unique
        )
        await self._store.transact(lambda unit: unit.append(event))

    async def conclude(self, facts: ObjectiveFacts, plan: Plan, lease: Lease) -> Sequence[Result]:
        """The status, when it has changed or is old."""
        if facts.reading is None:
            return ()
        status = status_of(facts.record.status, facts.reading, facts.windows)
        kept = facts.record.status
        same = all(kept.get(name) == status[name] for name in ("state", "firing", "frozen", "history"))
        if same and status["atNs"] - kept.get("atNs", 0) < REFRESH_NS:
            return ()
        if "conditions" in kept:
            status["conditions"] = kept["conditions"]
        return [Result(status=status, kind=KIND, name=facts.record.name, generation=facts.record.generation)]


def changes(record: Record, reading: Reading | None) -> tuple[Step, ...]:
    """One step for each change since the status: begins or ends to burn, is exhausted or has budget again."""
    if reading is None:
        return ()
    was, steps = record.status, []
    episodes: Mapping[str, int] = was.get("episodes", {})
    for verb, changed in _turns(was, reading):
        if not changed:
            continue
        worst = next((one for one in reading.slices if one.firing), reading.slices[0])
        data: dict[str, Any] = {
            "episode": episodes.get(verb, 0) + 1,
            "severity": reading.firing,
            "slices": [one.slice for one in reading.slices if one.firing][:SLICES_SHOWN],
            "budgetRemaining": round(reading.slices[0].budget.remaining, 6),
        }
        steps.append(Step(verb=verb, subject=f"{KIND}/{record.name}", reason=_why(verb, worst), data=data))
    return tuple(steps)


def _turns(was: Mapping[str, Any], reading: Reading) -> tuple[tuple[str, bool], ...]:
    before, spent = was.get("firing", ""), was.get("state") == "exhausted"
    return (
        ("objective.burning", bool(reading.firing) and reading.firing != before and before != "page"),
        ("objective.recovered", bool(before) and not reading.firing),
        ("objective.exhausted", reading.state == "exhausted" and not spent),
        ("objective.restored", spent and reading.state != "exhausted"),
    )


def _why(verb: str, worst: SliceReading) -> str:
    where = "".join(f" {name}={value}" for name, value in worst.slice.items())
    firing = next((verdict for verdict in worst.verdicts if verdict.word == "fires"), None)
    if verb == "objective.burning" and firing is not None:
        return f"{firing.window} window{where}: {firing.why}"
    return f"{worst.budget.remaining:.1%} of the budget is left{where}"


def status_of(was: Mapping[str, Any], reading: Reading, windows: Sequence[Window]) -> dict[str, Any]:
    """The status of an objective; its worst slice at the top."""
    episodes = dict(was.get("episodes", {}))
    for verb, changed in _turns(was, reading):
        if changed:
            episodes[verb] = episodes.get(verb, 0) + 1
    worst = reading.slices[0] if reading.slices else None
    return {
        "state": reading.state,
        "firing": reading.firing,
        "frozen": reading.frozen,
        "history": reading.history,
        "atNs": reading.at_ns,
        "budgetRemaining": None if worst is None else round(worst.budget.remaining, 6),
        "events": sum(one.budget.events for one in reading.slices),
        "bad": sum(one.budget.bad for one in reading.slices),
        "slices": [_slice(one) for one in reading.slices[:SLICES_SHOWN]],
        "slicesLeftOut": max(0, len(reading.slices) - SLICES_SHOWN),
        "windows": [
            {"severity": one.severity, "window": one.name, "burn": round(one.factor, 4)}
            | ({"note": one.note} if one.note else {})
            for one in windows
        ],
        "episodes": episodes,
    }


def _slice(one: SliceReading) -> dict[str, Any]:
    return {
        "slice": one.slice,
        "state": one.state,
        "firing": one.firing,
        "attained": one.budget.attained,
        "budgetRemaining": round(one.budget.remaining, 6),
        "events": one.budget.events,
        "bad": one.budget.bad,
        "burn": {name: None if burn is None else round(burn, 4) for name, burn in one.burns.items()},
        "sinceNs": one.since_ns,
    }
