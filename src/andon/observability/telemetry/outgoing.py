"""Families to what leaves the house: metrics under OpenTelemetry's names, and what was added since last time.

Pure. CloudWatch is billed by distinct metric, so only chosen families go there, summed by endpoint and release.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from andon.kernel.telemetry import Measure, Measures, Metric, Point
from andon.observability.families import Family, Sample
from andon.observability.telemetry.mapping import BY_FAMILY, otel_label, otel_name

DIMENSIONS: Final = ("endpoint", "release")

# Totals by family and place: for a counter one number, for a histogram the counts of its buckets and the sum.
Totals = dict[str, tuple[float, ...]]


def metrics_of(
    families: Iterable[Family], counted_since_ns: int, process_since_ns: int
) -> tuple[Metric, ...]:
    """Families as metrics. Those made from rows count since the log was begun, others since this process was."""
    return tuple(
        _metric(family, counted_since_ns if family.name in BY_FAMILY else process_since_ns)
        for family in families
        if family.samples
    )


def _metric(family: Family, start_ns: int) -> Metric:
    name, unit = otel_name(family.name)
    bounds: tuple[float, ...] = ()
    if family.kind == "histogram":
        bounds = tuple(bound for bound, _ in family.samples[0].buckets if not math.isinf(bound))
    return Metric(
        name=name,
        unit=unit,
        meaning=family.meaning,
        kind=family.kind,
        start_ns=start_ns,
        bounds=bounds,
        points=tuple(_point(sample) for sample in family.samples),
    )


def _point(sample: Sample) -> Point:
    # An empty label is an absent attribute, as Prometheus has it.
    return Point(
        {otel_label(name): value for name, value in sample.labels if value}, sample.value, _counts(sample)
    )


def _counts(sample: Sample) -> tuple[int, ...]:
    """Counts of each bucket, the one without an upper bound last."""
    if not sample.buckets:
        return ()
    cumulative = [count for bound, count in sample.buckets if not math.isinf(bound)]
    before = [0, *cumulative]
    return tuple(after - first for first, after in zip(before, [*cumulative, sample.count], strict=True))


def totals_of(families: Iterable[Family]) -> Totals:
    """The totals of the families that go to CloudWatch, by family, endpoint and release."""
    totals: Totals = {}
    for family in families:
        instrument = BY_FAMILY.get(family.name)
        if instrument is None or not instrument.cloudwatch:
            continue
        for sample in family.samples:
            labels = dict(sample.labels)
            key = "\x1f".join((family.name, *(labels.get(name, "") for name in DIMENSIONS)))
            values = (sample.value,) if family.kind == "counter" else (*_counts(sample), sample.value)
            known = totals.get(key)
            totals[key] = (
                values if known is None else tuple(a + b for a, b in zip(known, values, strict=True))
            )
    return totals


def added(before: Mapping[str, Sequence[float]], now: Totals) -> tuple[Measures, ...]:
    """What was added between two totals, one set of measures for each endpoint and release that had any.

    A bucket's values are told as its middle (its lower bound for the last), which keeps percentiles within the bucket;
    the sum is exact.
    """
    found: dict[tuple[str, ...], list[Measure]] = {}
    for key, values in now.items():
        name, *place = key.split("\x1f")
        old = before.get(key)
        fresh = values if old is None or len(old) != len(values) else _difference(old, values)
        measure = _measure(name, fresh)
        if measure is not None:
            found.setdefault(tuple(place), []).append(measure)
    return tuple(
        Measures(
            {name.capitalize(): value for name, value in zip(DIMENSIONS, place, strict=True) if value},
            tuple(measures),
        )
        for place, measures in found.items()
    )


def _difference(old: Sequence[float], new: Sequence[float]) -> tuple[float, ...]:
    fresh = tuple(b - a for a, b in zip(old, new, strict=True))
    return tuple(new) if any(value < 0 for value in fresh) else fresh  # counters that began anew


def _measure(family: str, fresh: Sequence[float]) -> Measure | None:
    instrument = BY_FAMILY[family]
    if instrument.kind == "counter":
        value = fresh[0]
        return Measure(name=instrument.otel, unit=instrument.cloudwatch, value=value) if value else None
    bounds, counts = instrument.bounds, fresh[:-1]
    edges = (0.0, *bounds, bounds[-1])
    pairs = [
        ((edges[place] + edges[place + 1]) / 2, int(count)) for place, count in enumerate(counts) if count
    ]
    if not pairs:
        return None
    values, times = zip(*pairs, strict=True)
    return Measure(
        name=instrument.otel, unit=instrument.cloudwatch, value=fresh[-1], values=values, counts=times
    )
