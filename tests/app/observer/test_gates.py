"""Gates on labels over a real ledger and a real store: a worse canary is stopped and told why, an equal one is not."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from andon.app.observer.gates import ObservedGates
from andon.kernel.clock import SystemClock
from andon.ledger.facts.model import Label
from andon.lifecycle.rollouts.explanation import Explanation
from andon.lifecycle.rollouts.model import ROLLOUT, RolloutStatus
from andon.lifecycle.rollouts.service import RolloutService
from andon.lifecycle.rollouts.strategy import GateSpec, ReleaseSpec, RolloutSpec, StrategySpec
from andon.observability.quality.model import MONITOR, MonitorSpec
from andon.store.model import Record, Unit
from andon.store.sql import open_store
from tests.ledger.conftest import InlineRunner
from tests.ledger.queries.rig import BASE_NS, SECOND_NS, Rig, outcome

NAME = "credit-1"
GATES = (
    GateSpec(name="errors", metric="errorRate"),
    GateSpec(name="right", metric="quality", minimum=100),
    GateSpec(name="sure", metric="calibration", minimum=100, on_breach="warn"),
    GateSpec(name="alike", metric="drift", minimum=100, on_breach="warn"),
)


class HandClock(SystemClock):
    """The rollout begins before everything in the ledger, and is judged after it."""

    ns = BASE_NS - SECOND_NS

    def now_ns(self) -> int:  # type: ignore[override]  # a method here, a static one there
        return self.ns


@pytest.fixture
def rig(tmp_path: Path) -> Any:
    made = Rig(tmp_path)
    yield made
    made.engine.close()


def fill(rig: Rig, worse: float, count: int = 1500) -> None:
    """Drawn requests, a fifth of them the canary's; stable answers are wrong in 5 of 100."""
    chance = random.Random(11)
    answers, labels = [], []
    for number in range(count):
        canary = chance.random() < 0.2
        wrong = chance.random() < (0.05 + worse if canary else 0.05)
        score = chance.choice((0.05, 0.95))
        answers.append(
            outcome(
                number,
                release="credit@2" if canary else "credit@1",
                arm="canary" if canary else "stable",
                propensity=0.2 if canary else 0.8,
                prediction="bad" if score > 0.5 else "good",
                score=score,
            )
        )
        truth = (score > 0.5) is not wrong
        known_ns = BASE_NS + (number + chance.randrange(1000)) * SECOND_NS
        labels.append(Label(f"l{number}", at_ns=known_ns, request=f"r-{number}", value=float(truth)))
    labels.sort(key=lambda label: label.at_ns)
    rig.write("rows", answers)
    rig.write("facts", labels)


def judged(
    rig: Rig, work: Callable[[Any, RolloutService, Callable[[], ObservedGates]], Awaitable[None]]
) -> None:
    """A rollout under way; each call of the last argument is a freshly started observer."""

    async def main() -> None:
        clock = HandClock()
        store = await open_store("sqlite://", clock, InlineRunner())
        try:
            spec = RolloutSpec(
                endpoint="credit",
                number=1,
                source=ReleaseSpec(model="credit", version="1"),
                target=ReleaseSpec(model="credit", version="2"),
                strategy=StrategySpec(gates=GATES),
            )
            status = RolloutStatus(phase="Progressing", started_ns=BASE_NS, weight=2000)

            def begin(unit: Unit) -> None:
                unit.put(Record(kind=ROLLOUT, name=NAME, spec=msgspec.to_builtins(spec)))
                unit.put_status(ROLLOUT, NAME, msgspec.to_builtins(status))
                monitor = MonitorSpec(endpoint="credit", positive="bad")
                unit.put(Record(kind=MONITOR, name="credit", spec=msgspec.to_builtins(monitor)))

            await store.transact(begin)
            clock.ns = BASE_NS + 100_000 * SECOND_NS
            ground = SimpleNamespace(store=store, clock=clock, runner=InlineRunner(), engine=rig.engine)
            await work(store, RolloutService(store, clock), lambda: ObservedGates(ground))  # type: ignore[arg-type]  # what it uses of the ground
        finally:
            await store.close()

    asyncio.run(main())


def verdicts(told: Explanation) -> dict[str, str | None]:
    return {gate.name: gate.reading.verdict if gate.reading else None for gate in told.gates}


def test_a_canary_that_labels_find_worse_is_stopped_and_it_is_said_why(rig: Rig) -> None:
    fill(rig, worse=0.25)

    async def work(store: Any, service: RolloutService, fresh: Callable[[], ObservedGates]) -> None:
        await fresh().turn()
        told = await service.explain(NAME)
        assert told.phase == "Aborting"
        assert told.reason.startswith("gate 'right': the canary is worse: evidence")
        assert verdicts(told)["right"] == "breach"
        assert told.cut is not None
        assert told.cut.gateway == "observer"
        await fresh().turn()  # a restart tells nothing twice
        events = await store.transact(lambda unit: unit.events())
        names = [one.event.name for one in events]
        assert names.count("rollout.aborted") == 1
        assert names.count("rollout.warned") == 1  # the calibration is worse too

    judged(rig, work)


def test_an_equal_canary_passes_and_every_reading_is_shown(rig: Rig) -> None:
    fill(rig, worse=0.0)

    async def work(store: Any, service: RolloutService, fresh: Callable[[], ObservedGates]) -> None:
        await fresh().turn()
        told = await service.explain(NAME)
        assert told.phase == "Progressing"
        assert verdicts(told) == {"errors": None, "right": "pass", "sure": "pass", "alike": "pass"}
        assert (told.would, told.because) == ("hold", "gate 'errors': no-data")
        before = [gate.reading for gate in told.gates]
        await fresh().turn()
        assert [gate.reading for gate in (await service.explain(NAME)).gates] == before

    judged(rig, work)


def test_without_a_monitor_nothing_is_known_and_nothing_passes(rig: Rig) -> None:
    fill(rig, worse=0.3, count=300)

    async def work(store: Any, service: RolloutService, fresh: Callable[[], ObservedGates]) -> None:
        await store.transact(lambda unit: unit.delete(MONITOR, "credit"))
        await fresh().turn()
        told = await service.explain(NAME)
        (right,) = [gate.reading for gate in told.gates if gate.name == "right"]
        assert right is not None
        assert (right.verdict, right.reason) == ("no-data", "the endpoint has 0 Monitors, not one")

    judged(rig, work)
