"""The walk of one exchange: what is forwarded, answered, settled and recorded on every path."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from andon.gateway.settings import GatewaySettings
from andon.kernel.errors import Refused, Transient
from andon.kernel.snapshot import KeyEntry
from tests.gateway.world import (
    ANSWER,
    CHAT,
    INFER,
    FakeAnswer,
    FakeReply,
    FakeStage,
    World,
    chat_endpoint,
    oip_endpoint,
    release,
    snapshot,
    target,
)


def test_a_chat_goes_through_unchanged_and_leaves_two_rows():
    async def main() -> None:
        world = World()
        reply = await world.chat()
        assert (reply.status, reply.body) == (200, ANSWER)
        assert world.upstream.sent[0].body == CHAT
        assert world.upstream.sent[0].path == b"/v1/chat/completions"
        intent, outcome = world.log.rows
        assert intent.id == outcome.id == reply.headers["x-request-id"]
        assert (outcome.final, outcome.status, outcome.release, outcome.target) == (True, 200, "chat@1", "a")
        assert (outcome.input_tokens, outcome.output_tokens, outcome.usage_source) == (3, 5, "provider")
        assert reply.headers["x-andon-release"] == "chat@1"
        assert reply.headers["x-andon-arm"] == "stable"
        assert reply.headers["x-andon-attempts"] == "1"
        assert float(reply.headers["x-andon-overhead-ms"]) >= 0
        assert world.log.commits == 1
        world.assert_whole()

    asyncio.run(main())


def test_an_inference_goes_to_the_replica_by_its_own_model_name():
    async def main() -> None:
        stable = release("credit@2", "stable", 10000, target("r", "oip", model="credit-2"))
        world = World(FakeAnswer(body=b'{"outputs":[]}'), endpoints=[oip_endpoint(releases=(stable,))])
        for path in (b"/v2/models/credit/infer", b"/v2/models/credit/versions/2/infer"):
            reply = await world.call(path, INFER)
            assert reply.status == 200
            assert world.upstream.sent[-1].path == b"/v2/models/credit-2/infer"
            assert world.upstream.sent[-1].body == INFER
        world.assert_whole()

    asyncio.run(main())


@pytest.mark.parametrize(("durability", "commits"), [("acknowledged", 1), ("strict", 2), ("relaxed", 0)])
def test_durability_is_awaited_as_declared(durability: str, commits: int):
    async def main() -> None:
        world = World(endpoints=[chat_endpoint(durability=durability)])
        await world.chat()
        assert world.log.commits == commits

    asyncio.run(main())


def test_an_acknowledged_answer_waits_for_the_disk():
    async def main() -> None:
        world = World()
        world.log.gate = asyncio.Event()
        reply = FakeReply()
        task = asyncio.ensure_future(_chat_into(world, reply))
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(world.log.rows) == 2
        assert reply.calls == []
        world.log.gate.set()
        await task
        assert reply.status == 200

    asyncio.run(main())


async def _chat_into(world: World, reply: FakeReply) -> None:
    from andon.wire.model import Request

    await world.gateway.handle(Request(b"POST", b"/v1/chat/completions", b"", [], CHAT, ""), reply)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_refusal_settles_those_who_had_admitted_and_leaves_one_row(index: int):
    async def main() -> None:
        names = ["identify", "limits", "choose"]
        stages = [FakeStage(name) for name in names]
        stages[index].verdict = lambda x: Transient(
            "rate_limit_exceeded", "Too many.", status=429, retry_after_s=2.5
        )
        world = World(stages=stages)
        reply = await world.chat()
        assert reply.status == 429
        assert reply.json["error"]["code"] == "rate_limit_exceeded"
        assert reply.headers["retry-after"] == "3"
        assert reply.headers["retry-after-ms"] == "2500"
        assert reply.headers["x-should-retry"] == "true"
        assert [len(stage.settled) for stage in stages] == [1] * index + [0] * (3 - index)
        (row,) = world.log.outcomes
        assert (row.refused_by, row.status, row.error_code) == (names[index], 429, "rate_limit_exceeded")
        assert not world.upstream.sent
        world.assert_whole()

    asyncio.run(main())


def test_a_stranger_learns_nothing_about_names_or_syntax():
    async def main() -> None:
        stages = [FakeStage("identify", lambda x: Refused("invalid_api_key", "Wrong key.", status=401))]
        world = World(stages=stages)
        for body in (CHAT, b"{", b'{"model":"none","messages":[]}'):
            assert (await world.chat(body)).status == 401

    asyncio.run(main())


def test_a_bug_in_a_stage_or_upstream_is_a_500_with_everything_settled():
    async def main() -> None:
        world = World(RuntimeError("boom"))
        assert (await world.chat()).status == 500
        world.assert_whole()

        def broken(x: object) -> None:
            raise RuntimeError("boom")

        stages = [FakeStage("identify"), FakeStage("limits", broken), FakeStage("choose")]
        world = World(stages=stages)
        reply = await world.chat()
        assert (reply.status, reply.json["error"]["code"]) == (500, "internal_error")
        assert "boom" not in reply.body.decode()
        world.assert_whole()
        stages = [FakeStage("identify"), FakeStage("limits")]
        stages[1].settle_raises = True
        world = World(stages=stages)
        assert (await world.chat()).status == 200
        world.assert_whole()

    asyncio.run(main())


@pytest.mark.parametrize("stream", [False, True])
def test_when_the_client_leaves_the_upstream_is_cancelled_and_the_row_says_499(stream: bool):
    async def main() -> None:
        started = asyncio.Event()

        async def hang(*_: object) -> None:
            started.set()
            await asyncio.Event().wait()

        world = World([b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n', hang] if stream else hang)
        body = CHAT.replace(b'"extra"', b'"stream":true,"extra"') if stream else CHAT
        task = asyncio.ensure_future(world.chat(body))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        (row,) = world.log.outcomes
        assert (row.status, row.error_code, row.provider_error, row.final) == (
            499,
            "client_gone",
            False,
            True,
        )
        assert row.output_tokens == (1 if stream else None)
        assert row.usage_source == ("estimated" if stream else "none")
        assert world.upstream.cancelled == 1
        world.assert_whole()

    asyncio.run(main())


@pytest.mark.parametrize("trouble", ["problem", "full", "fails"])
def test_a_ledger_in_trouble_refuses_or_sheds_as_declared(trouble: str):
    async def main(mode: str) -> tuple[World, FakeReply]:
        world = World(endpoints=[chat_endpoint(on_full_disk=mode)])
        value = Transient("ledger_unavailable", "Full.") if trouble == "problem" else True
        setattr(world.log, trouble, value)
        return world, await world.chat()

    world, reply = asyncio.run(main("refuse"))
    assert (reply.status, reply.json["error"]["code"]) == (503, "ledger_unavailable")
    assert reply.headers["x-should-retry"] == "true"
    assert bool(world.upstream.sent) == (trouble == "fails")
    world, reply = asyncio.run(main("shed"))
    assert (reply.status, reply.body) == (200, ANSWER)
    assert trouble == "problem" or world.gateway.meters.events["ledger_shed"] >= 1


def test_a_flood_of_bad_requests_is_sampled():
    async def main() -> None:
        world = World(settings=GatewaySettings(refusal_rows_per_s=5, refusal_sample=10))
        for _ in range(105):
            assert (await world.chat(b"{")).status == 400
        assert len(world.log.rows) == 5 + 10
        assert world.gateway.meters.events["refusal_row_sampled_out"] == 90
        world.clock.t += 1
        await world.chat(b"{")
        assert len(world.log.rows) == 16

    asyncio.run(main())


def test_a_pinned_version_must_be_a_release():
    async def main() -> None:
        canary = release("credit@3", "canary", 100, target("c", "oip"))
        base = oip_endpoint()
        world = World(FakeAnswer(body=b"{}"), endpoints=[oip_endpoint(releases=(*base.releases, canary))])
        reply = await world.call(b"/v2/models/credit/versions/3/infer", INFER)
        assert reply.headers["x-andon-release"] == "credit@3"
        assert world.log.outcomes[0].pinned is True
        reply = await world.call(b"/v2/models/credit/versions/9/infer", INFER)
        assert (reply.status, reply.json) == (404, {"error": "The model 'credit' has no version '9'."})

    asyncio.run(main())


def test_models_are_listed_to_those_who_may_call_them():
    async def main() -> None:
        def known(x: object) -> None:
            x.key = KeyEntry(id="k", digest="", endpoints=("chat",))  # type: ignore[attr-defined]  # an Exchange

        world = World(stages=[FakeStage("identify", known)])
        reply = await world.call(b"/v1/models", method=b"GET")
        assert [model["id"] for model in reply.json["data"]] == ["chat"]
        assert (await world.call(b"/v1/models/chat", method=b"GET")).json["object"] == "model"
        assert (await world.call(b"/v1/models/credit", method=b"GET")).status == 404
        assert (await world.call(b"/v2/models/credit", method=b"GET")).status == 404
        world.assert_whole()

    asyncio.run(main())


def test_the_inference_protocol_tells_health_and_metadata():
    async def main() -> None:
        world = World(endpoints=[oip_endpoint()])
        assert (await world.call(b"/v2", method=b"GET")).json["extensions"] == ["binary_tensor_data"]
        assert (await world.call(b"/v2/health/live", method=b"GET")).json == {"live": True}
        assert (await world.call(b"/v2/health/ready", method=b"GET")).json == {"ready": True}
        for path in (b"/v2/models/credit/ready", b"/v2/models/credit/versions/2/ready"):
            assert (await world.call(path, method=b"GET")).json == {"name": "credit", "ready": True}
        reply = await world.call(b"/v2/models/credit/versions/2", method=b"GET")
        assert reply.json["versions"] == ["2"]
        assert reply.json["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]
        assert (await world.call(b"/v2/models/credit/versions/7", method=b"GET")).status == 404
        assert (await world.call(b"/v2/models/none/ready", method=b"GET")).status == 404
        world.gateway.draining = True
        assert (await world.call(b"/v2/health/ready", method=b"GET")).status == 503

    asyncio.run(main())


def test_aliases_and_provider_names_change_only_the_model():
    async def main() -> None:
        world = World(endpoints=[chat_endpoint(target("a", model="gpt-x"), aliases=("nick",))])
        assert (await world.chat(CHAT.replace(b'"chat"', b'"nick"'))).status == 200
        sent = world.upstream.sent[0].body
        assert sent == CHAT.replace(b'"chat"', b'"gpt-x"')

    asyncio.run(main())


def test_a_credential_is_sent_and_a_client_key_is_not():
    async def main() -> None:
        world = World(endpoints=[chat_endpoint(target("a", credential="env:KEY"))])
        await world.chat(headers=[(b"authorization", b"Bearer sk-client"), (b"traceparent", b"00-1")])
        sent = world.upstream.sent[0].headers
        assert sent[b"authorization"] == b"Bearer secret-of-env:KEY"
        assert sent[b"traceparent"] != b"00-1"

    asyncio.run(main())


def test_a_snapshot_swap_leaves_requests_under_way_alone():
    async def main() -> None:
        go = asyncio.Event()

        async def wait(_: object) -> FakeAnswer:
            await go.wait()
            return FakeAnswer()

        world = World(wait)
        task = asyncio.ensure_future(world.chat())
        for _ in range(5):
            await asyncio.sleep(0)
        world.adopt(snapshot(oip_endpoint(), version=2))
        go.set()
        assert (await task).status == 200
        assert (await world.chat()).status == 404
        world.assert_whole()

    asyncio.run(main())


def test_every_error_has_the_four_fields_of_its_dialect():
    async def main() -> None:
        world = World()
        for body in (b"{", b"[]", b'{"model":1}', b'{"model":"none","messages":[]}', b"\xff", b"[" * 100000):
            reply = await world.chat(body)
            assert set(reply.json["error"]) == {"message", "type", "param", "code"}
            assert reply.headers["x-request-id"]
            reply = await world.call(b"/v2/models/credit/infer", body)
            assert list(reply.json) == ["error"]
            assert isinstance(reply.json["error"], str)
        world.assert_whole()

    asyncio.run(main())


def test_the_protocols_own_refusals_have_the_dialects_shape():
    world = World()
    head, body = world.gateway.refuse(b"/v1/chat/completions", 413, "body_too_large", "Too big.")
    assert b"x-request-id: " in head
    assert msgspec.json.decode(body)["error"]["code"] == "body_too_large"
    head, body = world.gateway.refuse(b"/v2/models/x/infer", 503, "busy", "Busy.")
    assert b"retry-after: 1" in head
    assert msgspec.json.decode(body) == {"error": "Busy."}
    assert world.gateway.body_bytes_max(b"POST", b"/v1/chat/completions", []) == 10 * 2**20
    assert world.gateway.body_bytes_max(b"GET", b"/v1/models", []) == 64 * 1024
