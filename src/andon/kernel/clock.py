"""Time as a port. The only place of the product that reads a clock or sleeps.

Everything else receives a `Clock`; `andon.testing` hands out a virtual one.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Wall time for records, monotonic time for durations and deadlines."""

    def now_ns(self) -> int:
        """Wall clock, nanoseconds since the Unix epoch, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back; only differences mean anything."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Give way for `seconds`."""
        ...


class SystemClock:
    """The machine's own clock."""

    now_ns = staticmethod(time.time_ns)
    monotonic = staticmethod(time.perf_counter)

    async def sleep(self, seconds: float) -> None:
        """Give way for `seconds`."""
        await asyncio.sleep(seconds)

    def pause(self, seconds: float) -> None:
        """Block this thread: for programs without an event loop only, never in a process that serves."""
        time.sleep(seconds)
