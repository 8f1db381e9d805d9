"""Waiting for a signal or for time, whichever comes first, on the kernel's clock.

What the driver and the outbox sleep on. Signals carry no data and coalesce: ten of them are one look.
"""

from __future__ import annotations

import asyncio

from andon.kernel.clock import Clock


async def wait_until(event: asyncio.Event, clock: Clock, seconds: float) -> None:
    """Return when the event is set or `seconds` have passed; at once if there is nothing to wait for."""
    if event.is_set() or seconds <= 0:
        return
    sleeping = asyncio.ensure_future(clock.sleep(seconds))
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({sleeping, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        sleeping.cancel()
        waiting.cancel()
        await asyncio.gather(sleeping, waiting, return_exceptions=True)


class Signal:
    """A signal for one waiter. Call it on the event loop's thread only."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._event = asyncio.Event()
        self._signalled = False

    def set(self) -> None:
        """Something may have changed: look at everything."""
        self._signalled = True
        self._event.set()

    def nudge(self) -> None:
        """Only the time of the next look has changed."""
        self._event.set()

    async def wait(self, seconds: float) -> bool:
        """Wait at most `seconds`; whether it was signalled since the last wait."""
        await wait_until(self._event, self._clock, seconds)
        signalled, self._signalled = self._signalled, False
        self._event.clear()
        return signalled
