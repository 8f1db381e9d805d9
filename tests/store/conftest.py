"""Fixtures: one opener per database, so that one contract suite holds for all of them."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from andon.kernel.clock import SystemClock
from andon.store.sql import SqlStore, open_store
from tests.store import postgres

Opener = Callable[..., AbstractAsyncContextManager[SqlStore]]


class HandClock(SystemClock):
    """Wall time that a test moves by hand; sleeping is real, and only retries of lost races sleep."""

    def __init__(self) -> None:
        self.ns = 1_700_000_000_000_000_000

    def now_ns(self) -> int:  # type: ignore[override]  # a method here, a static one there
        return self.ns

    def advance(self, seconds: float) -> None:
        self.ns += int(seconds * 1e9)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    reason = postgres.unavailable()
    if reason:
        pytest.skip(reason)
    with postgres.running() as url:
        yield url


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture(params=["file", "memory", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "file":
        return f"sqlite:///{tmp_path}/state.db"
    if request.param == "memory":
        return "sqlite://"
    return fresh_database(request.getfixturevalue("postgres_server"))


_numbers = itertools.count()


def fresh_database(server: str) -> str:
    """A new empty database on a server."""
    name = f"andon_{next(_numbers)}"
    engine = sa.create_engine(
        server.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return server.rsplit("/", 1)[0] + f"/{name}"


@pytest.fixture
def opened(url: str, clock: HandClock) -> Opener:
    """Opens the store of this run's database; call it again to open a second one beside it."""

    @asynccontextmanager
    async def open_(runner: object = None) -> AsyncIterator[SqlStore]:
        store = await open_store(url, clock, runner)  # type: ignore[arg-type]  # a Runner or None
        try:
            yield store
        finally:
            await store.close()

    return open_
