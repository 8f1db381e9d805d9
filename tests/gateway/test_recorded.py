"""What a row remembers beyond the outcome: trace, reference, the answer's own words, features, predictions; bodies."""

from __future__ import annotations

import asyncio

import pytest

from andon.gateway import bodies
from andon.gateway.settings import GatewaySettings
from andon.kernel import trace
from andon.kernel.clock import SystemClock
from andon.kernel.errors import Transient
from andon.kernel.ports import Opening
from andon.kernel.random import SeededRandom
from andon.kernel.snapshot import BodiesEntry, PredictionEntry, RecordingEntry
from andon.ledger.bodies import Body
from andon.ledger.body_store import BodyStore
from andon.ledger.log import Log
from andon.ledger.settings import LogSettings
from andon.testing.disk import SimulatedDisk
from tests.gateway.world import (
    ANSWER,
    CHAT,
    INFER,
    JSON,
    STREAM,
    FakeAnswer,
    World,
    chat_endpoint,
    oip_endpoint,
    target,
)
from tests.ledger.conftest import InlineRunner

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01".encode()
XRAY = b"Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0"
SCORED = FakeAnswer(body=b'{"outputs":[{"name":"y","shape":[1,2],"datatype":"FP32","data":[0.1,0.9]}]}')


class FakeBodies:
    """Bodies in a list, or the reason why not."""

    def __init__(self) -> None:
        self.kept: list[Body] = []
        self.why = ""

    def put(self, body: Body, subject: str = "") -> str:
        if not self.why:
            self.kept.append(body)
        return self.why


def recording(**entry: object) -> RecordingEntry:
    return RecordingEntry(bodies=BodiesEntry(inputs=True, outputs=True, **entry))  # type: ignore[arg-type]  # by name


def test_a_trace_begun_here_is_derived_from_the_request():
    async def main() -> None:
        world = World()
        reply = await world.chat()
        id_ = reply.headers["x-request-id"]
        sent = world.upstream.sent[0].headers
        assert sent[b"traceparent"] == trace.pass_on(id_, 0, trace.begin(id_))
        assert b"x-amzn-trace-id" not in sent
        intent, outcome = world.log.rows
        assert outcome.traceparent == trace.begin(id_)
        assert intent.traceparent is None

    asyncio.run(main())


def test_a_callers_trace_goes_on_through_every_attempt():
    async def main() -> None:
        world = World(FakeAnswer(503, b"{}"), FakeAnswer())
        headers = [
            (b"traceparent", PARENT),
            (b"tracestate", b"a=1"),
            (b"tracestate", b"b=2"),
            (b"baggage", b"c"),
        ]
        reply = await world.chat(headers=headers)
        id_ = reply.headers["x-request-id"]
        for attempt, sent in enumerate(world.upstream.sent):
            span = trace.attempt_span_of(id_, attempt)
            assert sent.headers[b"traceparent"] == f"00-{TRACE}-{span}-01".encode()
            assert sent.headers[b"tracestate"] == b"b=2"  # both are sent; the fake keeps the last
            assert sent.headers[b"baggage"] == b"c"
        assert [row.traceparent for row in world.log.outcomes] == [PARENT.decode()] * 2

    asyncio.run(main())


@pytest.mark.parametrize("given", [[(b"traceparent", b"00-1")], [(b"traceparent", PARENT)] * 2])
def test_a_trace_that_cannot_be_read_is_begun_anew_without_its_state(given: list[tuple[bytes, bytes]]):
    async def main() -> None:
        world = World()
        reply = await world.chat(headers=[*given, (b"tracestate", b"a=1"), (b"baggage", b"c")])
        sent = world.upstream.sent[0].headers
        id_ = reply.headers["x-request-id"]
        assert sent[b"traceparent"] == trace.pass_on(id_, 0, trace.begin(id_))
        assert b"tracestate" not in sent
        assert sent[b"baggage"] == b"c"

    asyncio.run(main())


def test_xray_comes_in_and_goes_on_in_both_forms():
    async def main() -> None:
        world = World()
        reply = await world.chat(headers=[(b"x-amzn-trace-id", XRAY)])
        span = trace.attempt_span_of(reply.headers["x-request-id"], 0)
        sent = world.upstream.sent[0].headers
        assert sent[b"traceparent"] == f"00-5759e988bd862e3fe1be46a994272793-{span}-00".encode()
        assert sent[b"x-amzn-trace-id"] == XRAY.replace(b"53995c3f42cd8ad8", span.encode())
        assert world.log.outcomes[0].traceparent == "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-00"
        await world.chat(headers=[(b"x-amzn-trace-id", XRAY), (b"traceparent", PARENT)])
        sent = world.upstream.sent[1].headers
        assert TRACE.encode() in sent[b"traceparent"]
        assert sent[b"x-amzn-trace-id"].startswith(b"Root=1-4bf92f35-77b34da6a3ce929d0e0e4736;")

    asyncio.run(main())


