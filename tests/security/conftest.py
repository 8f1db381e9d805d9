"""A clock that tests turn by hand, and the store that they run on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from andon.kernel.clock import Clock
from andon.kernel.random import SeededRandom
from andon.store.model import Store
from andon.store.sql import open_store

T = TypeVar("T")
PEPPER = b"p" * 32


class HandClock(Clock):
    """Stands still until a test moves it."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def now_ns(self) -> int:
        return 1_700_000_000_000_000_000 + int(self.seconds * 1e9)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def with_store(tmp_path: Path, clock: HandClock) -> Callable[[Callable[[Store], Awaitable[T]]], T]:
    """Runs a story on a real SQLite store."""

    def run(story: Callable[[Store], Awaitable[T]]) -> T:
        async def main() -> T:
            store = await open_store(f"sqlite:///{tmp_path}/state.db", clock, random=SeededRandom(1))
            try:
                return await story(store)
            finally:
                await store.close()

        return asyncio.run(main())

    return run
