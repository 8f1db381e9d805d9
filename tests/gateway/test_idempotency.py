"""Idempotency-Key: one answer for one key, within bounds."""

from __future__ import annotations

import asyncio

from andon.gateway.settings import GatewaySettings
from tests.gateway.world import ANSWER, CHAT, FakeAnswer, World

KEY = [(b"idempotency-key", b"one")]


def test_the_same_request_is_answered_from_memory_without_limits_or_model():
    async def main() -> None:
        world = World()
        first, second = await world.chat(headers=KEY), await world.chat(headers=KEY)
        assert first.body == second.body == ANSWER
        assert second.headers["idempotent-replayed"] == "true"
        assert first.headers["x-request-id"] != second.headers["x-request-id"]
        assert len(world.upstream.sent) == 1
        assert len(world.stages[1].admitted) == 1
        world.assert_whole()
        other = await world.chat(CHAT + b" ", headers=KEY)
        assert (other.status, other.json["error"]["code"]) == (422, "idempotency_key_reused")

    asyncio.run(main())


def test_under_way_is_a_conflict_and_a_failure_frees_the_key():
    async def main() -> None:
        go = asyncio.Event()

        async def wait(_: object) -> FakeAnswer:
            await go.wait()
            return FakeAnswer(500, b"")

        world = World(wait, FakeAnswer())
        task = asyncio.ensure_future(world.chat(headers=KEY))
        await asyncio.sleep(0)
        second = await world.chat(headers=KEY)
        assert (second.status, second.headers["x-should-retry"]) == (409, "true")
        go.set()
        assert (await task).status == 500
        assert (await world.chat(headers=KEY)).status == 200
        world.assert_whole()

    asyncio.run(main())


def test_answers_are_forgotten_at_every_bound():
    async def main() -> None:
        settings = GatewaySettings(idempotency_entries_max=3, idempotency_bytes_max=400, idempotency_ttl_s=10)
        world = World(settings=settings)
        for number in range(20):
            await world.chat(headers=[(b"idempotency-key", b"%d" % number)])
        book = world.gateway._idempotency
        assert len(book._entries) <= 3
        assert 0 < book._bytes <= 400
        world.clock.t += 11
        await world.chat(headers=KEY)
        assert len(book._entries) == 1
        assert book._bytes == sum(
            len(e.answer.body) + len(e.answer.head) for e in book._entries.values() if e.answer
        )
        assert (await world.chat(headers=[(b"idempotency-key", b"x" * 300)])).status == 400

    asyncio.run(main())
