"""Brings a database to the shape that this version of the code knows, under a lock, when it is opened.

A database at the head is recognised by one plain SELECT, so that Alembic (a quarter of a second to import) is loaded
only when there is something to do. A database made by a newer version is refused, never touched.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from andon.kernel.errors import Permanent

STEPS = ("0001",)  # every step in order; the last is the head
LOCK = 0x616E646F6E  # "andon": the advisory lock of migrations in PostgreSQL


def bring_to_head(engine: Engine) -> None:
    """Run the steps that are missing, all or none; raises Permanent if the database is newer than the code."""
    with engine.connect() as connection:
        found = version_of(connection)
    if found == STEPS[-1]:
        return
    _refuse_newer(found)
    with _locked(engine), engine.begin() as connection:
        # Read again, because another process may have finished the same work while this one waited.
        found = version_of(connection)
        _refuse_newer(found)
        if found != STEPS[-1]:
            _run_steps(connection)


@contextmanager
def _locked(engine: Engine) -> Iterator[None]:
    """One migrating process at a time. SQLite needs nothing: BEGIN IMMEDIATE is the lock.

    In PostgreSQL a session of its own holds it, so that the transaction of the steps begins, and sees, after it.
    """
    if engine.dialect.name != "postgresql":
        yield
        return
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as guard:
        guard.execute(sa.text("SELECT pg_advisory_lock(:key)"), {"key": LOCK})
        try:
            yield
        finally:
            guard.execute(sa.text("SELECT pg_advisory_unlock(:key)"), {"key": LOCK})


def version_of(connection: Connection) -> str | None:
    """The step at which a database stands; None for an empty one."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return None if found is None else str(found)


def _refuse_newer(found: str | None) -> None:
    if found is not None and found not in STEPS:
        raise Permanent(
            "store_newer",
            f"The control database is at step {found}; this version of Andon knows steps up to {STEPS[-1]}.",
            hint="Run the version of Andon that wrote it, or a newer one.",
        )


def _run_steps(connection: Connection) -> None:
    # The one lazy import of the room: see the docstring of this module.
    config_module = importlib.import_module("alembic.config")
    script_module = importlib.import_module("alembic.script")
    environment_module = importlib.import_module("alembic.runtime.environment")
    config = config_module.Config()
    config.set_main_option("script_location", "andon.store:migrations")
    config.set_main_option("path_separator", "os")
    scripts = script_module.ScriptDirectory.from_config(config)
    upgrade = scripts._upgrade_revs  # noqa: SLF001  # the documentation of EnvironmentContext itself uses it
    environment = environment_module.EnvironmentContext(
        config, scripts, fn=lambda revision, context: upgrade("head", revision)
    )
    with environment:
        environment.configure(connection=connection, transactional_ddl=True)
        environment.run_migrations()
