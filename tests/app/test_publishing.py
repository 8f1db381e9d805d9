"""Snapshots are numbered for good, handed to whoever waits, and not disturbed by what changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from andon.app.noticing import NoticingStore
from andon.app.publishing import Publisher
from andon.kernel.random import SeededRandom
from andon.kernel.reports import Report
from andon.kernel.snapshot import KeyEntry, Snapshot
from andon.store.model import Record, Unit
from andon.store.sql import SqlStore, open_store
from andon.testing.loop import VirtualClock, run_virtual
from andon.testing.runner import InlineRunner


async def memory_store(clock: VirtualClock) -> SqlStore:
    return await open_store("sqlite://", clock, InlineRunner(), SeededRandom(1))


def compile_teams(unit: Unit, now_ns: int) -> Snapshot:
    """A stand-in for the compiler: one key for each team."""
    keys = tuple(KeyEntry(id=record.name, digest="00") for record in unit.list("Team"))
    return Snapshot(version=0, factory="f", revision=0, compiled_at_ns=now_ns, keys=keys)


async def ignore(reports: Sequence[Report], gateway: str) -> None:
    """Reports are of no interest here."""


def test_equal_content_keeps_its_number_and_a_change_takes_the_next() -> None:
    async def main(clock: VirtualClock) -> None:
        store = await memory_store(clock)
        publisher = Publisher(store, clock, compile_teams, ignore)
        await publisher.refresh()
        assert publisher.version == 1
        await clock.sleep(5)
        await publisher.refresh()
        assert publisher.version == 1
        await store.transact(lambda unit: unit.put(Record(kind="Team", name="risk", spec={})))
        await publisher.refresh()
        assert publisher.version == 2
        assert msgspec.json.decode(publisher.encoded, type=Snapshot).keys[0].id == "risk"
        again = Publisher(store, clock, compile_teams, ignore)
        await again.refresh()
        assert again.version == 2, "a restarted control must not count from the beginning"
        await store.close()

    run_virtual(main)


def test_a_waiting_gateway_gets_the_news_at_once_and_nothing_when_there_is_none() -> None:
    async def main(clock: VirtualClock) -> None:
        raw = await memory_store(clock)
        publisher = Publisher(raw, clock, compile_teams, ignore)
        store = NoticingStore(raw)
        store.listeners.append(publisher.signal)
        running = asyncio.ensure_future(publisher.run())
        first = await publisher.snapshot(0, 10)
        assert first is not None
        began = clock.monotonic()
        assert await publisher.snapshot(1, 7) is None
        assert clock.monotonic() - began >= 7
        waiting = asyncio.ensure_future(publisher.snapshot(1, 100))
        await clock.sleep(0.5)
        began = clock.monotonic()
        await store.transact(lambda unit: unit.put(Record(kind="Team", name="risk", spec={})))
        news = await waiting
        assert news is not None
        assert b"risk" in news
        assert clock.monotonic() - began < 0.1
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await store.close()

    run_virtual(main)


def test_only_what_changes_a_resource_is_noticed() -> None:
    async def main(clock: VirtualClock) -> None:
        store = NoticingStore(await memory_store(clock))
        told: list[int] = []
        store.listeners.append(lambda: told.append(1))
        await store.transact(lambda unit: unit.list("Team"))
        assert not told
        await store.transact(lambda unit: unit.put(Record(kind="Team", name="risk", spec={})))
        assert len(told) == 1
        for status in ({"phase": "a"}, {"phase": "a"}, {"phase": "b"}):
            await store.transact(lambda unit, status=status: unit.put_status("Team", "risk", status))
        assert len(told) == 3
        await store.close()

    run_virtual(main)
