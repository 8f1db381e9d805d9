"""The whole of serving in small: a deployment in a real store, real replicas, and one of them killed."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import msgspec

from andon.control.controller import Controller, Result
from andon.kernel.clock import SystemClock
from andon.kernel.deployments import DEPLOYMENT, DeploymentSpec, DeploymentStatus
from andon.serving.deployments.controller import DeploymentController, SweepController
from andon.serving.deployments.model import Facts
from andon.serving.executors.local import LocalExecutor
from andon.serving.executors.port import stop_all
from andon.serving.models.model import MODEL_VERSION, ModelVersionSpec
from andon.store.model import Record, Store, Unit
from andon.store.sql import open_store
from andon.wire.client import Client


async def turn(store: Store, controller: Controller[Facts], subject: str, clock: SystemClock) -> None:
    """One turn as the driver takes it."""
    facts = await controller.observe(subject)
    if facts is None:
        return
    plan = controller.plan(facts, clock.now_ns())
    assert controller.veto(facts, plan) is None
    lease = await store.transact(lambda unit: unit.acquire(subject, "test", 30.0))
    assert lease is not None
    for step in plan.steps:
        await controller.act(facts, step, lease)
    for result in await controller.conclude(facts, plan, lease):

        def write(unit: Unit, result: Result = result) -> None:
            assert result.status is not None
            unit.put_status(
                DEPLOYMENT, result.name, result.status, expect_generation=result.generation, lease=lease
            )

        await store.transact(write)


def test_a_killed_replica_is_replaced_and_a_deleted_deployment_leaves_nothing(
    tmp_path: Path, linear: Path
) -> None:
    async def main() -> None:
        clock = SystemClock()
        client = Client(clock)
        store = await open_store(f"sqlite:///{tmp_path / 'state.db'}", clock)
        executor = LocalExecutor(tmp_path, clock, client)
        controller = DeploymentController(store, executor, clock, tmp_path)
        sweep = SweepController(store, executor)
        source = str(linear.relative_to(tmp_path))

        def write(unit: Unit) -> None:
            version = ModelVersionSpec(model="linear", version="1", source=source)
            wanted = DeploymentSpec(model="linear", version="1", replicas=2)
            for kind, spec in ((MODEL_VERSION, version), (DEPLOYMENT, wanted)):
                unit.put(Record(kind=kind, name="linear-1", spec=msgspec.to_builtins(spec)))

        async def until(holds: Callable[[DeploymentStatus], bool]) -> DeploymentStatus:
            while True:
                await turn(store, controller, "Deployment/linear-1", clock)
                record = await store.transact(lambda unit: unit.get(DEPLOYMENT, "linear-1"))
                assert record is not None
                if record.status:
                    status = msgspec.convert(record.status, DeploymentStatus)
                    assert status.failed == ""
                    if holds(status):
                        return status
                await clock.sleep(0.05)

        try:
            await store.transact(write)
            status = await until(lambda status: status.ready == 2)
            assert status.signature is not None
            assert status.signature.inputs[0].name == "x"
            victim = status.replicas[0]
            os.kill(victim.pid, signal.SIGKILL)
            await until(lambda status: victim.id not in [target.id for target in status.targets])
            status = await until(lambda status: status.ready == 2)
            assert victim.id not in [one.id for one in status.replicas]
            told = await store.transact(lambda unit: unit.events(name="replica.crashed"))
            assert [one.event.data["replica"] for one in told] == [victim.id]
            assert "SIGKILL" in told[0].event.data["reason"]
            await store.transact(lambda unit: unit.delete(DEPLOYMENT, "linear-1"))
            while await executor.list():
                await turn(store, sweep, "Executor/local", clock)  # type: ignore[arg-type]  # other facts
                await clock.sleep(0.05)
        finally:
            assert await stop_all(executor, clock, 5.0) == 0
            await client.close()
            await store.close()

    asyncio.run(main())
