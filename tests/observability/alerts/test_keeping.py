"""The keeper on a real store: remembered before sent, one holder at a time, and what it does when the store fails."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from andon.kernel.errors import Transient
from andon.kernel.events import Event
from andon.kernel.random import SeededRandom
from andon.observability.alerts.delivery import Delivery
from andon.observability.alerts.groups import Notification
from andon.observability.alerts.keeping import Keeper
from andon.observability.alerts.looking import Look, Sources
from andon.observability.alerts.metrics import AlertMetrics
from andon.observability.alerts.model import ReceiverSpec
from andon.observability.alerts.rules import NS
from andon.observability.alerts.sending import Attempt, Sending
from andon.observability.alerts.sightings import Sightings
from andon.observability.families import Family, Sample
from andon.observability.signals import Signals
from andon.observability.windows.service import Windows
from andon.store.model import Record, Store, Unit
from andon.store.sql import open_store
from tests.ledger.conftest import InlineRunner
from tests.observability.alerts.references import reading

METRIC = {"when": {"metric": {"name": "heat", "above": 1.0}}, "every": "1s", "groupWait": "2s"}
EVENT = {"when": {"event": {"names": ["rollout.aborted"], "until": ["rollout.done"]}}, "keepFiringFor": "60s"}


class Clock:
    """Time that the test moves."""

    def __init__(self) -> None:
        self.at_ns = 1_800_000_000 * NS

    def now_ns(self) -> int:
        return self.at_ns

    def monotonic(self) -> float:
        return self.at_ns / NS

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


class Heat:
    """A metric that the test sets."""

    value = 0.0

    def families(self) -> tuple[Family, ...]:
        return (Family("heat", "gauge", "of the oven", (Sample((("oven", "1"),), self.value),)),)


class House:
    """A store, a metric, and observers that come and go."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store = store
        self.clock = clock
        self.heat = Heat()
        self.sent: list[Notification] = []
        self.broken = False

    async def transact(self, work: Any) -> Any:
        if self.broken:
            raise Transient("store_away", "The store is away.")
        return await self.store.transact(work)

    async def send(self, name: str, spec: ReceiverSpec, note: Notification) -> Attempt:
        self.sent.append(note)
        return Attempt(word="sent")

    def observer(self, owner: str) -> Keeper:
        nothing: Any = None
        sources = Sources(
            windows=Windows(self.clock),
            signals=Signals(),
            metrics=(self.heat,),
            sightings=Sightings(),
            engine=nothing,
            runner=InlineRunner(),
            store=self,  # type: ignore[arg-type]  # transact is all that is used
            clock=self.clock,
        )
        delivery = Delivery(self.send, self.clock, SeededRandom(1))
        sending = Sending(nothing, InlineRunner(), self.clock, reading({}))
        return Keeper(self, self.clock, Look(sources), delivery, sending, owner)  # type: ignore[arg-type]  # same

    async def run(self, keeper: Keeper, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.at_ns += NS
            await keeper.turn()
            await asyncio.sleep(0)

    async def put(self, kind: str, name: str, spec: dict[str, Any]) -> None:
        await self.store.transact(lambda unit: unit.put(Record(kind=kind, name=name, spec=spec)))

    async def events(self, *names: str) -> Sequence[str]:
        def read(unit: Unit) -> Sequence[str]:
            return [one.event.name for one in unit.events(limit=1000) if one.event.name.startswith("alert.")]

        return await self.store.transact(read)


def play(tmp_path: Path, scene: Any) -> None:
    """One scene on a real SQLite store."""

    async def main() -> None:
        clock = Clock()
        store = await open_store(f"sqlite:///{tmp_path / 'andon.db'}", clock)
        house = House(store, clock)
        await house.put("Receiver", "crew", {"webhook": {"url": "http://127.0.0.1:1/"}})
        await scene(house)
        await store.close()

    asyncio.run(main())


def test_a_new_observer_goes_on_where_the_last_one_was(tmp_path: Path) -> None:
    async def scene(house: House) -> None:
        await house.put("Alert", "hot", {**METRIC, "receivers": ["crew"]})
        first = house.observer("one")
        house.heat.value = 2.0
        await house.run(first, 10)
        assert [note.reason for note in house.sent] == ["new"]
        second = house.observer("two")
        await house.run(second, 5)
        assert not second.holds  # the lease of the one that was killed has not run out
        await house.run(second, 120)
        assert second.holds
        assert len(house.sent) == 1
        house.heat.value = 0.0
        await house.run(second, 400)
        assert [note.reason for note in house.sent] == ["new", "resolved"]
        assert await house.events() == ["alert.fired", "alert.notified", "alert.resolved", "alert.notified"]
        names = {family.name for family in AlertMetrics(second, second._delivery).families()}
        assert "andon_alerts" in names

    play(tmp_path, scene)


def test_nothing_is_sent_that_the_store_does_not_know(tmp_path: Path) -> None:
    async def scene(house: House) -> None:
        await house.put("Alert", "hot", {**METRIC, "receivers": ["crew"]})
        keeper = house.observer("one")
        await house.run(keeper, 5)
        house.heat.value = 2.0
        house.broken = True
        for _ in range(5):
            house.clock.at_ns += NS
            try:
                await keeper.turn()
            except Transient:
                keeper.failures += 1
            await asyncio.sleep(0)
        assert keeper.failures
        assert house.sent == []
        house.broken = False
        await house.run(keeper, 15)
        assert len(house.sent) == 1
        assert (await house.events()).count("alert.fired") == 1

    play(tmp_path, scene)


def test_an_event_fires_until_what_ends_it(tmp_path: Path) -> None:
    async def scene(house: House) -> None:
        await house.put("Alert", "aborted", EVENT)
        keeper = house.observer("one")
        await house.run(keeper, 3)

        async def tell(name: str) -> None:
            event = Event(name=name, subject="Rollout/credit-1", actor="x", data={"reason": "gate"})
            await house.store.transact(lambda unit: unit.append(event))

        await tell("rollout.aborted")
        await house.run(keeper, 15)
        (one,) = keeper.book.instances["aborted"].values()
        assert (one.phase, one.labels["subject"]) == ("firing", "Rollout/credit-1")
        await tell("rollout.done")
        await house.run(keeper, 15)
        (one,) = keeper.book.instances["aborted"].values()
        assert one.phase == "resolved"

    play(tmp_path, scene)


def test_taking_it_on_is_remembered(tmp_path: Path) -> None:
    async def scene(house: House) -> None:
        await house.put("Alert", "hot", METRIC)
        keeper = house.observer("one")
        house.heat.value = 2.0
        await house.run(keeper, 5)
        (one,) = await keeper.acknowledge("hot", "", "user:ann")
        assert one.acked_by == "user:ann"
        house.clock.at_ns += 60 * NS
        other = house.observer("two")
        await house.run(other, 3)
        assert [kept.acked_by for kept in other.book.instances["hot"].values()] == ["user:ann"]
        status = await house.store.transact(lambda unit: unit.get("Alert", "hot"))
        assert status is not None
        assert status.status["state"] == "firing"

    play(tmp_path, scene)


def test_a_spec_that_means_nothing_any_more_stops_no_other(tmp_path: Path) -> None:
    async def scene(house: House) -> None:
        await house.put("Alert", "hot", {**METRIC, "receivers": ["crew"]})
        await house.put("Alert", "old", {"when": {"moon": {}}})
        house.heat.value = 2.0
        keeper = house.observer("one")
        await house.run(keeper, 10)
        assert len(house.sent) == 1
        assert msgspec.to_builtins(house.sent[0].firing[0].labels)["oven"] == "1"

    play(tmp_path, scene)
