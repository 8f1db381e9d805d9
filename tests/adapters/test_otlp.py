"""OTLP out: what a collector that knows only the protocol makes of it, and what its answers mean here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from andon.adapters.otel.connection import Destination, parse_headers
from andon.adapters.otel.logs import LogExporter
from andon.adapters.otel.metrics import MetricExporter
from andon.adapters.otel.traces import TraceExporter
from andon.kernel.errors import Permanent, Transient
from andon.kernel.telemetry import LogRecord, Metric, Point, SpanEvent, SpanRecord, Taken
from benchmarks.collector import REQUESTS, Collector, attributes_of, collecting

ABOUT = {"service.name": "andon", "service.version": "1"}
SCHEMA = "https://opentelemetry.io/schemas/1.44.0"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as started:
        yield started


def to(collector: Collector, **headers: str) -> Destination:
    return Destination(endpoint=collector.url + "/", headers=headers, timeout_s=1.0)


def span(number: int = 1, **changes: object) -> SpanRecord:
    fields: dict[str, object] = {
        "trace_id": f"{number:032x}",
        "span_id": f"{number:016x}",
        "name": "POST /v1/chat/completions",
        "kind": "server",
        "start_ns": 1_000,
        "end_ns": 5_000,
        "attributes": {"andon.endpoint": "a", "n": 3, "x": 0.5, "y": True, "list": ("stop",)},
    }
    return SpanRecord(**{**fields, **changes})  # type: ignore[arg-type]


def test_spans_arrive_as_they_were_meant(collector: Collector) -> None:
    exporter = TraceExporter(to(collector, authorization="Bearer x"), ABOUT, "1", SCHEMA)
    child = span(
        1, span_id="00000000000000ff", parent_id=f"{1:016x}", kind="client", error="upstream_error",
        events=(SpanEvent("gen_ai.first_token", 2_000),),
    )  # fmt: skip
    remote = span(2, parent_id="b" * 16, has_remote_parent=True)
    assert exporter.send([span(), child, remote]) == Taken(3)
    exporter.close()
    first, second, third = collector.spans
    assert (first.trace_id.hex(), first.span_id.hex(), first.parent_span_id) == (
        f"{1:032x}",
        f"{1:016x}",
        b"",
    )
    assert (first.kind, first.start_time_unix_nano, first.end_time_unix_nano) == (2, 1_000, 5_000)
    assert attributes_of(first.attributes) == {
        "andon.endpoint": "a", "n": 3, "x": 0.5, "y": True, "list": ("stop",),
    }  # fmt: skip
    assert second.parent_span_id == first.span_id
    assert (second.kind, second.status.code, second.status.message) == (3, 2, "upstream_error")
    assert [(event.name, event.time_unix_nano) for event in second.events] == [("gen_ai.first_token", 2_000)]
    assert third.parent_span_id.hex() == "b" * 16
    assert collector.headers["authorization"] == "Bearer x"
    assert collector.resource == ABOUT


def test_log_records_arrive(collector: Collector) -> None:
    exporter = LogExporter(to(collector), ABOUT, "1", SCHEMA)
    record = LogRecord(
        uid="u1", at_ns=7, severity="ERROR", name="andon.request.failed", body="502 upstream_error for a",
        attributes={"log.record.uid": "u1", "http.response.status_code": 502}, trace_id="a" * 32,
        span_id="b" * 16,
    )  # fmt: skip
    event = LogRecord(
        uid="u2", at_ns=8, severity="INFO", name="andon.rollout.started", body="x", attributes={}
    )
    assert exporter.send([record, event]) == Taken(2)
    exporter.close()
    first, second = collector.records
    assert (first.time_unix_nano, first.severity_number, first.event_name) == (7, 17, "andon.request.failed")
    assert (first.trace_id.hex(), first.span_id.hex()) == ("a" * 32, "b" * 16)
    assert first.body.string_value == "502 upstream_error for a"
    assert attributes_of(first.attributes)["http.response.status_code"] == 502
    assert (second.severity_number, second.trace_id) == (9, b"")


def test_metrics_arrive_cumulative(collector: Collector) -> None:
    exporter = MetricExporter(to(collector), ABOUT, "1", SCHEMA)
    sent = exporter.send(
        [
            Metric(
                name="http.server.request.duration", unit="s", meaning="m", kind="histogram", start_ns=1,
                bounds=(0.1, 1.0), points=(Point({"http.route": "/x"}, 1.25, (2, 1, 0)),),
            ),
            Metric(
                name="andon.requests", unit="{request}", meaning="m", kind="counter", start_ns=1,
                points=(Point({}, 3.0), Point({"a": "b"}, 4.0)),
            ),
            Metric(name="lag", unit="s", meaning="m", kind="gauge", start_ns=1, points=(Point({}, 0.5),)),
        ],
        9,
    )  # fmt: skip
    exporter.close()
    assert sent == Taken(4)
    (point,) = collector.metrics["http.server.request.duration"].histogram.data_points
    assert (list(point.bucket_counts), list(point.explicit_bounds)) == ([2, 1, 0], [0.1, 1.0])
    assert (point.count, point.sum, point.start_time_unix_nano, point.time_unix_nano) == (3, 1.25, 1, 9)
    total = collector.metrics["andon.requests"].sum
    assert (total.is_monotonic, total.aggregation_temporality) == (True, 2)
    assert [one.as_double for one in total.data_points] == [3.0, 4.0]
    assert collector.metrics["lag"].gauge.data_points[0].as_double == 0.5


@pytest.mark.parametrize(
    ("status", "kind"), [(400, Permanent), (401, Permanent), (503, Transient), (429, Transient)]
)
def test_what_an_answer_means(collector: Collector, status: int, kind: type[Exception]) -> None:
    collector.answer = lambda path, message: (status, b"")
    exporter = TraceExporter(to(collector), ABOUT, "1", SCHEMA)
    with pytest.raises(kind) as caught:
        exporter.send([span()])
    exporter.close()
    assert str(status) in str(caught.value)


def test_nobody_there() -> None:
    with collecting() as collector:
        destination = to(collector)
    exporter = LogExporter(destination, ABOUT, "1", SCHEMA)
    with pytest.raises(Transient, match="did not answer"):
        exporter.send([LogRecord(uid="u", at_ns=1, severity="INFO", name="n", body="b", attributes={})])
    exporter.close()


def test_partial_success_is_counted_and_not_sent_again(collector: Collector) -> None:
    response = REQUESTS["/v1/traces"][1]()
    response.partial_success.rejected_spans = 2
    response.partial_success.error_message = "no room"
    collector.answer = lambda path, message: (200, response.SerializeToString())
    exporter = TraceExporter(to(collector), ABOUT, "1", SCHEMA)
    assert exporter.send([span(number) for number in range(1, 6)]) == Taken(3, 2, "no room")
    exporter.close()
    assert collector.requests == 1


def test_a_batch_that_is_too_large_goes_in_halves(collector: Collector) -> None:
    def answer(path: str, message: object) -> tuple[int, bytes]:
        spans = sum(len(scope.spans) for group in message.resource_spans for scope in group.scope_spans)  # type: ignore[attr-defined]
        return (413, b"") if spans > 3 else (200, b"")

    collector.answer = answer
    exporter = TraceExporter(to(collector), ABOUT, "1", SCHEMA)
    assert exporter.send([span(number) for number in range(1, 11)]) == Taken(10)
    exporter.close()
    assert len({one.span_id for one in collector.spans}) == len(collector.spans) == 10


def test_headers_as_opentelemetry_writes_them() -> None:
    told = parse_headers("api-key=secret%20one, X-Other = 2,,broken")
    assert told == {"api-key": "secret one", "x-other": "2"}
