"""A `Runner` without threads: work happens at once and in order, so that simulations repeat exactly.

`before` is awaited ahead of each piece of work: there a simulation raises or waits, as a slow or lost database
would.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def _nothing() -> None:
    """No delay and no failure."""


class InlineRunner:
    """Runs work on the event loop itself."""

    def __init__(self, before: Callable[[], Awaitable[None]] = _nothing) -> None:
        self._before = before

    async def run(self, work: Callable[[], T]) -> T:
        """The result of `work()`."""
        await self._before()
        return work()
