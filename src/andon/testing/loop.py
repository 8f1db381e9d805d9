"""An event loop on virtual time with a seeded scheduler: the ground that simulations and timed tests stand on.

Waiting costs nothing: when nothing is ready the clock jumps to the next timer. Tasks that are ready at the same moment
run in an order drawn from the seed, so that an order-dependence shows itself, and shows itself again.
It never touches the network: a simulation that opens a socket is a bug and is told so.
"""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")

EPOCH_NS = 1_700_000_000_000_000_000  # a fixed birthday, so that records of equal seeds are equal


class SimulationStuckError(Exception):
    """Nothing is ready and no timer is set: what is being awaited can never happen."""


class _VirtualSelector(selectors.BaseSelector):
    """A selector that waits by moving the clock; it knows only the loop's own wake-up socket."""

    def __init__(self, advance: Callable[[float | None], None]) -> None:
        self._advance = advance
        self._keys: dict[int, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        if self._keys:
            raise SimulationStuckError("a simulation must not open sockets: use a port and its fake")
        key = selectors.SelectorKey(fileobj, _descriptor(fileobj), events, data)
        self._keys[key.fd] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(_descriptor(fileobj))

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._advance(timeout)
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys


def _descriptor(fileobj: Any) -> int:
    return fileobj if isinstance(fileobj, int) else int(fileobj.fileno())


def _is_task_step(handle: asyncio.Handle) -> bool:
    """Whether a ready handle resumes a task. Other callbacks keep asyncio's promised order."""
    callback = getattr(handle, "_callback", None)
    return isinstance(getattr(callback, "__self__", None), asyncio.Task)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Virtual time and seeded order. `seed=None` keeps asyncio's own first-in first-out order."""

    def __init__(self, seed: int | None = None) -> None:
        self._now = 0.0
        self._order = random.Random(seed) if seed is not None else None
        self.turns = 0
        self._born = 0
        self._births: WeakKeyDictionary[asyncio.Task[Any], int] = WeakKeyDictionary()
        super().__init__(_VirtualSelector(self._advance))

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def create_task(self, coro: Any, **how: Any) -> asyncio.Task[Any]:
        """As asyncio does, remembering the order of birth: sets of tasks have an order that no seed decides."""
        task: asyncio.Task[Any] = super().create_task(coro, **how)
        self._born += 1
        self._births[task] = self._born
        return task

    def _birth(self, handle: asyncio.Handle) -> int:
        task = getattr(getattr(handle, "_callback", None), "__self__", None)
        return self._births.get(task, -1) if isinstance(task, asyncio.Task) else -1

    def _advance(self, timeout: float | None) -> None:
        if timeout is None:
            raise SimulationStuckError("nothing is ready and no timer is set")
        # One microsecond beyond, because adding floats may stop just short of the timer for ever.
        self._now += timeout + 1e-6 if timeout > 0 else 0.0

    def _run_once(self) -> None:
        # `_ready` and `_run_once` are asyncio's own; both have been there, under these names, since Python 3.4.
        self.turns += 1
        ready = self._ready  # type: ignore[attr-defined]  # not in typeshed
        if self._order is not None and len(ready) > 1:
            places = [index for index, handle in enumerate(ready) if _is_task_step(handle)]
            if len(places) > 1:
                handles = sorted((ready[index] for index in places), key=self._birth)
                self._order.shuffle(handles)
                for index, handle in zip(places, handles, strict=True):
                    ready[index] = handle
        super()._run_once()  # type: ignore[misc]  # not in typeshed


class VirtualClock:
    """A `kernel.Clock` on a virtual loop. `skew_s` makes this clock's wall time wrong by that much."""

    def __init__(self, loop: VirtualLoop, skew_s: float = 0.0) -> None:
        self._loop = loop
        self.skew_s = skew_s

    def now_ns(self) -> int:
        """Wall clock in nanoseconds, from a fixed epoch."""
        return EPOCH_NS + int((self._loop.time() + self.skew_s) * 1e9)

    def monotonic(self) -> float:
        """Virtual seconds."""
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        """Give way until the virtual clock has moved on."""
        await asyncio.sleep(seconds)


def run_virtual(main: Callable[[VirtualClock], Coroutine[Any, Any, T]], *, seed: int | None = None) -> T:
    """Run one coroutine to its end on a fresh virtual loop; fails if it leaves a task behind."""
    loop = VirtualLoop(seed)
    try:
        result = loop.run_until_complete(main(VirtualClock(loop)))
        left = [task for task in asyncio.all_tasks(loop) if not task.done()]
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            raise AssertionError(f"{len(left)} tasks were left running: {left[0]!r}")
        return result
    finally:
        loop.close()
