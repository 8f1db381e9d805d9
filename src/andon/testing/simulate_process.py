"""An imagined process: tasks that live and die together, and ports at which it can be stopped.

Everything that a process asks of the world passes its `gate`, before and after. A dead process's calls never return,
a frozen one's return late; so every place between two awaits at a port is a place where it can crash.
It must never reach a disk, a database or a client once it is dead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import ContextVar, copy_context
from typing import Any, TypeVar

from andon.kernel.clock import Clock
from andon.kernel.errors import Transient
from andon.kernel.random import Random
from andon.serving.executors.port import Executor, Observed
from andon.serving.replica.model import ReplicaSpec
from andon.testing.disk import PowerLoss

T = TypeVar("T")

REAP_ROUNDS = 200  # cancellations of what a dead process left; code that survives them all is a bug

_current: ContextVar[Process | None] = ContextVar("andon_simulated_process", default=None)


class Gone(Exception):
    """The process that was asked has died: whether it did what it was asked is unknown."""


class Process:
    """One process of the simulated factory."""

    def __init__(self, name: str, clock: Clock, random: Random) -> None:
        self.name = name
        self.clock = clock
        self.random = random
        self.dead = False
        self.frozen_until = 0.0
        self.fuse: int | None = None  # port calls until it crashes by itself
        self.on_blown: Callable[[], None] = _nothing
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self._context = copy_context()
        self._context.run(_current.set, self)

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run something inside the process; what it starts belongs to the process too."""
        return asyncio.get_running_loop().create_task(work, context=self._context)

    async def ask(self, work: Coroutine[Any, Any, T], patience_s: float) -> T:
        """The result of something run inside the process. Raises Gone if it died or took longer."""
        if self.dead:
            work.close()
            raise Gone(self.name)
        task = self.start(work)
        await asyncio.wait([task], timeout=patience_s)
        if not task.done() or task.cancelled():
            raise Gone(self.name)
        return task.result()

    async def gate(self) -> None:
        """Stand at every port: crash here if the fuse has burnt down, never return if dead, wait while frozen."""
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse <= 0:
                self.fuse = None
                self.on_blown()
        while not self.dead and self.clock.monotonic() < self.frozen_until:
            await self.clock.sleep(self.frozen_until - self.clock.monotonic() + 0.001)
        if self.dead:
            await asyncio.get_running_loop().create_future()

    async def reap(self) -> None:
        """End every task of a dead process. Raises AssertionError if one will not end."""
        assert self.dead
        left: list[asyncio.Task[Any]] = []
        for _ in range(REAP_ROUNDS):
            left = [task for task in self._tasks if not task.done()]
            if not left:
                return
            for task in left:
                task.cancel()
            await asyncio.sleep(0)
        raise AssertionError(f"{left[0]!r} of {self.name} does not end when it is cancelled")

    def adopt(self, task: asyncio.Task[Any]) -> None:
        """One more task of this process."""
        self._tasks[task] = None
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled():
            task.exception()  # seen: whoever awaits the task decides what it means


def _nothing() -> None:
    """Nothing happens at a crash that nobody waits for."""


def make_task(loop: asyncio.AbstractEventLoop, work: Any, context: Any = None) -> asyncio.Task[Any]:
    """A task factory that counts each task among its process's."""
    task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, context=context)
    owner = _current.get() if context is None else context.get(_current)
    if owner is not None:
        owner.adopt(task)
    return task


def refuse_the_dead(operation: str, path: str) -> None:
    """For `SimulatedDisk.before`: whoever is dead writes and reads nothing, whatever its cleanup tries."""
    owner = _current.get()
    if owner is not None and owner.dead:
        raise PowerLoss("this process is dead")


class ProcessRunner:
    """The `Runner` of a process: work happens at once, a little later, after which the process may be dead."""

    def __init__(self, process: Process, fault: Callable[[], Transient | None] | None = None) -> None:
        self._process = process
        self._fault = fault

    async def run(self, work: Callable[[], T]) -> T:
        """The result of `work()`."""
        process = self._process
        await process.gate()
        if process.random.uniform() < 0.3:
            await process.clock.sleep(process.random.uniform() * 0.003)
            await process.gate()
        fault = self._fault() if self._fault is not None else None
        if fault is not None:
            raise fault
        result = work()
        await process.gate()
        return result


class ProcessExecutor:
    """The machine's executor as one control process reaches it."""

    def __init__(self, process: Process, executor: Executor) -> None:
        self._process = process
        self._executor = executor

    async def start(self, spec: ReplicaSpec) -> None:
        await self._process.gate()
        await self._executor.start(spec)
        await self._process.gate()

    async def stop(self, id_: str, grace_s: float) -> None:
        await self._process.gate()
        await self._executor.stop(id_, grace_s)
        await self._process.gate()

    async def list(self, deployment: str = "") -> list[Observed]:
        await self._process.gate()
        found = list(await self._executor.list(deployment))
        await self._process.gate()
        return found

    async def forget(self, id_: str) -> None:
        await self._process.gate()
        await self._executor.forget(id_)
        await self._process.gate()
