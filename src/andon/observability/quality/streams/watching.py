"""Watches the errors of every release as they happen: a change is told at the request that shows it, not at a window.

A consumer of the feed, in memory only. What is usual is learnt from the first requests of a release; from then on its
e-detector runs, with a stated expected number of requests between false alarms. Alerts read the gauge.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from andon.kernel.clock import Clock
from andon.ledger.facts.model import Fact
from andon.ledger.reader import Entry
from andon.ledger.row import Outcome
from andon.observability.families import OTHER, Family, Sample
from andon.observability.quality.streams.run_length import RunLengthDetector, RunSettings, usual_rate

SUBJECTS_MAX = 500  # endpoint and release together; what comes beyond is not watched, and counted
LEARN_REQUESTS = 500  # from which the usual rate of a release is taken
HOLD_S = 900.0  # how long a change is told


class ChangeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How seldom a false alarm may come, and how long a change is told."""

    expected_run: float = 100_000.0  # requests of one release before a false alarm, on average at least
    learn_requests: int = LEARN_REQUESTS
    hold_s: float = HOLD_S


class _Subject:
    """One release of one endpoint."""

    __slots__ = ("changed_at", "changes", "count", "detector", "errors")

    def __init__(self) -> None:
        self.count = 0
        self.errors = 0
        self.detector: RunLengthDetector | None = None
        self.changes = 0
        self.changed_at: float | None = None  # monotonic seconds of the last one


class ChangeWatch:
    """The error streams of all releases. Implements the feed's `Consumer` and `MetricSource`."""

    name = "changes"

    def __init__(self, clock: Clock, settings: ChangeSettings | None = None) -> None:
        self._clock = clock
        self._settings = settings or ChangeSettings()
        self._subjects: dict[tuple[str, str], _Subject] = {}
        self.unwatched = 0  # requests of releases beyond the limit

    def take_rows(self, entries: Sequence[Entry]) -> None:
        """Final outcomes that reached a release, in the order of the log."""
        for entry in entries:
            row = entry.row
            if (
                isinstance(row, Outcome)
                and row.final
                and row.arm != "shadow"
                and row.endpoint
                and row.release
            ):
                self._take((row.endpoint, row.release), row.provider_error)

    def take_facts(self, facts: Sequence[Fact]) -> None:
        """Facts come too late to be a stream of errors: chunks of a monitor are for them."""

    def _take(self, key: tuple[str, str], failed: bool) -> None:
        subject = self._subjects.get(key)
        if subject is None:
            if len(self._subjects) >= SUBJECTS_MAX:
                self.unwatched += 1
                return
            subject = self._subjects[key] = _Subject()
        if subject.detector is None:
            subject.count += 1
            subject.errors += failed
            if subject.count >= self._settings.learn_requests:
                rate = usual_rate(subject.errors, subject.count)
                subject.detector = RunLengthDetector(
                    RunSettings(usual_rate=rate, expected_run=self._settings.expected_run)
                )
            return
        if subject.detector.take(float(failed)):
            subject.changes += 1
            subject.changed_at = self._clock.monotonic()

    def families(self) -> tuple[Family, ...]:
        """How often each release has changed, and which did lately."""
        now = self._clock.monotonic()
        total, lately = [], []
        for (endpoint, release), subject in sorted(self._subjects.items()):
            labels = (("endpoint", endpoint), ("release", release))
            held = subject.changed_at is not None and now - subject.changed_at < self._settings.hold_s
            total.append(Sample(labels, float(subject.changes)))
            lately.append(Sample(labels, float(held)))
        unwatched = Sample((("endpoint", OTHER), ("release", OTHER)), float(self.unwatched))
        return (
            Family(
                "andon_error_changes_total",
                "counter",
                "Times that the error rate of a release rose above its usual one.",
                tuple(total),
            ),
            Family(
                "andon_error_changed",
                "gauge",
                f"1 for {self._settings.hold_s / 60:.0f} minutes after the error rate of a release rose.",
                tuple(lately),
            ),
            Family(
                "andon_error_unwatched_total",
                "counter",
                "Requests whose release is not watched for changes, because too many are.",
                (unwatched,),
            ),
        )
