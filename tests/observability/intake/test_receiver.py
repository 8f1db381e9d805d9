"""The OTLP/HTTP receiver: what the specification asks for, in protobuf and in JSON."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from andon.kernel.clock import SystemClock
from andon.kernel.errors import AndonError, Refused, Transient
from andon.ledger.facts.model import Evaluation, Span
from andon.observability.intake import decoding
from andon.observability.intake.attributes import JSON_BYTES_MAX, write_attributes
from andon.observability.intake.metrics import IntakeMetrics
from andon.observability.intake.receiver import Receiver
from andon.observability.intake.status import JSON, PROTOBUF, Reply, render_status
from tests.ledger.facts.rig import Rig

TRACE, SPAN = "5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174"
START = 1_772_357_400_000_000_000


class Hasty(SystemClock):
    """Waits for nobody."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


def run(work: Callable[[Rig, Receiver], Awaitable[None]], *, keep_content: bool = False) -> None:
    async def main() -> None:
        rig = await Rig.open()
        try:
            await work(rig, Receiver(rig.intake, Hasty(), keep_content=keep_content))
        finally:
            await rig.close()

    asyncio.run(main())


def attributes(**values: Any) -> list[dict[str, Any]]:
    """KeyValues as OTLP writes them in JSON; `__` stands for a dot."""
    kinds = {str: "stringValue", bool: "boolValue", int: "intValue", float: "doubleValue"}
    return [
        {"key": name.replace("__", "."), "value": {kinds[type(value)]: value}}
        for name, value in values.items()
    ]


def span(**fields: Any) -> dict[str, Any]:
    return {
        "traceId": TRACE,
        "spanId": SPAN,
        "parentSpanId": "eee19b7ec3c1b173",
        "name": "answer",
        "startTimeUnixNano": str(START),
        "endTimeUnixNano": str(START + 10**9),
        "kind": 2,
        "attributes": attributes(gen_ai__request__model="m", count=3),
        "status": {"code": 2},
    } | fields


def traces(*spans: dict[str, Any]) -> dict[str, Any]:
    resource = {"attributes": attributes(service__name="shop")}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": list(spans)}]}]}


def judgement(**more: Any) -> dict[str, Any]:
    values = {
        "gen_ai__evaluation__name": "relevance",
        "gen_ai__evaluation__score__value": 0.75,
        "gen_ai__evaluation__score__label": "relevant",
        "gen_ai__evaluation__explanation": "because",
        "gen_ai__response__id": "chatcmpl-1",
    } | more
    return {
        "timeUnixNano": str(START),
        "eventName": "gen_ai.evaluation.result",
        "attributes": attributes(**{name: value for name, value in values.items() if value is not None}),
    }


def logs(*records: dict[str, Any]) -> dict[str, Any]:
    return {"resourceLogs": [{"scopeLogs": [{"logRecords": list(records)}]}]}


async def send(receiver: Receiver, signal: decoding.Signal, tree: Any, **how: str) -> Reply:
    data = tree if isinstance(tree, bytes) else json.dumps(tree).encode()
    return await receiver.receive(
        signal, data, how.get("media_type", JSON), how.get("encoding", "identity"), "key:k1"
    )


def test_a_span_becomes_a_fact_and_the_answer_is_empty() -> None:
    async def work(rig: Rig, receiver: Receiver) -> None:
        reply = await send(receiver, "traces", traces(span()))
        assert (reply.status, reply.media_type, json.loads(reply.body)) == (200, JSON, {})
        (kept,) = rig.written()
        assert isinstance(kept, Span)
        assert (kept.trace_id, kept.span_id, kept.parent_id) == (TRACE, SPAN, "eee19b7ec3c1b173")
        assert (kept.name, kept.kind, kept.service, kept.error) == ("answer", 2, "shop", True)
        assert (kept.event_ns, kept.end_ns, kept.source) == (START, START + 10**9, "key:k1")
        assert json.loads(kept.attributes or "") == {"count": 3, "gen_ai.request.model": "m"}
        # An exporter that repeats itself changes nothing.
        await send(receiver, "traces", traces(span()))
        assert len(rig.written()) == 1

    run(work)


