"""What the ledger's tests share: a runner that works at once, a clock that stands still, quick settings."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from andon.kernel.clock import SystemClock
from andon.kernel.ports import Disk
from andon.kernel.random import SeededRandom
from andon.ledger.log import Log
from andon.ledger.row import Outcome
from andon.ledger.settings import LogSettings
from andon.testing.disk import SimulatedDisk

T = TypeVar("T")

QUICK = LogSettings(linger_s=0.0, flush_s=0.001, retry_s=0.001, reserve_bytes=0)


class InlineRunner:
    """Does the work at once and in order, as in simulation."""

    def run(self, work: Callable[[], T]) -> Awaitable[T]:
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        try:
            future.set_result(work())
        except Exception as error:  # it belongs to whoever awaits
            future.set_exception(error)
        return future


class HeldRunner(InlineRunner):
    """Does the work only when let go, so that a test can look while a commit is under way."""

    def __init__(self) -> None:
        self.held: list[Callable[[], None]] = []
        self.holds = False

    def run(self, work: Callable[[], T]) -> Awaitable[T]:
        if not self.holds:
            return super().run(work)
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def go() -> None:
            try:
                future.set_result(work())
            except Exception as error:  # it belongs to whoever awaits
                future.set_exception(error)

        self.held.append(go)
        return future

    def let_go(self) -> None:
        held, self.held = self.held, []
        for go in held:
            go()


def disk(capacity_bytes: int | None = None, seed: int = 1) -> SimulatedDisk:
    return SimulatedDisk(SeededRandom(seed), capacity_bytes)


async def opened(on: Disk, settings: LogSettings = QUICK, runner: InlineRunner | None = None) -> Log:
    return await Log.open(on, "gw", SystemClock(), runner or InlineRunner(), "gateway-0", settings)


def row(number: int, **fields: object) -> Outcome:
    return Outcome(id=f"r-{number}", **fields)  # type: ignore[arg-type]  # tests name fields loosely
