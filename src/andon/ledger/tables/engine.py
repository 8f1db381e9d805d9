"""Queries by DuckDB over the sealed tables plus the unsealed tail. Read-only; bounded in time, memory and rows.

Implements `ledger/queries.Engine`. A query sees everything that was on disk when it began, each row once, whatever is
being sealed meanwhile. Nothing is ever written: a query that does not fit into memory is stopped, not spilled.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import psutil
import pyarrow as pa

from andon.kernel.clock import Clock, SystemClock
from andon.kernel.errors import AndonError, Refused, Transient
from andon.ledger.queries import Bounds, Parameters
from andon.ledger.tables.delta import Tables, storage_options
from andon.ledger.tables.merge import QUERY_BYTES, Merged, is_broken
from andon.ledger.tables.sandbox import Statement, admit, invalid
from andon.ledger.tables.views import MACROS, VIEWS

AT_ONCE_MAX = 4  # queries; more wait, within their own time
SECONDS_MAX = 110.0
MEMORY_BYTES_MAX = 4 * 2**30
ROWS_MAX = 1_000_000
RESULT_BYTES_MAX = 2**28
BATCH_ROWS = 16_384
WATCH_S = 0.05
UNCOUNTED_BYTES = 2**29  # what a query may take beside the memory that DuckDB counts
PAUSE_S = 10.0  # before a tail that was too long is looked at again
ATTEMPTS = 3  # a file may be tidied away between look and query

_TRUNCATED = b"andon.truncated"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a query gave."""

    table: pa.Table
    truncated: bool  # there are more rows than were asked for
    elapsed_s: float


class TableEngine:
    """One DuckDB in memory. Thread-safe; every call blocks."""

    def __init__(self, logs: Mapping[str, Path], tables: Tables, clock: Clock | None = None) -> None:
        self._logs = dict(logs)
        self._tables = tables
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()  # around the merged state, not around queries
        self._places = threading.BoundedSemaphore(AT_ONCE_MAX)
        self._running: list[int] = []  # what each running query may take, in bytes
        self._merged: Merged | None = None
        self._refusal: Transient | None = None
        self._refused_until = 0.0

    def query(self, sql: str, parameters: Parameters = (), bounds: Bounds | None = None) -> pa.Table:
        """See `ledger/queries.Engine`. A table that was cut at `bounds.rows` says so: `is_truncated`."""
        answer = self.answer(sql, parameters, bounds)
        return answer.table.replace_schema_metadata({_TRUNCATED: b"1"}) if answer.truncated else answer.table

    def answer(self, sql: str, parameters: Parameters = (), bounds: Bounds | None = None) -> Answer:
        """The rows, whether there were more, and how long it took.

        Raises `Refused` (`query_invalid`, `query_forbidden`, `query_timeout`, `query_memory`), or `Transient`
        (`query_busy`, `tables_unreachable`, `tail_too_long`).
        """
        bounds = bounds or Bounds()
        started = self._clock.monotonic()
        until = started + min(bounds.seconds, SECONDS_MAX)
        if not self._places.acquire(timeout=max(0.0, until - started)):
            raise Transient(
                "query_busy",
                f"{AT_ONCE_MAX} queries are running, and none ended in time.",
                hint="Ask again, or give the query more seconds.",
            )
        try:
            table, truncated = self._try(sql, parameters, bounds, until)
        finally:
            self._places.release()
        return Answer(table=table, truncated=truncated, elapsed_s=self._clock.monotonic() - started)

    def refresh(self) -> None:
        """Take in what was written, so that the next query need not. Raises `Transient`."""
        with self._lock:
            self._caught_up()

    def close(self) -> None:
        """Let go of everything."""
        with self._lock:
            if self._merged is not None:
                self._merged.close()
                self._merged = None

    def _current(self) -> Merged:
        if self._merged is None:
            self._merged = Merged(self._logs, self._tables, self._clock)
        return self._merged

    def _caught_up(self) -> Merged:
        """The state with everything that is on disk now. Raises `Transient`."""
        now = self._clock.monotonic()
        if self._refusal is not None and now < self._refused_until:
            raise Transient(self._refusal.code, self._refusal.message, hint=self._refusal.hint)
        merged = self._current()
        try:
            merged.catch_up()
        except Exception as error:
            if merged.is_spoiled or is_broken(error):
                self._merged = None
            if isinstance(error, Transient):
                # Reading so much again for every query would help nobody.
                self._refusal, self._refused_until = error, now + (PAUSE_S if merged.is_spoiled else 0.0)
            raise
        self._refusal = None
        return merged

    def _try(self, sql: str, parameters: Parameters, bounds: Bounds, until: float) -> tuple[pa.Table, bool]:
        for attempt in range(1, ATTEMPTS + 1):
            with self._cursor(bounds) as cursor:
                statement = admit(cursor, sql, VIEWS, MACROS)
                try:
                    return self._run(cursor, statement, parameters, bounds, until)
                except duckdb.IOException as error:
                    if attempt == ATTEMPTS:
                        raise Transient(
                            "tables_unreachable",
                            "A file of the tables cannot be read.",
                            hint="Look at the disk or the object store; andon status",
                            internal=str(error),
                        ) from error
            with self._lock:
                self._current().forget_files()
        raise AssertionError("the last attempt returns or raises")

    @contextlib.contextmanager
    def _cursor(self, bounds: Bounds) -> Iterator[Any]:
        """A connection of the query's own to the state as it is now."""
        share = min(bounds.memory_bytes, MEMORY_BYTES_MAX)
        with self._lock:
            merged = self._caught_up()
            cursor = merged.connection.cursor()
            self._running.append(share)
            merged.share(max(self._running))
        try:
            yield cursor
        except Exception as error:
            if is_broken(error):
                with self._lock:
                    if merged is self._merged:
                        self._merged = None  # the next query makes a new one from the same files and logs
                raise Refused(
                    "query_invalid",
                    "DuckDB broke on this query.",
                    hint="Ask it differently.",
                    param="sql",
                    internal=str(error),
                ) from error
            raise
        finally:
            with contextlib.suppress(duckdb.Error):  # one that broke is closed already
                cursor.close()
            with self._lock:
                self._running.remove(share)
                if merged is self._merged:
                    # Queries that run at once share what the largest of them may take.
                    merged.share(max(self._running, default=QUERY_BYTES))

    def _run(
        self, cursor: Any, statement: Statement, parameters: Parameters, bounds: Bounds, until: float
    ) -> tuple[pa.Table, bool]:
        watch = _Watch(cursor, until - self._clock.monotonic(), bounds)
        try:
            with watch:
                return _fetch(cursor, statement, _bind(statement, parameters), min(bounds.rows, ROWS_MAX))
        except (duckdb.InterruptException, duckdb.OutOfMemoryException, MemoryError) as error:
            raise watch.refusal(error) from error
        except duckdb.PermissionException as error:
            raise Refused("query_forbidden", str(error).split("\n")[0], param="sql") from error
        except duckdb.IOException:
            raise
        except duckdb.Error as error:
            if watch.reason:
                raise watch.refusal(error) from error
            if is_broken(error):
                raise
            raise invalid(error) from error


