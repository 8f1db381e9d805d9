"""Spans out by OTLP: the SDK's readable spans, encoded and sent by its own exporter. Blocking; call it in a thread.

A batch that was sent twice carries the same ids, so a backend may drop the second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from andon.adapters.otel.connection import TOO_LARGE, Destination, Ear, hush, partial
from andon.kernel.telemetry import SpanRecord, Taken

_KINDS: Final = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT, "internal": SpanKind.INTERNAL}
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)


class TraceExporter:
    """Sends spans to one backend."""

    def __init__(
        self, destination: Destination, about: Mapping[str, str], version: str, schema_url: str
    ) -> None:
        hush()
        self._ear = Ear()
        self._exporter = OTLPSpanExporter(
            endpoint=destination.url("traces"),
            headers=dict(destination.headers),
            timeout=destination.timeout_s,
            session=self._ear.session,
        )
        self._resource = Resource(dict(about), schema_url)
        self._scope = InstrumentationScope("andon", version, schema_url)

    def send(self, spans: Sequence[SpanRecord]) -> Taken:
        """Send a batch; halves of one that is too large. Raises `Transient` or `Permanent`."""
        if not spans:
            return Taken(0)
        self._ear.forget()
        result = self._exporter.export([self._readable(span) for span in spans])
        if result is SpanExportResult.SUCCESS:
            rejected, reason = partial(
                self._ear.body, ExportTraceServiceResponse.FromString, "rejected_spans"
            )
            return Taken(len(spans) - rejected, rejected, reason)
        if self._ear.status == TOO_LARGE and len(spans) > 1:
            middle = len(spans) // 2
            first, second = self.send(spans[:middle]), self.send(spans[middle:])
            return Taken(
                first.sent + second.sent, first.rejected + second.rejected, first.reason or second.reason
            )
        raise self._ear.trouble("spans")

    def close(self) -> None:
        """Give up what is under way."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # the SDK's own gap

    def _readable(self, span: SpanRecord) -> ReadableSpan:
        trace_id = int(span.trace_id, 16)
        parent: Any = None
        if span.parent_id:
            parent = SpanContext(trace_id, int(span.parent_id, 16), span.has_remote_parent, _SAMPLED)
        return ReadableSpan(
            name=span.name,
            context=SpanContext(trace_id, int(span.span_id, 16), False, _SAMPLED),
            parent=parent,
            resource=self._resource,
            attributes=span.attributes,
            events=[Event(event.name, timestamp=event.at_ns) for event in span.events],
            kind=_KINDS[span.kind],
            instrumentation_scope=self._scope,
            status=Status(StatusCode.ERROR, span.error) if span.error else Status(StatusCode.UNSET),
            start_time=span.start_ns,
            end_time=span.end_ns,
        )