def test_protobuf_is_the_same_and_is_answered_in_protobuf() -> None:
    async def work(rig: Rig, receiver: Receiver) -> None:
        message = decoding.decode_request("traces", json.dumps(traces(span())).encode(), JSON)
        assert message.resource_spans[0].scope_spans[0].spans[0].trace_id.hex() == TRACE
        packed = gzip.compress(message.SerializeToString())
        reply = await send(receiver, "traces", packed, media_type=PROTOBUF, encoding="gzip")
        assert (reply.status, reply.media_type, reply.body) == (200, PROTOBUF, b"")
        assert len(rig.written()) == 1

    run(work)


def test_an_evaluation_is_joined_by_the_id_of_the_response() -> None:
    async def work(rig: Rig, receiver: Receiver) -> None:
        rig.answered(response_id="chatcmpl-1")
        reply = await send(receiver, "logs", logs(judgement()))
        assert json.loads(reply.body) == {}
        (kept,) = rig.written()
        assert isinstance(kept, Evaluation)
        assert (kept.name, kept.score, kept.label, kept.explanation, kept.response, kept.event_ns) == (
            "relevance", 0.75, "relevant", "because", "chatcmpl-1", START,
        )  # fmt: skip
        assert rig.intake.counters.unknown == 0

    run(work)


def test_an_evaluation_may_name_its_event_in_an_attribute_and_have_an_id_of_its_own() -> None:
    async def work(rig: Rig, receiver: Receiver) -> None:
        old = judgement(event__name="gen_ai.evaluation.result", log__record__uid="u1")
        del old["eventName"]
        await send(receiver, "logs", logs(old, old))
        assert [fact.id for fact in rig.written()] == ["u1"]

    run(work)


def test_without_a_response_id_the_trace_leads_to_the_request() -> None:
    async def work(rig: Rig, receiver: Receiver) -> None:
        mine = rig.answered(traceparent=f"00-{TRACE}-{SPAN}-01")
        rig.answered(traceparent=f"00-{TRACE}-aaaaaaaaaaaaaaaa-01")
        alone = rig.answered(traceparent=f"00-{'1' * 32}-{SPAN}-01")
        bare = judgement(gen_ai__response__id=None)
        in_span = bare | {"traceId": TRACE, "spanId": SPAN}
        in_trace = bare | {"traceId": "1" * 32}
        unclear = bare | {"traceId": TRACE}
        later = bare | {"traceId": "2" * 32}
        await send(receiver, "logs", logs(in_span, in_trace, unclear, later))
        assert [(fact.request, fact.trace_id) for fact in rig.written()] == [
            (mine.id, TRACE), (alone.id, "1" * 32), (None, TRACE), (None, "2" * 32),
        ]  # fmt: skip

    run(work)


def test_an_evaluation_may_be_an_event_of_a_span() -> None:
    async def work(rig: Rig, receiver: Receiver) -> None:
        event = {
            "name": "gen_ai.evaluation.result",
            "timeUnixNano": str(START),
            "attributes": judgement()["attributes"],
        }
        other = {"name": "exception", "attributes": []}
        reply = await send(receiver, "traces", traces(span(events=[event, other])))
        assert json.loads(reply.body) == {}
        assert [type(fact) for fact in rig.written()] == [Span, Evaluation]
        poor = {"name": "gen_ai.evaluation.result", "attributes": []}
        reply = await send(receiver, "traces", traces(span(spanId="1" * 16, events=[poor])))
        assert "rejectedSpans" not in json.loads(reply.body)["partialSuccess"]
        assert "gen_ai.evaluation.name is missing" in json.loads(reply.body)["partialSuccess"]["errorMessage"]

    run(work)


