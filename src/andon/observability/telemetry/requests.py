"""Rows to metrics: the families of requests, attempts, tokens and times, as a function of the log.

Fed with outcomes in order; closed label sets by the vocabulary; a bound on series on top of it. Memory only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from andon.ledger.row import Outcome
from andon.observability.families import Family, Sample
from andon.observability.telemetry.mapping import INSTRUMENTS, OPERATIONS, ROUTES, VERSION
from andon.observability.telemetry.outcomes import (
    SHADOW,
    arm_of,
    error_of,
    operation_of,
    status_class,
    was_sent,
)
from andon.observability.telemetry.series import SERIES_MAX, Saved, Series
from andon.observability.telemetry.vocabulary import Vocabulary

_FEATURES_MAX: Final = 256  # features looked at in one row

Place = tuple[str, str]


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Counters and the position in the log up to which they count."""

    position: int = 0
    version: int = VERSION
    rows: int = 0
    missing: int = 0  # rows that were gone from the log before they were counted
    series: tuple[Saved, ...] = ()
    started_ns: int = 0  # time of the first row counted: when the counters began


class RequestMetrics:
    """Every family that is made from rows."""

    def __init__(self, known: Vocabulary, series_max: int = SERIES_MAX) -> None:
        self.known = known
        self.rows = 0
        self.missing = 0
        self.started_ns = 0
        self._series = {one.family: Series(one, series_max) for one in INSTRUMENTS}

    def take(self, rows: Iterable[Outcome]) -> None:
        """Count outcomes."""
        for row in rows:
            self.rows += 1
            if not self.started_ns:
                self.started_ns = row.at_ns
            place = (self.known.endpoint(row.endpoint), self.known.release(row.release))
            error = self.known.error(error_of(row))
            labels = (*place, arm_of(row), operation_of(row), status_class(row), error)
            if row.final:
                self._exchange(row, place, labels, error)
            if was_sent(row):
                self._attempt(row, place, labels, error)

    def families(self) -> tuple[Family, ...]:
        """All families, and how many series they have."""
        families = tuple(series.family() for series in self._series.values())
        sizes = tuple(Sample((("family", name),), len(series)) for name, series in self._series.items())
        capped = tuple(Sample((("family", name),), series.capped) for name, series in self._series.items())
        rows = (Sample((), self.rows),)
        missing = (Sample((), self.missing),)
        return (
            *families,
            Family("andon_metrics_series", "gauge", "Series of each family made from rows.", sizes),
            Family(
                "andon_metrics_series_capped_total",
                "counter",
                "Counts that went to `other` because their family had too many series.",
                capped,
            ),
            Family("andon_metrics_rows_total", "counter", "Outcomes counted.", rows),
            Family(
                "andon_metrics_rows_missing_total", "counter", "Rows gone before they were counted.", missing
            ),
        )

    def save(self, position: int) -> Checkpoint:
        """Everything, up to a position."""
        return Checkpoint(
            position=position,
            rows=self.rows,
            missing=self.missing,
            series=tuple(series.save() for series in self._series.values()),
            started_ns=self.started_ns,
        )

    def load(self, saved: Checkpoint) -> None:
        """Go on from there."""
        self.rows, self.missing, self.started_ns = saved.rows, saved.missing, saved.started_ns
        for one in saved.series:
            if one.family in self._series:
                self._series[one.family].load(one)

    def _exchange(self, row: Outcome, place: Place, labels: tuple[str, ...], error: str) -> None:
        known, series = self.known, self._series
        series["andon_requests_total"].add(labels)
        series["andon_key_requests_total"].add((known.key(row.key), labels[4]))
        series["andon_team_requests_total"].add((known.team(row.team), labels[4]))
        if row.provider_error:
            series["andon_provider_errors_total"].add((*place, labels[2]))
        if row.duration_us is not None:
            route = ROUTES.get(row.operation or "", "")
            status = str(row.status) if 100 <= row.status < 600 else "_OTHER"
            self._time(
                "http_server_request_duration_seconds",
                (*place, "POST", route, status, "http", error),
                row.duration_us,
            )
        self._time("andon_overhead_seconds", place, row.overhead_us)
        self._time("andon_queue_seconds", place, row.queue_us)
        self._time("andon_guard_seconds", place, row.guard_us)

    def _attempt(self, row: Outcome, place: Place, labels: tuple[str, ...], error: str) -> None:
        series = self._series
        series["andon_attempts_total"].add(labels)
        team = self.known.team(row.team)
        counted = (("input", row.input_tokens), ("output", row.output_tokens))
        for kind, tokens in counted:
            if tokens:
                series["andon_tokens_total"].add((*place, kind), tokens)
                series["andon_team_tokens_total"].add((team, kind), tokens)
        self._time("andon_upstream_connect_seconds", place, row.connect_us)
        self._time("andon_upstream_tls_seconds", place, row.tls_us)
        self._time("andon_upstream_first_byte_seconds", place, row.first_byte_us)
        for name, taken_us in list((row.features or {}).items())[:_FEATURES_MAX]:
            self._time("andon_feature_seconds", (place[0], self.known.feature(place[0], name)), taken_us)
        operation = OPERATIONS.get(row.operation or "")
        if operation is not None and row.arm != SHADOW:
            served = self.known.served(row.release)
            self._generation(row, (*place, operation, served.provider, served.model), counted, error)

    def _generation(
        self,
        row: Outcome,
        labels: tuple[str, ...],
        counted: Sequence[tuple[str, int | None]],
        error: str,
    ) -> None:
        self._time("gen_ai_client_operation_duration_seconds", (*labels, error), row.upstream_us)
        if row.usage_source == "provider":  # others are estimates, and the conventions want billable tokens
            for kind, tokens in counted:
                if tokens is not None:
                    self._series["gen_ai_client_token_usage"].observe((*labels, kind), tokens)
        first_us, total_us, tokens = row.first_byte_us, row.upstream_us, row.output_tokens
        if error or not row.stream or first_us is None or total_us is None:
            return
        self._time("gen_ai_server_time_to_first_token_seconds", labels, first_us)
        if tokens is not None and tokens > 1:
            per_us = max(0.0, total_us - first_us) / (tokens - 1)
            self._time("gen_ai_server_time_per_output_token_seconds", labels, per_us)

    def _time(self, family: str, labels: tuple[str, ...], taken_us: float | None) -> None:
        if taken_us is not None:
            # Clocks of one process do not go back; a negative time would be a row from elsewhere.
            self._series[family].observe(labels, max(0.0, taken_us) / 1e6)
