"""Log records of OTLP: the evaluations among them.

Pure. Everything else is not kept here; the receiver rejects it and tells its sender so.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from andon.observability.intake.attributes import read_attributes
from andon.observability.intake.evaluations import EVENT, Event


def records_of(request: Any) -> Iterator[Any]:
    """Every log record of an export request."""
    for resource in request.resource_logs:
        for scope in resource.scope_logs:
            yield from scope.log_records


def to_event(record: Any) -> Event | None:
    """The evaluation that a record is, or None. The name stands in `event_name`, in older senders in an attribute."""
    if record.event_name and record.event_name != EVENT:
        return None
    attributes = read_attributes(record.attributes)
    if not record.event_name and attributes.get("event.name") != EVENT:
        return None
    trace_id, span_id = record.trace_id.hex(), record.span_id.hex()
    return Event(
        attributes=attributes,
        at_ns=record.time_unix_nano or record.observed_time_unix_nano,
        trace_id=trace_id if len(trace_id) == 32 and any(record.trace_id) else "",
        span_id=span_id if len(span_id) == 16 else "",
    )