def test_a_row_says_who_wrote_it_for_whom_and_what_the_answer_was():
    async def main() -> None:
        answer = FakeAnswer(
            body=b'{"id":"chatcmpl-1","model":"gpt-x-2025","choices":[{"index":0,"finish_reason":"length"}]}',
            headers=(*JSON, (b"server-timing", b"db;dur=3, feature.age;dur=1.5")),
            opening=Opening(20, 1000, 400),
        )
        world = World(answer, settings=GatewaySettings(gateway="g7"))
        await world.chat(
            headers=[
                (b"x-andon-reference", "order-17 für A".encode()),
                (b"x-andon-features", b"age=500,income=300,?"),
                (b"x-stainless-retry-count", b"2"),
            ]
        )
        row = world.log.outcomes[0]
        assert (row.gateway, row.reference, row.client_retry, row.snapshot) == ("g7", "order-17 für A", 2, 1)
        assert (row.response_id, row.model, row.finish_reason) == ("chatcmpl-1", "gpt-x-2025", "length")
        assert (row.features, row.feature_us) == ({"age": 2000, "income": 300}, 2300)
        assert (row.queue_us, row.connect_us, row.tls_us) == (20, 1000, 400)
        assert world.gateway.meters.events["features_unreadable"] == 1
        world.upstream.script = [FakeAnswer()]
        await world.chat()
        row = world.log.outcomes[1]
        assert (row.features, row.feature_us) == (None, None)
        assert (row.queue_us, row.connect_us, row.response_id, row.finish_reason) == (0, None, "a", None)

    asyncio.run(main())


@pytest.mark.parametrize("value", [b"", b"x" * 201, b"a\x01b", b"\xff"])
def test_a_reference_that_cannot_be_kept_is_refused_in_the_dialects_shape(value: bytes):
    async def main() -> None:
        world = World()
        reply = await world.chat(headers=[(b"x-andon-reference", value)])
        assert (reply.status, reply.json["error"]["code"]) == (400, "invalid_header")
        reply = await world.call(b"/v2/models/credit/infer", INFER, [(b"x-andon-reference", value)])
        assert (reply.status, list(reply.json)) == (400, ["error"])
        assert world.upstream.sent == []
        assert all(row.gateway and row.traceparent for row in world.log.outcomes)

    asyncio.run(main())


@pytest.mark.parametrize(
    "body",
    [
        b'{"id":7,"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5}}',
        b'{"id":"a","choices":"none","usage":{"prompt_tokens":3,"completion_tokens":5}}',
        b'{"id":"a","model":null,"choices":[{"finish_reason":{"type":"stop"}}],'
        b'"usage":{"prompt_tokens":3,"completion_tokens":5}}',
    ],
)
def test_fields_of_unknown_types_cost_no_answer_and_no_usage(body: bytes):
    async def main() -> None:
        world = World(FakeAnswer(body=body))
        assert (await world.chat()).body == body
        assert world.log.outcomes[0].output_tokens == 5

    asyncio.run(main())


def test_a_stream_says_the_same_of_itself():
    async def main() -> None:
        first = b'data: {"id":"","model":"","choices":[]}\n\n'
        chunk = b'data: {"id":"c-1","model":"m","choices":[{"delta":{"content":"a"}}]}\n\n'
        last = b'data: {"id":"c-1","model":"m","choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
        world = World(
            [first + chunk, last, b"data: [DONE]\n\n"], endpoints=[chat_endpoint(recording=recording())]
        )
        reply = await world.chat(STREAM)
        assert reply.status == 200
        row = world.log.outcomes[0]
        assert (row.response_id, row.model, row.finish_reason, row.output_tokens) == ("c-1", "m", "stop", 1)

    asyncio.run(main())


def test_a_failed_attempt_says_nothing_of_the_next_ones_answer():
    async def main() -> None:
        opened = FakeAnswer(503, b"{}", opening=Opening(0, 77, None))
        world = World(opened, FakeAnswer(), endpoints=[chat_endpoint(target("a"), target("b"))])
        await world.chat()
        failed, final = world.log.outcomes
        assert (failed.connect_us, failed.response_id) == (77, None)
        assert (final.connect_us, final.response_id) == (None, "a")

    asyncio.run(main())


