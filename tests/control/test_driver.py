"""The driver under virtual time: turns are fenced, failures are bounded, signals coalesce, nothing ends the loop."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import pytest

from andon.control.controller import Result
from andon.control.driver import Driver
from andon.control.retention import Limits, Retention
from andon.control.turn import STEPS_MAX, Terms
from andon.kernel.decision import Plan, Step
from andon.kernel.errors import Permanent, Transient
from andon.kernel.events import Event
from andon.kernel.random import SeededRandom
from andon.store.model import Lease, Record, Store, Unit
from andon.store.sql import SqlStore, open_store
from andon.testing.loop import VirtualClock, run_virtual
from andon.testing.runner import InlineRunner


class World:
    """What the fake controller acts on: how many of each subject there are, and every effect with its fence."""

    def __init__(self) -> None:
        self.have: dict[str, int] = {}
        self.effects: list[
            tuple[str, int]
        ] = []  # (subject, lease token), in the order in which they happened


class Scaler:
    """Starts as many as the spec wants, one a step."""

    name = "scaler"
    period_s = 10.0

    def __init__(self, store: Store, world: World) -> None:
        self.store = store
        self.world = world
        self.before_act: Callable[[str], Awaitable[None]] | None = None
        self.forbidden = ""
        self.observed = 0

    def subjects(self, unit: Unit) -> Sequence[str]:
        return [f"Thing/{row.name}" for row in unit.list("Thing")]

    async def observe(self, subject: str) -> tuple[Record, int] | None:
        self.observed += 1
        record = await self.store.transact(lambda unit: unit.get("Thing", subject.split("/")[1]))
        return None if record is None else (record, self.world.have.get(subject, 0))

    def plan(self, facts: tuple[Record, int], now_ns: int) -> Plan:
        record, have = facts
        subject = f"Thing/{record.name}"
        missing = max(0, record.spec["want"] - have)
        steps = tuple(Step(verb="thing.start", subject=subject, reason="too few") for _ in range(missing))
        return Plan(controller=self.name, subject=subject, generation=record.generation, steps=steps)

    def veto(self, facts: tuple[Record, int], plan: Plan) -> str | None:
        return self.forbidden or None

    async def act(self, facts: tuple[Record, int], step: Step, lease: Lease) -> None:
        if self.before_act is not None:
            await self.before_act(step.subject)
        # The effect itself is fenced, as the ones of real executors are.
        if await self.store.transact(lambda unit: unit.holds(lease)):
            self.world.have[step.subject] = self.world.have.get(step.subject, 0) + 1
            self.world.effects.append((step.subject, lease.token))

    async def conclude(self, facts: tuple[Record, int], plan: Plan, lease: Lease) -> Sequence[Result]:
        record, _ = facts
        status = {"have": self.world.have.get(plan.subject, 0)}
        return [Result(status=status, kind="Thing", name=record.name, generation=plan.generation)]


class Bench:
    """One database, one world and drivers over them."""

    def __init__(self, clock: VirtualClock, store: SqlStore) -> None:
        self.clock = clock
        self.store = store
        self.world = World()
        self.running: list[tuple[Driver, asyncio.Task[None]]] = []

    def start(self, owner: str = "one", **options: Any) -> tuple[Driver, Scaler]:
        scaler = Scaler(self.store, self.world)
        terms = Terms(
            owner=owner, lease_s=options.pop("lease_s", 15.0), longest_s=options.pop("longest_s", 600.0)
        )
        driver = Driver(self.store, self.clock, SeededRandom(1), [scaler], terms, **options)
        self.running.append((driver, asyncio.ensure_future(driver.run())))
        return driver, scaler

    async def want(self, name: str, count: int) -> None:
        await self.store.transact(
            lambda unit: unit.put(Record(kind="Thing", name=name, spec={"want": count}))
        )

    async def thing(self, name: str) -> Record:
        record = await self.store.transact(lambda unit: unit.get("Thing", name))
        assert record is not None
        return record

    async def events(self, name: str) -> list[Event]:
        return [
            row.event for row in await self.store.transact(lambda unit: unit.events(name=name, limit=1000))
        ]

    async def end(self) -> None:
        for driver, task in self.running:
            driver.stop()
            await asyncio.gather(task, return_exceptions=True)


def run(story: Callable[[Bench], Coroutine[Any, Any, None]], seed: int | None = None) -> None:
    async def main(clock: VirtualClock) -> None:
        store = await open_store("sqlite://", clock, InlineRunner(), SeededRandom(2))
        bench = Bench(clock, store)
        try:
            await story(bench)
        finally:
            await bench.end()
            await store.close()

    run_virtual(main, seed=seed)


def test_desired_state_is_made_true_journaled_before_and_concluded_after() -> None:
    async def story(bench: Bench) -> None:
        await bench.want("a", 3)
        await bench.want("b", 0)
        driver, _ = bench.start()
        await bench.clock.sleep(1)
        assert bench.world.have == {"Thing/a": 3}
        assert (await bench.thing("a")).status == {"have": 3}
        (event,) = await bench.events("plan.made")
        assert (event.subject, event.data["count"], event.data["steps"][0]["reason"]) == (
            "Thing/a",
            3,
            "too few",
        )
        await bench.clock.sleep(100)
        assert len(await bench.events("plan.made")) == 1
        assert driver.counts.turns["done"] == 1
        assert driver.counts.turns["idle"] >= 20

    run(story)


def test_a_signal_is_seen_at_once_and_many_are_one_look() -> None:
    async def story(bench: Bench) -> None:
        await bench.want("a", 0)
        driver, scaler = bench.start()
        await bench.clock.sleep(1)
        seen = scaler.observed
        await bench.want("a", 1)
        for _ in range(50):
            driver.signal()
        await bench.clock.sleep(0.5)
        assert bench.world.have == {"Thing/a": 1}
        assert scaler.observed - seen <= 2

    run(story)


def test_a_signal_during_a_turn_is_not_lost() -> None:
    async def story(bench: Bench) -> None:
        await bench.want("a", 1)
        driver, scaler = bench.start()

        async def change_meanwhile(subject: str) -> None:
            scaler.before_act = None
            await bench.clock.sleep(2)
            await bench.want("a", 2)
            driver.signal()
            await bench.clock.sleep(2)

        scaler.before_act = change_meanwhile
        await bench.clock.sleep(5)
        assert bench.world.have == {"Thing/a": 2}
        # The status of the first generation was not written over the second's.
        assert (await bench.thing("a")).status == {"have": 2}

    run(story)


def test_what_may_work_later_is_tried_later_and_told_once() -> None:
    async def story(bench: Bench) -> None:
        await bench.want("a", 1)
        driver, scaler = bench.start()
        tries: list[float] = []

        async def fail(subject: str) -> None:
            tries.append(bench.clock.monotonic())
            raise Transient("away", "It is away.")

        scaler.before_act = fail
        await bench.clock.sleep(600)
        gaps = [later - sooner for sooner, later in itertools.pairwise(tries)]
        assert 10 <= len(tries) <= 30
        assert max(gaps) <= 75
        assert gaps[0] >= 0.9
        assert len(await bench.events("plan.made")) == 1
        assert driver.counts.transient == len(tries)
        scaler.before_act = None
        await bench.clock.sleep(75)
        assert bench.world.have == {"Thing/a": 1}

    run(story)


def test_a_new_generation_does_not_wait_for_the_backoff_of_the_old() -> None:
    async def story(bench: Bench) -> None:
        await bench.want("a", 1)
        driver, scaler = bench.start()

        async def fail(subject: str) -> None:
            raise Transient("away", "It is away.", retry_after_s=50)

        scaler.before_act = fail
        await bench.clock.sleep(1)
        scaler.before_act = None
        driver.signal()
        await bench.clock.sleep(1)
        assert bench.world.have == {}
        await bench.want("a", 2)
        driver.signal()
        await bench.clock.sleep(1)
        assert bench.world.have == {"Thing/a": 2}

    run(story)


def test_what_needs_a_person_is_parked_until_the_generation_changes() -> None:
    async def story(bench: Bench) -> None:
        await bench.want("a", 1)
        driver, scaler = bench.start()
        tries: list[str] = []

        async def fail(subject: str) -> None:
            tries.append(subject)
            raise Permanent("broken", "The model does not load.", hint="Fix it.")

        scaler.before_act = fail
        await bench.clock.sleep(1000)
        assert len(tries) == 1
        (event,) = await bench.events("subject.parked")
        assert (event.data["code"], event.data["hint"]) == ("broken", "Fix it.")
        (condition,) = (await bench.thing("a")).status["conditions"]
        assert (condition["type"], condition["reason"]) == ("Parked", "broken")
        scaler.before_act = None
        await bench.want("a", 2)
        driver.signal()
        await bench.clock.sleep(1)
        assert (await bench.thing("a")).status == {"have": 2}

    run(story)


def test_a_bug_is_counted_told_once_and_the_loop_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async def story(bench: Bench) -> None:
        await bench.want("a", 1)
        await bench.want("b", 1)
        driver, scaler = bench.start()

        async def fail(subject: str) -> None:
            if subject == "Thing/a":
                raise ZeroDivisionError("oops")

        scaler.before_act = fail
        await bench.clock.sleep(60)
        assert bench.world.have == {"Thing/b": 1}
        assert driver.counts.bugs > 3
        (event,) = await bench.events("turn.failed")
        assert event.data["error"] == "ZeroDivisionError: oops"

    run(story)
    assert "ZeroDivisionError" in caplog.text


def test_a_veto_forbids_every_act_and_is_journaled() -> None:
    async def story(bench: Bench) -> None:
        await bench.want("a", 1)
        driver, scaler = bench.start()
        scaler.forbidden = "at most none"
        await bench.clock.sleep(100)
        assert bench.world.effects == []
        (event,) = await bench.events("plan.vetoed")
        assert event.data["veto"] == "at most none"
        assert driver.counts.turns["vetoed"] > 5

    run(story)


def test_of_two_drivers_one_acts_and_the_other_takes_over_when_it_dies() -> None:
    async def story(bench: Bench) -> None:
        for name in "abcdef":
            await bench.want(name, 2)
        _, stalled = bench.start("one")

        async def stall(subject: str) -> None:
            await bench.clock.sleep(300)

        stalled.before_act = stall
        await bench.clock.sleep(1)
        bench.start("two")
        await bench.clock.sleep(60)
        assert bench.world.effects == []  # the first is alive and renews
        bench.running[0][1].cancel()
        await bench.clock.sleep(60)
        assert bench.world.have == {f"Thing/{name}": 2 for name in "abcdef"}

    run(story)


@pytest.mark.parametrize("seed", range(6))
def test_wherever_a_holder_freezes_its_stale_lease_does_nothing_twice(seed: int) -> None:
    """A frozen process wakes with an expired lease in the middle of its turn; another has finished the work."""

    async def story(bench: Bench) -> None:
        await bench.want("a", 4)
        _, frozen = bench.start("one", lease_s=3.0)
        freezes = seed

        async def freeze(subject: str) -> None:
            nonlocal freezes
            freezes -= 1
            if freezes < 0:
                # The lease is taken from under it, as if its clock had stood still meanwhile.
                await bench.store.transact(lambda unit: unit.release(lease_of(unit)))
                await bench.clock.sleep(0.5)

        def lease_of(unit: Unit) -> Lease:
            lease = unit.acquire("scaler:Thing/a", "one", 3.0)
            assert lease is not None
            return lease

        frozen.before_act = freeze
        bench.start("two", lease_s=3.0)
        await bench.clock.sleep(30)
        assert bench.world.have == {"Thing/a": 4}
        tokens = [token for _, token in bench.world.effects]
        assert tokens == sorted(tokens)

    run(story, seed=seed)


def test_a_turn_that_takes_too_long_is_cancelled_and_tried_again() -> None:
    async def story(bench: Bench) -> None:
        await bench.want("a", 1)
        driver, scaler = bench.start(longest_s=30.0)

        async def hang(subject: str) -> None:
            scaler.before_act = None
            await bench.clock.sleep(10_000)

        scaler.before_act = hang
        await bench.clock.sleep(60)
        assert driver.counts.transient == 1
        assert bench.world.have == {"Thing/a": 1}

    run(story)


def test_turns_are_bounded_in_number_and_in_steps() -> None:
    async def story(bench: Bench) -> None:
        for index in range(12):
            await bench.want(f"t{index}", 1)
        _, scaler = bench.start(concurrency=3)
        now, most = 0, 0

        async def count(subject: str) -> None:
            nonlocal now, most
            now += 1
            most = max(most, now)
            await bench.clock.sleep(1)
            now -= 1

        scaler.before_act = count
        await bench.clock.sleep(20)
        assert most == 3
        assert len(bench.world.have) == 12
        scaler.before_act = None
        await bench.want("many", STEPS_MAX + 50)
        await bench.clock.sleep(20)
        assert bench.world.have["Thing/many"] == STEPS_MAX + 50

    run(story)


def test_stopping_lets_a_turn_end_and_gives_its_lease_back() -> None:
    async def story(bench: Bench) -> None:
        await bench.want("a", 1)
        driver, scaler = bench.start()

        async def slow(subject: str) -> None:
            await bench.clock.sleep(3)

        scaler.before_act = slow
        await bench.clock.sleep(1)
        driver.stop()
        await bench.running[0][1]
        assert bench.world.have == {"Thing/a": 1}
        assert await bench.store.transact(lambda unit: unit.acquire("scaler:Thing/a", "other", 1)) is not None

    run(story)


def test_a_database_that_is_away_for_a_while_ends_nothing() -> None:
    async def main(clock: VirtualClock) -> None:
        away = False

        async def before() -> None:
            if away:
                raise Transient("store_unavailable", "The control database does not answer.")

        store = await open_store("sqlite://", clock, InlineRunner(before), SeededRandom(2))
        bench = Bench(clock, store)
        await bench.want("a", 1)
        bench.start()
        away = True
        await clock.sleep(60)
        assert bench.world.have == {}
        away = False
        await clock.sleep(90)
        assert bench.world.have == {"Thing/a": 1}
        await bench.end()
        await store.close()

    run_virtual(main)


def test_retention_keeps_the_journal_within_its_limits() -> None:
    async def story(bench: Bench) -> None:
        def fill(unit: Unit) -> None:
            for _ in range(50):
                unit.append(Event(name="a.b", subject="s", actor="x"))

        await bench.store.transact(fill)
        retention = Retention(bench.store, bench.clock, Limits(events=20), period_s=60)
        driver = Driver(bench.store, bench.clock, SeededRandom(1), [retention], Terms(owner="one"))
        bench.running.append((driver, asyncio.ensure_future(driver.run())))
        await bench.clock.sleep(1)
        assert len(await bench.events("a.b")) == 20

    run(story)


@pytest.mark.parametrize("at", range(30))
def test_a_process_frozen_before_any_of_its_units_of_work_does_nothing_twice(at: int) -> None:
    """Every await of a turn that touches the database is a place to freeze for longer than the lease, then wake."""

    async def story(bench: Bench) -> None:
        await bench.want("a", 4)
        units = 0

        async def freeze() -> None:
            nonlocal units
            units += 1
            if units == at:
                await bench.clock.sleep(40)

        store = SqlStore(bench.store._engine, bench.clock, SeededRandom(5), InlineRunner(freeze))
        frozen = Scaler(store, bench.world)
        first = Driver(store, bench.clock, SeededRandom(1), [frozen], Terms(owner="one", lease_s=3.0))
        bench.running.append((first, asyncio.ensure_future(first.run())))
        await bench.clock.sleep(0.001)
        bench.start("two", lease_s=3.0)
        await bench.clock.sleep(100)
        assert bench.world.have == {"Thing/a": 4}
        tokens = [token for _, token in bench.world.effects]
        assert tokens == sorted(tokens)
        assert (await bench.thing("a")).status == {"have": 4}

    run(story)
