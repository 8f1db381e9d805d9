"""One suite for every executor: what the port promises holds for real processes and for the fake."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest

from andon.kernel.clock import Clock, SystemClock
from andon.kernel.random import SeededRandom
from andon.serving.executors.local import LocalExecutor
from andon.serving.executors.port import Executor, Observed, stop_all
from andon.serving.executors.sockets import socket_path
from andon.serving.replica.model import ReplicaSpec
from andon.testing.executor import FakeExecutor, Fate
from andon.testing.loop import run_virtual
from andon.wire.client import Client

Case = Callable[[Executor, Clock, ReplicaSpec], Coroutine[Any, Any, None]]


def spec_of(source: Path, **changes: Any) -> ReplicaSpec:
    spec = ReplicaSpec(
        id="linear-1-r1", deployment="linear-1", model="linear", version="1", source=str(source), linger_s=0.0
    )
    return msgspec.structs.replace(spec, **changes)


async def until(executor: Executor, clock: Clock, holds: Callable[[list[Observed]], bool]) -> list[Observed]:
    """Look until something is seen; the test's time-out is the limit."""
    while True:
        seen = list(await executor.list())
        if holds(seen):
            return seen
        assert "exited" not in phases(seen), seen
        await clock.sleep(0.02)


def phases(seen: list[Observed]) -> list[str]:
    return [one.phase for one in seen]


def run_local(case: Case, home: Path, spec: ReplicaSpec) -> None:
    async def main() -> None:
        clock = SystemClock()
        client = Client(clock)
        executor = LocalExecutor(home, clock, client, os.environ)
        try:
            await case(executor, clock, spec)
        finally:
            assert await stop_all(executor, clock, 5.0) == 0
            await client.close()

    asyncio.run(main())


def run_fake(case: Case, spec: ReplicaSpec, fate: Fate | None = None) -> None:
    async def main(clock: Clock) -> None:
        executor = FakeExecutor(clock, SeededRandom(7))
        if fate is not None:
            executor.fates[spec.id] = fate
        await case(executor, clock, spec)

    run_virtual(main)


@pytest.fixture(params=["local", "fake"])
def run(request: pytest.FixtureRequest, tmp_path: Path, linear: Path) -> Callable[..., None]:
    def go(case: Case, *, fate: Fate | None = None, **changes: Any) -> None:
        spec = spec_of(linear, **changes)
        if request.param == "local":
            run_local(case, tmp_path, spec)
        else:
            run_fake(case, spec, fate)

    return go


def test_a_started_replica_becomes_ready_and_says_what_it_serves(run: Callable[..., None]) -> None:
    async def case(executor: Executor, clock: Clock, spec: ReplicaSpec) -> None:
        await executor.start(spec)
        (first,) = await executor.list()
        assert first.phase == "starting"
        assert first.unready_since_ns > 0
        (seen,) = await until(executor, clock, lambda seen: phases(seen) == ["ready"])
        assert seen.spec == spec
        assert seen.url
        assert seen.signature is not None
        assert seen.digest.startswith("sha256:")
        assert seen.unready_since_ns == 0

    run(case)


def test_starting_twice_starts_once(run: Callable[..., None]) -> None:
    async def case(executor: Executor, clock: Clock, spec: ReplicaSpec) -> None:
        await executor.start(spec)
        await executor.start(spec)
        (seen,) = await until(executor, clock, lambda seen: phases(seen) == ["ready"])
        await executor.start(spec)
        (again,) = await executor.list()
        assert again.pid == seen.pid

    run(case)


def test_a_stopped_replica_is_gone_and_stopping_is_idempotent(run: Callable[..., None]) -> None:
    async def case(executor: Executor, clock: Clock, spec: ReplicaSpec) -> None:
        await executor.start(spec)
        await until(executor, clock, lambda seen: phases(seen) == ["ready"])
        await executor.stop(spec.id, 5.0)
        await executor.stop(spec.id, 5.0)
        await until(executor, clock, lambda seen: not seen)
        await executor.stop(spec.id, 5.0)
        await executor.stop("never-seen", 5.0)
        await executor.forget("never-seen")

    run(case)


def test_a_model_that_cannot_be_served_exits_for_good_and_is_kept_until_forgotten(
    run: Callable[..., None],
) -> None:
    async def case(executor: Executor, clock: Clock, spec: ReplicaSpec) -> None:
        await executor.start(spec)
        (seen,) = await until(executor, clock, lambda seen: phases(seen) == ["exited"])
        assert seen.permanent
        assert seen.error == "digest_mismatch"
        assert seen.ended_ns > 0
        (again,) = await executor.list()
        assert again.ended_ns == seen.ended_ns
        await executor.forget(spec.id)
        assert list(await executor.list()) == []

    run(case, digest="sha256:" + "0" * 64, fate=Fate(error="digest_mismatch", permanent=True))


def test_a_living_replica_is_not_forgotten(run: Callable[..., None]) -> None:
    async def case(executor: Executor, clock: Clock, spec: ReplicaSpec) -> None:
        await executor.start(spec)
        await executor.forget(spec.id)
        await until(executor, clock, lambda seen: phases(seen) == ["ready"])

    run(case)


