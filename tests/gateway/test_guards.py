"""Guards on whole requests and answers: what goes to the model, what comes back, what the row says of it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from andon.gateway.settings import GatewaySettings
from andon.kernel.snapshot import BodiesEntry, ExcuseEntry, GuardEntry, RecordingEntry
from andon.security.guards.detectors import Means
from andon.security.guards.engine import GuardEngine
from andon.security.guards.vault import SealedVault
from tests.gateway.world import INFER, FakeAnswer, FakeClock, World, chat_endpoint, oip_endpoint, target

MARK = "zebra"


def guard(detector: str = "pattern", **more: Any) -> GuardEntry:
    settings = more.pop("settings", {"words": {"animal": ["zebra"]}} if detector == "pattern" else {})
    return GuardEntry(
        **{
            "name": detector,
            "detector": detector,
            "places": ("input", "context", "output"),
            "mode": "enforce",
            "action": "block",
            "settings": settings,
            **more,
        }
    )


def engine(clock: FakeClock, **more: Any) -> GuardEngine:
    return GuardEngine(Means(clock=clock, vault=SealedVault(b"s" * 32), secret=b"s" * 32, **more))


def world(*script: Any, guards: tuple[GuardEntry, ...] = (), **more: Any) -> World:
    endpoint = chat_endpoint(target("a"), guards=guards, **more)
    return World(*script, endpoints=[endpoint], guards=engine)


def ask(text: Any, **more: Any) -> bytes:
    return json.dumps({"model": "chat", "messages": [{"role": "user", "content": text}], **more}).encode()


def answered(*texts: str, **more: Any) -> FakeAnswer:
    choices = [
        {"index": index, "message": {"role": "assistant", "content": text, **more}, "finish_reason": "stop"}
        for index, text in enumerate(texts)
    ]
    return FakeAnswer(body=json.dumps({"id": "r", "object": "chat.completion", "choices": choices}).encode())


def row(one: World) -> Any:
    return one.log.outcomes[-1]


def test_a_blocked_request_reaches_no_model_and_the_row_says_who_stopped_it() -> None:
    async def main() -> None:
        one = world(answered("fine"), guards=(guard(),))
        reply = await one.chat(ask(f"a {MARK} here"))
        assert reply.status == 400
        assert reply.json["error"]["code"] == "content_filter"
        assert MARK not in reply.body.decode()
        assert one.upstream.sent == []
        assert row(one).refused_by == "guards"
        (verdict,) = json.loads(row(one).verdicts)
        assert verdict["guard"] == "pattern"
        assert verdict["action"] == "block"
        assert verdict["entities"] == {"animal": 1}
        assert verdict["spans"] == [[0, 2, 7]]
        assert MARK not in row(one).verdicts
        assert (row(one).scanned_bytes, row(one).delivered_bytes) == (0, 0)
        one.assert_whole()

    asyncio.run(main())


def test_a_clean_exchange_is_forwarded_to_the_byte_and_its_bytes_are_counted_on_both_sides() -> None:
    async def main() -> None:
        one = world(answered("all is wéll"), guards=(guard(),))
        body = ask("hëllo").replace(b'"messages"', b'"extra": {"kept": 1.50},  "messages"')
        body = body.replace(b'"chat"', b'"a"', 0)
        reply = await one.chat(body)
        assert reply.status == 200
        assert b'{"kept":1.50}' in one.upstream.sent[0].body.replace(b" ", b"")
        assert (
            row(one).scanned_bytes
            == row(one).delivered_bytes
            == len("hëllo".encode()) + len("all is wéll".encode())
        )
        assert {one["place"] for one in json.loads(row(one).verdicts)} == {"input", "output"}
        one.assert_whole()

    asyncio.run(main())


def test_a_redacted_request_is_what_the_model_the_copy_and_the_record_get() -> None:
    async def main() -> None:
        kept: list[Any] = []

        class Sink:
            def put(self, body: Any, *more: Any) -> str:
                kept.append(body)
                return ""

        endpoint = chat_endpoint(
            target("a"),
            guards=(guard(action="redact"),),
            recording=RecordingEntry(bodies=BodiesEntry(inputs=True, outputs=True)),
        )
        one = World(answered(f"your {MARK}"), endpoints=[endpoint], guards=engine, bodies=Sink())
        reply = await one.chat(ask(f"my {MARK}"))
        assert reply.json["choices"][0]["message"]["content"] == "your [animal]"
        assert [sent.body.count(b"[animal]") for sent in one.upstream.sent] == [1]
        assert not any(MARK.encode() in body.data for body in kept)
        assert len(kept) == 2
        assert row(one).scanned_bytes == row(one).delivered_bytes == len("my [animal]") + len("your [animal]")

    asyncio.run(main())


def test_a_blocked_answer_is_not_delivered() -> None:
    async def main() -> None:
        one = world(answered("ok", f"a {MARK}"), guards=(guard(places=("output",)),))
        reply = await one.chat(ask(MARK))
        assert reply.status == 400
        assert MARK not in reply.body.decode()
        assert (row(one).status, row(one).error_code, row(one).provider_error) == (
            400,
            "content_filter",
            False,
        )
        assert (row(one).scanned_bytes, row(one).delivered_bytes) == (0, 0)
        one.assert_whole()

    asyncio.run(main())


def test_in_shadow_everything_is_judged_and_nothing_is_changed() -> None:
    async def main() -> None:
        one = world(answered(f"a {MARK}"), guards=(guard(mode="shadow"),))
        reply = await one.chat(ask(f"a {MARK}"))
        assert reply.status == 200
        assert MARK in reply.body.decode()
        verdicts = json.loads(row(one).verdicts)
        assert [(one["place"], one["action"]) for one in verdicts] == [
            ("input", "block"),
            ("output", "block"),
        ]
        assert row(one).scanned_bytes == row(one).delivered_bytes > 0
        assert 'andon_guard_verdicts_total{guard="pattern",place="input",mode="shadow",action="block"} 1' in (
            one.gateway.meters.exposition({})
        )

    asyncio.run(main())


HIDDEN = [
    {"messages": [{"role": "user", "content": [{"type": "text", "text": MARK}]}]},
    {"messages": [{"role": "system", "content": MARK}]},
    {"messages": [{"role": "developer", "content": MARK}]},
    {"messages": [{"role": "user", "content": "x", "name": f"the {MARK}"}]},
    {"messages": [{"role": "tool", "content": MARK, "tool_call_id": "1"}]},
    {"messages": [{"content": MARK, "role": "tool"}]},
    {"messages": [{"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": MARK}}]},
    {
        "messages": [
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "1",
                        "type": "function",
                        "function": {"name": "f", "arguments": '{"a":"z\\u0065bra"}'},
                    }
                ],
            }
        ]
    },
    {"messages": [{"role": "assistant", "refusal": MARK, "content": None}]},
    {"messages": [{"role": "user", "content": "x"}], "user": f"{MARK} person"},
    {"messages": [{"role": "user", "content": "x"}], "metadata": {"note": f"a {MARK}"}},
    {"messages": [{"role": "user", "content": "x"}], "metadata": {f"a {MARK}": 1}},
    {"messages": [{"role": "user", "content": "x"}], "prediction": {"type": "content", "content": MARK}},
    {"messages": [{"role": "user", "content": "x"}], "stop": [MARK]},
    {"messages": [{"role": "user", "content": "x"}], "documents": [{"text": MARK}]},
    {
        "messages": [{"role": "user", "content": "x"}],
        "tools": [{"type": "function", "function": {"name": "f", "description": f"the {MARK}"}}],
    },
    {"messages": [{"role": "user", "content": "z\u200be\u2060bra"}]},
    {"messages": [{"role": "user", "content": "".join(chr(0xE0000 + ord(one)) for one in MARK)}]},
    {"messages": [{"role": "user", "content": "z\u0435br\u0430"}]},  # with Cyrillic letters
]


@pytest.mark.parametrize("hidden", HIDDEN, ids=range(len(HIDDEN)))
def test_no_place_of_a_chat_hides_a_text(hidden: dict[str, Any]) -> None:
    async def main() -> None:
        one = world(answered("fine"), guards=(guard(),))
        reply = await one.chat(json.dumps({"model": "chat", **hidden}).encode())
        assert reply.json["error"]["code"] == "content_filter", reply.body
        assert one.upstream.sent == []
        redacting = world(answered("fine"), guards=(guard(action="redact"),))
        reply = await redacting.chat(json.dumps({"model": "chat", **hidden}).encode())
        assert reply.status == 200
        sent = json.loads(redacting.upstream.sent[0].body)
        assert "[animal]" in json.dumps(sent)
        assert MARK not in json.dumps(sent)
        assert row(redacting).scanned_bytes == row(redacting).delivered_bytes

    asyncio.run(main())


def test_a_key_given_twice_hides_nothing() -> None:
    async def main() -> None:
        one = world(answered("fine"), guards=(guard(),))
        said = b'"messages":[{"role":"user","content":"%b"}]'
        body = b'{"model":"chat",' + said % b"zebra" + b"," + said % b"x" + b"}"
        reply = await one.chat(body)
        assert (reply.status, reply.json["error"]["code"]) == (400, "invalid_json")
        assert one.upstream.sent == []

    asyncio.run(main())


def test_what_the_model_said_before_is_judged_by_detectors_of_data_only() -> None:
    async def main() -> None:
        said = [{"role": "assistant", "content": f"a {MARK}"}, {"role": "user", "content": "go on"}]
        body = json.dumps({"model": "chat", "messages": said}).encode()
        one = world(answered("fine"), guards=(guard("unicode", places=("input",)),))
        assert (await one.chat(body)).status == 200
        assert row(one).scanned_bytes == row(one).delivered_bytes == len(f"a {MARK}go on")

    asyncio.run(main())


def test_what_was_tokenised_comes_back_to_its_own_caller_only() -> None:
    async def main() -> None:
        tokenise = guard(places=("input",), action="tokenise")
        one = world(answered("hello"), guards=(tokenise,))
        await one.chat(ask(f"I am {MARK}"))
        sent = json.loads(one.upstream.sent[0].body)["messages"][0]["content"]
        assert MARK not in sent
        assert sent.startswith("I am [[animal:")
        token = sent.removeprefix("I am ")
        one.upstream.script = [answered(f"Dear {token}, yours", f"[[animal:{'A' * 40}]]")]
        reply = await one.chat(ask("x"))
        texts = [choice["message"]["content"] for choice in reply.json["choices"]]
        assert texts == [f"Dear {MARK}, yours", f"[[animal:{'A' * 40}]]"]

    asyncio.run(main())


def test_an_upstreams_error_cannot_repeat_what_was_sent() -> None:
    async def main() -> None:
        error = FakeAnswer(400, json.dumps({"error": {"message": f"bad {MARK}"}}).encode())
        one = world(error, guards=(guard(places=("output",)),))
        reply = await one.chat(ask("x"))
        assert reply.status == 400
        assert MARK not in reply.body.decode()

    asyncio.run(main())


def test_the_probabilities_of_an_edited_answer_go_with_it() -> None:
    async def main() -> None:
        tokens = [{"token": one, "bytes": [1], "top_logprobs": [{"token": "zeb"}]} for one in ("ze", "bra")]
        choices = [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "zebra"},
                "logprobs": {"content": tokens},
            },
            {
                "index": 1,
                "message": {"role": "assistant", "content": "fine"},
                "logprobs": {"content": [{"token": "fine"}]},
            },
        ]
        one = world(
            FakeAnswer(body=json.dumps({"choices": choices}).encode()), guards=(guard(action="redact"),)
        )
        reply = await one.chat(ask("x"))
        assert reply.json["choices"][0]["logprobs"] is None
        assert reply.json["choices"][1]["logprobs"] == {"content": [{"token": "fine"}]}
        assert row(one).scanned_bytes == row(one).delivered_bytes

    asyncio.run(main())


def test_tensors_of_strings_are_texts_in_json_and_in_binary() -> None:
    async def main() -> None:
        endpoint = oip_endpoint(guards=(guard(action="redact"),))
        stable = endpoint.releases[0]
        endpoint = oip_endpoint(
            guards=(guard(action="redact"),),
            releases=(type(stable)(id="credit@2", arm="stable", weight=10000, targets=stable.targets),),
        )
        answer = FakeAnswer(
            body=b'{"model_name":"m","outputs":[{"name":"y","datatype":"BYTES","shape":[1],"data":["a zebra"]}]}'
        )
        one = World(answer, endpoints=[endpoint], guards=engine)
        body = b'{"inputs":[{"name":"x","shape":[2],"datatype":"BYTES","data":["zebra!","ok"]}]}'
        reply = await one.call(b"/v2/models/credit/infer", body)
        assert one.upstream.sent[0].body == body.replace(b"zebra", b"[animal]")
        assert reply.json["outputs"][0]["data"] == ["a [animal]"]
        assert row(one).scanned_bytes == row(one).delivered_bytes == len("[animal]!ok") + len("a [animal]")

        def binary(*texts: bytes) -> bytes:
            return b"".join(len(text).to_bytes(4, "little") + text for text in texts)

        data = binary(b"a zebra", b"\xff\xfe")
        head = (
            b'{"inputs":[{"name":"n","shape":[1],"datatype":"FP32","parameters":{"binary_data_size":4}},{"name":"x","shape":[2],"datatype":"BYTES","parameters":{"binary_data_size":%d}}]}'
            % len(data)
        )
        back = (
            b'{"outputs":[{"name":"y","datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":9}}]}'
        )
        one.upstream.script = [
            FakeAnswer(
                body=back + binary(b"zebra"),
                headers=[
                    (b"content-type", b"application/octet-stream"),
                    (b"inference-header-content-length", b"%d" % len(back)),
                ],
            )
        ]
        reply = await one.call(
            b"/v2/models/credit/infer",
            head + b"\0\0\x80?" + data,
            [(b"inference-header-content-length", b"%d" % len(head))],
        )
        sent = one.upstream.sent[-1]
        new = binary(b"a [animal]", b"\xff\xfe")
        assert sent.body == head.replace(b"%d" % len(data), b"%d" % len(new)) + b"\0\0\x80?" + new
        assert sent.headers[b"inference-header-content-length"] == b"%d" % (len(sent.body) - len(new) - 4)
        length = int(reply.headers["inference-header-content-length"])
        assert json.loads(reply.body[:length])["outputs"][0]["parameters"] == {"binary_data_size": 12}
        assert reply.body[length:] == binary(b"[animal]")
        assert row(one).scanned_bytes == row(one).delivered_bytes > 0

    asyncio.run(main())


def test_a_client_that_leaves_while_its_request_is_judged_leaves_nothing_unsettled() -> None:
    async def main() -> None:
        waiting = asyncio.Event()

        class Slow:
            sent: tuple[Any, ...] = ()

            async def send(self, *words: Any, **more: Any) -> Any:
                waiting.set()
                await asyncio.Event().wait()

        entry = guard(
            "external",
            threshold=0.5,
            places=("input",),
            settings={"url": "http://127.0.0.1:9/x", "timeoutMs": 60000},
        )
        endpoint = chat_endpoint(target("a"), guards=(entry,))
        one = World(
            answered("fine"), endpoints=[endpoint], guards=lambda clock: engine(clock, upstream=Slow())
        )
        task = asyncio.ensure_future(one.chat(ask("x")))
        await waiting.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert one.upstream.sent == []
        assert row(one).status == 499
        one.assert_whole()

    asyncio.run(main())


def test_guards_that_nobody_can_enforce_are_not_adopted() -> None:
    with pytest.raises(Exception, match="has guards and this gateway none"):
        World(endpoints=[chat_endpoint(target("a"), guards=(guard(),))], settings=GatewaySettings())


def test_a_repeated_answer_is_the_one_that_was_let_through() -> None:
    async def main() -> None:
        one = world(answered(f"a {MARK}"), guards=(guard(action="redact"),))
        headers = [(b"idempotency-key", b"k")]
        first = await one.chat(ask(f"the {MARK}"), headers)
        again = await one.chat(ask(f"the {MARK}"), headers)
        assert first.body == again.body
        assert MARK not in again.body.decode()
        assert len(one.upstream.sent) == 1

    asyncio.run(main())


def test_retries_and_hedges_send_the_text_as_it_was_let_through() -> None:
    async def main() -> None:
        guards = (guard(action="redact", places=("input",)),)
        endpoint = chat_endpoint(target("a"), target("b"), guards=guards)
        one = World(FakeAnswer(503, b"{}"), answered("fine"), endpoints=[endpoint], guards=engine)
        assert (await one.chat(ask(f"the {MARK}"))).status == 200
        assert len(one.upstream.sent) == 2
        assert not any(MARK.encode() in sent.body for sent in one.upstream.sent)
        assert row(one).scanned_bytes == row(one).delivered_bytes == len("the [animal]")
        late = chat_endpoint(target("a"), target("b"), guards=guards, hedge_after_ms=5)

        async def slow(_: Any) -> Any:
            await asyncio.sleep(0.05)
            return answered("late")

        one = World(slow, answered("fine"), endpoints=[late], guards=engine)
        assert (await one.chat(ask(f"the {MARK}"))).status == 200
        assert not any(MARK.encode() in sent.body for sent in one.upstream.sent)
        final = next(one for one in one.log.outcomes if one.final)
        assert final.scanned_bytes == final.delivered_bytes == len("the [animal]")

    asyncio.run(main())


def test_findings_raise_the_class_of_an_exchange_and_it_stays_where_it_may_be() -> None:
    async def main() -> None:
        label = guard(action="label", label="restricted")
        one = world(answered("fine"), guards=(label,))
        assert (await one.chat(ask(MARK))).status == 200
        assert row(one).data_class == "restricted"
        assert (await one.chat(ask("x"))).status == 200
        assert row(one).data_class == "public"  # no stage of this gateway's knows the endpoint's own
        below = world(answered("fine"), guards=(label,), label_max="confidential")
        reply = await below.chat(ask(MARK))
        assert (reply.status, reply.json["error"]["code"]) == (403, "label_not_allowed")
        assert below.upstream.sent == []
        answering = world(answered(f"a {MARK}"), guards=(label,), label_max="confidential")
        reply = await answering.chat(ask("x"))
        assert reply.status == 403
        assert MARK not in reply.body.decode()

    asyncio.run(main())


def test_bodies_of_the_highest_class_are_recorded_only_where_it_is_said() -> None:
    async def main() -> None:
        for restricted in (False, True):
            kept: list[Any] = []

            class Sink:
                def put(self, body: Any, *more: Any, into: list[Any] = kept) -> str:
                    into.append(body)
                    return ""

            endpoint = chat_endpoint(
                target("a"),
                guards=(guard(action="label", label="restricted"),),
                recording=RecordingEntry(
                    bodies=BodiesEntry(inputs=True, outputs=True, restricted=restricted)
                ),
            )
            one = World(answered("fine"), endpoints=[endpoint], guards=engine, bodies=Sink())
            await one.chat(ask(MARK))
            assert bool(kept) == restricted

    asyncio.run(main())


def test_an_exception_holds_until_its_day() -> None:
    async def main() -> None:
        excuse = ExcuseEntry(until_ns=1_500 * 10**9, text="zebra")
        one = world(answered("fine"), guards=(guard(excuses=(excuse,)),))
        assert (await one.chat(ask("A ZEBRA"))).status == 200
        one.clock.t = 2_000.0
        assert (await one.chat(ask("A ZEBRA"))).status == 400

    asyncio.run(main())


def test_a_detector_that_breaks_lets_nothing_through_unless_it_is_declared_to() -> None:
    class Broken:
        async def send(self, *words: Any, **more: Any) -> Any:
            raise ValueError("a bug")

    def broken(clock: FakeClock) -> GuardEngine:
        return engine(clock, upstream=Broken())

    async def main() -> None:
        for on_failure, status in (("block", 503), ("pass", 200)):
            settings = {"url": "http://127.0.0.1:9/x"}
            outside = guard(
                "external", threshold=0.5, on_failure=on_failure, places=("input",), settings=settings
            )
            endpoint = chat_endpoint(target("a"), guards=(outside,))
            one = World(answered("fine"), endpoints=[endpoint], guards=broken)
            reply = await one.chat(ask("hello"))
            assert reply.status == status
            (verdict,) = json.loads(row(one).verdicts)
            assert verdict["failed"] == "error"
            if status == 200:
                assert (row(one).scanned_bytes, row(one).delivered_bytes) == (0, 5)

    asyncio.run(main())


def test_what_is_brought_in_is_marked() -> None:
    async def main() -> None:
        mark = guard("spotlight", places=("context",), action="mark")
        one = world(answered("fine"), guards=(mark, guard(places=("context",), action="redact")))
        said = [
            {"role": "tool", "tool_call_id": "1", "content": f"a {MARK} page"},
            {"role": "user", "content": "go"},
        ]
        await one.chat(ask("x", messages=said))
        sent = json.loads(one.upstream.sent[0].body)["messages"]
        assert sent[0]["content"].startswith("<data ")
        assert "a [animal] page" in sent[0]["content"]
        assert sent[1]["content"] == "go"
        assert row(one).scanned_bytes == row(one).delivered_bytes

    asyncio.run(main())


def test_a_callers_charset_is_not_handed_on_for_a_model_to_read_other_words_by() -> None:
    async def main() -> None:
        one = world(answered("fine"), guards=(guard(),))
        hidden = ask("+AHoAZQBiAHIAYQ-")  # "zebra" in UTF-7
        await one.chat(hidden, headers=((b"content-type", b"application/json; charset=utf-7"),))
        assert one.upstream.sent[0].headers[b"content-type"] == b"application/json"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("head", "lengths"),
    [
        (  # the sizes that a client reads are spelt otherwise, those of a side that is not answered are plain
            b'{"inputs":[{"name":"x","datatype":"FP32","parameters":{"binary_data_size":9}}],"outputs":[{"name":"y",'
            b'"datatype":"BYTES","shape":[1],"parameters":{"binary_data_s\\u0069ze":9}}]}',
            (0,),
        ),
        (
            b'{"outputs":[{"name":"y","datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":9}}]}',
            (0, -1),
        ),
    ],
)
def test_a_binary_answer_that_can_be_read_in_two_ways_is_not_delivered_unjudged(
    head: bytes, lengths: tuple[int, ...]
) -> None:
    async def main() -> None:
        name = b"inference-header-content-length"
        headers = [(name, b"%d" % (len(head) + more)) for more in lengths]
        answer = FakeAnswer(body=head + b"\5\0\0\0zebra", headers=headers)
        endpoint = oip_endpoint(guards=(guard(places=("output",)),))
        one = World(answer, endpoints=[endpoint], guards=engine)
        reply = await one.call(b"/v2/models/credit/infer", INFER, [])
        assert b"zebra" not in reply.body
        assert reply.status in (400, 502)  # judged as what a client would read, or not readable

    asyncio.run(main())
