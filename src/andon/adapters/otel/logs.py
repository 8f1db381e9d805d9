"""Log records out by OTLP, through the SDK's own exporter. Blocking; call it in a thread.

The same record sent twice carries the same `log.record.uid`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from opentelemetry._logs import LogRecord as OtelRecord
from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExportResult
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from andon.adapters.otel.connection import TOO_LARGE, Destination, Ear, hush, partial
from andon.kernel.telemetry import LogRecord, Taken

_NUMBERS: Final = {"INFO": SeverityNumber.INFO, "WARN": SeverityNumber.WARN, "ERROR": SeverityNumber.ERROR}


class LogExporter:
    """Sends log records to one backend."""

    def __init__(
        self, destination: Destination, about: Mapping[str, str], version: str, schema_url: str
    ) -> None:
        hush()
        self._ear = Ear()
        self._exporter = OTLPLogExporter(
            endpoint=destination.url("logs"),
            headers=dict(destination.headers),
            timeout=destination.timeout_s,
            session=self._ear.session,
        )
        self._resource = Resource(dict(about), schema_url)
        self._scope = InstrumentationScope("andon", version, schema_url)

    def send(self, records: Sequence[LogRecord]) -> Taken:
        """Send a batch; halves of one that is too large. Raises `Transient` or `Permanent`."""
        if not records:
            return Taken(0)
        self._ear.forget()
        result = self._exporter.export([self._readable(record) for record in records])
        if result is LogRecordExportResult.SUCCESS:
            rejected, reason = partial(
                self._ear.body, ExportLogsServiceResponse.FromString, "rejected_log_records"
            )
            return Taken(len(records) - rejected, rejected, reason)
        if self._ear.status == TOO_LARGE and len(records) > 1:
            middle = len(records) // 2
            first, second = self.send(records[:middle]), self.send(records[middle:])
            return Taken(
                first.sent + second.sent, first.rejected + second.rejected, first.reason or second.reason
            )
        raise self._ear.trouble("log records")

    def close(self) -> None:
        """Give up what is under way."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # the SDK's own gap

    def _readable(self, record: LogRecord) -> ReadableLogRecord:
        context = None
        if record.trace_id:
            span = SpanContext(
                int(record.trace_id, 16), int(record.span_id, 16), False, TraceFlags(TraceFlags.SAMPLED)
            )
            context = set_span_in_context(NonRecordingSpan(span))
        return ReadableLogRecord(
            OtelRecord(
                timestamp=record.at_ns,
                observed_timestamp=record.at_ns,
                context=context,
                severity_text=record.severity,
                severity_number=_NUMBERS[record.severity],
                body=record.body,
                attributes=record.attributes,
                event_name=record.name,
            ),
            self._resource,
            self._scope,
        )
