"""Guards on streams: nothing leaves before it is judged, and a text in parts ends as the same text whole."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from andon.kernel.errors import Transient
from andon.kernel.snapshot import GuardEntry
from andon.wire.model import Request
from tests.gateway.test_guards import MARK, answered, ask, guard, row, world
from tests.gateway.world import FakeReply

STREAM = {"stream": True}


def event(**choice: Any) -> bytes:
    body = {"id": "r", "object": "chat.completion.chunk", "choices": [{"index": 0, **choice}]}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def stream_of(*parts: str, choice: int = 0, finish: str = "stop") -> list[bytes]:
    events = [event(index=choice, delta={"role": "assistant", "content": ""})]
    events += [event(index=choice, delta={"content": part}) for part in parts]
    return [*events, event(index=choice, delta={}, finish_reason=finish)]


DONE = b"data: [DONE]\n\n"


def events_of(reply: FakeReply) -> list[Any]:
    found = [line[6:] for line in reply.body.decode().split("\n\n") if line.startswith("data: ")]
    return [json.loads(one) for one in found if one != "[DONE]"]


def text_of(reply: FakeReply, choice: int = 0) -> str:
    deltas = [one for told in events_of(reply) for one in told.get("choices", ()) if one["index"] == choice]
    return "".join(one["delta"].get("content") or "" for one in deltas)


def run(chunks: list[Any], *guards: GuardEntry, body: bytes = ask("x", **STREAM)) -> tuple[FakeReply, Any]:
    async def main() -> tuple[FakeReply, Any]:
        one = world(chunks, guards=guards)
        reply = await one.chat(body)
        one.assert_whole()
        return reply, one

    return asyncio.run(main())


def test_a_clean_stream_arrives_to_the_byte() -> None:
    chunks = stream_of("all ", "is ", "well, ", "says the wéll ") * 1
    reply, one = run([*chunks, DONE], guard(places=("output",)))
    assert reply.body == b"".join(chunks).replace(b": keep", b"") + DONE
    assert row(one).scanned_bytes == row(one).delivered_bytes == len("all is well, says the wéll ".encode())


def test_a_stream_is_redacted_across_its_parts() -> None:
    reply, one = run([*stream_of("my z", "eb", "r", "a", " and ze", "phyr"), DONE], guard(action="redact"))
    assert text_of(reply) == "my [animal] and zephyr"
    assert reply.body.endswith(DONE)
    assert row(one).scanned_bytes == row(one).delivered_bytes == len("x" + "my [animal] and zephyr")


def test_a_block_in_the_middle_cuts_with_what_clients_know() -> None:
    parts = [*["fine words "] * 20, "then a zeb", "ra ", "and more", " words" * 20]
    reply, one = run([*stream_of(*parts), DONE], guard(places=("output",)))
    assert "zeb" not in reply.body.decode()
    assert b"[DONE]" not in reply.body
    told = events_of(reply)
    assert told[-2]["choices"] == [{"index": 0, "finish_reason": "content_filter", "delta": {}}]
    assert told[-1]["error"]["code"] == "content_filter"
    assert reply.calls[-1] == "abort"
    assert (row(one).status, row(one).error_code) == (400, "content_filter")
    assert row(one).scanned_bytes == row(one).delivered_bytes == len(text_of(reply).encode())


def test_a_block_before_anything_was_sent_is_an_ordinary_refusal() -> None:
    reply, one = run([*stream_of("a zebra"), DONE], guard(places=("output",)))
    assert (reply.status, reply.json["error"]["code"], reply.calls) == (400, "content_filter", ["send"])
    assert (row(one).scanned_bytes, row(one).delivered_bytes) == (0, 0)


def test_interleaved_choices_and_calls_are_judged_as_if_each_came_alone() -> None:
    def call(choice: int, tool: int, part: str, **more: Any) -> bytes:
        return event(
            index=choice, delta={"tool_calls": [{"index": tool, "function": {"arguments": part, **more}}]}
        )

    chunks = [
        event(index=1, delta={"content": "ze"}),
        event(index=0, delta={"content": "bra ze"}),
        event(index=1, delta={"content": "bra"}),
        call(0, 0, '{"a": "z', name="f"),
        call(0, 1, '{"b": "\\u00'),
        event(index=0, delta={"content": "br"}),
        call(0, 1, '7aebra", "c": "bra"}'),
        call(0, 0, 'ebra"}'),
        event(index=0, delta={}, finish_reason="tool_calls"),
        event(index=1, delta={}, finish_reason="stop"),
    ]
    reply, one = run([*chunks, DONE], guard(places=("output",), action="redact"))
    assert (text_of(reply, 0), text_of(reply, 1)) == ("bra zebr", "[animal]")
    arguments = {0: "", 1: ""}
    for told in events_of(reply):
        for choice in told["choices"]:
            for made in choice["delta"].get("tool_calls", ()):
                arguments[made["index"]] += made["function"]["arguments"]
    assert arguments == {0: '{"a": "[animal]"}', 1: '{"b": "[animal]", "c": "bra"}'}
    assert row(one).scanned_bytes == row(one).delivered_bytes


def test_comments_and_texts_of_unknown_fields_carry_nothing_past_the_guards() -> None:
    chunks = [
        b": zebra\n\n",
        event(delta={"thinking": "ze"}),
        event(delta={"thinking": "bra"}, note="a zebra"),
    ]
    reply, _ = run([*chunks, *stream_of("x"), DONE], guard(places=("output",), action="redact"))
    assert MARK not in reply.body.decode()
    thought = [told["choices"][0]["delta"].get("thinking", "") for told in events_of(reply)]
    assert "".join(thought) == "[animal]"


def test_a_guard_in_shadow_holds_nothing_back() -> None:
    seen: list[bytes] = []

    async def main() -> None:
        reply = FakeReply()
        one = world(guards=(guard(places=("output",), mode="shadow"),))

        async def look() -> None:
            seen.append(bytes(reply.body))

        one.upstream.script = [[*stream_of("a ze")[:2], look, *stream_of("bra")[1:], DONE]]

        await one.gateway.handle(
            Request(b"POST", b"/v1/chat/completions", b"", [], ask("x", **STREAM), ""), reply
        )
        assert b"a ze" in seen[0]
        assert text_of(reply) == "a zebra"
        (verdict,) = json.loads(row(one).verdicts)
        assert verdict["entities"] == {"animal": 1}
        assert verdict["action"] == "block"

    asyncio.run(main())


def test_an_attempt_that_failed_before_anything_was_sent_leaves_nothing_behind() -> None:
    async def main() -> None:
        one = world(
            [event(delta={"content": "half a zeb"}), Transient("upstream_reset", "gone")],
            [*stream_of("whole"), DONE],
            guards=(guard(places=("output",)),),
        )
        reply = await one.chat(ask("x", **STREAM))
        assert text_of(reply) == "whole"
        assert len(one.upstream.sent) == 2
        assert row(one).scanned_bytes == row(one).delivered_bytes == 5

    asyncio.run(main())


def test_a_guard_of_whole_answers_holds_a_stream_until_it_is_whole() -> None:
    schema = guard("schema", places=("output",), buffer=True, settings={"schema": {"type": "object"}})
    reply, _ = run([*stream_of('{"a"', ": 1}"), DONE], schema)
    assert text_of(reply) == '{"a": 1}'
    reply, _ = run([*stream_of('{"a"', ": 1"), DONE], schema)
    assert (reply.status, reply.json["error"]["code"]) == (400, "content_filter")
    tools = guard("tools", places=("output",), buffer=True, settings={"allow": ["f"]})
    called = event(delta={"tool_calls": [{"index": 0, "function": {"name": "g", "arguments": "{}"}}]})
    reply, _ = run([called, *stream_of(), DONE], tools)
    assert reply.status == 400
    both = guard(places=("output",), action="redact", buffer=True)
    reply, one = run([*stream_of("a ze", "bra"), DONE], both)
    assert text_of(reply) == "a [animal]"
    assert row(one).scanned_bytes == row(one).delivered_bytes


WORDS = ["zebra", "ze", "bra", " ", "zebra zebra", "\u200b", "é", "Z", "EBRA", "x" * 30, "[", "zeb\u2060ra"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=30), st.integers(0, 2**32))
def test_however_a_text_is_cut_the_stream_ends_as_the_whole(words: list[str], seed: int) -> None:
    text = "".join(words)
    chance = random.Random(seed)
    parts, at = [], 0
    while at < len(text):
        size = chance.randint(1, 12)
        parts.append(text[at : at + size])
        at += size
    guards = (
        guard(places=("output",), action="redact"),
        guard("unicode", places=("output",), action="redact"),
    )

    async def main() -> tuple[str, str]:
        whole = world(answered(text), guards=guards)
        buffered = (await whole.chat(ask("x"))).json["choices"][0]["message"]["content"]
        one = world([*stream_of(*parts), DONE], guards=guards)
        reply = await one.chat(ask("x", **STREAM))
        assert row(one).scanned_bytes == row(one).delivered_bytes == len(text_of(reply).encode())
        return buffered, text_of(reply)

    buffered, streamed = asyncio.run(main())
    assert streamed == buffered


def test_words_outside_of_any_text_of_json_are_not_delivered() -> None:
    """A reader that stops at the first wrong type never sees what follows; a client would."""
    reply, _ = run([b'data: {"choices": 5, a zebra}\n\n', DONE], guard(places=("output",)))
    assert b"zebra" not in reply.body
    assert reply.status == 502


def test_an_event_of_another_shape_is_judged_like_any() -> None:
    reply, _ = run(
        [*stream_of("fine"), b'data: {"choices": 5, "b": "zebra"}\n\n', DONE], guard(places=("output",))
    )
    assert b"zebra" not in reply.body
