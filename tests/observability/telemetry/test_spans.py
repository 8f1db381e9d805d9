"""Spans and records made from rows: one tree per exchange, with the names of the conventions."""

from __future__ import annotations

import msgspec
import pytest

from andon.kernel.trace import attempt_span_of, copy_span_of, server_span_of, trace_id_of
from andon.observability.telemetry.records import record_of_row
from andon.observability.telemetry.spans import Sampling, spans_of
from andon.observability.telemetry.vocabulary import Names, Served, Vocabulary
from tests.observability.telemetry.rows import outcome, refusal, request_id

KNOWN = Vocabulary(Names(releases={"dummy/small": Served("dummy", "small")}))
ALL = Sampling()


def test_one_exchange_is_one_tree() -> None:
    row = outcome(
        guard_us=200, queue_us=300, connect_us=5_000, tls_us=3_000, features={"age": 400, "income": 600}
    )
    spans = spans_of(row, KNOWN, ALL)
    by_name = {span.name: span for span in spans}
    assert list(by_name) == [
        "POST /v1/chat/completions", "guard", "queue", "chat small", "connect", "tls", "feature age",
        "feature income",
    ]  # fmt: skip
    root, attempt = by_name["POST /v1/chat/completions"], by_name["chat small"]
    assert (root.kind, root.parent_id, root.span_id) == ("server", "", server_span_of(row.id))
    assert (attempt.kind, attempt.parent_id) == ("client", root.span_id)
    assert attempt.span_id == attempt_span_of(row.id, 0)
    assert {span.trace_id for span in spans} == {trace_id_of(row.id)}
    assert len({span.span_id for span in spans}) == len(spans)
    parents = {name: by_name[name].parent_id for name in ("guard", "queue", "connect", "tls", "feature age")}
    assert parents == {
        "guard": root.span_id, "queue": root.span_id, "connect": attempt.span_id, "tls": attempt.span_id,
        "feature age": attempt.span_id,
    }  # fmt: skip


def test_parts_lie_where_the_row_says() -> None:
    row = outcome(guard_us=200, queue_us=300, connect_us=5_000, tls_us=3_000, features={"a": 400, "b": 600})
    at = {span.name: span for span in spans_of(row, KNOWN, ALL)}
    root, attempt = at["POST /v1/chat/completions"], at["chat small"]
    assert root.end_ns - root.start_ns == 101_000_000
    assert root.end_ns == attempt.end_ns == row.at_ns
    assert attempt.start_ns == row.at_ns - 100_000_000
    assert at["guard"].start_ns == root.start_ns
    assert at["queue"].start_ns == at["guard"].end_ns == root.start_ns + 200_000
    assert (at["connect"].start_ns, at["connect"].end_ns) == (attempt.start_ns, attempt.start_ns + 5_000_000)
    assert (at["tls"].start_ns, at["tls"].end_ns) == (attempt.start_ns + 2_000_000, at["connect"].end_ns)
    assert at["feature b"].start_ns == at["feature a"].end_ns == at["connect"].end_ns + 400_000
    assert [(event.name, event.at_ns) for event in attempt.events] == [
        ("gen_ai.first_token", attempt.start_ns + 20_000_000)
    ]


def test_a_row_read_again_makes_the_same_spans() -> None:
    row = outcome(queue_us=5, connect_us=7)
    assert spans_of(row, KNOWN, ALL) == spans_of(row, KNOWN, ALL)


def test_an_earlier_attempt_is_a_child_of_the_same_root() -> None:
    first = outcome(final=False, status=0, error_code="upstream_connect", provider_error=True)
    last = outcome(attempt=1)
    (early,) = spans_of(first, KNOWN, ALL)
    root, late = spans_of(last, KNOWN, ALL)
    assert early.parent_id == late.parent_id == root.span_id
    assert early.span_id != late.span_id
    assert (early.error, late.error, root.error) == ("upstream_connect", "", "")
    assert late.attributes["http.request.resend_count"] == 1


def test_a_copy_for_a_shadow_has_a_span_of_its_own() -> None:
    row = outcome(final=False, arm="shadow", release="dummy/next", stream=False, first_byte_us=None)
    (span,) = spans_of(row, KNOWN, ALL)
    assert span.span_id == copy_span_of(row.id)
    assert span.kind == "client"


