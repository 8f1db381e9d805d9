"""Endpoints from factory spec to snapshot, over a real SQLite store: controller, verbs and reports together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from andon.kernel.clock import SystemClock
from andon.kernel.deployments import DEPLOYMENT, DeploymentStatus
from andon.kernel.errors import Conflict
from andon.kernel.reports import Cut, GateReading, Progress
from andon.kernel.snapshot import (
    BodiesEntry,
    EndpointEntry,
    PredictionEntry,
    RecordingEntry,
    Signature,
    TargetEntry,
)
from andon.lifecycle.endpoints.compilation import compile_endpoint, compile_recording
from andon.lifecycle.endpoints.controller import EndpointController
from andon.lifecycle.endpoints.invariants import broken, broken_history
from andon.lifecycle.endpoints.model import EndpointSpec, EndpointStatus, RecordingSpec
from andon.lifecycle.endpoints.repository import latest_course, load_facts
from andon.lifecycle.kinds import check_endpoint
from andon.lifecycle.rollouts.model import Course
from andon.lifecycle.rollouts.reports import RolloutReports
from andon.lifecycle.rollouts.service import RolloutService
from andon.lifecycle.rollouts.strategy import ReleaseSpec
from andon.store.model import Record, Unit
from andon.store.sql import SqlStore, open_store


class HandClock(SystemClock):
    """Wall time that a test moves by hand."""

    def __init__(self) -> None:
        self.ns = 1_700_000_000_000_000_000

    def now_ns(self) -> int:  # type: ignore[override]  # a method here, a static one there
        return self.ns


def targets(release: ReleaseSpec) -> tuple[tuple[TargetEntry, ...], Signature | None]:
    return (TargetEntry(id=release.id, url="unix:///run/x.sock", protocol="oip"),), None


class Factory:
    """A store with the controller of endpoints beside it; serving is played by hand."""

    def __init__(self, store: SqlStore, clock: HandClock) -> None:
        self.store, self.clock = store, clock
        self.controller = EndpointController(store, clock)
        self.service = RolloutService(store, clock)
        self.reports = RolloutReports(store, clock)

    async def want(self, version: str, **spec: object) -> None:
        body = {"release": {"model": "credit", "version": version}, **spec}
        await self.store.transact(lambda unit: unit.put(Record(kind="Endpoint", name="credit", spec=body)))

    async def serve(self) -> None:
        """Every deployment becomes ready."""

        def ready(unit: Unit) -> None:
            for record in unit.list(DEPLOYMENT):
                unit.put_status(DEPLOYMENT, record.name, msgspec.to_builtins(DeploymentStatus(ready=1)))

        await self.store.transact(ready)

    async def turn(self, times: int = 1) -> None:
        """What the driver does, once for each."""
        for _ in range(times):
            self.clock.ns += 1_000_000_000
            lease = await self.store.transact(lambda unit: unit.acquire("endpoints", "test", 60.0))
            assert lease is not None
            facts = await self.controller.observe("Endpoint/credit")
            assert facts is not None
            plan = self.controller.plan(facts, self.clock.now_ns())
            assert self.controller.veto(facts, plan) is None
            for step in plan.steps:
                await self.controller.act(facts, step, lease)
            for result in await self.controller.conclude(facts, plan, lease):
                status, generation = result.status, result.generation

                def write(
                    unit: Unit, status: dict[str, object] | None = status, seen: int = generation
                ) -> None:
                    unit.put_status("Endpoint", "credit", status or {}, expect_generation=seen)

                await self.store.transact(write)
            await self.check()

    async def check(self) -> None:
        status, course = await self.status(), await self.course()
        assert broken(status, course) == []
        events = await self.store.transact(lambda unit: unit.events(limit=1000))
        assert broken_history([course] if course else [], [entry.event for entry in events]) == []

    async def status(self) -> EndpointStatus:
        record = await self.store.transact(lambda unit: unit.get("Endpoint", "credit"))
        assert record is not None
        return msgspec.convert(record.status, EndpointStatus)

    async def course(self) -> Course | None:
        return await self.store.transact(lambda unit: latest_course(unit, "credit"))

    async def entry(self) -> EndpointEntry:
        facts = await self.store.transact(lambda unit: load_facts(unit, "credit"))
        assert facts is not None
        return compile_endpoint(facts, targets)

    async def weights(self) -> dict[str, int]:
        return {release.id: release.weight for release in (await self.entry()).releases}

    async def names(self) -> list[str]:
        records = await self.store.transact(lambda unit: unit.list(DEPLOYMENT))
        return sorted(record.name for record in records)

    async def count(self, event: str) -> int:
        events = await self.store.transact(lambda unit: unit.events(limit=1000))
        return sum(entry.event.name == event for entry in events)

    async def on_canary(self) -> None:
        """Version 1 serves, version 2 is in its first step."""
        await self.want("1")
        await self.turn()
        await self.serve()
        await self.turn()
        await self.want("2")
        await self.turn(2)
        await self.serve()
        await self.turn()


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Callable[[Factory], Awaitable[None]]], None]:
    def run(story: Callable[[Factory], Awaitable[None]]) -> None:
        async def main() -> None:
            clock = HandClock()
            store = await open_store(f"sqlite:///{tmp_path}/state.db", clock)
            try:
                await story(Factory(store, clock))
            finally:
                await store.close()

        asyncio.run(main())

    return run


Play = Callable[[Callable[[Factory], Awaitable[None]]], None]


def reading(verdict: str, gate: str = "errors") -> GateReading:
    return GateReading(
        gate=gate,
        metric="errorRate",
        verdict=verdict,
        evidence=200.0,
        threshold=125.0,
        canary_n=300,
        stable_n=2700,
        canary_value=1.0,
        stable_value=0.0,
        minimum=50,
        reason="worse",
    )


def cut(at_ns: int, action: str = "abort", rollout: str = "credit-1") -> Cut:
    return Cut(
        rollout=rollout,
        generation=2,
        release="credit@2",
        gateway="gw-0",
        at_ns=at_ns,
        canary_requests=3,
        seconds=0.3,
        action=action,
        readings=(reading("breach"),),
    )


def test_the_first_release_goes_straight_to_the_whole_traffic_when_ready(play: Play) -> None:
    async def story(factory: Factory) -> None:
        await factory.want("1")
        await factory.turn()
        assert await factory.names() == ["credit-1"]
        assert await factory.weights() == {}
        await factory.serve()
        await factory.turn()
        assert await factory.weights() == {"credit@1": 10_000}
        assert await factory.course() is None

    play(story)


def test_a_new_release_walks_the_canary_and_the_old_one_is_let_go(play: Play) -> None:
    async def story(factory: Factory) -> None:
        await factory.on_canary()
        assert await factory.weights() == {"credit@1": 9000, "credit@2": 1000}
        entry = await factory.entry()
        assert entry.rollout is not None
        assert [gate.alpha for gate in entry.rollout.gates] == pytest.approx([0.008, 0.002])
        for _ in range(2):
            course = await factory.course()
            assert course is not None
            said = Progress(
                rollout="credit-1",
                generation=course.status.generation,
                gateway="gw-0",
                at_ns=factory.clock.now_ns(),
                canary_requests=300,
                stable_requests=2700,
                step_canary_requests=300,
                readings=(reading("pass"), reading("pass", "latency")),
            )
            await factory.reports.receive([said])
            await factory.turn()
        await factory.turn(3)
        assert await factory.weights() == {"credit@2": 10_000}
        assert await factory.names() == ["credit-1", "credit-2"]  # the old one is warm
        factory.clock.ns += 601 * 10**9
        await factory.turn(2)
        assert await factory.names() == ["credit-2"]

    play(story)


def test_a_cut_told_three_times_aborts_exactly_once_and_the_release_stays_out(play: Play) -> None:
    async def story(factory: Factory) -> None:
        await factory.on_canary()
        told = cut(factory.clock.now_ns())
        assert await factory.reports.receive([told])
        assert not await factory.reports.receive([told, told])
        assert await factory.weights() == {"credit@1": 10_000}
        await factory.turn(5)
        assert await factory.count("rollout.aborted") == 1
        assert await factory.names() == ["credit-1"]
        degraded = [entry for entry in (await factory.status()).conditions if entry.type == "Degraded"]
        assert degraded[0].status
        explained = await factory.service.explain("credit-1")
        assert (explained.phase, explained.cut) == ("Aborted", told)
        await factory.want("2", retries=5)  # a change of configuration only is no new attempt
        await factory.turn(3)
        assert await factory.count("rollout.started") == 1

    play(story)


def test_retry_and_a_detour_over_the_stable_release_allow_a_new_attempt(play: Play) -> None:
    async def story(factory: Factory) -> None:
        await factory.on_canary()
        await factory.service.abort("credit-1", "user:root")
        await factory.turn(2)
        await factory.service.retry("credit-1", "user:root")
        await factory.turn(2)
        assert await factory.count("rollout.started") == 2
        await factory.want("1")
        await factory.turn(3)
        assert await factory.count("rollout.aborted") == 2
        await factory.want("2")
        await factory.turn(3)
        assert await factory.count("rollout.started") == 3

    play(story)


def test_another_release_in_the_middle_ends_the_first_rollout_and_starts_anew(play: Play) -> None:
    async def story(factory: Factory) -> None:
        await factory.on_canary()
        await factory.want("3")
        await factory.turn(4)
        course = await factory.course()
        assert course is not None
        assert (course.name, course.spec.target.version) == ("credit-2", "3")
        assert await factory.names() == ["credit-1", "credit-3"]

    play(story)


def test_a_release_that_was_stable_a_moment_ago_returns_at_once(play: Play) -> None:
    async def story(factory: Factory) -> None:
        await factory.on_canary()
        await factory.service.promote("credit-1", "user:root", full=True)
        await factory.turn(3)
        assert await factory.weights() == {"credit@2": 10_000}
        await factory.want("1")
        await factory.turn(2)
        assert await factory.weights() == {"credit@1": 10_000}
        assert await factory.count("rollout.started") == 1

    play(story)


def test_a_paused_cut_has_no_traffic_until_a_person_overrules_it(play: Play) -> None:
    async def story(factory: Factory) -> None:
        await factory.on_canary()
        told = cut(factory.clock.now_ns(), "pause")
        await factory.reports.receive([told, told])
        assert await factory.weights() == {"credit@1": 10_000, "credit@2": 0}
        with pytest.raises(Conflict):
            await factory.service.promote("credit-1", "user:root")
        factory.clock.ns += 10**9
        await factory.service.resume("credit-1", "user:root")
        await factory.reports.receive([told])  # late news of what was overruled
        entry = await factory.entry()
        assert entry.rollout is not None
        assert entry.rollout.overrules == 1
        assert await factory.weights() == {"credit@1": 9000, "credit@2": 1000}

    play(story)


def test_verbs_that_do_not_apply_are_conflicts(play: Play) -> None:
    async def story(factory: Factory) -> None:
        await factory.on_canary()
        await factory.service.abort("credit-1", "user:root")
        for verb in (
            factory.service.abort,
            factory.service.pause,
            factory.service.resume,
            factory.service.promote,
        ):
            with pytest.raises(Conflict):
                await verb("credit-1", "user:root")

    play(story)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"release": {"model": "credit"}}, "spec.release.version"),
        ({"release": {"model": "credit", "version": "9"}}, "spec.release.version"),
        ({"release": {"model": "credit", "provider": "x"}}, "spec.release"),
        ({"strategy": {"deadline": "soon"}}, "spec.strategy.deadline"),
        (
            {"strategy": {"canary": {"steps": [{"weight": 9}, {"weight": 5}]}}},
            "spec.strategy.canary.steps[1].weight",
        ),
        ({"strategy": {"canary": {"sticky": {"by": "header"}}}}, "spec.strategy.canary.sticky.header"),
        (
            {"strategy": {"gates": [{"name": "a", "metric": "latency", "margin": 0.5}]}},
            "spec.strategy.gates[0].margin",
        ),
        ({"fallbacks": ["nobody"]}, "spec.fallbacks[0]"),
        ({"recording": {"bodies": {"maxBytes": "much"}}}, "spec.recording.bodies.maxBytes"),
        ({"recording": {"bodies": {"maxBytes": "9Mi"}}}, "spec.recording.bodies.maxBytes"),
        ({"recording": {"prediction": {"output": "q"}}}, "spec.recording.prediction.output"),
        (
            {"recording": {"prediction": {"output": "p", "classes": ["a", "b"], "index": 2}}},
            "spec.recording.prediction.index",
        ),
        (
            {"recording": {"prediction": {"output": "p", "classes": ["a", "a"]}}},
            "spec.recording.prediction.classes",
        ),
        ({"protocol": "openai", "recording": {"prediction": {"output": "p"}}}, "spec.recording.prediction"),
    ],
)
def test_what_cannot_be_enforced_is_refused_at_its_path(body: dict[str, object], path: str) -> None:
    whole = {"release": {"model": "credit", "version": "1"}, **body}
    record = Record(kind="Endpoint", name="credit", spec=whole)
    version = Record(kind="ModelVersion", name="credit-1", spec={"signature": {"outputs": [{"name": "p"}]}})
    world = {("Endpoint", "credit"): record, ("ModelVersion", "credit-1"): version}
    assert [
        problem.path for problem in check_endpoint(msgspec.convert(whole, EndpointSpec), record, world)
    ] == [path]


def test_what_is_recorded_is_compiled_and_nothing_leaves_nothing() -> None:
    def compiled(**recording: object) -> RecordingEntry | None:
        return compile_recording(msgspec.convert(recording, RecordingSpec))

    assert compiled() is None
    assert compiled(bodies={"inputs": True, "share": 0}) is None
    assert compiled(bodies={"outputs": True, "maxBytes": "1Ki"}) == RecordingEntry(
        bodies=BodiesEntry(outputs=True, bytes_max=1024)
    )
    assert compiled(prediction={"output": "p", "index": 0}) == RecordingEntry(
        prediction=PredictionEntry(output="p", index=0)
    )
