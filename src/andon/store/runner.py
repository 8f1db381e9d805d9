"""Threads for blocking work: the real `Runner` port under the store.

One thread for SQLite, which has one writer anyway; a few for PostgreSQL. Work that was handed over is finished even if
its awaiter is cancelled, so a cancelled verb may still have happened: verbs are written to be repeated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from andon.kernel.errors import Transient

T = TypeVar("T")

WAITING_MAX = 2000


class ThreadRunner:
    """Runs work on `threads` threads. More than `waiting_max` pieces at once are refused with `Transient`."""

    def __init__(self, threads: int = 1, waiting_max: int = WAITING_MAX) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="andon-store")
        self._waiting = 0
        self._waiting_max = waiting_max

    def run(self, work: Callable[[], T]) -> Awaitable[T]:
        """The result of `work()`."""
        if self._waiting >= self._waiting_max:
            raise Transient(
                "store_overloaded", f"{self._waiting} pieces of work wait for the database already."
            )
        self._waiting += 1
        future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        future.add_done_callback(self._done)
        return future

    def close(self) -> None:
        """Finish what was handed over and end the threads."""
        self._pool.shutdown(wait=True)

    def _done(self, future: asyncio.Future[T]) -> None:
        self._waiting -= 1
