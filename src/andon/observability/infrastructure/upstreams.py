"""Connect, TLS and first byte of every upstream, counted from rows as they come. A `feed.Consumer`.

Bounds are those of `http.client.connection.duration` and `http.client.request.duration` in OpenTelemetry's HTTP
conventions. Targets are named by the factory; beyond `TARGETS_MAX` they are counted as `other`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

from andon.ledger.facts.model import Fact
from andon.ledger.reader import Entry
from andon.ledger.row import Outcome
from andon.observability.families import OTHER, Family, Sample

TARGETS_MAX = 500
BOUNDS_S = (
    0.001,
    0.005,
    0.01,
    0.025,
    0.05,
    0.075,
    0.1,
    0.25,
    0.5,
    0.75,
    1.0,
    2.5,
    5.0,
    7.5,
    10.0,
    30.0,
    60.0,
)
MEANINGS = {
    "connect": "Time to open a connection to the upstream; kept ones cost none and are not counted.",
    "tls": "Part of it spent on TLS.",
    "first_byte": "From dispatch to the upstream's first byte.",
}


class _Counts:
    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.sum_s = 0.0

    def add(self, microseconds: int) -> None:
        seconds = microseconds / 1e6
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.sum_s += seconds


class Upstreams:
    """Histograms by endpoint and target. A `MetricSource`."""

    name = "upstreams"

    def __init__(self) -> None:
        self._counts: dict[str, dict[tuple[str, str], _Counts]] = {part: {} for part in MEANINGS}

    def take_rows(self, entries: Sequence[Entry]) -> None:
        """Count every attempt that reached a target."""
        for entry in entries:
            row = entry.row
            if isinstance(row, Outcome) and row.target is not None:
                series = (row.endpoint or "", row.target)
                self._count("connect", series, row.connect_us)
                self._count("tls", series, row.tls_us)
                self._count("first_byte", series, row.first_byte_us)

    def take_facts(self, facts: Sequence[Fact]) -> None:
        """Facts change nothing here."""

    def families(self) -> tuple[Family, ...]:
        """One histogram for each part of the way."""
        return tuple(
            Family(
                name=f"andon_target_{part}_seconds",
                kind="histogram",
                meaning=meaning,
                samples=tuple(_sample(*item) for item in sorted(self._counts[part].items())),
            )
            for part, meaning in MEANINGS.items()
        )

    def _count(self, part: str, series: tuple[str, str], microseconds: int | None) -> None:
        if microseconds is None:
            return
        held = self._counts[part]
        counts = held.get(series)
        if counts is None:
            if len(held) >= TARGETS_MAX:
                series = (OTHER, OTHER)
            counts = held.setdefault(series, _Counts())
        counts.add(microseconds)


def _sample(series: tuple[str, str], counts: _Counts) -> Sample:
    cumulative = list(accumulate(counts.counts))
    return Sample(
        labels=(("endpoint", series[0]), ("target", series[1])),
        value=counts.sum_s,
        buckets=tuple(zip((*BOUNDS_S, float("inf")), cumulative, strict=True)),
        count=cumulative[-1],
    )
