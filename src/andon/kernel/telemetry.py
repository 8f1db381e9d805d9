"""Spans and log records on their way out of the house: plain data between whoever derives and whoever sends them.

Made by `observability/telemetry` from rows of the ledger, sent by `adapters`, which do not know one another. They hold
names, numbers and ids only, never content.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Value = str | int | float | bool | tuple[str, ...]
Attributes = dict[str, Value]

SpanKind = Literal["server", "client", "internal"]
Severity = Literal["INFO", "WARN", "ERROR"]


class SpanEvent(msgspec.Struct, frozen=True):
    """A moment within a span."""

    name: str
    at_ns: int


class SpanRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One span. Ids are functions of the request, so the same span sent twice is recognisably the same."""

    trace_id: str  # 32 hexadecimal digits
    span_id: str  # 16 hexadecimal digits
    parent_id: str = ""  # empty = the root of its trace
    has_remote_parent: bool = False  # the parent was made by somebody else
    name: str
    kind: SpanKind
    start_ns: int
    end_ns: int
    attributes: Attributes
    error: str = ""  # what `error.type` says; empty = no error
    fault: Literal["", "error", "fault", "throttle"] = (
        ""  # whose: the caller's, ours, a limit's (X-Ray's words)
    )
    events: tuple[SpanEvent, ...] = ()


class LogRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a log. `uid` is the same whenever it is sent again."""

    uid: str
    at_ns: int
    severity: Severity
    name: str  # of the event, such as "andon.request.failed"
    body: str
    attributes: Attributes
    trace_id: str = ""
    span_id: str = ""


class Point(msgspec.Struct, frozen=True):
    """One series of a metric, cumulative. For a histogram `value` is the sum and `counts` are those of each bucket."""

    attributes: Attributes
    value: float
    counts: tuple[int, ...] = ()


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One metric with all its series."""

    name: str
    unit: str  # UCUM: "s", "By", "{token}"
    meaning: str
    kind: Literal["counter", "gauge", "histogram"]
    start_ns: int  # since when it counts
    bounds: tuple[float, ...] = ()
    points: tuple[Point, ...] = ()


class Measure(msgspec.Struct, frozen=True, kw_only=True):
    """What was added to one metric within a period: a number, or values with their counts."""

    name: str
    unit: str  # as CloudWatch writes it: "Count", "Seconds"
    value: float = 0.0  # for a distribution: the sum
    values: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()


class Measures(msgspec.Struct, frozen=True):
    """What was measured for one set of dimensions within a period."""

    dimensions: dict[str, str]
    measures: tuple[Measure, ...]


class Taken(msgspec.Struct, frozen=True):
    """What a backend said to one batch."""

    sent: int
    rejected: int = 0
    reason: str = ""
