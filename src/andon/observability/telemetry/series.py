"""Counters and histograms with a bound on their series: a new label set beyond it is counted under `other`.

State is plain data that can be written down and taken up again, so that counters are a function of the log and not of
when a process was started. Not thread-safe by itself; its owner is.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

import msgspec

from andon.observability.families import OTHER, Family, Sample
from andon.observability.telemetry.mapping import Instrument

SERIES_MAX: Final = 5_000  # of one family

Labels = tuple[str, ...]


class Saved(msgspec.Struct, frozen=True):
    """A family as written down: label values, then a count, or bucket counts followed by the sum."""

    family: str
    bounds: tuple[float, ...]
    labels: tuple[str, ...]
    series: list[tuple[Labels, list[float]]]
    capped: int = 0


class Series:
    """Every series of one instrument."""

    def __init__(self, instrument: Instrument, series_max: int = SERIES_MAX) -> None:
        self.instrument = instrument
        self.capped = 0  # counts that found no room for a series of their own
        self._max = series_max
        self._bounds = instrument.bounds
        self._width = len(instrument.bounds) + 2 if instrument.kind == "histogram" else 1
        self._values: dict[Labels, list[float]] = {}

    def __len__(self) -> int:
        return len(self._values)

    def add(self, labels: Labels, amount: float = 1.0) -> None:
        """Count."""
        self._at(labels)[0] += amount

    def observe(self, labels: Labels, value: float) -> None:
        """Count one value: at most its bound, as Prometheus has it."""
        values = self._at(labels)
        values[bisect_left(self._bounds, value)] += 1
        values[-1] += value

    def family(self) -> Family:
        """All series now."""
        names = self.instrument.labels
        make = self._histogram if self.instrument.kind == "histogram" else _counter
        samples = tuple(
            make(tuple(zip(names, labels, strict=True)), values) for labels, values in self._values.items()
        )
        return Family(self.instrument.family, self.instrument.kind, self.instrument.meaning, samples)

    def save(self) -> Saved:
        """What `load` takes."""
        series = [(labels, list(values)) for labels, values in self._values.items()]
        return Saved(self.instrument.family, self._bounds, self.instrument.labels, series, self.capped)

    def load(self, saved: Saved) -> None:
        """Go on from what was written down; series of another shape are of another version and start anew."""
        if saved.bounds != self._bounds or saved.labels != self.instrument.labels:
            return
        self.capped = saved.capped
        self._values = {labels: values for labels, values in saved.series if len(values) == self._width}

    def _at(self, labels: Labels) -> list[float]:
        values = self._values.get(labels)
        if values is not None:
            return values
        if len(self._values) >= self._max:
            self.capped += 1
            labels = (OTHER,) * len(labels)
            values = self._values.get(labels)
            if values is not None:
                return values
        values = self._values[labels] = [0.0] * self._width
        return values

    def _histogram(self, labels: tuple[tuple[str, str], ...], values: list[float]) -> Sample:
        buckets, total = [], 0
        for bound, count in zip((*self._bounds, float("inf")), values, strict=False):
            total += int(count)
            buckets.append((bound, total))
        return Sample(labels, values[-1], tuple(buckets), total)


def _counter(labels: tuple[tuple[str, str], ...], values: list[float]) -> Sample:
    return Sample(labels, values[0])
