"""Rows and events of the journal to log records: one for every answer that is no success, one for every event. Pure.

Severity follows the status; bodies are sentences of names and codes, never content.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from andon.kernel.events import Event
from andon.kernel.telemetry import Attributes, LogRecord, Severity
from andon.kernel.trace import recall, server_span_of
from andon.ledger.row import Outcome
from andon.observability.telemetry.outcomes import error_of

FAILED: Final = "andon.request.failed"
REFUSED: Final = "andon.request.refused"
_VALUE_BYTES_MAX: Final = 1024
_VALUES_MAX: Final = 32
_BAD: Final = (".aborted", ".failed", ".degraded", ".parked")


def record_of_row(row: Outcome) -> LogRecord | None:
    """The record of a final outcome that is no success; None for every other row."""
    if not row.final or 200 <= row.status < 400:
        return None
    error = error_of(row) or "unknown"
    trace = recall(row.id, row.traceparent)
    attributes: Attributes = {
        "log.record.uid": row.id,
        "andon.request.id": row.id,
        "error.type": error,
        "http.response.status_code": row.status,
    }
    for name in ("endpoint", "release", "arm", "operation", "team", "key", "refused_by", "target"):
        value = getattr(row, name)
        if value:
            attributes[f"andon.{name}"] = value
    subject = row.endpoint or "no endpoint"
    by = f", refused by {row.refused_by}" if row.refused_by else ""
    return LogRecord(
        uid=row.id,
        at_ns=row.at_ns,
        severity="ERROR" if row.status >= 500 else "WARN",
        name=REFUSED if row.refused_by else FAILED,
        body=f"{row.status} {error} for {subject}{by}",
        attributes=attributes,
        trace_id=trace.trace_id,
        span_id=server_span_of(row.id),
    )


def record_of_event(sequence: int, event: Event) -> LogRecord:
    """The record of one line of the journal."""
    severity: Severity = "WARN" if event.name.endswith(_BAD) else "INFO"
    attributes: Attributes = {
        "log.record.uid": f"journal-{sequence}",
        "andon.journal.sequence": sequence,
        "andon.subject": event.subject,
        "andon.actor": event.actor,
    }
    for name, value in list(event.data.items())[:_VALUES_MAX]:
        attributes[f"andon.data.{name}"] = _bounded(value)
    return LogRecord(
        uid=f"journal-{sequence}",
        at_ns=event.at_ns,
        severity=severity,
        name=f"andon.{event.name}",
        body=f"{event.name} {event.subject} by {event.actor}",
        attributes=attributes,
    )


def _bounded(value: Any) -> str | int | float | bool:
    if isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text[:_VALUE_BYTES_MAX]
