"""One thread that does blocking work in order: the real `kernel.ports.Runner` of the log.

A queue and one call back into the loop per piece of work; an executor would cost twice that. It must never touch
the loop's objects except through `call_soon_threadsafe`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

_Work = tuple[Callable[[], Any], asyncio.AbstractEventLoop, "asyncio.Future[Any]"]


class WorkThread:
    """Runs work one piece at a time, in the order given. Callers bound how much they give (the log: one)."""

    def __init__(self, name: str) -> None:
        self._queue: SimpleQueue[_Work | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def run(self, work: Callable[[], T]) -> Awaitable[T]:
        """The result of `work()`, on the loop that is running."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._queue.put((work, loop, future))
        return future

    def close(self, timeout_s: float = 5.0) -> None:
        """Finish what was given and end; a disk that hangs longer than the time-out is left behind."""
        self._queue.put(None)
        self._thread.join(timeout_s)

    def _serve(self) -> None:
        while (item := self._queue.get()) is not None:
            work, loop, future = item
            result, error = None, None
            try:
                result = work()
            except Exception as failure:  # whatever it is belongs to the caller, who gets it from the future
                error = failure
            try:
                loop.call_soon_threadsafe(_resolve, future, result, error)
            except RuntimeError:
                continue  # the loop has been closed meanwhile: nobody is left to be told


def _resolve(future: asyncio.Future[Any], result: object, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
