"""Families as text for Prometheus: text format 0.0.4 and OpenMetrics 1.0, by what the scraper accepts.

Merges the families of all parts. A family that two parts offer is told once, with the samples of both. Formats by
prometheus_client; nothing here reads anything but what parts return from memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import structlog
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    UnknownMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry

from andon.observability.families import Family, MetricSource

_SUFFIX: Final = "_total"
_logger = structlog.get_logger("andon.exposition")


def gather(sources: Iterable[MetricSource]) -> tuple[Family, ...]:
    """The families of all sources, each name once. A source that fails is told and left out, not the others."""
    found: dict[str, Family] = {}
    for source in sources:
        try:
            offered = source.families()
        # One part's bug must not take the metrics of all others away: told with its traceback.
        except Exception:
            _logger.exception("metrics_failed", source=type(source).__name__)
            continue
        for family in offered:
            known = found.get(family.name)
            if known is None:
                found[family.name] = family
            elif known.kind == family.kind:
                found[family.name] = Family(known.name, known.kind, known.meaning, _merged(known, family))
            else:
                _logger.error("metric_twice", family=family.name, kinds=[known.kind, family.kind])
    return tuple(found.values())


def expose(families: Sequence[Family], accept: str) -> tuple[bytes, str]:
    """The text and its content type. `accept` is the scraper's Accept header; empty means the text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(families))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Families(Collector):
    def __init__(self, families: Sequence[Family]) -> None:
        self._families = families

    def collect(self) -> Iterator[Any]:
        for family in self._families:
            yield _metric(family)


def _metric(family: Family) -> Any:
    names = [name for name, _ in family.samples[0].labels] if family.samples else []
    name = family.name.removesuffix(_SUFFIX) if family.kind == "counter" else family.name
    if family.kind == "histogram":
        metric: Any = HistogramMetricFamily(name, family.meaning, labels=names)
        for sample in family.samples:
            labels = dict(sample.labels)
            for bound, count in sample.buckets:
                if not math.isinf(bound):
                    metric.add_sample(f"{name}_bucket", {**labels, "le": _bound(bound)}, count)
            metric.add_sample(f"{name}_bucket", {**labels, "le": "+Inf"}, sample.count)
            metric.add_sample(f"{name}_count", labels, sample.count)
            metric.add_sample(f"{name}_sum", labels, sample.value)
        return metric
    is_counter = family.kind == "counter"
    named = is_counter and family.name.endswith(_SUFFIX)
    # A counter that others have named, such as NVIDIA's, keeps its name: told without a type, as the formats ask.
    kind = CounterMetricFamily if named else UnknownMetricFamily if is_counter else GaugeMetricFamily
    metric = kind(name, family.meaning, labels=names)
    for sample in family.samples:
        # Not `add_metric`: samples of one family may carry different labels, and the format allows it.
        metric.add_sample(family.name, dict(sample.labels), sample.value)
    return metric


def _bound(bound: float) -> str:
    return repr(float(bound))


def _merged(first: Family, second: Family) -> tuple[Any, ...]:
    known = {sample.labels for sample in first.samples}
    return (*first.samples, *(sample for sample in second.samples if sample.labels not in known))
