"""Hedging: a late first answer is raced by a second one; exactly one counts, and both leave their rows."""

from __future__ import annotations

import asyncio
from typing import Any

from andon.kernel.snapshot import TargetEntry
from tests.gateway.world import FakeAnswer, World, chat_endpoint, target, transient


async def never(entry: TargetEntry) -> Any:
    await asyncio.Event().wait()


def hedged(*script: Any, **more: Any) -> World:
    endpoint = chat_endpoint(target("a"), target("b"), hedge_after_ms=20, **more)
    return World(*script, endpoints=(endpoint,))


def test_a_late_first_answer_loses_to_the_second_and_is_cancelled() -> None:
    async def main() -> None:
        world = hedged(never, FakeAnswer())
        reply = await world.chat()
        assert reply.status == 200
        assert len({sent.target.id for sent in world.upstream.sent}) == 2
        assert world.upstream.cancelled == 1
        lost, won = world.log.outcomes
        assert (lost.attempt, lost.final, lost.error_code) == (0, False, "hedge_lost")
        assert (won.attempt, won.final, won.status, won.target) == (
            1,
            True,
            200,
            world.upstream.sent[1].target.id,
        )
        assert won.input_tokens == 3
        assert [row.attempt for row in world.log.intents] == [0, 1]
        world.assert_whole()

    asyncio.run(main())


def test_a_second_that_fails_does_not_spoil_a_first_that_comes() -> None:
    async def main() -> None:
        late = asyncio.Event()

        async def slow(entry: TargetEntry) -> FakeAnswer:
            await late.wait()
            return FakeAnswer()

        async def fails(entry: TargetEntry) -> Any:
            late.set()
            return transient("upstream_reset")

        world = hedged(slow, fails)
        reply = await world.chat()
        assert reply.status == 200
        final = [row for row in world.log.outcomes if row.final]
        assert [(row.attempt, row.status) for row in final] == [(0, 200)]
        world.assert_whole()

    asyncio.run(main())


def test_when_both_fail_the_usual_retries_follow_and_rows_stay_whole() -> None:
    async def main() -> None:
        async def lose(entry: TargetEntry) -> Any:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            return transient("upstream_reset")

        world = hedged(lose, lose, FakeAnswer())
        reply = await world.chat()
        assert reply.status == 200
        numbers = [row.attempt for row in world.log.intents]
        assert numbers == sorted(set(numbers))
        world.assert_whole()

    asyncio.run(main())


def test_a_client_that_leaves_cancels_both() -> None:
    async def main() -> None:
        world = hedged(never, never)
        asking = asyncio.ensure_future(world.chat())
        while len(world.upstream.sent) < 2:
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert world.upstream.cancelled == 2
        world.assert_whole()

    asyncio.run(main())


def test_one_target_alone_is_never_asked_twice() -> None:
    async def main() -> None:
        world = World(FakeAnswer(), endpoints=(chat_endpoint(target("a"), hedge_after_ms=1),))
        assert (await world.chat()).status == 200
        assert len(world.upstream.sent) == 1
        world.assert_whole()

    asyncio.run(main())
