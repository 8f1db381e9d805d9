"""CloudWatch and X-Ray: the limits of each, and what arrives at an imitation of AWS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

boto3 = pytest.importorskip("boto3")
pytest.importorskip("moto.server")

from hypothesis import given, settings  # noqa: E402 - after the skip
from hypothesis import strategies as st  # noqa: E402

from andon.adapters.aws import emf, xray  # noqa: E402
from andon.adapters.aws.cloudwatch import BATCH_BYTES_MAX, EVENTS_MAX, Line, LogStream, batches  # noqa: E402
from andon.adapters.aws.service import connect  # noqa: E402
from andon.adapters.aws.xray import DOCUMENT_BYTES_MAX, SegmentSender, documents  # noqa: E402
from andon.kernel.errors import Permanent, Transient  # noqa: E402
from andon.kernel.telemetry import LogRecord, Measure, Measures, SpanRecord, Taken  # noqa: E402
from andon.observability.telemetry.spans import Sampling, spans_of  # noqa: E402
from andon.observability.telemetry.vocabulary import Names, Served, Vocabulary  # noqa: E402
from tests.adapters.imitation import imitating_aws  # noqa: E402
from tests.observability.telemetry.rows import outcome, refusal  # noqa: E402

KNOWN = Vocabulary(Names(releases={"dummy/small": Served("dummy", "small")}))
NOW_MS = int(datetime.now(UTC).timestamp() * 1000)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with imitating_aws() as url:
        yield url


@pytest.fixture
def client(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    opened: list[Any] = []

    def make(service: str) -> Any:
        opened.append(connect(service, "us-east-1", endpoint))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def record(number: int, at_ms: int = NOW_MS) -> LogRecord:
    return LogRecord(
        uid=f"u{number}", at_ns=at_ms * 1_000_000, severity="WARN", name="andon.request.refused",
        body="429 rate_limited for a", attributes={"error.type": "rate_limited", "n": number},
        trace_id="a" * 32, span_id="b" * 16,
    )  # fmt: skip


def events(logs: Any, group: str, stream: str) -> list[Any]:
    told = logs.get_log_events(logGroupName=group, logStreamName=stream, startFromHead=True)["events"]
    return [json.loads(one["message"]) for one in told]


def test_records_make_their_group_and_stream(client: Any) -> None:
    logs = client("logs")
    stream = LogStream(logs, "andon", "requests")
    assert stream.send_records([record(2, NOW_MS + 1), record(1)]) == Taken(2)
    assert stream.send_records([record(3, NOW_MS + 2)]) == Taken(1)
    found = events(logs, "andon", "requests")
    assert [one["n"] for one in found] == [1, 2, 3]
    assert found[0] == {
        "severity": "WARN", "event": "andon.request.refused", "message": "429 rate_limited for a", "uid": "u1",
        "trace_id": "a" * 32, "span_id": "b" * 16, "error.type": "rate_limited", "n": 1,
    }  # fmt: skip


class Choosy:
    """Answers as PutLogEvents does; the end of what is too old is exclusive, the start of what is too new is not."""

    def __init__(self, **rejected: int) -> None:
        self.rejected = rejected

    def put_log_events(self, **more: Any) -> Any:
        return {"rejectedLogEventsInfo": self.rejected}


@pytest.mark.parametrize(
    ("told", "rejected"),
    [
        ({"tooOldLogEventEndIndex": 2}, 2),
        ({"expiredLogEventEndIndex": 1, "tooOldLogEventEndIndex": 2}, 2),
        ({"tooNewLogEventStartIndex": 3}, 2),
        ({"tooOldLogEventEndIndex": 1, "tooNewLogEventStartIndex": 4}, 2),
        ({}, 0),
    ],
)
def test_records_that_cloudwatch_does_not_take_are_counted(told: dict[str, int], rejected: int) -> None:
    taken = LogStream(Choosy(**told), "g", "s").send_records([record(number) for number in range(5)])
    assert (taken.sent, taken.rejected) == (5 - rejected, rejected)


def test_measures_arrive_in_the_embedded_format(client: Any) -> None:
    logs = client("logs")
    measured = Measures(
        {"Endpoint": "assistant", "Release": "small@1"},
        (
            Measure(name="andon.requests", unit="Count", value=12),
            Measure(name="http.server.request.duration", unit="Seconds", value=1.5, values=(0.1, 0.2), counts=(5, 5)),
        ),
    )  # fmt: skip
    assert LogStream(logs, "andon-metrics", "0").send_measures("Andon", NOW_MS, [measured]) == Taken(1)
    (found,) = events(logs, "andon-metrics", "0")
    assert found == {
        "_aws": {
            "Timestamp": NOW_MS,
            "CloudWatchMetrics": [
                {
                    "Namespace": "Andon",
                    "Dimensions": [["Endpoint", "Release"]],
                    "Metrics": [
                        {"Name": "andon.requests", "Unit": "Count"},
                        {"Name": "http.server.request.duration", "Unit": "Seconds"},
                    ],
                }
            ],
        },
        "Endpoint": "assistant",
        "Release": "small@1",
        "andon.requests": 12,
        "http.server.request.duration": {
            "Values": [0.1, 0.2], "Counts": [5, 5], "Max": 0.2, "Min": 0.1, "Count": 10, "Sum": 1.5,
        },
    }  # fmt: skip


def test_no_more_than_a_hundred_metrics_in_a_directive() -> None:
    many = tuple(Measure(name=f"m{number}", unit="Count", value=1) for number in range(250))
    lines = [json.loads(line) for line in emf.lines("Andon", 1, [Measures({"Endpoint": "a"}, many)])]
    assert [len(line["_aws"]["CloudWatchMetrics"][0]["Metrics"]) for line in lines] == [100, 100, 50]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3 * 86_400_000), st.sampled_from([10, 1000, 300_000, 1_000_000])),
        max_size=60,
    )
)
def test_batches_are_in_order_and_within_the_limits(sizes: list[tuple[int, int]]) -> None:
    lines = [Line(at_ms, "x" * size) for at_ms, size in sizes]
    made = list(batches(lines))
    assert [line for batch in made for line in batch] == sorted(lines, key=lambda line: line.at_ms)
    for batch in made:
        assert len(batch) <= EVENTS_MAX
        assert sum(len(line.text) + 26 for line in batch) <= BATCH_BYTES_MAX
        assert batch[-1].at_ms - batch[0].at_ms < 86_400_000


def test_ten_thousand_and_one_events_are_two_batches() -> None:
    assert [len(batch) for batch in batches([Line(1, "x")] * 10_001)] == [10_000, 1]


def test_a_line_beyond_every_limit_is_rejected(client: Any) -> None:
    stream = LogStream(client("logs"), "andon-large", "requests")
    taken = stream.send([Line(NOW_MS, "x" * BATCH_BYTES_MAX), Line(NOW_MS, "fits")])
    assert (taken.sent, taken.rejected) == (1, 1)


def spans(**changes: Any) -> list[SpanRecord]:
    return list(spans_of(outcome(**changes), KNOWN, Sampling()))


def test_an_exchange_is_one_segment_with_what_it_did_nested() -> None:
    row = outcome(queue_us=300, connect_us=5_000, at_ns=NOW_MS * 1_000_000)
    (text,) = documents(list(spans_of(row, KNOWN, Sampling())), "andon")
    found = json.loads(text)
    assert (found["name"], found["id"]) == ("andon", row.id[19:23] + row.id[24:])
    assert found["trace_id"].count("-") == 2
    assert found["http"] == {
        "request": {"method": "POST", "url": "/v1/chat/completions"}, "response": {"status": 200},
    }  # fmt: skip
    assert "type" not in found
    assert "parent_id" not in found
    queue, attempt = found["subsegments"]
    assert (queue["name"], attempt["name"], attempt["namespace"]) == ("queue", "chat small", "remote")
    assert [child["name"] for child in attempt["subsegments"]] == ["connect"]
    assert attempt["annotations"]["andon_release"] == "dummy/small"
    assert attempt["metadata"]["andon"]["gen_ai.usage.output_tokens"] == 5
    assert found["start_time"] < queue["end_time"] <= attempt["end_time"] <= found["end_time"]


def test_an_earlier_attempt_goes_on_its_own_and_a_callers_trace_goes_on() -> None:
    caller = f"00-{'5' * 8}{'a' * 24}-{'b' * 16}-01"
    early = spans(final=False, status=0, error_code="upstream_connect", traceparent=caller)
    (text,) = documents(early, "andon")
    found = json.loads(text)
    assert (found["type"], found["fault"]) == ("subsegment", True)
    (root,) = documents([*spans(traceparent=caller, upstream_us=None)], "andon")
    assert found["parent_id"] == json.loads(root)["id"]
    assert found["trace_id"] == json.loads(root)["trace_id"] == f"1-{'5' * 8}-{'a' * 24}"
    assert json.loads(root)["parent_id"] == "b" * 16
    (refused,) = documents(list(spans_of(refusal(), KNOWN, Sampling())), "andon")
    assert json.loads(refused).keys() >= {"throttle", "error"}


def test_a_tree_beyond_64_kb_is_sent_in_pieces() -> None:
    features = {f"feature {number} {'x' * 80}": 10 for number in range(32)}
    made = spans(features=features)
    long = [
        SpanRecord(
            trace_id=one.trace_id, span_id=one.span_id, parent_id=one.parent_id, name=one.name, kind=one.kind,
            start_ns=one.start_ns, end_ns=one.end_ns, attributes={**one.attributes, "more": "y" * 4000},
        )
        for one in made
    ]  # fmt: skip
    texts = list(documents(long, "andon"))
    assert len(texts) > 1
    assert all(len(text.encode()) <= DOCUMENT_BYTES_MAX for text in texts)

    def ids(found: dict[str, Any]) -> list[str]:
        return [found["id"], *(id_ for child in found.get("subsegments", ()) for id_ in ids(child))]

    assert sorted(id_ for text in texts for id_ in ids(json.loads(text))) == sorted(
        one.span_id for one in long
    )


def test_names_that_xray_does_not_take_are_changed() -> None:
    (text,) = documents([spans()[0]], "my|factory!")
    assert json.loads(text)["name"] == "my_factory_"


def test_segments_arrive(client: Any) -> None:
    service = client("xray")
    sender = SegmentSender(service, "andon")
    rows = [outcome(number, at_ns=NOW_MS * 1_000_000) for number in range(60)]
    every = [span for row in rows for span in spans_of(row, KNOWN, Sampling())]
    assert sender.send(every) == Taken(60)
    wanted = json.loads(next(documents(list(spans_of(rows[7], KNOWN, Sampling())), "andon")))
    found = service.batch_get_traces(TraceIds=[wanted["trace_id"]])["Traces"]
    assert [json.loads(one["Document"])["id"] for one in found[0]["Segments"]] == [wanted["id"]]


class Refusing:
    def __init__(self, code: str) -> None:
        self.code = code

    def put_trace_segments(self, **more: Any) -> Any:
        from botocore.exceptions import ClientError

        raise ClientError({"Error": {"Code": self.code}}, "PutTraceSegments")


class Partly:
    def put_trace_segments(self, **more: Any) -> Any:
        return {"UnprocessedTraceSegments": [{"Id": "1", "ErrorCode": "x", "Message": "too old"}]}


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("ThrottledException", Transient),
        ("AccessDeniedException", Transient),
        ("InvalidRequestException", Permanent),
    ],
)
def test_what_an_error_means(code: str, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=code):
        SegmentSender(Refusing(code), "andon").send(spans())


def test_unprocessed_segments_are_counted() -> None:
    assert SegmentSender(Partly(), "andon").send(spans()) == Taken(0, 1, "too old")


def test_nobody_there(client: Any) -> None:
    away = connect("xray", "us-east-1", "http://127.0.0.1:9")
    with pytest.raises(Transient):
        SegmentSender(away, "andon").send(spans())
    away.close()


def test_batches_of_documents_are_bounded() -> None:
    assert xray.BATCH <= 50
