"""The outbox: every message at least once and in order; what cannot be told is buried with its reason."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from andon.control.outbox import ATTEMPTS_MAX, Handler, Outbox
from andon.kernel.errors import Permanent
from andon.kernel.random import SeededRandom
from andon.store.model import Message
from andon.store.sql import SqlStore, open_store
from andon.testing.loop import VirtualClock, run_virtual
from andon.testing.runner import InlineRunner


def run(
    story: Callable[[VirtualClock, SqlStore], Coroutine[Any, Any, None]], seed: int | None = None
) -> None:
    async def main(clock: VirtualClock) -> None:
        store = await open_store("sqlite://", clock, InlineRunner(), SeededRandom(2))
        try:
            await story(clock, store)
        finally:
            await store.close()

    run_virtual(main, seed=seed)


async def enqueue(store: SqlStore, count: int) -> None:
    for index in range(count):
        await store.transact(lambda unit: unit.enqueue("t", {"i": index}))  # noqa: B023  # awaited at once


async def stop(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def outbox(clock: VirtualClock, store: SqlStore, handler: Handler, owner: str = "one") -> Outbox:
    return Outbox(store, clock, SeededRandom(3), {"t": handler}, owner)


def test_messages_are_told_in_order_and_a_failure_holds_back_those_behind_it() -> None:
    async def story(clock: VirtualClock, store: SqlStore) -> None:
        told: list[int] = []
        failures = 3

        async def handler(message: Message) -> None:
            nonlocal failures
            if message.payload["i"] == 2 and failures:
                failures -= 1
                raise ConnectionError("away")
            told.append(message.payload["i"])

        await enqueue(store, 120)
        box = outbox(clock, store, handler)
        task = asyncio.ensure_future(box.run())
        await clock.sleep(60)
        assert told == list(range(120))
        assert (box.delivered, box.failed, box.buried) == (120, 3, 0)
        await enqueue(store, 1)
        box.signal()
        await clock.sleep(0.1)
        assert told[-1] == 0
        await stop(task)

    run(story)


def test_what_fails_too_often_or_for_good_is_buried_and_the_rest_goes_on() -> None:
    async def story(clock: VirtualClock, store: SqlStore) -> None:
        tries = {0: 0, 1: 0, 2: 0}

        async def handler(message: Message) -> None:
            number = message.payload["i"]
            tries[number] += 1
            if number == 0:
                raise ValueError("never")
            if number == 1:
                raise Permanent("gone", "The receiver is gone.")

        await enqueue(store, 3)
        box = outbox(clock, store, handler)
        task = asyncio.ensure_future(box.run())
        await clock.sleep(7200)
        assert tries == {0: ATTEMPTS_MAX, 1: 1, 2: 1}
        buried = await store.transact(lambda unit: unit.events(name="message.buried"))
        assert [row.event.data["reason"] for row in buried] == ["ValueError", "The receiver is gone."]
        assert buried[0].event.data["payload"] == {"i": 0}
        assert await store.transact(lambda unit: unit.pending("t")) == []
        await stop(task)

    run(story)


def test_two_processes_tell_each_message_once_and_a_hanging_handler_is_cut() -> None:
    async def story(clock: VirtualClock, store: SqlStore) -> None:
        told: list[int] = []
        hang = True

        async def handler(message: Message) -> None:
            nonlocal hang
            if hang:
                hang = False
                await clock.sleep(10_000)
            await clock.sleep(0.01)
            told.append(message.payload["i"])

        await enqueue(store, 80)
        tasks = [
            asyncio.ensure_future(outbox(clock, store, handler, owner).run()) for owner in ("one", "two")
        ]
        await clock.sleep(200)
        assert told == list(range(80))
        await stop(*tasks)

    run(story, seed=4)
