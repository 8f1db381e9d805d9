"""Gates that the gateway cannot judge: what their evidence is, once labels or scores are known.

Fed by the observer with a rollout's drawn requests in the order in which their outcomes became known; the numbers and
verdicts are those of `gates.py`. The evidence is a function of the ledger alone: a restart makes it again, bet by bet.
Pure; never reads a ledger, never stops anything itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log, sqrt

import msgspec

from andon.kernel.reports import GateReading
from andon.kernel.snapshot import GateEntry
from andon.lifecycle.rollouts.evidence import Evidence
from andon.lifecycle.rollouts.gates import ErrorGate, crosses, readings

LABELLED = ("quality", "calibration")
OBSERVED = (*LABELLED, "drift")
_LOG_MAX = 690.0
_WITNESSES_MIN = 2
_QUARTILES = 3
_SETTING = 40  # scores of the stable arm that set the quartiles; they are not betted on
_SIGMAS = 4.0  # how far the arms' shares of outcomes may be from the draw's
_ALL_SEEN_MIN = 200


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One drawn request whose outcome is known."""

    canary: bool
    share: float  # the chance that it had of the canary, in (0, 1)
    bad: bool = False  # what is compared; of a loss in [0, 1], whether the request's own draw fell below it
    score: float = 0.0  # drift only
    unit: int | None = None  # what assignment was sticky by: each counts once


def judge_trials(entry: GateEntry, trials: Sequence[Trial]) -> GateReading:
    """The verdict of one gate after these trials, in the order in which they became known.

    A breach stays one: the first crossing stops the release, whatever came after it. Outcomes that come for one arm
    more often than for the other would be evidence of nothing but that; they are not judged.
    """
    counted = _once(trials)
    uneven = _uneven(counted)
    reading = _scores(entry, counted) if entry.metric == "drift" else _outcomes(entry, counted)
    if uneven:
        return msgspec.structs.replace(reading, verdict="no-data", reason=uneven)
    return reading


def _once(trials: Sequence[Trial]) -> list[Trial]:
    seen: set[int] = set()
    found = []
    for trial in trials:
        if trial.unit is not None:
            if trial.unit in seen:
                continue
            seen.add(trial.unit)
        if 0.0 < trial.share < 1.0:
            found.append(trial)
    return found


def _uneven(trials: Sequence[Trial]) -> str:
    """Why the arms' numbers of outcomes cannot come from the draw; empty if they can."""
    if len(trials) < _ALL_SEEN_MIN:
        return ""
    canary = sum(trial.canary for trial in trials)
    expected = sum(trial.share for trial in trials)
    deviation = sqrt(sum(trial.share * (1.0 - trial.share) for trial in trials))
    if abs(canary - expected) <= _SIGMAS * deviation:
        return ""
    return (
        f"{canary} outcomes of the canary where the draw gives {expected:.0f}: what is known of the arms "
        "is not known alike, so they cannot be compared"
    )


def _outcomes(entry: GateEntry, trials: Sequence[Trial]) -> GateReading:
    gate = ErrorGate(entry)
    for trial in trials:
        gate.observe(gate.place(trial.canary, trial.share), trial.canary, trial.bad, None)
        if not gate.breached and crosses(gate, 0.0):
            gate.breached = True
            break
    (reading,) = readings((gate,))
    return reading


class _Shift:
    """Whether the canary's scores lie elsewhere: six tests, at three quartiles in two directions, as one.

    The mean of e-values is an e-value (Vovk & Wang, "E-values: calibration, combination and applications", Annals of
    Statistics 49, 2021), so no share of alpha is lost by asking six times.
    """

    def __init__(self, margin: float, stable: Sequence[float]) -> None:
        ordered = sorted(stable)
        self.cuts = [ordered[len(ordered) * (n + 1) // (_QUARTILES + 1)] for n in range(_QUARTILES)]
        self._tests = [(cut, above, Evidence(margin)) for cut in self.cuts for above in (True, False)]
        self.beyond = [0, 0]  # scores above the middle cut, canary and stable

    def observe(self, trial: Trial) -> None:
        """Bet and settle."""
        for cut, above, evidence in self._tests:
            table = evidence.place(trial.canary, trial.share)
            evidence.observe(table, trial.canary, (trial.score > cut) is above)
        self.beyond[0 if trial.canary else 1] += trial.score > self.cuts[1]

    @property
    def log_value(self) -> float:
        """The logarithm of the mean."""
        logs = [evidence.log_value for _, _, evidence in self._tests]
        top = max(logs)
        return top + log(sum(exp(value - top) for value in logs) / len(logs))


def _scores(entry: GateEntry, trials: Sequence[Trial]) -> GateReading:
    """The drift gate. Its values are the shares of scores above the middle of the stable arm's first ones."""
    setting = [place for place, trial in enumerate(trials) if not trial.canary][:_SETTING]
    threshold = 1.0 / entry.alpha
    counts, beyond, evidence, breached = [0, 0], [0, 0], 0.0, False
    if len(setting) == _SETTING:
        shift = _Shift(entry.margin, [trials[place].score for place in setting])
        # Bets may rest on what is past only: what came before the quartiles were set is not betted on.
        for trial in trials[setting[-1] + 1 :]:
            shift.observe(trial)
            counts[0 if trial.canary else 1] += 1
            evidence = shift.log_value
            if evidence >= log(threshold) and counts[0] >= _WITNESSES_MIN:
                breached = True
                break
        beyond = shift.beyond
    shown = exp(min(evidence, _LOG_MAX))
    if breached:
        verdict, reason = (
            "breach",
            f"the canary's scores lie elsewhere: evidence {shown:.4g} reached {threshold:.4g}",
        )
    elif not counts[0] or not counts[1]:
        verdict, reason = "no-data", "too few scores: nothing is known, so nothing passes"
    elif counts[0] < entry.minimum:
        verdict, reason = "insufficient", f"{counts[0]} of at least {entry.minimum} canary scores"
    else:
        verdict, reason = "pass", f"evidence {shown:.4g} of {threshold:.4g} after {counts[0]} canary scores"
    return GateReading(
        gate=entry.name,
        metric=entry.metric,
        verdict=verdict,  # type: ignore[arg-type]  # one of the four literals above; mypy widens it to str
        evidence=shown,
        threshold=threshold,
        canary_n=counts[0],
        stable_n=counts[1],
        canary_value=beyond[0] / counts[0] if counts[0] else None,
        stable_value=beyond[1] / counts[1] if counts[1] else None,
        minimum=entry.minimum,
        reason=reason,
    )