def test_what_is_not_kept_is_counted_in_partial_success() -> None:
    async def work(rig: Rig, receiver: Receiver) -> None:
        reply = await send(receiver, "logs", logs({"body": {"stringValue": "hello"}}, judgement(), {}))
        partial = json.loads(reply.body)["partialSuccess"]
        assert partial["rejectedLogRecords"] == "2"
        assert "keeps no logs" in partial["errorMessage"]
        assert len(rig.written()) == 1
        points = {
            "gauge": {"dataPoints": [{"asInt": "1", "exemplars": [{"traceId": TRACE}]}, {"asInt": "2"}]}
        }
        body = {
            "resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "a", **points}, {"name": "b"}]}]}]
        }
        reply = await send(receiver, "metrics", body)
        assert json.loads(reply.body)["partialSuccess"]["rejectedDataPoints"] == "2"
        reply = await send(receiver, "metrics", b"", media_type=PROTOBUF)
        assert reply.body == b""
        counters = receiver.counters
        assert counters.rejected == {"logs": 2, "metrics": 2}

    run(work)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"traceId": ""}, "not one"),
        ({"spanId": "0" * 16}, "not one"),
        ({"traceId": "xyz"}, "not one"),
        ({"startTimeUnixNano": "5"}, "before the year 2000"),
        ({"endTimeUnixNano": str(START - 1)}, "ends before it begins"),
        ({"endTimeUnixNano": str(2**63)}, "in the future"),
    ],
)
def test_an_impossible_span_is_rejected_and_its_neighbours_are_kept(
    fields: dict[str, str], reason: str
) -> None:
    async def work(rig: Rig, receiver: Receiver) -> None:
        reply = await send(receiver, "traces", traces(span(**fields), span(spanId="1" * 16)))
        partial = json.loads(reply.body)["partialSuccess"]
        assert partial["rejectedSpans"] == "1"
        assert reason in partial["errorMessage"]
        assert len(rig.written()) == 1

    run(work)


def test_partial_success_in_protobuf_reads_back() -> None:
    kinds = {
        "traces": (ExportTraceServiceResponse, "rejected_spans"),
        "metrics": (ExportMetricsServiceResponse, "rejected_data_points"),
        "logs": (ExportLogsServiceResponse, "rejected_log_records"),
    }
    for signal, (kind, field) in kinds.items():
        answer = kind.FromString(decoding.encode_response(signal, PROTOBUF, 3, "why"))
        assert (getattr(answer.partial_success, field), answer.partial_success.error_message) == (3, "why")


def test_enums_are_integers_and_unknown_fields_are_ignored() -> None:
    body = traces(span(kind=3, colour="red", flags=257))
    body["more"] = {"traceId": "zz"}
    message = decoding.decode_request("traces", json.dumps(body).encode(), JSON)
    assert message.resource_spans[0].scope_spans[0].spans[0].kind == 3


def test_a_users_attribute_may_be_called_like_an_id() -> None:
    body = traces(span(attributes=[{"key": "traceId", "value": {"stringValue": "mine"}}]))
    message = decoding.decode_request("traces", json.dumps(body).encode(), JSON)
    assert message.resource_spans[0].scope_spans[0].spans[0].attributes[0].value.string_value == "mine"


@pytest.mark.parametrize(
    "data", [b"{", b"[]", b'"x"', b"\xff", b'{"resourceSpans": 5}', b"[" * 10**5, b'{"a":' * 10**5]
)
def test_malformed_json_is_refused_for_good(data: bytes) -> None:
    with pytest.raises(Refused) as refused:
        decoding.decode_request("traces", data, JSON)
    assert refused.value.status == 400


@given(
    st.binary(max_size=300), st.sampled_from(["traces", "metrics", "logs"]), st.sampled_from([JSON, PROTOBUF])
)
def test_no_bytes_do_anything_but_decode_or_be_refused(
    data: bytes, signal: decoding.Signal, media_type: str
) -> None:
    try:
        decoding.decode_request(signal, data, media_type)
    except Refused as error:
        assert error.status == 400


def test_deep_protobuf_is_refused_and_deep_values_are_cut() -> None:
    deep: dict[str, Any] = {"stringValue": "x"}
    for _ in range(20):
        deep = {"arrayValue": {"values": [deep]}}
    body = traces(span(attributes=[{"key": "a", "value": deep}]))

    async def work(rig: Rig, receiver: Receiver) -> None:
        await send(receiver, "traces", body)
        assert "x" not in json.loads(rig.written()[0].attributes)["a"]

    run(work)


def test_content_is_left_out_unless_a_setting_keeps_it() -> None:
    names = [
        "gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions", "gen_ai.prompt.0.content",
        "gen_ai.tool.call.arguments", "input.value", "llm.input_messages.0.message.content",
        "traceloop.entity.input", "mlflow.spanInputs", "langfuse.observation.output",
    ]  # fmt: skip
    values = dict.fromkeys(names, "what somebody wrote") | {"gen_ai.usage.input_tokens": 7}
    assert json.loads(write_attributes(values, keep_content=False) or "") == {
        "gen_ai.usage.input_tokens": 7,
        "andon.dropped": len(names),
    }
    assert json.loads(write_attributes(values, keep_content=True) or "") == values


