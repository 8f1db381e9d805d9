"""Streams: forwarded event by event, usage asked for and stripped, a cut one never taken for a whole one."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.gateway.dialects.sse import EventSplitter, data_of
from andon.gateway.settings import GatewaySettings
from andon.kernel.errors import Transient
from tests.gateway.world import STREAM, FakeAnswer, World, chat_endpoint, target, transient

FIRST = b'data: {"choices":[{"delta":{"content":"a"}}],"usage":null}\n\n'
SECOND = b'data: {"choices":[{"delta":{"content":"b"}}]}\n\n'
LAST = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":2,"completion_tokens":0}}\n\n'
DONE = b"data: [DONE]\n\n"
CLEAN = FIRST.replace(b',"usage":null', b"")


def test_usage_is_asked_for_recorded_and_stripped():
    async def main() -> None:
        world = World([FIRST, SECOND + LAST, USAGE, DONE])
        reply = await world.chat(STREAM)
        assert reply.calls == ["start", "end"]
        assert reply.body == CLEAN + SECOND + LAST + DONE
        assert reply.headers["content-type"].startswith("text/event-stream")
        sent = msgspec.json.decode(world.upstream.sent[0].body)
        assert sent["stream_options"] == {"include_usage": True}
        (row,) = world.log.outcomes
        assert (row.input_tokens, row.output_tokens, row.usage_source) == (2, 0, "provider")
        assert (row.stream, row.status, row.first_byte_us is not None) == (True, 200, True)
        world.assert_whole()

    asyncio.run(main())


def test_usage_is_left_to_a_client_that_asks():
    async def main() -> None:
        world = World([FIRST, USAGE, DONE])
        body = STREAM.replace(b'"stream"', b'"stream_options":{"include_usage":true},"stream"')
        reply = await world.chat(body)
        assert reply.body == FIRST + USAGE + DONE
        assert world.upstream.sent[0].body == body

    asyncio.run(main())


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ([], "upstream_reset"),
        ([b"data: {not json\n\n"], "upstream_malformed"),
        ([b'data: {"error":{"message":"x"}}\n\n'], "upstream_reset"),
        ([transient("upstream_timeout")], "upstream_timeout"),
        ([transient("upstream_reset")], "upstream_reset"),
        ([b"data: " + b"x" * 5000], "upstream_malformed"),
    ],
)
def test_a_cut_stream_ends_in_an_error_and_never_in_done(end: list[object], code: str):
    async def main() -> None:
        settings = GatewaySettings(sse_event_bytes_max=4096)
        world = World([FIRST, SECOND, *end], settings=settings)
        reply = await world.chat(STREAM)
        assert reply.calls == ["start", "abort"]
        assert reply.body.startswith(CLEAN + SECOND)
        events = EventSplitter(10**6).feed(reply.body)
        error = msgspec.json.decode(data_of(events[-1]) or b"")["error"]
        assert error["code"] == code
        assert b"[DONE]" not in reply.body
        (row,) = world.log.outcomes
        assert (row.final, row.error_code, row.provider_error) == (True, code, True)
        assert row.status == (504 if code == "upstream_timeout" else 502)
        assert (row.output_tokens, row.usage_source) == (2, "estimated")
        assert len(world.upstream.sent) == 1
        world.assert_whole()

    asyncio.run(main())


@pytest.mark.parametrize(
    "first",
    [
        [transient("upstream_reset")],
        [b": warming up\n\n", transient("upstream_timeout")],
        [b'data: {"error":{"message":"busy"}}\n\n'],
        FakeAnswer(503, b'{"error":{"message":"busy"}}'),
    ],
)
def test_before_the_first_event_another_target_takes_over(first: object):
    async def main() -> None:
        world = World(first, [FIRST, LAST, DONE], endpoints=[chat_endpoint(target("a"), target("b"))])
        reply = await world.chat(STREAM)
        assert reply.body == CLEAN + LAST + DONE
        assert reply.headers["x-andon-attempts"] == "2"
        assert [row.final for row in world.log.outcomes] == [False, True]
        assert len({sent.target.id for sent in world.upstream.sent}) == 2
        world.assert_whole()

    asyncio.run(main())


def test_an_error_before_the_stream_is_a_plain_answer_in_the_dialects_shape():
    async def main() -> None:
        world = World(FakeAnswer(400, b'{"error":{"message":"too long","code":"context_length_exceeded"}}'))
        reply = await world.chat(STREAM)
        assert (reply.status, reply.json["error"]["code"]) == (400, "context_length_exceeded")
        assert world.log.outcomes[0].provider_error is False

    asyncio.run(main())


def test_a_finished_stream_without_done_is_whole_and_anything_after_done_is_dropped():
    async def main() -> None:
        assert (await World([FIRST, LAST]).chat(STREAM)).body == CLEAN + LAST + DONE
        reply = await World([FIRST, DONE + SECOND, transient("upstream_reset")]).chat(STREAM)
        assert reply.body == CLEAN + DONE

    asyncio.run(main())


def test_done_waits_for_the_ledger_and_a_lost_row_cuts_the_stream():
    async def main() -> None:
        world = World([FIRST, LAST, DONE])
        world.log.fails = True
        reply = await world.chat(STREAM)
        assert reply.calls == ["start", "abort"]
        assert b"[DONE]" not in reply.body
        assert b"ledger_unavailable" in reply.body
        world.assert_whole()

    asyncio.run(main())


@given(
    st.lists(st.sampled_from([FIRST, SECOND, b": ping\n\n", b"event: x\ndata: 1\ndata: 2\n\n", DONE])),
    st.sampled_from([b"\n", b"\r\n"]),
    st.data(),
)
def test_events_are_the_same_however_the_bytes_are_cut(events: list[bytes], end: bytes, data: st.DataObject):
    whole = b"".join(events).replace(b"\n", end)
    expected = [event[:-2] for event in events]
    splitter, found, position = EventSplitter(4096), [], 0
    while position < len(whole):
        size = data.draw(st.integers(1, 40))
        found += splitter.feed(whole[position : position + size])
        position += size
    assert found == expected
    assert not splitter.unfinished


@given(st.lists(st.binary(max_size=200)))
def test_any_bytes_either_split_or_are_malformed(pieces: list[bytes]):
    splitter = EventSplitter(100)
    try:
        for piece in pieces:
            for event in splitter.feed(piece):
                data_of(event)
    except Transient as error:
        assert error.code == "upstream_malformed"
