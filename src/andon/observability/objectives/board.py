"""The board: every objective as it stands now, and who must be told. Evaluated from the live tallies, never by query.

A reading is of windows that end at the last 5 s boundary, a second after it has passed, so that rows of the slot have
come. `firing()` is what alerts read: five alerts on one objective cost five look-ups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from andon.kernel.clock import Clock
from andon.kernel.units import duration_s
from andon.observability.objectives.live import LiveObjective, LiveObjectives
from andon.observability.objectives.model import Slice
from andon.observability.objectives.tallies import FINE_NS, NS, SliceTally, align_ns
from andon.observability.objectives.verdicts import (
    Budget,
    Tallied,
    Verdict,
    budget_of,
    judge_absolute,
    judge_window,
)
from andon.observability.objectives.windows import HOUR_S, period_from_ns
from andon.observability.signals import Signal

SETTLE_NS = NS  # how long after its end a slot is taken as complete
BLIND_NS = 60 * NS  # after this an objective is judged without its history rather than not at all

State = Literal["ok", "burning", "exhausted", "no data"]
Severity = Literal["page", "ticket", ""]


class SliceReading(msgspec.Struct, frozen=True, kw_only=True):
    """One budget now."""

    slice: dict[str, str]
    state: State
    firing: Severity  # the loudest that fires
    since_ns: int  # since when it fires; 0 if it does not
    budget: Budget
    burns: dict[str, float | None]  # by window: "1h", "6h"; null without events
    verdicts: tuple[Verdict, ...]


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """One objective now: its slices, those with the least budget first."""

    name: str
    at_ns: int  # where its windows end
    state: State
    firing: Severity
    frozen: bool  # exhausted, and its spec asks that releases wait
    history: bool  # False while what was before the observer's start is not read yet
    slices: tuple[SliceReading, ...]


def labels_of(by: Sequence[str], key: Slice) -> dict[str, str]:
    """A slice as labels; null is the empty text."""
    return {name: value or "" for name, value in zip(by, key, strict=True)}


class Board:
    """Keeps the latest readings."""

    def __init__(self, live: LiveObjectives, clock: Clock) -> None:
        self._live = live
        self._clock = clock
        self._since: dict[tuple[str, Slice, str], int] = {}  # (objective, slice, window) → since when
        self._signals: tuple[Signal, ...] = ()
        self._to_ns = 0
        self.readings: dict[str, Reading] = {}

    def firing(self) -> Sequence[Signal]:
        """What fires now, pages first."""
        return self._signals

    def evaluate(self) -> bool:
        """Look again if a slot has ended since the last look; whether there was one."""
        now_ns = self._clock.now_ns()
        to_ns = (now_ns - SETTLE_NS) // FINE_NS * FINE_NS
        if to_ns <= self._to_ns:
            return False
        self._to_ns = to_ns
        since: dict[tuple[str, Slice, str], int] = {}
        signals: list[Signal] = []
        readings: dict[str, Reading] = {}
        for name, objective in self._live.objectives.items():
            if not objective.filled and now_ns < objective.since_ns + BLIND_NS:
                continue
            objective.tally.advance(now_ns)
            readings[name] = self._read(objective, to_ns, since, signals)
        self._since, self.readings = since, readings
        self._signals = tuple(
            sorted(signals, key=lambda one: (one.severity, one.name, sorted(one.slice.items())))
        )
        return True

    def _read(
        self,
        objective: LiveObjective,
        to_ns: int,
        since: dict[tuple[str, Slice, str], int],
        signals: list[Signal],
    ) -> Reading:
        slices = [
            self._read_slice(objective, key, to_ns, since, signals) for key in list(objective.tally.slices)
        ]
        slices.sort(key=lambda one: (one.budget.remaining, sorted(one.slice.items())))
        states = {one.state for one in slices}
        loud = {one.firing for one in slices}
        state: State = "no data"
        for word in ("exhausted", "burning", "ok"):
            if word in states:
                state = word
                break
        return Reading(
            name=objective.name,
            at_ns=to_ns,
            state=state,
            firing="page" if "page" in loud else "ticket" if "ticket" in loud else "",
            frozen=objective.spec.freeze and state == "exhausted",
            history=objective.filled,
            slices=tuple(slices),
        )

    def _read_slice(
        self,
        objective: LiveObjective,
        key: Slice,
        to_ns: int,
        since: dict[tuple[str, Slice, str], int],
        signals: list[Signal],
    ) -> SliceReading:
        spec, tally = objective.spec, objective.tally.slices[key]
        counts = counts_of(objective, tally, to_ns)
        verdicts = [
            judge_window(
                window,
                spec.objective,
                counts[window.long_s],
                counts[window.short_s],
                missing=spec.missing_data,
                minimum=spec.minimum_events,
            )
            for window in objective.windows
        ]
        waits = [window.after_s for window in objective.windows]
        if spec.alerting.absolute is not None:
            seconds = round(duration_s(spec.alerting.absolute.window))
            verdicts.append(judge_absolute(spec.alerting.absolute, seconds, counts[seconds]))
            waits.append(0)
        firing: Severity = ""
        first_ns = 0
        labels = labels_of(spec.by, key)
        for at, (verdict, wait_s) in enumerate(zip(verdicts, waits, strict=True)):
            if verdict.word != "fires":
                continue
            place = (objective.name, key, f"{verdict.severity}/{verdict.window}/{verdict.note}")
            begun = since[place] = self._since.get(place, to_ns)
            if to_ns - begun < wait_s * NS:
                verdicts[at] = msgspec.structs.replace(
                    verdict, word="quiet", why=f"fires when it has been so for {wait_s} s"
                )
                continue
            firing = "page" if "page" in (firing, verdict.severity) else "ticket"
            first_ns = min(first_ns or begun, begun)
            signals.append(_signal(objective.name, labels, verdict, begun))
        burn = burn_of(counts[HOUR_S], spec.objective)
        budget = budget_of(spec.objective, counts[0], burn, objective.period_s)
        state: State = "burning" if firing else "ok"
        if not budget.events:
            state = "burning" if firing else "no data"
        elif budget.remaining <= 0:
            state = "exhausted"
        burns = {name: burn_of(counts[seconds], spec.objective) for seconds, name in objective.spans.items()}
        return SliceReading(
            slice=labels,
            state=state,
            firing=firing,
            since_ns=first_ns,
            budget=budget,
            burns=burns,
            verdicts=tuple(verdicts),
        )


def counts_of(objective: LiveObjective, tally: SliceTally, to_ns: int) -> Mapping[int, Tallied]:
    """Counts by length of window in seconds; the period under 0."""
    found = {
        seconds: Tallied(*tally.window(*align_ns(to_ns - seconds * NS, to_ns))) for seconds in objective.spans
    }
    found[0] = Tallied(*tally.window(*align_ns(period_from_ns(objective.spec, to_ns), to_ns)))
    return found


def burn_of(counted: Tallied, objective: float) -> float | None:
    """Error ratio ÷ budget; null without events."""
    return None if counted.ratio is None else counted.ratio / (1.0 - objective)


def _signal(name: str, labels: dict[str, str], verdict: Verdict, since_ns: int) -> Signal:
    return Signal(
        name=name,
        severity=verdict.severity,
        slice=labels,
        value=float(verdict.bad) if verdict.burn is None else verdict.burn,
        threshold=verdict.threshold,
        window=verdict.window,
        why=verdict.why,
        since_ns=since_ns,
    )
