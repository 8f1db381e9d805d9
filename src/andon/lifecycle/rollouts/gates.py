"""Gates: what a rollout's evidence means. `readings` is the one function that decides and that `explain` prints.

Stands between `evidence.py` (numbers) and `stage.py`, `rules.py` and `explanation.py` (what follows from a verdict).
Pure and in memory; never routes, never writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log
from typing import Protocol

from andon.kernel.reports import GateReading
from andon.kernel.snapshot import GateEntry
from andon.lifecycle.rollouts.evidence import Evidence, Table
from andon.lifecycle.rollouts.latencies import Latencies

_LOG_MAX = 690.0  # e^690 is still a float that JSON can carry
_WITNESSES_MIN = 2  # bad canary outcomes below which nothing is stopped, whatever the evidence
_WARM_UP = 10  # stable latencies needed before the first cut-off is drawn
_REFRESH_MIN, _REFRESH_MAX = (
    8,
    512,
)  # stable latencies between two cut-offs: a sixteenth of those seen, within this

Bets = tuple[
    tuple[float, ...], tuple[Table, ...]
]  # cut-offs in seconds (latency only) and a table for each test
_NO_BETS: Bets = ((), ())
_ROOM_MAX = 32  # good stable outcomes that may wait where no test asks for them sooner


class Gate(Protocol):
    """One gate while a rollout runs at one gateway."""

    entry: GateEntry
    bar: float  # log(1/alpha)
    log_value: float
    breached: bool

    def place(self, canary: bool, share: float) -> Bets:
        """The bets for a request being admitted, whose chance of the canary was `share`."""
        ...

    def withdraw(self, bets: Bets, canary: bool) -> None:
        """Give bets back: there was no observation."""
        ...

    def observe(self, bets: Bets, canary: bool, failed: bool, latency_s: float | None) -> None:
        """Settle bets with the outcome."""
        ...

    def room(self, bets: Bets) -> int:
        """How many good stable outcomes of these bets may wait to be held together, because none of them alone would
        change a bet, a cut-off or a verdict; -1 if others have replaced the bets."""
        ...

    def hold(self, bets: Bets, latencies_s: Sequence[float]) -> None:
        """Settle good stable outcomes of one set of bets, within `room`: as that many calls of `observe` would."""
        ...

    def discounted(self, fraction: float) -> float:
        """The log evidence if this fraction of the canary's awaited requests ended well."""
        ...

    def counts(self) -> tuple[int, int]:
        """Observations of canary and stable."""
        ...

    def witnesses(self) -> int:
        """Canary outcomes that speak against it."""
        ...

    def values(self) -> tuple[float | None, float | None]:
        """What is measured, canary and stable: error rate, or milliseconds at the gate's first quantile."""
        ...


class ErrorGate:
    """Are the canary's answers wrong more often (or, for `decrease`, less often) than the stable arm's?"""

    def __init__(self, entry: GateEntry) -> None:
        self.entry = entry
        self.bar = -log(entry.alpha)
        self.breached = False
        self.log_value = 0.0
        self._falling = entry.direction == "decrease"
        self._evidence = Evidence(entry.margin, (5.7, 6.0) if self._falling else (0.3, 6.0))

    def place(self, canary: bool, share: float) -> Bets:
        """The bets for a request being admitted."""
        return (), (self._evidence.place(canary, share),)

    def withdraw(self, bets: Bets, canary: bool) -> None:
        """Give bets back."""
        self._evidence.withdraw(bets[1][0], canary)

    def observe(self, bets: Bets, canary: bool, failed: bool, latency_s: float | None) -> None:
        """Settle bets; the latency plays no part."""
        evidence = self._evidence
        evidence.observe(bets[1][0], canary, failed is not self._falling)
        self.log_value = evidence.log_value

    def room(self, bets: Bets) -> int:
        """How many good stable outcomes may wait."""
        room = self._evidence.room(bets[1][0])
        return min(room, 0) if self.log_value >= self.bar and not self.breached else room

    def hold(self, bets: Bets, latencies_s: Sequence[float]) -> None:
        """Settle good stable outcomes; the latencies play no part."""
        count = len(latencies_s)
        self._evidence.hold(0 if self._falling else count, count if self._falling else 0)

    def discounted(self, fraction: float) -> float:
        """The log evidence if this fraction of the canary's awaited requests ended well."""
        return self._evidence.discounted(fraction)

    def counts(self) -> tuple[int, int]:
        """Observations of canary and stable."""
        seen = self._evidence.state()
        return sum(seen.canary), sum(seen.stable)

    def witnesses(self) -> int:
        """Canary errors (or, for `decrease`, successes)."""
        return self._evidence.canary_bad

    def values(self) -> tuple[float | None, float | None]:
        """Error rates of canary and stable; None for an arm without observations."""
        seen = self._evidence.state()
        place = 0 if self._falling else 1
        return (
            seen.canary[place] / sum(seen.canary) if sum(seen.canary) else None,
            seen.stable[place] / sum(seen.stable) if sum(seen.stable) else None,
        )


