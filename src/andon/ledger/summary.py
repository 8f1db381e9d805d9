"""What rows come to: counts and latencies of one endpoint, release and arm, in a shape that adds. Pure.

The one definition of what is a request, an error, a refusal and a first token, for `andon top`, live windows, alerts
and objectives alike. It counts final outcomes as requests; attempts that were retried are counted beside them. A
shadow's answer went to nobody: it is a request of the arm `shadow` and of nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from andon.ledger.histogram import Histogram
from andon.ledger.row import Outcome, Row

SUBJECTS_MAX = 200  # beyond it everything new is counted under OTHER
OTHER = "other"
SHADOW = "shadow"
CANCELLED = 499  # told to a client that left first
# Latencies kept for each subject, in microseconds; `per_token` is between output tokens after the first.
MEASURES = (
    "duration", "overhead", "queue", "upstream", "first_token", "per_token", "features", "connect",
)  # fmt: skip

Subject = tuple[str, str, str]  # endpoint, release, arm


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """How one latency was distributed: nearest ranks, each within 1 %."""

    count: int
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What happened in a span of event time. A latency that nothing had is null, never zero."""

    endpoint: str
    release: str  # empty where several were asked for together
    arm: str  # empty likewise
    since_ns: int  # the span that the counts are of: at or after this
    until_ns: int  # and before this
    requests: int
    attempts: int  # dispatched or refused, retries included
    errors: int  # requests that the release is to blame for: what gates count
    attempt_errors: int  # attempts that it is to blame for, those that a retry made good included
    refused: int  # told 4xx before or instead of an answer
    cancelled: int  # the client left first
    input_tokens: int
    output_tokens: int
    cost_micros: int
    requests_per_s: float
    tokens_per_s: float  # in and out
    error_rate: float | None  # errors / requests; null without requests
    duration: Spread | None = None
    overhead: Spread | None = None
    queue: Spread | None = None
    upstream: Spread | None = None
    first_token: Spread | None = None  # of streamed answers, from dispatch
    per_token: Spread | None = None
    features: Spread | None = None
    connect: Spread | None = None


class Tally:
    """Counts that add: over rows, over time, over subjects."""

    __slots__ = (
        "attempt_errors", "attempts", "cancelled", "cost_micros", "errors", "histograms", "input_tokens",
        "output_tokens", "refused", "requests",
    )  # fmt: skip

    def __init__(self) -> None:
        self.requests = self.attempts = self.errors = self.attempt_errors = 0
        self.refused = self.cancelled = 0
        self.input_tokens = self.output_tokens = self.cost_micros = 0
        self.histograms: dict[str, Histogram] = {}  # by measure; what never occurred has none

    def add(self, row: Outcome) -> None:
        """Count one row with its latencies."""
        self.count(row)
        for measure, value in zip(MEASURES, latencies_of(row), strict=True):
            if value is not None:
                self.histogram(measure).add(value)

    def count(self, row: Outcome) -> None:
        """Count one row without its latencies, for who counts those by the batch."""
        self.attempts += 1
        self.attempt_errors += row.provider_error
        self.input_tokens += row.input_tokens or 0
        self.output_tokens += row.output_tokens or 0
        self.cost_micros += row.cost_micros or 0
        if not row.final and row.arm != SHADOW:
            return
        self.requests += 1
        self.errors += row.provider_error
        if row.status == CANCELLED:
            self.cancelled += 1
        elif 400 <= row.status < 500 and not row.provider_error:
            self.refused += 1

    def histogram(self, measure: str) -> Histogram:
        """That of one measure, made where it is not there yet."""
        found = self.histograms.get(measure)
        if found is None:
            found = self.histograms[measure] = Histogram()
        return found

    def merge(self, other: Tally) -> None:
        """Add another's counts and latencies."""
        self.merge_counts(other)
        for measure, histogram in other.histograms.items():
            self.histogram(measure).merge(histogram)

    def merge_counts(self, other: Tally) -> None:
        """Add another's counts without its latencies."""
        self.requests += other.requests
        self.attempts += other.attempts
        self.errors += other.errors
        self.attempt_errors += other.attempt_errors
        self.refused += other.refused
        self.cancelled += other.cancelled
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens
        self.cost_micros += other.cost_micros

    def pack(self) -> None:
        """Keep it small from here on."""
        for histogram in self.histograms.values():
            histogram.pack()

    def reading(self, subject: Subject, since_ns: int, until_ns: int) -> Reading:
        """What these counts say of the span [since, until)."""
        seconds = max(1e-9, (until_ns - since_ns) / 1e9)
        tokens = self.input_tokens + self.output_tokens
        return Reading(
            endpoint=subject[0],
            release=subject[1],
            arm=subject[2],
            since_ns=since_ns,
            until_ns=until_ns,
            requests=self.requests,
            attempts=self.attempts,
            errors=self.errors,
            attempt_errors=self.attempt_errors,
            refused=self.refused,
            cancelled=self.cancelled,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            cost_micros=self.cost_micros,
            requests_per_s=self.requests / seconds,
            tokens_per_s=tokens / seconds,
            error_rate=self.errors / self.requests if self.requests else None,
            **{measure: _spread(histogram) for measure, histogram in self.histograms.items()},
        )


def latencies_of(row: Outcome) -> tuple[float | None, ...]:
    """The row's latencies in the order of `MEASURES`, microseconds. Of a retried attempt only connect is one."""
    if not row.final and row.arm != SHADOW:
        return (None, None, None, None, None, None, None, row.connect_us)
    first = row.first_byte_us if row.stream else None
    tokens = row.output_tokens or 0
    after_first = None
    if first is not None and row.upstream_us is not None and tokens > 1:
        after_first = max(0.0, (row.upstream_us - first) / (tokens - 1))
    return (
        row.duration_us,
        row.overhead_us,
        row.queue_us,
        row.upstream_us,
        first,
        after_first,
        row.feature_us,
        row.connect_us,
    )


def subject_of(row: Outcome) -> Subject:
    """Whose row it is. Names that no release stands behind are the client's invention: they count as OTHER."""
    if row.release is None and row.status == 404:
        return (OTHER, "", "")
    return (row.endpoint or "", row.release or "", row.arm or "")


def summarise(rows: Iterable[Row], since_ns: int, until_ns: int) -> Sequence[Reading]:
    """The span [since, until) by endpoint, release and arm, sorted; intents and other rows change nothing."""
    tallies: dict[Subject, Tally] = {}
    for row in rows:
        if not isinstance(row, Outcome) or not since_ns <= row.at_ns < until_ns:
            continue
        subject = subject_of(row)
        if subject not in tallies and len(tallies) >= SUBJECTS_MAX:
            subject = (OTHER, "", "")
        tally = tallies.get(subject)
        if tally is None:
            tally = tallies[subject] = Tally()
        tally.add(row)
    return [tallies[subject].reading(subject, since_ns, until_ns) for subject in sorted(tallies)]


def _spread(histogram: Histogram) -> Spread | None:
    if not histogram.total:
        return None
    return Spread(
        count=histogram.total,
        **{f"p{share}_ms": (histogram.quantile(share / 100) or 0.0) / 1000 for share in (50, 90, 95, 99)},
    )
