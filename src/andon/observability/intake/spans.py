"""Users' spans as facts: times, names and bounded attributes.

Pure. What people wrote is never among them, unless a setting allows it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from andon.ledger.facts.model import Span
from andon.ledger.facts.times import Unfit, check_time
from andon.observability.intake.attributes import read_attributes, write_attributes
from andon.observability.intake.evaluations import EVENT, Event

NAME_CHARACTERS_MAX = 200
_ERROR = 2  # StatusCode.STATUS_CODE_ERROR


def spans_of(request: Any) -> Iterator[tuple[Any, str | None]]:
    """Every span of an export request, with `service.name` of its resource."""
    for resource in request.resource_spans:
        service = read_attributes(resource.resource.attributes).get("service.name")
        name = service[:NAME_CHARACTERS_MAX] if isinstance(service, str) else None
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield span, name


def to_span(span: Any, service: str | None, source: str, now_ns: int, *, keep_content: bool) -> Span:
    """The fact; its id is that of the span. Raises `Unfit` with the reason."""
    trace_id, span_id = span.trace_id.hex(), span.span_id.hex()
    if len(trace_id) != 32 or len(span_id) != 16 or not any(span.trace_id) or not any(span.span_id):
        raise Unfit("invalid_field", "Its trace id or span id is not one.", "span_id")
    begin_ns, end_ns = span.start_time_unix_nano, span.end_time_unix_nano
    check_time(begin_ns, now_ns)
    check_time(end_ns, now_ns)
    if end_ns < begin_ns:
        raise Unfit("time_invalid", "It ends before it begins.", "end")
    return Span(
        f"{trace_id}-{span_id}",
        now_ns,
        begin_ns,
        trace_id,
        span_id,
        span.parent_span_id.hex() or None,
        span.name[:NAME_CHARACTERS_MAX],
        span.kind,
        service,
        end_ns,
        span.status.code == _ERROR,
        write_attributes(read_attributes(span.attributes), keep_content=keep_content),
        source,
    )


def events_of(span: Any) -> Iterator[Event]:
    """The evaluations that a span carries as events."""
    for event in span.events:
        if event.name == EVENT:
            yield Event(
                attributes=read_attributes(event.attributes),
                at_ns=event.time_unix_nano,
                trace_id=span.trace_id.hex(),
                span_id=span.span_id.hex(),
            )
