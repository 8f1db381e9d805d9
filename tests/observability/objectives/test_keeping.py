"""The keeper: history by query once the feed has told everything since, again when a label asks for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import pyarrow as pa

from andon.kernel.errors import Transient
from andon.ledger.facts.model import Label
from andon.ledger.queries import Bounds, Parameters
from andon.observability.objectives.board import Board
from andon.observability.objectives.keeping import Keeper
from andon.observability.objectives.live import LiveObjectives
from andon.observability.objectives.tallies import COARSE_NS, NS
from andon.store.model import Record
from andon.testing.runner import InlineRunner

T = TypeVar("T")
START_NS = 1_780_000_000 * NS
QUALITY: dict[str, Any] = {"indicator": {"quality": {}}, "objective": 0.9}
ANSWERS: dict[str, Any] = {"indicator": {"availability": {}}, "objective": 0.9}


class Clock:
    def __init__(self) -> None:
        self.ns = START_NS

    def now_ns(self) -> int:
        return self.ns

    def monotonic(self) -> float:
        return self.ns / NS

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("a turn does not wait")


class Store:
    """Only what the keeper asks: the objectives there are."""

    def __init__(self, **specs: dict[str, Any]) -> None:
        self.records = [Record(kind="Objective", name=name, spec=spec) for name, spec in specs.items()]

    async def transact(self, work: Callable[[Any], T]) -> T:
        return work(self)

    def list(self, kind: str) -> list[Record]:
        return [record for record in self.records if record.kind == kind]

    async def close(self) -> None:
        """Nothing is open."""


class Engine:
    """Answers with what a test says; counts its questions."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.away = False

    def query(self, sql: str, parameters: Parameters = (), bounds: Bounds | None = None) -> pa.Table:
        self.asked.append(sql)
        if self.away:
            raise Transient("tables_unreachable", "The tables are away.")
        if "known_ns" in sql:
            names = ["id", "at_ns", "prediction", "known_ns", "fact", "value", "text"]
            row = ["old", START_NS - 3_600 * NS, "1", START_NS - 60 * NS, "l0", 0.0, None]
            return pa.table({name: [value] for name, value in zip(names, row, strict=True)})
        slot = (START_NS - 86_400 * NS) // COARSE_NS
        coarse = str(COARSE_NS) in sql and parameters[-2] <= START_NS - 86_400 * NS < parameters[-1]  # type: ignore[index]  # positional
        return pa.table(
            {"slot": [slot], "total": [10], "bad": [4]} if coarse else {"slot": [], "t": [], "b": []}
        )


def world(**specs: dict[str, Any]) -> tuple[Clock, LiveObjectives, Engine, Keeper, Store]:
    clock, engine, store = Clock(), Engine(), Store(**specs)
    live = LiveObjectives(clock)
    keeper = Keeper(store, clock, InlineRunner(), engine, live, Board(live, clock))
    return clock, live, engine, keeper, store


def day(live: LiveObjectives, name: str) -> tuple[int, int]:
    tally = live.objectives[name].tally.slices[()]
    end = START_NS + 10 * NS
    return tally.window((START_NS - 2 * 86_400 * NS) // COARSE_NS * COARSE_NS, end)


def test_history_is_read_once_it_has_settled() -> None:
    clock, live, engine, keeper, _ = world(answers=ANSWERS)
    asyncio.run(keeper.turn())
    assert not engine.asked
    clock.ns += 8 * NS
    asyncio.run(keeper.turn())
    assert live.objectives["answers"].filled
    assert day(live, "answers") == (10, 4)
    asked = len(engine.asked)
    asyncio.run(keeper.turn())
    assert len(engine.asked) == asked


def test_a_label_of_an_older_request_is_read_again_but_not_at_every_turn() -> None:
    clock, live, engine, keeper, _ = world(right=QUALITY)
    asyncio.run(keeper.turn())
    clock.ns += 8 * NS
    asyncio.run(keeper.turn())
    assert day(live, "right") == (1, 1)
    live.take_facts([Label(id="l1", at_ns=clock.ns, request="unknown", value=1.0)])
    for _ in range(5):
        clock.ns += NS
        asyncio.run(keeper.turn())
    assert len(engine.asked) == 1
    clock.ns += 15 * NS
    asyncio.run(keeper.turn())
    assert len(engine.asked) == 2
    assert not live.objectives["right"].stale


def test_a_query_that_fails_is_counted_and_tried_again() -> None:
    clock, live, engine, keeper, _ = world(answers=ANSWERS)
    asyncio.run(keeper.turn())
    clock.ns += 8 * NS
    engine.away = True
    asyncio.run(keeper.turn())
    assert keeper.failures == 1
    assert not live.objectives["answers"].filled
    engine.away = False
    asyncio.run(keeper.turn())
    assert live.objectives["answers"].filled


def test_objectives_come_change_and_go() -> None:
    _, live, _, keeper, store = world(answers=ANSWERS)
    asyncio.run(keeper.turn())
    first = live.objectives["answers"]
    changed = msgspec.structs.replace(store.records[0], generation=2, spec=ANSWERS | {"objective": 0.99})
    broken = Record(kind="Objective", name="broken", spec={"objective": "much"})
    store.records = [changed, broken]
    asyncio.run(keeper.turn())
    assert live.objectives["answers"] is not first
    assert live.objectives["answers"].spec.objective == 0.99
    assert "broken" not in live.objectives
    store.records = []
    asyncio.run(keeper.turn())
    assert not live.objectives
