"""What is sealed and what is not yet, held together in one DuckDB so that every query sees each row once.

`catch_up` looks at the tables first and at the logs after, and puts what it found in force in one transaction: a query
binds to the state before or after it, never between. Files are read where they lie, unsealed rows are in memory until
their table has them. Not thread-safe; the engine calls it under its lock.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs

from andon.kernel.clock import Clock
from andon.ledger.tables.delta import Snapshot, Tables
from andon.ledger.tables.schema import DAY, TABLES, Table, tables_of
from andon.ledger.tables.sources import position_key, segment_key
from andon.ledger.tables.tail import Arrival, LogTail
from andon.ledger.tables.views import (
    columns_of,
    create_relation,
    public_views,
    quoted,
    read_files,
    source_view,
)

LOOK_LOCAL_S = 0.25  # how long a view of the tables may be kept; rows sealed meanwhile are still in the tail
LOOK_REMOTE_S = 3.0
QUERY_BYTES = 2**30
SPARE_BYTES = 2**26
CHUNK_ROWS = 100_000  # unsealed rows of one table that share a relation

_SETTINGS = (
    "SET temp_directory = ''",
    "SET python_enable_replacements = false",
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET allow_community_extensions = false",
    "SET preserve_insertion_order = false",
    "SET parquet_metadata_cache = true",  # files never change
    # It groups ten million rows before a join that leaves one million, because it cannot guess how many facts stand.
    "SET disabled_optimizers = 'partial_aggregate_pushdown'",
    "SET TimeZone = 'UTC'",
)
_LOCK = (
    "SET allowed_configs = ['memory_limit']",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)


class _Held(msgspec.Struct):
    """Unsealed rows of one table in one relation."""

    relation: str
    rows: int
    last_position: int
    size_bytes: int


class _Source:
    """One table: the files in force, and the unsealed rows."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.snapshot: Snapshot | None = None
        self.sealed = 0  # position up to which this home's log is in the files
        self.files: tuple[str, ...] = ()  # in force
        self.dataset = ""  # relation over files that DuckDB cannot open itself
        self.held: list[_Held] = []
        self.stale = True  # the view does not say what is in force


