"""Metrics of what is taken in: facts by kind, duplicates, unknown requests, refusals, label lag and coverage, OTLP.

From memory alone; every label comes from a closed set.
"""

from __future__ import annotations

from collections.abc import Mapping

from andon.ledger.facts.intake import LAG_BOUNDS_S, Intake
from andon.observability.families import OTHER, Family, Sample
from andon.observability.intake.receiver import OtlpCounters

KINDS = ("label", "feedback", "kpi", "evaluation", "span", "price")
REASONS = frozenset(
    {
        "csv_heading_invalid",
        "invalid_field",
        "kind_unknown",
        "malformed_csv",
        "malformed_json",
        "subject_missing",
        "time_in_future",
        "time_invalid",
        "time_too_early",
        "value_missing",
        "value_not_finite",
        "value_out_of_range",
    }
)


class IntakeMetrics:
    """A metric source."""

    def __init__(self, intake: Intake, otlp: OtlpCounters) -> None:
        self._intake = intake
        self._otlp = otlp

    def families(self) -> tuple[Family, ...]:
        """All of them, now."""
        counters, known = self._intake.counters, self._intake.known
        refused: dict[str, int] = {}
        for code, count in counters.refused.items():
            reason = code if code in REASONS else OTHER
            refused[reason] = refused.get(reason, 0) + count
        return (
            _by("andon_facts_total", "Facts written.", "kind", dict.fromkeys(KINDS, 0) | counters.accepted),
            _one("andon_facts_duplicate_total", "Facts that were written before.", counters.duplicates),
            _one("andon_facts_unknown_total", "Facts about requests unknown on arrival.", counters.unknown),
            _one(
                "andon_facts_unchecked_total",
                "Batches whose unknown requests could not be looked up.",
                counters.unchecked,
            ),
            _one("andon_facts_joined_late_total", "Labels whose request came after them.", known.joined_late),
            _by("andon_facts_refused_total", "Facts refused.", "reason", refused),
            Family(
                "andon_facts_waiting",
                "gauge",
                "Labels that wait for their request, as far as remembered.",
                (Sample((), known.waiting),),
            ),
            self._lag(),
            self._coverage(),
            _otlp("andon_otlp_accepted_total", "OTLP items kept.", self._otlp.accepted),
            _otlp("andon_otlp_rejected_total", "OTLP items not kept.", self._otlp.rejected),
        )

    def _lag(self) -> Family:
        counters = self._intake.counters
        buckets: list[tuple[float, int]] = []
        total = 0
        for bound, count in zip((*LAG_BOUNDS_S, float("inf")), counters.lags, strict=True):
            total += count
            buckets.append((bound, total))
        sample = Sample((), counters.lag_sum_s, tuple(buckets), total)
        meaning = "Time from an answer to its label."
        return Family("andon_label_lag_seconds", "histogram", meaning, (sample,))

    def _coverage(self) -> Family:
        samples = [
            Sample((("endpoint", endpoint),), labelled / served)
            for endpoint, (served, labelled) in self._intake.known.coverage().items()
            if served
        ]
        meaning = "Share of the requests served of late that have a label."
        return Family("andon_label_coverage_ratio", "gauge", meaning, tuple(samples))


def _one(name: str, meaning: str, value: int) -> Family:
    return Family(name, "counter", meaning, (Sample((), value),))


def _by(name: str, meaning: str, label: str, values: Mapping[str, int]) -> Family:
    samples = tuple(Sample(((label, key),), count) for key, count in sorted(values.items()))
    return Family(name, "counter", meaning, samples)


def _otlp(name: str, meaning: str, values: Mapping[str, int]) -> Family:
    return _by(name, meaning, "signal", dict.fromkeys(("traces", "metrics", "logs"), 0) | dict(values))
