"""Counters that gateways share: exact, nothing refused that there is room for; what happens without the store."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from andon.kernel.errors import AndonError
from andon.security.limits.accounts import Authority
from andon.security.limits.model import Denial
from andon.security.limits.redis_channel import RedisChannel
from andon.security.limits.shared import Grant, SharedCounters
from tests.security.limits.stores import MemoryChannel, counter, running_redis, sharing


async def take(shared: SharedCounters, found: object, tokens: int = 0) -> object:
    """As the stage does: from memory, else by asking."""
    got = shared.reserve([found], tokens, shared._now())
    return await shared.ask([found], tokens) if got is None else got


async def until(look: object) -> None:
    async with asyncio.timeout(10):
        while not look():
            await asyncio.sleep(0.005)


def test_two_gateways_on_one_redis_serve_exactly_the_limit(tmp_path: Path) -> None:
    async def main(url: str) -> list[int]:
        channels = [RedisChannel(url, "f", f"g:{number}") for number in range(2)]
        async with sharing(channels[0]) as one, sharing(channels[1]) as two:
            limits = [counter(requests_per_minute=1, burst_requests=60) for _ in range(2)]

            async def client(number: int) -> int:
                side = number % 2
                return isinstance(await take((one, two)[side], limits[side]), Grant)

            return await asyncio.gather(*(client(number) for number in range(150)))

    with running_redis(tmp_path) as server:
        assert sum(asyncio.run(main(server.url))) == 60


@pytest.mark.parametrize("limit", [1, 3, 10])
def test_a_small_limit_can_be_used_up_by_whichever_gateway_asks(limit: int) -> None:
    async def main() -> None:
        authority = Authority()
        async with (
            sharing(MemoryChannel(authority, "a")) as one,
            sharing(MemoryChannel(authority, "b")) as two,
        ):
            first, second = (counter(requests_per_minute=1, burst_requests=limit) for _ in range(2))
            assert isinstance(await take(one, first), Grant)
            for _ in range(limit - 1):
                assert isinstance(await take(two, second), Grant)
            for shared, found in ((one, first), (two, second)):
                denied = await take(shared, found)
                assert isinstance(denied, Denial)
                assert denied.dimension == "requests"
                assert denied.wait_s > 50

    asyncio.run(main())


def test_a_hot_counter_is_granted_from_memory_and_what_lies_unused_is_called_back() -> None:
    async def main() -> None:
        authority = Authority()
        async with (
            sharing(MemoryChannel(authority, "a")) as one,
            sharing(MemoryChannel(authority, "b")) as two,
        ):
            first, second = (counter(requests_per_minute=1, burst_requests=2000) for _ in range(2))
            served = 0
            while one.counts["lent"] < 100:
                assert isinstance(await take(one, first), Grant)
                served += 1
                if served % 20 == 0:
                    await asyncio.sleep(0.001)
            while isinstance(await take(two, second), Grant):
                served += 1
            assert served == 2000

    asyncio.run(main())


def test_tokens_are_held_then_charged_and_places_come_back() -> None:
    async def main() -> None:
        authority = Authority()
        async with (
            sharing(MemoryChannel(authority, "a")) as one,
            sharing(MemoryChannel(authority, "b")) as two,
        ):
            ceilings = {"tokens_per_minute": 60, "burst_tokens": 1000, "concurrency": 2}
            first, second = counter(**ceilings), counter(**ceilings)
            big = await take(one, first, 800)
            assert isinstance(big, Grant)
            assert (await take(two, second, 300)).dimension == "tokens"
            one.settle(big, 100, one._now())
            await until(lambda: authority.records and not one._moves and not one._unanswered)
            small = await take(two, second, 880)
            assert isinstance(small, Grant)
            other = await take(one, first, 1)
            assert isinstance(other, Grant)
            assert (await take(two, second, 1)).dimension == "concurrency"
            two.cancel(small, two._now())
            await until(lambda: not two._moves and not two._unanswered)
            assert isinstance(await take(one, first, 880), Grant)
            assert (await take(one, first, 1001)).dimension == "request size"

    asyncio.run(main())


def test_a_client_that_leaves_while_its_gateway_asks_leaves_nothing_taken() -> None:
    async def main() -> None:
        authority = Authority()
        channel = MemoryChannel(authority, "a")
        async with sharing(channel) as one:
            found = counter(requests_per_minute=1, burst_requests=5, concurrency=5)
            for _ in range(20):
                task = asyncio.ensure_future(take(one, found))
                await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            await until(lambda: not one._moves and not one._unanswered and not one._asks)
            got = [await take(one, found) for _ in range(5)]
            assert all(isinstance(one_of, Grant) for one_of in got)

    asyncio.run(main())


def test_an_answer_lost_with_its_connection_is_neither_lost_nor_counted_twice() -> None:
    async def main() -> None:
        authority = Authority()
        channel = MemoryChannel(authority, "a")
        async with sharing(channel, patience_s=0.1) as one:
            found = counter(requests_per_minute=1, burst_requests=5, concurrency=50, on_store_down="closed")
            channel.lose_answers = True  # the authority grants, and nobody hears of it
            refused = await take(one, found)
            assert isinstance(refused, AndonError)
            assert refused.code == "limits_unavailable"
            channel.lose_answers = False
            await until(lambda: not one.away)
            await until(lambda: not one._moves and not one._unanswered)
            assert all([isinstance(await take(one, found), Grant) for _ in range(5)])
            assert isinstance(await take(one, found), Denial)

    asyncio.run(main())


def test_a_gateway_that_slept_beyond_its_lease_spends_nothing_that_went_back() -> None:
    async def main() -> None:
        now_us = [10**12]
        authority = Authority()
        channels = [MemoryChannel(authority, name, lambda: now_us[0]) for name in "ab"]
        async with sharing(channels[0]) as one, sharing(channels[1]) as two:
            ceilings = {"requests_per_minute": 1, "burst_requests": 1000, "concurrency": 10}
            first, second = counter(**ceilings), counter(**ceilings)
            held = [await take(one, first) for _ in range(4)]
            now_us[0] += 10**7  # asleep: the authority gives its places to others
            others = [await take(two, second) for _ in range(10)]
            assert all(isinstance(found, Grant) for found in others)
            await until(lambda: one.counts["fenced"] > 0)  # it woke, was told, and said what it holds
            await until(lambda: not one._restate and not one._unanswered)
            assert isinstance(await take(one, first), Denial)
            for found in held:
                one.settle(found, 0, one._now())
            await until(lambda: not one._moves and not one._unanswered)
            assert isinstance(await take(two, second), Denial)  # 10 are still in flight
            two.settle(others[0], 0, two._now())
            await until(lambda: not two._moves and not two._unanswered)
            assert isinstance(await take(one, first), Grant)

    asyncio.run(main())


@pytest.mark.parametrize(("mode", "granted"), [("closed", 0), ("open", 30), ("localShare", 5)])
def test_each_limit_does_what_it_declares_while_the_store_is_away(
    mode: str, granted: int, tmp_path: Path
) -> None:
    async def main(server: object) -> None:
        channel = RedisChannel(server.url, "f", "g:1")
        async with sharing(channel, patience_s=0.2, gateways=4) as one:
            found = counter(requests_per_minute=1, burst_requests=20, on_store_down=mode)
            assert isinstance(await take(one, found), Grant)
            server.kill()
            await until(lambda: one.away)
            got = [await take(one, found) for _ in range(30)]
            assert sum(isinstance(one_of, Grant) for one_of in got) == granted
            server.start()
            await until(lambda: not one.away)
            await until(lambda: not one._moves and not one._unanswered)
            # The store had no memory; what was served meanwhile is told to it.
            left = 0
            while isinstance(await take(one, found), Grant):
                left += 1
            assert left == max(0, 20 - granted)

    with running_redis(tmp_path) as server:
        asyncio.run(main(server))


def test_a_store_that_hangs_costs_a_request_no_more_than_the_patience() -> None:
    async def main() -> None:
        channel = MemoryChannel(Authority(), "a")
        async with sharing(channel, patience_s=0.05) as one:
            found = counter(requests_per_minute=100, on_store_down="open")
            channel.silent = channel.refuses = True
            got = await asyncio.wait_for(take(one, found), 5)
            assert isinstance(got, Grant)
            assert got.outside
            assert one.away

    asyncio.run(main())