class _Watch:
    """Stops a query whose time is over, or that takes memory past what DuckDB counts."""

    def __init__(self, cursor: Any, seconds: float, bounds: Bounds) -> None:
        self._cursor = cursor
        self._seconds = max(0.001, seconds)
        self._bounds = bounds
        self._process = psutil.Process()
        self._most = self._process.memory_info().rss + bounds.memory_bytes + UNCOUNTED_BYTES
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, name="query-watch", daemon=True)
        self.reason = ""

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        left = self._seconds
        while not self._done.wait(min(WATCH_S, max(left, 0.001))):
            left -= WATCH_S
            if self._process.memory_info().rss > self._most:
                self.reason = "memory"
            elif left <= 0:
                self.reason = "time"
            if self.reason:
                # Again and again: one that comes before DuckDB has begun is lost.
                self._cursor.interrupt()

    def refusal(self, error: BaseException) -> AndonError:
        """What the client is told."""
        if self.reason == "time":
            return Refused(
                "query_timeout",
                f"The query was stopped after {self._bounds.seconds:g} s.",
                hint="Ask about less time or fewer columns, or allow more with --seconds.",
                status=408,
                param="sql",
            )
        return Refused(
            "query_memory",
            f"The query was stopped: it needs more than the {self._bounds.memory_bytes >> 20} MiB it may take.",
            hint="Ask about less time, group into fewer groups, or leave out ORDER BY.",
            status=413,
            param="sql",
            internal=str(error),
        )


def _bind(statement: Statement, parameters: Parameters) -> Any:
    wanted = statement.named
    given = dict(parameters) if isinstance(parameters, Mapping) else list(parameters)
    count = len(given)
    fits = set(given) == wanted if isinstance(given, dict) else count == len(wanted)
    if not fits:
        names = ", ".join(sorted(wanted)) or "none"
        raise Refused(
            "query_invalid",
            f"The query takes {len(wanted)} parameters ({names}), and {count} were given.",
            hint="Write ? or $name in the query, and give a value for each.",
            param="parameters",
        )
    return given or None


def _fetch(cursor: Any, statement: Statement, parameters: Any, rows_max: int) -> tuple[pa.Table, bool]:
    """At most `rows_max` rows; DuckDB makes no more than a batch beyond them."""
    relation = cursor.sql(statement.sql, params=parameters) if parameters else cursor.sql(statement.sql)
    reader = relation.to_arrow_reader(min(BATCH_ROWS, rows_max + 1))
    try:
        batches, rows, size = [], 0, 0
        for batch in reader:
            if batch.num_rows:
                batches.append(batch)
            rows += batch.num_rows
            size += batch.nbytes
            if size > RESULT_BYTES_MAX:
                raise MemoryError(f"the answer has more than {RESULT_BYTES_MAX} bytes")
            if rows > rows_max:
                break
        table = pa.Table.from_batches(batches, reader.schema)
    finally:
        reader.close()
    return table.slice(0, rows_max), rows > rows_max


def is_truncated(table: pa.Table) -> bool:
    """Whether a table that `query` returned was cut at the bound."""
    return _TRUNCATED in (table.schema.metadata or {})


def open_engine(
    rows: Path, facts: Path, bodies: Path, tables: str, environment: Mapping[str, str] | None = None
) -> TableEngine:
    """An engine over the logs in these folders and the tables below `tables` (a path, or s3://bucket/prefix).

    An object store is reached as `environment` says, in the names of the AWS tools.
    """
    folders = {"rows": rows, "facts": facts, "bodies": bodies}
    return TableEngine(folders, Tables(tables, storage_options(environment) if environment else None))
