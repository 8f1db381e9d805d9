"""What has been going on lately, per endpoint and release: the figures of `andon top`.

Fed with outcomes as a reader follows the log; keeps a ring of short slots, so memory is bounded by time and by the
number of releases. It counts final outcomes as requests; attempts that were retried are counted beside them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from andon.ledger.histogram import Histogram
from andon.ledger.row import Outcome, Row

SLOTS = 20
SUBJECTS_MAX = 500  # per slot; beyond it everything new is counted under OTHER
OTHER = "(other)"


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint and release over the window."""

    endpoint: str
    release: str
    arm: str
    requests: int
    attempts: int  # dispatched or refused, retries included
    requests_per_s: float
    errors: int  # that the release is to blame for: what gates count
    error_rate: float | None  # errors / requests; null without requests
    refused: int  # told 4xx before or instead of an answer
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    input_tokens: int
    output_tokens: int


class _Tally:
    __slots__ = (
        "arm",
        "attempts",
        "durations",
        "errors",
        "input_tokens",
        "output_tokens",
        "refused",
        "requests",
    )

    def __init__(self) -> None:
        self.arm = ""
        self.requests = self.attempts = self.errors = self.refused = 0
        self.input_tokens = self.output_tokens = 0
        self.durations = Histogram()

    def add(self, row: Outcome) -> None:
        self.attempts += 1
        self.arm = row.arm or self.arm
        self.input_tokens += row.input_tokens or 0
        self.output_tokens += row.output_tokens or 0
        if not row.final:
            return
        self.requests += 1
        self.errors += row.provider_error
        self.refused += 400 <= row.status < 500 and not row.provider_error
        if row.duration_us is not None:
            self.durations.add(row.duration_us)

    def merge(self, other: _Tally) -> None:
        self.arm = other.arm or self.arm
        self.requests += other.requests
        self.attempts += other.attempts
        self.errors += other.errors
        self.refused += other.refused
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens
        self.durations.merge(other.durations)


class Summary:
    """A rolling window of `window_s` seconds, forgotten in steps of a twentieth."""

    def __init__(self, window_s: float = 60.0) -> None:
        if window_s <= 0:
            raise ValueError(f"{window_s} s is not a window; give a positive number of seconds")
        self.window_s = window_s
        self._slot_ns = int(window_s * 1e9 / SLOTS)
        self._slots: dict[int, dict[tuple[str, str], _Tally]] = {}

    def add(self, row: Row) -> None:
        """Count a row; intents, and rows older than the window, change nothing."""
        if not isinstance(row, Outcome):
            return
        number = row.at_ns // self._slot_ns
        slot = self._slots.get(number)
        if slot is None:
            if len(self._slots) > SLOTS:
                oldest = min(self._slots)
                if number <= oldest:
                    return
                del self._slots[oldest]
            slot = self._slots[number] = {}
        subject = (row.endpoint or "", row.release or "")
        if subject not in slot and len(slot) >= SUBJECTS_MAX:
            subject = (OTHER, "")
        tally = slot.get(subject)
        if tally is None:
            tally = slot[subject] = _Tally()
        tally.add(row)

    def extend(self, rows: Iterable[Row]) -> None:
        """Count many."""
        for row in rows:
            self.add(row)

    def lines(self, now_ns: int) -> Sequence[Line]:
        """The window that ends now, sorted by endpoint and release."""
        newest = now_ns // self._slot_ns
        totals: dict[tuple[str, str], _Tally] = {}
        for number, slot in self._slots.items():
            if newest - SLOTS < number <= newest:
                for subject, tally in slot.items():
                    totals.setdefault(subject, _Tally()).merge(tally)
        return [self._line(*subject, totals[subject]) for subject in sorted(totals)]

    def _line(self, endpoint: str, release: str, tally: _Tally) -> Line:
        return Line(
            endpoint=endpoint,
            release=release,
            arm=tally.arm,
            requests=tally.requests,
            attempts=tally.attempts,
            requests_per_s=tally.requests / self.window_s,
            errors=tally.errors,
            error_rate=tally.errors / tally.requests if tally.requests else None,
            refused=tally.refused,
            p50_ms=_ms(tally.durations.quantile(0.5)),
            p95_ms=_ms(tally.durations.quantile(0.95)),
            p99_ms=_ms(tally.durations.quantile(0.99)),
            input_tokens=tally.input_tokens,
            output_tokens=tally.output_tokens,
        )


def _ms(microseconds: float | None) -> float | None:
    return None if microseconds is None else microseconds / 1000
