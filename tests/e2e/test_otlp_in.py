"""The real OpenTelemetry SDK and its exporters, unchanged, against a running factory."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import format_span_id, format_trace_id

from tests.e2e.conftest import ASK
from tests.e2e.factories import Factory, wait_for
from tests.e2e.test_facts import listens, post, rows

RESOURCE = Resource.create({"service.name": "shop"})


@pytest.fixture(scope="module", params=["observer", "control"])
def endpoint(request: pytest.FixtureRequest, factory: Factory) -> str:
    wait_for("the observer", lambda: listens(factory.observer_port))
    port = factory.observer_port if request.param == "observer" else factory.control_port
    return f"http://127.0.0.1:{port}/otlp"


@pytest.fixture
def headers(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.fixture
def tracing(endpoint: str, headers: dict[str, str]) -> Iterator[TracerProvider]:
    provider = TracerProvider(resource=RESOURCE)
    exporter = OTLPSpanExporter(f"{endpoint}/v1/traces", headers=headers, compression=Compression.Gzip)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    yield provider
    provider.shutdown()


def test_spans_are_kept_without_what_people_wrote(factory: Factory, tracing: TracerProvider):
    with tracing.get_tracer("shop").start_as_current_span("checkout") as outer:
        outer.set_attribute("gen_ai.input.messages", "the secret question")
        outer.set_attribute("cart.items", 3)
        with tracing.get_tracer("shop").start_as_current_span("answer"):
            pass
    assert tracing.force_flush()
    trace = format_trace_id(outer.get_span_context().trace_id)
    sql = f"SELECT name, service, parent_id, attributes FROM spans WHERE trace_id = '{trace}' ORDER BY name"
    inner, outermost = wait_for("the spans", lambda: rows(factory, sql))
    assert inner[:3] == ["answer", "shop", format_span_id(outer.get_span_context().span_id)]
    assert outermost[:3] == ["checkout", "shop", None]
    assert '"cart.items":3' in outermost[3]
    assert "secret" not in outermost[3]


def test_evaluations_come_as_log_records(factory: Factory, endpoint: str, headers: dict[str, str], key: str):
    with openai.OpenAI(api_key=key, base_url=factory.url + "/v1", max_retries=0) as client:
        answer = client.chat.completions.create(model="good", messages=ASK, max_tokens=2)
    provider = LoggerProvider(resource=RESOURCE)
    provider.add_log_record_processor(
        BatchLogRecordProcessor(OTLPLogExporter(f"{endpoint}/v1/logs", headers=headers))
    )
    attributes: dict[str, Any] = {
        "gen_ai.evaluation.name": "relevance",
        "gen_ai.evaluation.score.value": 0.5,
        "gen_ai.evaluation.score.label": "so so",
        "andon.request.id": answer._request_id,
    }
    provider.get_logger("judge").emit(
        LogRecord(
            event_name="gen_ai.evaluation.result", attributes=attributes, timestamp=1_772_357_400 * 10**9
        )
    )
    provider.get_logger("judge").emit(LogRecord(body="something else"))
    assert provider.force_flush()
    provider.shutdown()
    sql = f"SELECT name, score, label, event_ns FROM evaluations WHERE request_id = '{answer._request_id}'"
    found = wait_for("the evaluation", lambda: rows(factory, sql))
    assert found == [["relevance", 0.5, "so so", 1_772_357_400 * 10**9]]


def test_an_evaluation_inside_a_span_finds_its_request_by_the_trace(
    factory: Factory, tracing: TracerProvider, key: str
):
    with tracing.get_tracer("shop").start_as_current_span("ask") as span:
        context = span.get_span_context()
        traceparent = f"00-{format_trace_id(context.trace_id)}-{format_span_id(context.span_id)}-01"
        with openai.OpenAI(api_key=key, base_url=factory.url + "/v1", max_retries=0) as client:
            answer = client.chat.completions.create(
                model="good", messages=ASK, max_tokens=2, extra_headers={"traceparent": traceparent}
            )
        id_ = answer._request_id
        wait_for("the row", lambda: rows(factory, f"SELECT id FROM requests WHERE id = '{id_}'"))
        wait_for("the feed", lambda: factory.read("top")["items"])
        span.add_event(
            "gen_ai.evaluation.result",
            {"gen_ai.evaluation.name": "tone", "gen_ai.evaluation.score.value": 1.0},
        )
    assert tracing.force_flush()
    sql = f"SELECT name, score, request_id FROM evaluations WHERE trace_id = '{format_trace_id(context.trace_id)}'"
    assert wait_for("the evaluation", lambda: rows(factory, sql)) == [["tone", 1.0, id_]]


def test_metrics_are_refused_honestly_and_the_sdk_goes_on(
    endpoint: str, headers: dict[str, str], caplog: pytest.LogCaptureFixture
):
    exporter = OTLPMetricExporter(f"{endpoint}/v1/metrics", headers=headers)
    provider = MeterProvider(resource=RESOURCE, metric_readers=[PeriodicExportingMetricReader(exporter)])
    provider.get_meter("shop").create_counter("sales").add(1)
    with caplog.at_level(logging.WARNING):
        assert provider.force_flush()
        provider.shutdown()
    assert "Failed to export" not in caplog.text


def test_mlflows_address_for_traces_works(endpoint: str, headers: dict[str, str], factory: Factory):
    provider = TracerProvider(resource=RESOURCE)
    url = endpoint.removesuffix("/otlp") + "/v1/traces"
    exporter = OTLPSpanExporter(url, headers=headers | {"x-mlflow-experiment-id": "7"})
    provider.add_span_processor(BatchSpanProcessor(exporter))
    with provider.get_tracer("mlflow").start_as_current_span("predict") as span:
        pass
    assert provider.force_flush()
    provider.shutdown()
    sql = f"SELECT name FROM spans WHERE trace_id = '{format_trace_id(span.get_span_context().trace_id)}'"
    assert wait_for("the span", lambda: rows(factory, sql)) == [["predict"]]


def test_a_bomb_is_a_413_with_a_status(endpoint: str, key: str):
    bomb = gzip.compress(bytes(65 * 2**20), 1)
    status, body = post(f"{endpoint}/v1/traces", bomb, key, **{"content-encoding": "gzip"})
    assert (status, body["code"]) == (413, 8)
    status, body = post(f"{endpoint}/v1/logs", b"{", key)
    assert (status, body["code"]) == (400, 3)
    status, body = post(f"{endpoint}/v1/logs", b"{}", "nobody")
    assert (status, body["code"]) == (401, 16)