def test_a_killed_replica_is_seen_and_what_killed_it_is_said(tmp_path: Path, linear: Path) -> None:
    async def case(executor: Executor, clock: Clock, spec: ReplicaSpec) -> None:
        await executor.start(spec)
        (seen,) = await until(executor, clock, lambda seen: phases(seen) == ["ready"])
        os.kill(seen.pid, signal.SIGKILL)
        (dead,) = await until(executor, clock, lambda seen: phases(seen) == ["exited"])
        assert dead.code == -signal.SIGKILL
        assert not dead.permanent
        assert "SIGKILL" in dead.reason

    run_local(case, tmp_path, spec_of(linear))


def test_a_restarted_control_adopts_its_replicas(tmp_path: Path, linear: Path) -> None:
    async def case(executor: Executor, clock: Clock, spec: ReplicaSpec) -> None:
        await executor.start(spec)
        (seen,) = await until(executor, clock, lambda seen: phases(seen) == ["ready"])
        client = Client(clock)
        second = LocalExecutor(tmp_path, clock, client)
        (adopted,) = await until(second, clock, lambda seen: phases(seen) == ["ready"])
        assert adopted.pid == seen.pid
        await second.stop(spec.id, 5.0)
        await until(executor, clock, lambda seen: not seen)
        await client.close()

    run_local(case, tmp_path, spec_of(linear))


def test_a_number_used_by_another_process_is_neither_adopted_nor_killed(tmp_path: Path, linear: Path) -> None:
    async def case(executor: Executor, clock: Clock, spec: ReplicaSpec) -> None:
        await executor.start(spec)
        (seen,) = await until(executor, clock, lambda seen: phases(seen) == ["ready"])
        os.kill(seen.pid, signal.SIGKILL)
        await until(executor, clock, lambda seen: phases(seen) == ["exited"])
        path = tmp_path / "run" / "replicas" / f"{spec.id}.pid.json"
        path.write_bytes(msgspec.json.encode({"pid": os.getpid(), "started_at": 1.0}))
        (tmp_path / "run" / "replicas" / f"{spec.id}.ended.json").unlink()
        client = Client(clock)
        second = LocalExecutor(tmp_path, clock, client)
        (found,) = await second.list()
        assert found.phase == "exited"
        await second.stop(spec.id, 0.0)
        assert list(await second.list()) == []
        await client.close()

    run_local(case, tmp_path, spec_of(linear))


def test_a_deaf_replica_is_killed_when_its_grace_is_over(tmp_path: Path, linear: Path) -> None:
    async def case(executor: Executor, clock: Clock, spec: ReplicaSpec) -> None:
        await executor.start(spec)
        (seen,) = await until(executor, clock, lambda seen: phases(seen) == ["ready"])
        os.kill(seen.pid, signal.SIGSTOP)
        await executor.stop(spec.id, 0.05)
        await until(executor, clock, lambda seen: not seen)

    run_local(case, tmp_path, spec_of(linear))


def test_a_replica_beyond_its_memory_ends_itself_and_says_so(tmp_path: Path, linear: Path) -> None:
    async def case(executor: Executor, clock: Clock, spec: ReplicaSpec) -> None:
        await executor.start(spec)
        (dead,) = await until(executor, clock, lambda seen: phases(seen) == ["exited"])
        assert dead.error == "memory_limit"
        assert "MiB" in dead.reason

    run_local(case, tmp_path, spec_of(linear, memory_bytes=16 * 2**20))


def test_a_home_with_a_very_long_path_still_gets_its_sockets(tmp_path: Path, linear: Path) -> None:
    home = tmp_path / ("deep" * 30)

    async def case(executor: Executor, clock: Clock, spec: ReplicaSpec) -> None:
        await executor.start(spec)
        (seen,) = await until(executor, clock, lambda seen: phases(seen) == ["ready"])
        assert len(seen.url) < 115
        assert os.stat(Path(seen.url.removeprefix("unix://")).parent).st_mode & 0o077 == 0

    run_local(case, home, spec_of(linear))
    folder = socket_path(home / "run" / "replicas", "x").parent
    folder.rmdir()


def test_control_secrets_are_not_inherited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANDON_ADMIN_KEY", "hidden")
    source = tmp_path / "m" / "model.py"
    source.parent.mkdir()
    source.write_text(
        "import os\n"
        "signature = {'inputs': [], 'outputs': []}\n"
        "if os.environ.get('ANDON_ADMIN_KEY') or os.environ.get('ASKED') != 'yes':\n"
        "    raise RuntimeError('wrong environment')\n"
        "def predict(inputs):\n"
        "    return {}\n"
    )

    async def case(executor: Executor, clock: Clock, spec: ReplicaSpec) -> None:
        await executor.start(spec)
        (seen,) = await until(executor, clock, lambda seen: phases(seen) != ["starting"])
        assert seen.phase == "ready", seen.reason

    run_local(case, tmp_path, spec_of(source, env={"ASKED": "yes"}))
