"""What is known of the quality of chunks: values only, for the status, the API, the page and the disk.

Frozen; imports no engine. Rates are in [0, 1], times in nanoseconds of wall time unless named otherwise.
"""

from __future__ import annotations

import msgspec


class Measure(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of one chunk: from labels with a 95 % interval, and from scores alone with its band."""

    metric: str
    realised: float | None = None
    low: float | None = None
    high: float | None = None
    estimated: float | None = None
    band: float | None = None  # the estimate is said to be right within this: three sampling errors
    missed: bool | None = None  # whether labels lay outside of it; null until they have come


class SliceQuality(msgspec.Struct, frozen=True, kw_only=True):
    """The leading figure of one part of a chunk."""

    column: str
    value: str
    rows: int
    labelled: int
    realised: float | None
    low: float | None
    high: float | None


class ChunkQuality(msgspec.Struct, frozen=True, kw_only=True):
    """One release in one period."""

    release: str
    from_ns: int
    until_ns: int
    rows: int = 0  # answers that could be judged, were they all labelled
    labelled: int = 0
    share: float = 1.0  # of the rows that was read
    coverage: float = 0.0
    lag_p50_s: float | None = None  # from the answer to when its label was learnt
    lag_p90_s: float | None = None
    lowest: float | None = None  # accuracy if every missing label were a miss
    highest: float | None = None  # accuracy if every missing label were a hit
    measures: tuple[Measure, ...] = ()
    formulas: dict[str, float | None] = {}
    slices: tuple[SliceQuality, ...] = ()
    confusion: dict[str, int] = {}
    curve: tuple[tuple[float, float, int], ...] = ()  # calibration: mean score, share of positives, rows
    alarms: tuple[str, ...] = ()  # "labels", "estimate"
    settled: bool = False  # the time for labels is over
    evaluated_ns: int = 0

    def measure(self, metric: str) -> Measure | None:
        """One figure."""
        return next((one for one in self.measures if one.metric == metric), None)


class ReferenceView(msgspec.Struct, frozen=True, kw_only=True):
    """A reference in brief."""

    release: str  # empty for the one that falls are measured from
    origin: str
    made_ns: int
    rows: int
    calibrated: bool
    values: dict[str, float]


class Trust(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a release's estimate is shown and may alarm: how often its band was missed."""

    state: str  # "no reference", "on" or "off"
    settled: int = 0  # estimates that were held against labels, of the last 20
    misses: int = 0
    allowed: int = 0
    worst: float | None = None  # largest distance from the truth
    reason: str = ""


class ReleaseQuality(msgspec.Struct, frozen=True, kw_only=True):
    """One release: its chunks, oldest first, and what its estimate is worth."""

    release: str
    trust: Trust
    chunks: tuple[ChunkQuality, ...] = ()


class QualityReport(msgspec.Struct, frozen=True, kw_only=True):
    """One monitor."""

    monitor: str
    endpoint: str
    problem: str
    leading: str
    threshold: float | None  # from which the leading figure alarms in a chunk of the usual size
    references: tuple[ReferenceView, ...] = ()
    releases: tuple[ReleaseQuality, ...] = ()
