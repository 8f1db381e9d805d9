"""Metrics out by OTLP, cumulative, through the SDK's own exporter. Blocking; call it in a thread.

Cumulative values may be sent again at any time without being counted twice, so a failed push is simply followed by the
next one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.metrics.export import Metric as OtelMetric
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from andon.adapters.otel.connection import Destination, Ear, hush, partial
from andon.kernel.telemetry import Metric, Taken


class MetricExporter:
    """Sends metrics to one backend."""

    def __init__(
        self, destination: Destination, about: Mapping[str, str], version: str, schema_url: str
    ) -> None:
        hush()
        self._ear = Ear()
        self._schema_url = schema_url
        self._exporter = OTLPMetricExporter(
            endpoint=destination.url("metrics"),
            headers=dict(destination.headers),
            timeout=destination.timeout_s,
            session=self._ear.session,
        )
        self._resource = Resource(dict(about), schema_url)
        self._scope = InstrumentationScope("andon", version, schema_url)

    def send(self, metrics: Sequence[Metric], now_ns: int) -> Taken:
        """Send all of them; counts points. Raises `Transient` or `Permanent`."""
        self._ear.forget()
        scope = ScopeMetrics(self._scope, [_metric(metric, now_ns) for metric in metrics], self._schema_url)
        data = MetricsData([ResourceMetrics(self._resource, [scope], self._schema_url)])
        result = self._exporter.export(data, timeout_millis=10_000)
        if result is not MetricExportResult.SUCCESS:
            raise self._ear.trouble("metrics")
        rejected, reason = partial(
            self._ear.body, ExportMetricsServiceResponse.FromString, "rejected_data_points"
        )
        return Taken(sum(len(metric.points) for metric in metrics) - rejected, rejected, reason)

    def close(self) -> None:
        """Give up what is under way."""
        self._exporter.shutdown()


def _metric(metric: Metric, now_ns: int) -> OtelMetric:
    data: Any
    if metric.kind == "histogram":
        points = [
            HistogramDataPoint(
                attributes=point.attributes,
                start_time_unix_nano=metric.start_ns,
                time_unix_nano=now_ns,
                count=sum(point.counts),
                sum=point.value,
                bucket_counts=point.counts,
                explicit_bounds=metric.bounds,
                min=None,  # type: ignore[arg-type]  # optional in the protocol: nobody knows it here
                max=None,  # type: ignore[arg-type]  # as above
            )
            for point in metric.points
        ]
        data = Histogram(points, AggregationTemporality.CUMULATIVE)
    else:
        numbers = [
            NumberDataPoint(point.attributes, metric.start_ns, now_ns, point.value) for point in metric.points
        ]
        is_counter = metric.kind == "counter"
        data = Sum(numbers, AggregationTemporality.CUMULATIVE, True) if is_counter else Gauge(numbers)
    return OtelMetric(metric.name, metric.meaning, metric.unit, data)
