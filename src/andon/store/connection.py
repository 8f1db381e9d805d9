"""Engines for the two databases, and what their errors mean in the words of the kernel.

SQLite: WAL, `synchronous=FULL`, a transaction takes the write lock at its beginning. PostgreSQL: SERIALIZABLE.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.pool import QueuePool, StaticPool

from andon.kernel.errors import AndonError, Permanent, Refused, Transient

BUSY_TIMEOUT_MS = 5000
POSTGRES_THREADS = 4
STATEMENT_TIMEOUT_MS = 30_000
CONNECT_TIMEOUT_S = 5
# Serialisation failure, deadlock, and a key that another transaction inserted first: the same work, run again, sees it.
RETRIED_STATES = frozenset({"40001", "40P01", "23505"})


def parse_url(url: str) -> URL:
    """A database URL: `sqlite:///path`, `sqlite://` (memory), `postgresql://user@host/name`; raises Refused."""
    try:
        parsed = make_url(url)
    except exc.ArgumentError as error:
        raise _bad_url() from error
    backend = parsed.get_backend_name()
    if backend == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise _bad_url()
    return parsed


def _bad_url() -> Refused:
    hint = "Write sqlite:///path/to/state.db or postgresql://user@host/database."
    return Refused("store_url", "The URL of the control database is of no known form.", hint=hint)


def make_engine(url: URL) -> Engine:
    """An engine that begins every transaction as the store needs it. Connects only when used."""
    if url.get_backend_name() == "postgresql":
        return _postgres(url)
    return _sqlite(url)


def _postgres(url: URL) -> Engine:
    options = f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c idle_in_transaction_session_timeout=60000"
    try:
        return sa.create_engine(
            url,
            isolation_level="SERIALIZABLE",
            pool_size=POSTGRES_THREADS,
            max_overflow=0,
            pool_timeout=CONNECT_TIMEOUT_S,
            pool_pre_ping=True,
            connect_args={"connect_timeout": CONNECT_TIMEOUT_S, "options": options},
        )
    except ImportError as error:
        hint = "Install it with: pip install 'andon[postgres]'."
        raise Refused("postgres_missing", "PostgreSQL needs the package psycopg.", hint=hint) from error


def _sqlite(url: URL) -> Engine:
    memory = url.database in (None, "", ":memory:")
    if not memory:
        _make_private(Path(str(url.database)))
    engine = sa.create_engine(
        url,
        poolclass=StaticPool if memory else QueuePool,
        connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_MS / 1000},
    )

    def connected(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves, because sqlite3 would begin too late
        cursor = connection.cursor()
        for pragma in (
            "foreign_keys=ON",
            "journal_mode=WAL",
            "synchronous=FULL",
            f"busy_timeout={BUSY_TIMEOUT_MS}",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    def begun(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", begun)
    return engine


def _make_private(file: Path) -> None:
    """Create the file readable by its owner only; SQLite gives its companions the same mode."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise Permanent(
            "store_unusable",
            f"The control database '{file}' cannot be opened: {error.strerror}.",
            hint="Choose another folder, or make this one writable.",
        ) from error


def should_retry(error: exc.DBAPIError) -> bool:
    """Whether the same transaction, run again at once, may succeed."""
    return getattr(error.orig, "sqlstate", None) in RETRIED_STATES


def translated(error: exc.SQLAlchemyError) -> AndonError | None:
    """What a database error means; None if it is a bug of ours."""
    text = str(getattr(error, "orig", None) or error).strip().splitlines()[0] if str(error) else ""
    lowered = text.lower()
    if isinstance(error, exc.DataError) or "nul (0x00)" in lowered:
        return Refused("store_bad_value", "A value cannot be kept by the database.", internal=text)
    if isinstance(error, exc.TimeoutError):
        return Transient("store_busy", "Every connection to the control database is in use.", internal=text)
    if not isinstance(error, exc.DBAPIError):
        return None
    for words, code, message in _PERMANENT:
        if words in lowered:
            return Permanent(
                code, message, hint="Restore .andon/state.db from a copy, or free it.", internal=text
            )
    if "disk is full" in lowered or "disk i/o error" in lowered:
        return Transient("store_disk", "The disk of the control database is full or failing.", internal=text)
    if "locked" in lowered or "busy" in lowered:
        return Transient("store_busy", "The control database is busy.", internal=text)
    if isinstance(error, (exc.OperationalError, exc.InterfaceError)) or error.connection_invalidated:
        return Transient("store_unavailable", "The control database does not answer.", internal=text)
    return None


_PERMANENT = (
    ("file is not a database", "store_corrupt", "The control database is not a SQLite file."),
    ("malformed", "store_corrupt", "The control database is damaged."),
    ("readonly", "store_unusable", "The control database cannot be written."),
    ("unable to open", "store_unusable", "The control database cannot be opened."),
)
