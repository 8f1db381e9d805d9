"""Measures as lines of CloudWatch's embedded metric format: pre-aggregated, never an id as a dimension. Pure.

Source: CloudWatch Embedded Metric Format Specification: at most 100 metrics and 30 dimensions in a directive and 1 MB
in an event. Distributions are written as AWS's own collector exporter writes them: values with their counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from andon.kernel.telemetry import Measure, Measures

METRICS_MAX: Final = 100
DIMENSIONS_MAX: Final = 30
VALUE_LENGTH_MAX: Final = 1024  # of a dimension's value


def lines(space: str, at_ms: int, measured: Sequence[Measures]) -> Iterator[str]:
    """One line for each set of dimensions and each hundred metrics."""
    for one in measured:
        dimensions = {
            name: value[:VALUE_LENGTH_MAX] for name, value in list(one.dimensions.items())[:DIMENSIONS_MAX]
        }
        for start in range(0, len(one.measures), METRICS_MAX):
            yield _line(space, at_ms, dimensions, one.measures[start : start + METRICS_MAX])


def _line(space: str, at_ms: int, dimensions: dict[str, str], measures: Sequence[Measure]) -> str:
    directive = {
        "Namespace": space,
        "Dimensions": [list(dimensions)],
        "Metrics": [{"Name": measure.name, "Unit": measure.unit} for measure in measures],
    }
    document: dict[str, Any] = {"_aws": {"Timestamp": at_ms, "CloudWatchMetrics": [directive]}, **dimensions}
    for measure in measures:
        document[measure.name] = _value(measure)
    return msgspec.json.encode(document).decode()


def _value(measure: Measure) -> Any:
    if not measure.values:
        return measure.value
    return {
        "Values": list(measure.values),
        "Counts": list(measure.counts),
        "Max": max(measure.values),
        "Min": min(measure.values),
        "Count": sum(measure.counts),
        "Sum": measure.value,
    }