class LatencyGate:
    """Is the canary slower than `margin` times the stable arm, at any of the quantiles?

    For each quantile the cut-off is the stable arm's own quantile when the request is admitted, so it depends on the
    past only; a stable request is bad above it, a canary one above margin times it and `slack_ms` beyond it. If the
    canary is at most `margin` times (or `slack_ms`) slower at that point, it is bad no more often, which is the null
    hypothesis of `Evidence`. The evidence of the quantiles is averaged: a mean of supermartingales is one. For
    `decrease`, faster is what breaches.
    """

    def __init__(self, entry: GateEntry) -> None:
        self.entry = entry
        self.bar = -log(entry.alpha)
        self.breached = False
        self.log_value = 0.0
        self._falling = entry.direction == "decrease"
        self._cuts: tuple[float, ...] = ()
        self._refresh_at = _WARM_UP
        self._stable = Latencies()
        self._canary = Latencies()
        self._evidence = [
            Evidence(0.0, (20.0 * (share if self._falling else 1.0 - share), 20.0))
            for share in entry.quantiles
        ]
        self._ratio = 1.0 / entry.margin if self._falling else entry.margin
        self._slack_s = entry.slack_ms / 1e3

    def place(self, canary: bool, share: float) -> Bets:
        """The cut-offs and the bets for a request being admitted; none before the stable arm has been timed."""
        if not self._cuts:
            return _NO_BETS
        return self._cuts, tuple([evidence.place(canary, share) for evidence in self._evidence])

    def withdraw(self, bets: Bets, canary: bool) -> None:
        """Give bets back."""
        if canary and bets[1]:
            for table, evidence in zip(bets[1], self._evidence, strict=True):
                evidence.withdraw(table, canary)

    def observe(self, bets: Bets, canary: bool, failed: bool, latency_s: float | None) -> None:
        """Settle bets; a failed request says nothing about speed."""
        if failed or latency_s is None:
            self.withdraw(bets, canary)
            return
        cuts, tables = bets
        if cuts:
            falling = self._falling
            scaled = latency_s
            if canary and falling:
                scaled = max(latency_s / self._ratio, latency_s + self._slack_s)
            elif canary:
                scaled = min(latency_s / self._ratio, latency_s - self._slack_s)
            for cut, table, evidence in zip(cuts, tables, self._evidence, strict=True):
                evidence.observe(table, canary, (scaled > cut) is not falling)
        if canary:
            self._canary.add(latency_s)
            if cuts:
                self.log_value = self.discounted(0.0)
            return
        stable = self._stable
        stable.add(latency_s)
        if stable.n >= self._refresh_at:
            self._refresh_at = stable.n + min(max(stable.n // 16, _REFRESH_MIN), _REFRESH_MAX)
            self._cuts = tuple(stable.quantile(share) or 0.0 for share in self.entry.quantiles)

    def room(self, bets: Bets) -> int:
        """How many good stable outcomes may wait: also, until the next cut-offs are drawn."""
        if bets[0] != self._cuts:
            return -1
        room = min(_ROOM_MAX, self._refresh_at - self._stable.n - 1)
        for table, evidence in zip(bets[1], self._evidence, strict=bool(self._cuts)):
            room = min(room, evidence.room(table))
        return min(room, 0) if self.log_value >= self.bar and not self.breached else room

    def hold(self, bets: Bets, latencies_s: Sequence[float]) -> None:
        """Settle good stable outcomes."""
        cuts = bets[0]
        if cuts:
            count, falling = len(latencies_s), self._falling
            for cut, evidence in zip(cuts, self._evidence, strict=True):
                above = 0
                for latency_s in latencies_s:
                    if latency_s > cut:
                        above += 1
                evidence.hold(above if falling else count - above, count - above if falling else above)
        self._stable.add_all(latencies_s)

    def discounted(self, fraction: float) -> float:
        """The log evidence if this fraction of the canary's awaited requests ended fast."""
        logs = [evidence.discounted(fraction) for evidence in self._evidence]
        top = max(logs)
        return top + log(sum([exp(value - top) for value in logs]) / len(logs))

    def counts(self) -> tuple[int, int]:
        """Latencies seen of canary and stable."""
        return self._canary.n, self._stable.n

    def witnesses(self) -> int:
        """Canary latencies beyond the cut-off of the quantile that saw most of them."""
        return max(evidence.canary_bad for evidence in self._evidence)

    def values(self) -> tuple[float | None, float | None]:
        """Milliseconds at the first quantile, canary and stable."""
        first = self.entry.quantiles[0]
        canary, stable = self._canary.quantile(first), self._stable.quantile(first)
        return (None if canary is None else canary * 1e3, None if stable is None else stable * 1e3)


def open_gate(entry: GateEntry) -> Gate:
    """A gate with evidence 1, which says nothing yet."""
    return ErrorGate(entry) if entry.metric == "errorRate" else LatencyGate(entry)


def crosses(gate: Gate, lag: float) -> bool:
    """Whether the gate stands at or above its threshold when late canary answers are taken for good ones.

    `lag` is the fraction of the awaited canary requests that its share of the traffic does not explain. A single
    outcome never stops a release: the test would allow it after a long run of good stable ones, but nobody would
    believe it. Waiting for a second one can only lower the chance of a false stop.
    """
    if gate.breached:
        return True
    if gate.log_value < gate.bar or gate.witnesses() < _WITNESSES_MIN:
        return False
    return gate.discounted(lag) >= gate.bar


def readings(gates: tuple[Gate, ...], lag: float = 0.0) -> tuple[GateReading, ...]:
    """The verdict of every gate, with the numbers it rests on. No data is a verdict of its own and never a pass."""
    return tuple(_reading(gate, lag) for gate in gates)


def _reading(gate: Gate, lag: float) -> GateReading:
    entry = gate.entry
    canary_n, stable_n = gate.counts()
    canary_value, stable_value = gate.values()
    evidence = exp(min(gate.discounted(lag), _LOG_MAX))
    threshold = 1.0 / entry.alpha
    worse = "better" if entry.direction == "decrease" else "worse"
    if crosses(gate, lag):
        verdict, reason = "breach", f"the canary is {worse}: evidence {evidence:.4g} reached {threshold:.4g}"
    elif canary_n == 0 or stable_n == 0:
        arm = "canary" if canary_n == 0 else "stable arm"
        verdict, reason = "no-data", f"the {arm} has no observation: nothing is known, so nothing passes"
    elif canary_n < entry.minimum:
        verdict, reason = "insufficient", f"{canary_n} of at least {entry.minimum} canary observations"
    else:
        verdict, reason = (
            "pass",
            f"evidence {evidence:.4g} of {threshold:.4g} after {canary_n} canary observations",
        )
    return GateReading(
        gate=entry.name,
        metric=entry.metric,
        verdict=verdict,  # type: ignore[arg-type]  # one of the four literals above; mypy widens it to str
        evidence=evidence,
        threshold=threshold,
        canary_n=canary_n,
        stable_n=stable_n,
        canary_value=canary_value,
        stable_value=stable_value,
        minimum=entry.minimum,
        reason=reason,
    )