def test_a_refused_request_is_its_root_only() -> None:
    (root,) = spans_of(refusal(), KNOWN, ALL)
    assert root.kind == "server"
    assert root.error == ""  # the caller's fault is no error of the server's span
    assert root.attributes["error.type"] == "rate_limited"
    assert root.attributes["andon.refused_by"] == "limits"
    assert root.fault == "throttle"


@pytest.mark.parametrize(
    ("status", "code", "error", "fault"),
    [
        (499, "client_gone", "", "error"),
        (500, "internal_error", "internal_error", "fault"),
        (502, "upstream_error", "upstream_error", "fault"),
        (200, None, "", ""),
    ],
)
def test_statuses(status: int, code: str | None, error: str, fault: str) -> None:
    root = spans_of(outcome(status=status, error_code=code), KNOWN, ALL)[0]
    assert (root.error, root.fault) == (error, fault)
    assert root.attributes["http.response.status_code"] == status


def test_a_callers_trace_goes_on() -> None:
    caller = f"00-{'a' * 32}-{'b' * 16}-01"
    root, attempt = spans_of(outcome(traceparent=caller), KNOWN, ALL)
    assert (root.trace_id, root.parent_id, root.has_remote_parent) == ("a" * 32, "b" * 16, True)
    assert attempt.parent_id == root.span_id


def test_names_of_the_conventions() -> None:
    root, attempt = spans_of(outcome(model="small-2026", response_id="r1", finish_reason="stop"), KNOWN, ALL)
    assert (
        attempt.attributes.items()
        >= {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "dummy",
            "gen_ai.request.model": "small",
            "gen_ai.response.model": "small-2026",
            "gen_ai.response.id": "r1",
            "gen_ai.response.finish_reasons": ("stop",),
            "gen_ai.response.time_to_first_chunk": 0.02,
            "gen_ai.usage.input_tokens": 10,
            "gen_ai.usage.output_tokens": 5,
        }.items()
    )
    assert root.attributes["andon.overhead"] == 0.001


def test_a_model_that_predicts_has_no_generative_names() -> None:
    row = outcome(operation="infer", dialect="oip", release="credit@2", stream=False)
    root, attempt = spans_of(row, KNOWN, ALL)
    assert root.name == "POST /v2/models/{model}/infer"
    assert not [name for name in attempt.attributes if name.startswith("gen_ai.")]


def test_a_share_of_the_traces_and_all_of_the_trouble() -> None:
    few = Sampling(0.1)
    good = [row for number in range(2000) if (row := outcome(number * 7_919_104_729_000_003 % 2**48))]
    kept = sum(1 for row in good if spans_of(_spread(row), KNOWN, few))
    assert 120 <= kept <= 280
    assert all(spans_of(outcome(number, status=502, error_code="x"), KNOWN, few) for number in range(200))
    assert all(spans_of(outcome(number, attempt=1), KNOWN, few) for number in range(200))


def _spread(row: object) -> object:
    # Ids whose lower half differs as that of real ones does; the trace id ends in it.
    id_ = request_id(1)
    low = (hash(row.id) * 0x9E3779B97F4A7C15) % 2**64  # type: ignore[attr-defined]
    text = f"{low:016x}"
    return msgspec.structs.replace(
        row, id=id_[:19] + text[:4] + "-" + text[4:], traceparent=f"00-{'1' * 16}{text}-{'b' * 16}-01"
    )


def test_no_span_and_no_record_holds_what_a_client_wrote() -> None:
    row = outcome(status=500, error_code="x", reference="customer-4711", prediction="yes", score=0.5)
    said = msgspec.json.encode([*spans_of(row, KNOWN, ALL), record_of_row(row)]).decode()
    assert "customer-4711" not in said
    assert "yes" not in said


def test_a_record_for_every_answer_that_is_no_success() -> None:
    assert record_of_row(outcome()) is None
    assert record_of_row(outcome(final=False, status=0, error_code="x")) is None
    failed, refused = (
        record_of_row(outcome(status=502, error_code="upstream_error")),
        record_of_row(refusal()),
    )
    assert failed is not None
    assert refused is not None
    assert (failed.severity, failed.name) == ("ERROR", "andon.request.failed")
    assert (refused.severity, refused.name) == ("WARN", "andon.request.refused")
    assert failed.span_id == server_span_of(failed.uid)
    assert "502 upstream_error for assistant" in failed.body
