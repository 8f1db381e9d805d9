"""Families of metrics: what a part of the observer offers to whoever scrapes or exports.

A part returns families when asked; how they are written down (Prometheus text, OTLP, CloudWatch) is not its business.
Names follow Prometheus: `andon_` in front, base units, `_total` on counters. Label sets are closed: every value comes
from the factory or from a fixed vocabulary, anything else is counted as `other`.
"""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

OTHER = "other"


class Sample(msgspec.Struct, frozen=True):
    """One series now. For a histogram, `buckets` are cumulative (upper bound, count) and `value` is the sum."""

    labels: tuple[tuple[str, str], ...]
    value: float
    buckets: tuple[tuple[float, int], ...] = ()
    count: int = 0


class Family(msgspec.Struct, frozen=True):
    """One metric with all its series."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    meaning: str
    samples: tuple[Sample, ...]


class MetricSource(Protocol):
    """Something that has metrics."""

    def families(self) -> tuple[Family, ...]:
        """All of them, now; cheap, from memory."""
        ...
