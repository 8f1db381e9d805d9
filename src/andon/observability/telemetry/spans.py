"""Rows to spans: one tree per exchange, derived row by row without waiting for the rest of the tree. Pure.

The final outcome makes the SERVER span and that of its own attempt; an earlier attempt's outcome makes its CLIENT span
alone. All ids are functions of the request (`kernel/trace`), so parts meet without being kept, and a row that is read
again makes the same spans. Rows tell durations: where parts of a span lie is derived as stated at each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from andon.kernel.telemetry import Attributes, SpanEvent, SpanRecord, Value
from andon.kernel.trace import Trace, attempt_span_of, copy_span_of, part_span_of, recall, server_span_of
from andon.ledger.row import Outcome
from andon.observability.families import OTHER
from andon.observability.telemetry.mapping import ATTRIBUTES, OPERATIONS, ROUTES, Attribute
from andon.observability.telemetry.outcomes import SHADOW, error_of, fault_of, was_sent
from andon.observability.telemetry.vocabulary import Vocabulary

FIRST_TOKEN: Final = "gen_ai.first_token"  # noqa: S105 - the name of an event
FIRST_BYTE: Final = "first_byte"
_FEATURES_MAX: Final = 32  # spans of features in one attempt; the rest is in `andon.features` only

Derive = Callable[[Outcome, Vocabulary], "Value | None"]


def _path(row: Outcome, known: Vocabulary) -> Value | None:
    # Beyond the template the path holds the endpoint's name only, and rows do not keep what the client wrote.
    route = ROUTES.get(row.operation or "")
    return route.replace("{model}", row.endpoint or "_") if route else None


def _provider(row: Outcome, known: Vocabulary) -> str:
    provider = known.served(row.release).provider
    if provider != OTHER:
        return provider
    # A release that the store does not tell of yet: providers' releases are named provider/model.
    name, found, _ = (row.release or "").partition("/")
    return name if found else "andon"


def _model(row: Outcome, known: Vocabulary) -> str:
    model = known.served(row.release).model
    return model if model != OTHER else row.endpoint or OTHER


_DERIVED: Final[dict[str, Derive]] = {
    "<POST>": lambda row, known: "POST",
    "<http>": lambda row, known: "http",
    "<route>": lambda row, known: ROUTES.get(row.operation or ""),
    "<path>": _path,
    "<error>": lambda row, known: error_of(row) or None,
    "<resend>": lambda row, known: row.attempt or None,
    "<operation>": lambda row, known: OPERATIONS.get(row.operation or ""),
    "<provider>": _provider,
    "<model>": _model,
    "<first_chunk_us>": lambda row, known: row.first_byte_us if row.stream else None,
}


class Sampling:
    """Which traces are sent: a share of them by trace id, and every one that tells of trouble."""

    def __init__(self, share: float = 1.0) -> None:
        self._bound = round(share * 2**64)  # TraceIdRatioBased of OpenTelemetry: the lower 64 bits below it

    def keeps(self, trace_id: str, row: Outcome) -> bool:
        """Whether the spans of a row are sent. An exchange that needed more than one attempt is kept whole."""
        if error_of(row) or row.attempt:
            return True
        return int(trace_id[16:], 16) < self._bound


def spans_of(row: Outcome, known: Vocabulary, sampling: Sampling) -> Sequence[SpanRecord]:
    """The spans that one outcome makes; none where they are not sampled."""
    trace = recall(row.id, row.traceparent)
    if not sampling.keeps(trace.trace_id, row):
        return ()
    spans: list[SpanRecord] = []
    if row.final:
        spans += _exchange(row, trace, known)
    if was_sent(row):
        spans += _attempt(row, trace, known)
    return spans


def _exchange(row: Outcome, trace: Trace, known: Vocabulary) -> list[SpanRecord]:
    span_id = server_span_of(row.id)
    end_ns = row.at_ns
    start_ns = end_ns - 1000 * max(0, row.duration_us or 0)
    route = ROUTES.get(row.operation or "")
    root = SpanRecord(
        trace_id=trace.trace_id,
        span_id=span_id,
        parent_id=trace.parent_id,
        has_remote_parent=bool(trace.parent_id),
        name=f"POST {route}" if route else "POST",
        kind="server",
        start_ns=start_ns,
        end_ns=end_ns,
        attributes=_attributes(_SERVER, row, known),
        # A server's span is an error when the server failed, not when the client did (HTTP conventions).
        error=error_of(row) if row.status >= 500 or row.status == 0 else "",
        fault=fault_of(row),
    )
    spans = [root]
    # Guards come before the queue, and both right after arrival: the order of the chain.
    at_ns = start_ns
    for part, taken_us in (("guard", row.guard_us), ("queue", row.queue_us)):
        if taken_us is not None and taken_us > 0:
            upto_ns = min(end_ns, at_ns + 1000 * taken_us)
            spans.append(_part(row, trace.trace_id, span_id, part, (at_ns, upto_ns)))
            at_ns = upto_ns
    return spans


def _attempt(row: Outcome, trace: Trace, known: Vocabulary) -> list[SpanRecord]:
    is_copy = row.arm == SHADOW
    span_id = copy_span_of(row.id) if is_copy else attempt_span_of(row.id, row.attempt)
    end_ns = row.at_ns
    start_ns = end_ns - 1000 * max(0, row.upstream_us or 0)
    model = _model(row, known)
    events: tuple[SpanEvent, ...] = ()
    if row.first_byte_us is not None and row.first_byte_us >= 0:
        name = FIRST_TOKEN if row.stream else FIRST_BYTE
        events = (SpanEvent(name, min(end_ns, start_ns + 1000 * row.first_byte_us)),)
    spans = [
        SpanRecord(
            trace_id=trace.trace_id,
            span_id=span_id,
            parent_id=server_span_of(row.id),
            name=f"{OPERATIONS.get(row.operation or '', row.operation or 'attempt')} {model}",
            kind="client",
            start_ns=start_ns,
            end_ns=end_ns,
            attributes=_attributes(_GENAI if row.operation in OPERATIONS else _CLIENT, row, known),
            error=error_of(row),
            fault=fault_of(row),
            events=events,
        )
    ]
    if row.connect_us is not None and row.connect_us >= 0:
        opened_ns = min(end_ns, start_ns + 1000 * row.connect_us)
        spans.append(_part(row, trace.trace_id, span_id, "connect", (start_ns, opened_ns)))
        if row.tls_us is not None and row.tls_us >= 0:
            # TLS is the last thing that opening a connection does.
            begun_ns = max(start_ns, opened_ns - 1000 * row.tls_us)
            spans.append(_part(row, trace.trace_id, span_id, "tls", (begun_ns, opened_ns)))
    spans += _features(row, trace.trace_id, span_id, (start_ns, end_ns))
    return spans


def _features(row: Outcome, trace_id: str, parent_id: str, within: tuple[int, int]) -> list[SpanRecord]:
    """One after the other from the moment the connection stood: Server-Timing tells durations, not when."""
    spans: list[SpanRecord] = []
    start_ns, end_ns = within
    at_ns = min(end_ns, start_ns + 1000 * max(0, row.connect_us or 0))
    for name, taken_us in list((row.features or {}).items())[:_FEATURES_MAX]:
        upto_ns = min(end_ns, at_ns + 1000 * max(0, taken_us))
        spans.append(_part(row, trace_id, parent_id, f"feature {name}", (at_ns, upto_ns)))
        at_ns = upto_ns
    return spans


def _part(row: Outcome, trace_id: str, parent_id: str, part: str, between: tuple[int, int]) -> SpanRecord:
    return SpanRecord(
        trace_id=trace_id,
        span_id=part_span_of(row.id, row.attempt, part),
        parent_id=parent_id,
        name=part,
        kind="internal",
        start_ns=between[0],
        end_ns=between[1],
        attributes={"andon.request.id": row.id},
    )


def _attributes(wanted: Sequence[Attribute], row: Outcome, known: Vocabulary) -> Attributes:
    found: Attributes = {}
    for attribute in wanted:
        source = attribute.source
        value: Any = _DERIVED[source](row, known) if source[0] == "<" else getattr(row, source)
        if value is None:
            continue
        if attribute.conversion == "us_to_s":
            value = value / 1e6
        elif attribute.conversion == "list":
            value = (value,)
        found[attribute.name] = value
    return found


_SERVER: Final = tuple(one for one in ATTRIBUTES if one.where != "attempt")
_GENAI: Final = tuple(one for one in ATTRIBUTES if one.where != "server")
_CLIENT: Final = tuple(one for one in _GENAI if not one.genai_only)