@given(
    st.dictionaries(st.text(max_size=40), st.text(max_size=3000) | st.integers() | st.none(), max_size=100),
    st.booleans(),
)
def test_attributes_stay_small_and_say_what_is_missing(values: dict[str, Any], keep: bool) -> None:
    text = write_attributes(values, keep_content=keep)
    if text is None:
        assert not values
        return
    assert len(text.encode()) <= JSON_BYTES_MAX
    kept = json.loads(text)
    dropped = kept.pop("andon.dropped", 0) if "andon.dropped" not in values else None
    if dropped is not None:
        assert len(kept) + dropped == len(values)


def test_errors_are_a_status_in_the_form_that_was_sent() -> None:
    error: AndonError = Transient("intake_busy", "Later, for ä.", retry_after_s=1.5)
    reply = render_status(error, "application/json; charset=utf-8")
    assert (reply.status, reply.retry_after_s) == (503, 2)
    assert json.loads(reply.body) == {"code": 14, "message": "Later, for ä."}
    reply = render_status(Refused("otlp_malformed", "x" * 500), PROTOBUF)
    status_pb2 = pytest.importorskip("google.rpc.status_pb2")
    read = status_pb2.Status.FromString(reply.body)
    assert (read.code, read.message, reply.media_type) == (3, "x" * 500, PROTOBUF)


def test_a_disk_that_is_full_is_retryable() -> None:
    async def work(rig: Rig, receiver: Receiver) -> None:
        rig.disk.capacity_bytes = rig.disk.used_bytes
        with pytest.raises(Transient) as refused:
            await send(receiver, "traces", traces(span()))
        assert refused.value.status == 503
        rig.disk.capacity_bytes = None
        async with asyncio.timeout(10):
            while rig.log.state != "ok":
                await asyncio.sleep(0)

    run(work)


def test_metrics_have_closed_labels() -> None:
    async def work(rig: Rig, receiver: Receiver) -> None:
        await send(receiver, "traces", traces(span()))
        row = rig.answered()
        await rig.intake.receive(
            "label",
            json.dumps({"items": [{"request": row.id, "value": 1}, {"value": 1}]}).encode(),
            JSON, "identity", "x",
        )  # fmt: skip
        rig.intake.counters.refuse("a code that nobody expected")
        families = {family.name: family for family in IntakeMetrics(rig.intake, receiver.counters).families()}
        facts = {sample.labels[0][1]: sample.value for sample in families["andon_facts_total"].samples}
        assert facts == {"evaluation": 0, "feedback": 0, "kpi": 0, "label": 1, "price": 0, "span": 1}
        refused = {sample.labels: sample.value for sample in families["andon_facts_refused_total"].samples}
        assert refused == {(("reason", "other"),): 1, (("reason", "subject_missing"),): 1}
        lag = families["andon_label_lag_seconds"].samples[0]
        assert (lag.count, lag.buckets[-1]) == (1, (float("inf"), 1))
        coverage = families["andon_label_coverage_ratio"].samples
        assert [(sample.labels, sample.value) for sample in coverage] == [((("endpoint", "credit"),), 1.0)]

    run(work)


def test_json_of_the_python_classes_is_read_as_well() -> None:
    """json_format writes ids in base64; a sender that does so is told, not misread."""
    message = decoding.decode_request("traces", json.dumps(traces(span())).encode(), JSON)
    wrong = json_format.MessageToJson(message).encode()
    read = decoding.decode_request("traces", wrong, JSON)
    assert isinstance(read, ExportTraceServiceRequest)
    assert read.resource_spans[0].scope_spans[0].spans[0].trace_id.hex() != TRACE


def test_a_judgement_that_is_faster_than_the_row_waits_for_it_a_moment() -> None:
    async def work(rig: Rig, receiver: Receiver) -> None:
        bare = judgement(gen_ai__response__id=None) | {"timeUnixNano": str(rig.clock.now_ns())}
        quick = bare | {"traceId": TRACE, "spanId": SPAN}
        sending = asyncio.create_task(send(receiver, "logs", logs(quick)))
        await asyncio.sleep(0)
        row = rig.answered(traceparent=f"00-{TRACE}-{SPAN}-01")
        await sending
        assert [fact.request for fact in rig.written()] == [row.id]

    run(work)
