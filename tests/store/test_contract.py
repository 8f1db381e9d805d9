"""What every store promises, run against SQLite in a file, SQLite in memory and a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from andon.kernel.errors import Conflict, Refused, Transient
from andon.kernel.events import Event
from andon.store.model import Lease, Record, Store, Unit
from andon.store.runner import ThreadRunner
from andon.store.tables import outbox
from andon.store.unit import OUTBOX_MAX
from tests.store.conftest import HandClock, Opener

Run = Callable[[Callable[[Store], Coroutine[Any, Any, None]]], None]


@pytest.fixture
def run(opened: Opener) -> Run:
    def run_(story: Callable[[Store], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            async with opened() as store:
                await story(store)

        asyncio.run(main())

    return run_


def endpoint(name: str = "credit", **spec: Any) -> Record:
    return Record(kind="Endpoint", name=name, spec=spec or {"retries": 2})


def test_a_resource_comes_back_as_it_was_put(run: Run, clock: HandClock) -> None:
    spec = {"text": "ünï \u0000 ☃", "deep": [{"a": [1, 2.5, None, True]}], "big": 2**53}

    async def story(store: Store) -> None:
        record = Record(
            kind="Endpoint", name="a", spec=spec, labels={"x": "y"}, annotations={"n": "m"}, owner="T/o"
        )
        put = await store.transact(lambda unit: unit.put(record))
        assert (put.generation, put.version, put.created_ns) == (1, 1, clock.ns)
        assert await store.transact(lambda unit: unit.get("Endpoint", "a")) == put
        assert put.spec == spec
        assert await store.transact(lambda unit: unit.get("Endpoint", "b")) is None
        assert await store.transact(lambda unit: unit.get("Other", "a")) is None

    run(story)


def test_generation_grows_with_the_spec_and_version_with_every_write(run: Run) -> None:
    async def story(store: Store) -> None:
        async def put(record: Record) -> tuple[int, int]:
            stored = await store.transact(lambda unit: unit.put(record))
            return stored.generation, stored.version

        assert await put(endpoint(retries=1)) == (1, 1)
        assert await put(endpoint(retries=1)) == (1, 1)
        assert await put(endpoint(retries=2)) == (2, 2)
        await store.transact(lambda unit: unit.put_status("Endpoint", "credit", {"ready": 1}))
        labelled = Record(kind="Endpoint", name="credit", spec={"retries": 2}, labels={"a": "b"})
        assert await put(labelled) == (2, 4)
        held = await store.transact(lambda unit: unit.get("Endpoint", "credit"))
        assert held is not None
        assert held.status == {"ready": 1}

    run(story)


def test_an_expected_version_that_moved_is_a_conflict_and_writes_nothing(run: Run) -> None:
    async def story(store: Store) -> None:
        await store.transact(lambda unit: unit.put(endpoint(retries=1), expect_version=0))
        for expected in (0, 2):
            with pytest.raises(Conflict):
                await store.transact(lambda unit: unit.put(endpoint(retries=9), expect_version=expected))  # noqa: B023  # awaited at once
            with pytest.raises(Conflict):
                await store.transact(lambda unit: unit.delete("Endpoint", "credit", expect_version=expected))  # noqa: B023  # awaited at once
        with pytest.raises(Conflict):
            await store.transact(lambda unit: unit.put(endpoint("other"), expect_version=1))
        held = await store.transact(lambda unit: unit.get("Endpoint", "credit"))
        assert held is not None
        assert held.spec == {"retries": 1}

    run(story)


def test_a_status_is_written_only_where_generation_and_lease_still_match(run: Run, clock: HandClock) -> None:
    async def story(store: Store) -> None:
        await store.transact(lambda unit: unit.put(endpoint()))

        def status(value: int, generation: int, lease: Lease | None) -> Callable[[Unit], Record | None]:
            return lambda unit: unit.put_status(
                "Endpoint", "credit", {"v": value}, expect_generation=generation, lease=lease
            )

        mine = await store.transact(lambda unit: unit.acquire("l", "me", 10))
        assert mine is not None
        assert await store.transact(status(1, 2, mine)) is None
        written = await store.transact(status(1, 1, mine))
        assert written is not None
        assert (written.status, written.generation) == ({"v": 1}, 1)
        clock.advance(11)
        assert await store.transact(status(2, 1, mine)) is None
        theirs = await store.transact(lambda unit: unit.acquire("l", "them", 10))
        assert await store.transact(status(3, 1, mine)) is None
        assert await store.transact(status(4, 1, theirs)) is not None
        assert await store.transact(lambda unit: unit.put_status("Endpoint", "gone", {})) is None

    run(story)


def test_what_is_owned_goes_with_its_owner_at_any_depth(run: Run) -> None:
    async def story(store: Store) -> None:
        def fill(unit: Unit) -> None:
            unit.put(endpoint())
            for index in range(30):
                unit.put(Record(kind="Rollout", name=f"r{index}", spec={}, owner="Endpoint/credit"))
                unit.put(Record(kind="Gate", name=f"g{index}", spec={}, owner=f"Rollout/r{index}"))
            unit.put(Record(kind="Rollout", name="other", spec={}, owner="Endpoint/other"))

        await store.transact(fill)
        assert len(await store.transact(lambda unit: unit.list("Rollout", owner="Endpoint/credit"))) == 30
        assert await store.transact(lambda unit: unit.delete("Endpoint", "credit"))
        assert not await store.transact(lambda unit: unit.delete("Endpoint", "credit"))
        assert [row.name for row in await store.transact(lambda unit: unit.list("Rollout"))] == ["other"]
        assert await store.transact(lambda unit: unit.list("Gate")) == []

    run(story)


def test_lists_are_by_name_and_tell_peoples_from_owned(run: Run) -> None:
    async def story(store: Store) -> None:
        def fill(unit: Unit) -> None:
            for name in ("b", "c", "a"):
                unit.put(endpoint(name))
            unit.put(Record(kind="Endpoint", name="aa", spec={}, owner="X/y"))

        await store.transact(fill)
        everyone = await store.transact(lambda unit: unit.list("Endpoint"))
        assert [row.name for row in everyone] == ["a", "aa", "b", "c"]
        people = await store.transact(lambda unit: unit.list("Endpoint", owner=""))
        assert [row.name for row in people] == ["a", "b", "c"]

    run(story)


def test_an_event_with_a_unique_key_happens_once(run: Run, clock: HandClock) -> None:
    async def story(store: Store) -> None:
        event = Event(
            name="rollout.aborted", subject="Rollout/a", actor="gateway:0", data={"e": 21.5}, unique="k"
        )
        first = await store.transact(lambda unit: unit.append(event))
        assert first is not None
        assert await store.transact(lambda unit: unit.append(event)) is None
        plain = Event(name="rollout.seen", subject="Rollout/a", actor="x")
        sequences = [await store.transact(lambda unit: unit.append(plain)) for _ in range(2)]
        assert sequences == sorted({first, *filter(None, sequences)})[1:]
        rows = await store.transact(lambda unit: unit.events())
        assert [row.event.name for row in rows] == ["rollout.aborted", "rollout.seen", "rollout.seen"]
        assert rows[0].event.at_ns == clock.ns
        assert rows[0].event.data == {"e": 21.5}

    run(story)


def test_the_journal_is_read_by_subject_name_and_place(run: Run) -> None:
    async def story(store: Store) -> None:
        def fill(unit: Unit) -> None:
            for index in range(6):
                unit.append(
                    Event(name=f"a.n{index % 2}", subject=f"S/{index % 3}", actor="x", data={"i": index})
                )

        await store.transact(fill)

        async def found(**query: Any) -> list[int]:
            rows = await store.transact(lambda unit: unit.events(**query))
            return [row.event.data["i"] for row in rows]

        everything = await store.transact(lambda unit: unit.events())
        assert await found(subject="S/1") == [1, 4]
        assert await found(name="a.n1") == [1, 3, 5]
        assert await found(name="a.") == [0, 1, 2, 3, 4, 5]
        assert await found(name="b.") == []
        assert await found(after=everything[3].sequence) == [4, 5]
        assert await found(newest_first=True, limit=2) == [5, 4]
        assert await found(limit=0) == []

    run(story)


def test_a_message_stays_until_it_is_delivered(run: Run) -> None:
    async def story(store: Store) -> None:
        numbers = [await store.transact(lambda unit: unit.enqueue("t", {"a": 1})) for _ in range(3)]
        await store.transact(lambda unit: unit.enqueue("other", {}))
        await store.transact(lambda unit: unit.retried(numbers[0]))
        first = await store.transact(lambda unit: unit.pending("t"))
        assert [message.sequence for message in first] == numbers
        assert [message.attempts for message in first] == [1, 0, 0]
        assert first[0].payload == {"a": 1}
        await store.transact(lambda unit: unit.delivered(numbers[0]))
        await store.transact(lambda unit: unit.delivered(numbers[0]))
        assert len(await store.transact(lambda unit: unit.pending("t"))) == 2
        assert len(await store.transact(lambda unit: unit.pending("t", limit=1))) == 1

    run(story)


def test_a_full_topic_refuses_and_others_go_on(opened: Opener) -> None:
    async def main() -> None:
        async with opened() as store:
            row = {"topic": "t", "payload": "{}", "attempts": 0, "at_ns": 0}
            with store._engine.begin() as connection:
                connection.execute(outbox.insert(), [row] * OUTBOX_MAX)
            with pytest.raises(Transient, match="wait for delivery"):
                await store.transact(lambda unit: unit.enqueue("t", {}))
            await store.transact(lambda unit: unit.enqueue("other", {}))

    asyncio.run(main())


def test_a_lease_is_held_by_one_until_it_expires_and_its_token_only_grows(run: Run, clock: HandClock) -> None:
    async def story(store: Store) -> None:
        async def acquire(owner: str) -> Lease | None:
            return await store.transact(lambda unit: unit.acquire("turn", owner, 10))

        async def holds(lease: Lease) -> bool:
            return await store.transact(lambda unit: unit.holds(lease))

        a = await acquire("a")
        assert a is not None
        assert await acquire("b") is None
        clock.advance(6)
        renewed = await acquire("a")
        assert renewed is not None
        assert (renewed.token, renewed.expires_ns) == (a.token, clock.ns + 10 * 10**9)
        clock.advance(9)
        assert await holds(a)
        clock.advance(1)
        assert not await holds(a)
        b = await acquire("b")
        assert b is not None
        assert b.token > a.token
        assert not await holds(a)
        await store.transact(lambda unit: unit.release(a))
        assert await holds(b)
        await store.transact(lambda unit: unit.release(b))
        assert not await holds(b)
        c = await acquire("b")
        assert c is not None
        assert c.token > b.token

    run(story)


def test_revisions_follow_one_another_and_a_moved_parent_is_a_conflict(run: Run) -> None:
    async def story(store: Store) -> None:
        def add(parent: int) -> Callable[[Unit], int]:
            return lambda unit: (
                unit.add_revision([{"n": parent}], parent=parent, author="a", message="m", digest="d").number
            )

        assert await store.transact(lambda unit: unit.latest_revision()) is None
        assert [await store.transact(add(parent)) for parent in (0, 1, 2)] == [1, 2, 3]
        for parent in (0, 2, 9):
            with pytest.raises(Conflict):
                await store.transact(add(parent))
        latest = await store.transact(lambda unit: unit.latest_revision())
        assert latest is not None
        assert (latest.number, latest.parent, latest.document) == (3, 2, [{"n": 2}])
        assert await store.transact(lambda unit: unit.revision(4)) is None
        listed = await store.transact(lambda unit: unit.revisions(limit=2))
        assert [row.number for row in listed] == [3, 2]

    run(story)


def test_a_unit_that_raises_leaves_nothing_behind(run: Run) -> None:
    async def story(store: Store) -> None:
        def work(unit: Unit) -> None:
            unit.put(endpoint())
            unit.append(Event(name="a.b", subject="s", actor="x", unique="u"))
            unit.enqueue("t", {})
            unit.acquire("l", "o", 10)
            raise Refused("no", "no")

        with pytest.raises(Refused):
            await store.transact(work)

        def read(unit: Unit) -> tuple[object, ...]:
            return unit.get("Endpoint", "credit"), list(unit.events()), list(unit.pending("t"))

        assert await store.transact(read) == (None, [], [])
        assert await store.transact(lambda unit: unit.acquire("l", "other", 10)) is not None

    run(story)


def test_concurrent_units_lose_no_update(opened: Opener) -> None:
    async def main() -> None:
        runner = ThreadRunner(4)
        async with opened(runner) as store:
            await store.transact(lambda unit: unit.put(endpoint(count=0)))

            def increment(unit: Unit) -> None:
                held = unit.get("Endpoint", "credit")
                assert held is not None
                unit.put(endpoint(count=held.spec["count"] + 1))
                unit.append(Event(name="a.b", subject="s", actor="x"))

            async def worker() -> int:
                done = 0
                for _ in range(10):
                    try:
                        await store.transact(increment)
                        done += 1
                    except Transient:
                        await asyncio.sleep(0)
                return done

            done = sum(await asyncio.gather(*(worker() for _ in range(4))))
            held = await store.transact(lambda unit: unit.get("Endpoint", "credit"))
            assert held is not None
            assert held.spec["count"] == done
            assert len(await store.transact(lambda unit: unit.events())) == done
            assert done >= 20
        runner.close()

    asyncio.run(main())


def test_of_many_who_want_one_lease_or_one_event_one_gets_it(opened: Opener) -> None:
    async def main() -> None:
        runner = ThreadRunner(4)
        async with opened(runner) as store:

            def attempt(owner: str) -> Callable[[Unit], tuple[bool, bool]]:
                event = Event(name="rollout.aborted", subject="s", actor=owner, unique="once")
                return lambda unit: (unit.acquire("l", owner, 10) is not None, unit.append(event) is not None)

            got = await asyncio.gather(*(store.transact(attempt(f"o{index}")) for index in range(12)))
            assert [sum(column) for column in zip(*got, strict=True)] == [1, 1]
        runner.close()

    asyncio.run(main())


def test_trimming_forgets_the_oldest_and_remembers_what_may_happen_only_once(
    run: Run, clock: HandClock
) -> None:
    async def story(store: Store) -> None:
        def fill(unit: Unit) -> None:
            unit.append(Event(name="a.once", subject="s", actor="x", unique="u"))
            for index in range(10):
                unit.append(Event(name="a.b", subject="s", actor="x", data={"i": index}))
                unit.add_revision([], parent=index, author="", message="", digest="")
            unit.acquire("old", "o", 10)

        await store.transact(fill)
        clock.advance(100)

        def trim(unit: Unit) -> int:
            return unit.trim(keep_events=3, keep_once=5, keep_revisions=2, leases_before_ns=clock.ns)

        assert await store.transact(trim) == 7 + 8 + 1
        assert await store.transact(trim) == 0
        names = [row.event.name for row in await store.transact(lambda unit: unit.events())]
        assert names == ["a.once", "a.b", "a.b", "a.b"]
        event = Event(name="a.once", subject="s", actor="x", unique="u")
        assert await store.transact(lambda unit: unit.append(event)) is None
        assert [row.number for row in await store.transact(lambda unit: unit.revisions())] == [10, 9]

    run(story)