def test_a_prediction_is_recorded_where_the_endpoint_says_so():
    async def main() -> None:
        entry = RecordingEntry(prediction=PredictionEntry(output="y", classes=("good", "bad")))
        world = World(SCORED, endpoints=[oip_endpoint(recording=entry)])
        reply = await world.call(b"/v2/models/credit/infer", INFER)
        assert reply.body == SCORED.body
        row = world.log.outcomes[0]
        assert (row.prediction, row.score) == ("bad", 0.9)
        world.upstream.script = [FakeAnswer(body=b"[]")]
        assert (await world.call(b"/v2/models/credit/infer", INFER)).status == 502
        assert world.log.outcomes[-1].prediction is None

    asyncio.run(main())


def test_bodies_are_kept_after_the_answer_cut_to_size():
    async def main() -> None:
        sink = FakeBodies()
        world = World(endpoints=[chat_endpoint(recording=recording(bytes_max=20))], bodies=sink)
        reply = await world.chat()
        id_ = reply.headers["x-request-id"]
        first, second = sink.kept
        assert (first.id, first.part, first.endpoint, first.release) == (id_, "input", "chat", "chat@1")
        assert (first.data, first.size_bytes, first.truncated) == (CHAT[:20], len(CHAT), True)
        assert (second.part, second.data, second.media_type) == ("output", ANSWER[:20], "application/json")
        assert world.gateway.meters.events["body_recorded"] == 2
        for why in ("limit", "disk", "pending"):
            sink.why = why
            assert (await world.chat()).status == 200
            assert world.gateway.meters.events[f"body_dropped_{why}"] == 2
        assert len([row for row in world.log.outcomes if row.final]) == 4
        world.assert_whole()

    asyncio.run(main())


def test_bodies_of_streams_errors_and_clients_that_left():
    async def main() -> None:
        sink = FakeBodies()
        event = b'data: {"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}\n\n'
        world = World(
            [event, b"data: [DONE]\n\n"],
            endpoints=[chat_endpoint(recording=recording(), retries=0)],
            bodies=sink,
        )
        await world.chat(STREAM)
        assert (sink.kept[1].data, sink.kept[1].size_bytes) == (event, len(event))
        assert sink.kept[1].media_type == "text/event-stream"
        world.upstream.script = [Transient("upstream_connect", "away", status=502)]
        reply = await world.chat()
        assert (sink.kept[3].data, sink.kept[3].part) == (reply.body, "output")
        left = asyncio.Event()

        async def stall(_: object) -> FakeAnswer:
            await left.wait()
            return FakeAnswer()

        world.upstream.script = [stall]
        task = asyncio.ensure_future(world.chat())
        for _ in range(5):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert [body.part for body in sink.kept[4:]] == ["input"]
        world.assert_whole()

    asyncio.run(main())


def test_a_share_of_bodies_is_drawn_from_the_id_alone():
    async def main() -> None:
        sink = FakeBodies()
        world = World(endpoints=[chat_endpoint(recording=recording(share=0.25))], bodies=sink)
        ids = [(await world.chat()).headers["x-request-id"] for _ in range(400)]
        kept = {body.id for body in sink.kept}
        assert kept == {id_ for id_ in ids if bodies.is_drawn(id_, 0.25)}
        assert 60 < len(kept) < 140
        assert all(body.share == 0.25 for body in sink.kept)

    asyncio.run(main())


def test_a_full_store_of_bodies_stops_no_request_and_no_row():
    async def main() -> None:
        disk = SimulatedDisk(SeededRandom(1), capacity_bytes=4_000)
        quick = LogSettings(linger_s=0.0, flush_s=0.001, retry_s=0.001, reserve_bytes=0)
        log = await Log.open(disk, "", SystemClock(), InlineRunner(), "g", quick)
        store = BodyStore(log, disk, InlineRunner(), SystemClock(), 10**9)
        world = World(endpoints=[chat_endpoint(recording=recording())], bodies=store)
        for _ in range(100):
            assert (await world.chat()).status == 200
            await asyncio.sleep(0.001)
        assert log.state == "full"
        events = world.gateway.meters.events
        assert events["body_dropped_disk"] > 0
        assert events["body_dropped_disk"] + events["body_recorded"] == 200
        assert len([row for row in world.log.outcomes if row.final]) == 100
        world.assert_whole()
        await log.close()

    asyncio.run(main())


def test_without_a_store_nothing_is_kept_and_nothing_fails():
    async def main() -> None:
        world = World(endpoints=[chat_endpoint(recording=recording())])
        assert (await world.chat()).status == 200

    asyncio.run(main())
