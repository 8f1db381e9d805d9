"""The metrics of objectives: exact counters for recording rules, and what the board reads.

Label sets are closed: objectives and slices are bounded by their specs, values beyond the bound are `(other)`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from andon.observability.families import Family, Sample
from andon.observability.objectives.board import Board, labels_of
from andon.observability.objectives.live import LiveObjectives
from andon.observability.objectives.rules import BAD_TOTAL, EVENTS_TOTAL

Labels = tuple[tuple[str, str], ...]


class ObjectiveMetrics:
    """A `MetricSource`."""

    def __init__(self, live: LiveObjectives, board: Board) -> None:
        self._live = live
        self._board = board

    def families(self) -> tuple[Family, ...]:
        """Counters since the observer began, and the latest readings."""
        return (*self._counters(), *self._readings())

    def _counters(self) -> Iterable[Family]:
        events: list[Sample] = []
        bad: list[Sample] = []
        targets: list[Sample] = []
        for name, objective in self._live.objectives.items():
            targets.append(Sample((("objective", name),), objective.spec.objective))
            for key, tally in list(objective.tally.slices.items()):
                labels = _labels(name, labels_of(objective.spec.by, key))
                events.append(Sample(labels, float(tally.events_total)))
                bad.append(Sample(labels, float(tally.bad_total)))
        yield _family("andon_objective_target", "gauge", "Share of good events that is promised.", targets)
        yield _family(EVENTS_TOTAL, "counter", "Events of an objective, counted once each.", events)
        yield _family(BAD_TOTAL, "counter", "Bad events of an objective.", bad)

    def _readings(self) -> Iterable[Family]:
        attained: list[Sample] = []
        remaining: list[Sample] = []
        burns: list[Sample] = []
        firing: list[Sample] = []
        for name, reading in self._board.readings.items():
            for one in reading.slices:
                labels = _labels(name, one.slice)
                remaining.append(Sample(labels, one.budget.remaining))
                if one.budget.attained is not None:
                    attained.append(Sample(labels, one.budget.attained))
                for window, burn in one.burns.items():
                    if burn is not None:
                        burns.append(Sample((*labels, ("window", window)), burn))
                for severity in ("page", "ticket"):
                    loud = any(
                        verdict.word == "fires" and verdict.severity == severity for verdict in one.verdicts
                    )
                    firing.append(Sample((*labels, ("severity", severity)), float(loud)))
        yield _family(
            "andon_objective_attained_ratio", "gauge", "Share of good events in the period.", attained
        )
        yield _family(
            "andon_objective_budget_remaining_ratio",
            "gauge",
            "Share of the period's error budget that is left; negative when overspent.",
            remaining,
        )
        yield _family(
            "andon_objective_burn_rate", "gauge", "Error ratio over error budget, by window.", burns
        )
        yield _family(
            "andon_objective_firing", "gauge", "1 where a window fires, with its evidence and guards.", firing
        )


def _labels(name: str, labels: dict[str, str]) -> Labels:
    return (("objective", name), *labels.items())


def _family(name: str, kind: Literal["counter", "gauge"], meaning: str, samples: list[Sample]) -> Family:
    return Family(name, kind, meaning, tuple(samples))
