"""The store over SQL: opens the database and runs units of work in serialisable transactions off the event loop.

`open_store` is how `app` gets it. A unit that lost a race in PostgreSQL is run again, a bounded number of times.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import exc
from sqlalchemy.engine import Engine
from sqlalchemy.pool import StaticPool

from andon.kernel.clock import Clock
from andon.kernel.errors import Transient
from andon.kernel.ports import Runner
from andon.kernel.random import Random, SystemRandom
from andon.store.connection import POSTGRES_THREADS, make_engine, parse_url, should_retry, translated
from andon.store.model import Unit
from andon.store.runner import ThreadRunner
from andon.store.schema import bring_to_head
from andon.store.unit import SqlUnit

T = TypeVar("T")

ATTEMPTS_MAX = 10
RETRY_FIRST_S = 0.01
RETRY_LONGEST_S = 1.0


class SqlStore:
    """A `Store`. Made by `open_store`; `close` lets go of connections and of threads it started itself."""

    def __init__(self, engine: Engine, clock: Clock, random: Random, runner: Runner) -> None:
        self._engine = engine
        self._clock = clock
        self._random = random
        self._runner = runner
        # A database in memory is one connection, which two threads must not use at once.
        self._alone = threading.Lock() if isinstance(engine.pool, StaticPool) else None
        self.owned_runner: ThreadRunner | None = None

    async def open(self) -> None:
        """Bring the database to the shape of this version."""
        await self._runner.run(lambda: self._guarded(lambda: bring_to_head(self._engine)))

    async def transact(self, work: Callable[[Unit], T]) -> T:
        """Run `work` in one serialisable transaction, off the event loop; it may run more than once."""
        for attempt in range(ATTEMPTS_MAX):
            try:
                return await self._runner.run(lambda: self._guarded(lambda: self._once(work)))
            except _LostRace:
                longest = min(RETRY_LONGEST_S, RETRY_FIRST_S * 2**attempt)
                await self._clock.sleep(longest * (0.5 + self._random.uniform() / 2))
        raise Transient("store_contended", f"A transaction lost {ATTEMPTS_MAX} races in a row.")

    async def close(self) -> None:
        """Let go of everything; work that was handed over is finished first."""
        await self._runner.run(self._engine.dispose)
        if self.owned_runner is not None:
            self.owned_runner.close()

    def _once(self, work: Callable[[Unit], T]) -> T:
        with self._engine.begin() as connection:
            return work(SqlUnit(connection, self._clock))

    def _guarded(self, work: Callable[[], T]) -> T:
        try:
            if self._alone is None:
                return work()
            with self._alone:
                return work()
        except exc.SQLAlchemyError as error:
            if isinstance(error, exc.DBAPIError) and should_retry(error):
                raise _LostRace from error
            meant = translated(error)
            if meant is None:
                raise
            raise meant from error


class _LostRace(Exception):
    """Another transaction came first; nothing was written."""


async def open_store(
    url: str, clock: Clock, runner: Runner | None = None, random: Random | None = None
) -> SqlStore:
    """The store at a URL, migrated. Without a runner it starts its own threads: one for SQLite, four for PostgreSQL.

    Raises Refused for a URL of no known form, Permanent for a database that is damaged or newer than the code,
    Transient if the database does not answer.
    """
    parsed = parse_url(url)
    engine = make_engine(parsed)
    owned = None
    if runner is None:
        owned = ThreadRunner(POSTGRES_THREADS if parsed.get_backend_name() == "postgresql" else 1)
    store = SqlStore(engine, clock, random or SystemRandom(), runner or _either(owned))
    store.owned_runner = owned
    try:
        await store.open()
    except BaseException:
        await store.close()
        raise
    return store


def _either(owned: ThreadRunner | None) -> Runner:
    assert owned is not None
    return owned