class Merged:
    """The state that queries see."""

    def __init__(self, logs: Mapping[str, Path], tables: Tables, clock: Clock) -> None:
        self.connection = duckdb.connect(":memory:")
        self.is_spoiled = False
        self._tail_bytes = 0
        self._tables = tables
        self._clock = clock
        self._tails = [LogTail(log, folder) for log, folder in logs.items()]
        self._sources = {table.name: _Source(table) for table in TABLES}
        self._query_bytes = QUERY_BYTES
        self._limit_bytes = 0  # as DuckDB was told
        self._looked_at = float("-inf")
        self._number = 0  # of the next relation
        self._set_up()

    def _set_up(self) -> None:
        execute = self.connection.execute
        for statement in _SETTINGS:
            execute(statement)
        if self._tables.is_local:
            root = str(Path(self._tables.root).resolve()) + "/"
            execute(f"SET allowed_directories = [{quoted(root)}]")
        for statement in _LOCK:
            execute(statement)
        execute("CREATE SCHEMA tail")
        execute("CREATE SCHEMA ledger")
        for source in self._sources.values():
            execute(create_relation(source.table, f"empty_{source.table.name}"))
            self._put_in_force(source)
        for statement in public_views():
            execute(statement)

    def close(self) -> None:
        """Let go of everything."""
        self.connection.close()

    def forget_files(self) -> None:
        """Look at the tables again at the next turn."""
        self._looked_at = float("-inf")

    def catch_up(self) -> None:
        """Take in everything that was written before this call. Raises `Transient`.

        What was read of a log is not read again, so after a failure half-way this state `is_spoiled`: make a new one.
        """
        looks = self._look()
        try:
            self._take_in(looks)
        except BaseException:
            self.is_spoiled = True
            raise

    def share(self, query_bytes: int) -> None:
        """Let queries take so much memory together, besides the tail."""
        self._query_bytes = query_bytes
        self._settle_memory()

    def _settle_memory(self, arriving_bytes: int = 0) -> None:
        # Rows in memory lie in blocks that are not always full.
        size = self._query_bytes + 2 * (self._tail_bytes + arriving_bytes) + SPARE_BYTES
        if size != self._limit_bytes:
            self.connection.execute(f"SET memory_limit = '{size // 1024} KiB'")
            self._limit_bytes = size

    def _take_in(self, looks: Mapping[str, Snapshot | None]) -> None:
        arrivals = list(self._arrivals(looks))
        if not looks and not arrivals:
            return
        self._settle_memory(sum(rows.nbytes for _, found in arrivals for rows in found.tables.values()))
        with self._transaction():
            self._adopt(looks)
            for tail, arrival in arrivals:
                self._hold(tail, arrival)
            for source in self._sources.values():
                self._drop_sealed(source)
                if source.stale:
                    self._put_in_force(source)

    def _look(self) -> dict[str, Snapshot | None]:
        """Snapshots of the tables, if the last ones are old enough; only those that changed."""
        now = self._clock.monotonic()
        if now - self._looked_at < (LOOK_LOCAL_S if self._tables.is_local else LOOK_REMOTE_S):
            return {}
        looks: dict[str, Snapshot | None] = {}
        for tail in self._tails:
            name = tail.settle()
            keys = (segment_key(tail.log, name), position_key(tail.log, name)) if name else ()
            for table in tables_of(tail.log):
                found, known = self._tables.snapshot(table.name, keys), self._sources[table.name].snapshot
                if found != known:
                    looks[table.name] = found
        self._looked_at = now
        return looks

    def _arrivals(self, looks: Mapping[str, Snapshot | None]) -> Iterator[tuple[LogTail, Arrival]]:
        for tail in self._tails:
            sealed = min(
                _sealed(tail, looks.get(table.name, self._sources[table.name].snapshot))
                for table in tables_of(tail.log)
            )
            arrival = tail.poll(sealed)
            if arrival is not None:
                yield tail, arrival

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self.connection.begin()
        try:
            yield
        except BaseException:
            self.connection.rollback()
            raise
        self.connection.commit()

    def _adopt(self, looks: Mapping[str, Snapshot | None]) -> None:
        for name, snapshot in looks.items():
            source = self._sources[name]
            tail = next(tail for tail in self._tails if tail.log == source.table.log)
            source.snapshot, source.sealed = snapshot, _sealed(tail, snapshot)
            source.files = snapshot.uris if snapshot else ()
            source.stale = True

    def _hold(self, tail: LogTail, arrival: Arrival) -> None:
        for name, rows in arrival.tables.items():
            source = self._sources[name]
            rows = rows.select(list(columns_of(source.table)))
            if not source.held or source.held[-1].rows >= CHUNK_ROWS:
                self._number += 1
                relation = f"{name}_{self._number}"
                self.connection.execute(create_relation(source.table, relation))
                source.held.append(_Held(relation, 0, 0, 0))
                source.stale = True
            held = source.held[-1]
            self.connection.register("arriving", rows)
            try:
                insert = f"INSERT INTO tail.{held.relation} SELECT * FROM arriving"  # noqa: S608  a name made here
                self.connection.execute(insert)
            finally:
                self.connection.unregister("arriving")
            held.rows += rows.num_rows
            held.last_position = arrival.last_position
            held.size_bytes += rows.nbytes
            tail.held_bytes += rows.nbytes
            self._tail_bytes += rows.nbytes

    def _drop_sealed(self, source: _Source) -> None:
        while source.held and source.held[0].last_position <= source.sealed:
            self._drop(source, source.held.pop(0))

    def _drop(self, source: _Source, held: _Held) -> None:
        self.connection.execute(f"DROP TABLE tail.{held.relation}")
        self._tail_bytes -= held.size_bytes
        for tail in self._tails:
            if tail.log == source.table.log:
                tail.held_bytes -= held.size_bytes
        source.stale = True

    def _put_in_force(self, source: _Source) -> None:
        tail = next(tail for tail in self._tails if tail.log == source.table.log)
        chunks = [held.relation for held in source.held]
        condition = f'"position" > {source.sealed}' if tail.source else "true"
        before = source.dataset
        sealed = self._sealed_relation(source)
        self.connection.execute(source_view(source.table, sealed, chunks, condition))
        if before and before != source.dataset:
            self.connection.execute(f"DROP VIEW {before}")
        source.stale = False

    def _sealed_relation(self, source: _Source) -> str:
        if not source.files:
            source.dataset = ""
            return ""
        if self._tables.is_local:
            return read_files(source.files)
        self._number += 1
        source.dataset = f"remote_{source.table.name}_{self._number}"
        relation = self.connection.from_arrow(self._dataset(source.table.name, source.files))
        relation.create_view(source.dataset)
        return source.dataset

    def _dataset(self, table: str, files: Sequence[str]) -> ds.Dataset:
        """Files on an object store. DuckDB's own reader would need an extension from the network; Arrow's does not."""
        return ds.dataset(
            [uri.partition("://")[2] for uri in files],
            filesystem=_object_store(self._tables.options),
            format="parquet",
            schema=_file_schema(self._sources[table].table),
            partitioning=ds.partitioning(pa.schema([(DAY, pa.date32())]), flavor="hive"),
        )


def _object_store(options: Mapping[str, str]) -> pa.fs.FileSystem:
    """Arrow's own client of S3. One in Python would wait for the interpreter that the query holds."""
    endpoint = options.get("AWS_ENDPOINT_URL", "")
    scheme, _, host = endpoint.rpartition("://")
    return pa.fs.S3FileSystem(
        access_key=options.get("AWS_ACCESS_KEY_ID"),
        secret_key=options.get("AWS_SECRET_ACCESS_KEY"),
        session_token=options.get("AWS_SESSION_TOKEN"),
        region=options.get("AWS_REGION"),
        endpoint_override=host or None,
        scheme=scheme or "https",
    )


def _sealed(tail: LogTail, snapshot: Snapshot | None) -> int:
    """The position up to which a log is in a snapshot's files."""
    if snapshot is None or not tail.source:
        return 0
    return snapshot.transactions.get(position_key(tail.log, tail.source), 0)


def _file_schema(table: Table) -> pa.Schema:
    return pa.schema(
        [field for field in table.schema if field.name in columns_of(table) or field.name == DAY]
    )


def is_broken(error: Exception) -> bool:
    """Whether DuckDB says of itself that nothing more can be asked of it."""
    return isinstance(error, duckdb.FatalException | duckdb.InternalException)
