"""Delta tables on a local disk or on S3: opened, created, appended to exactly once, and looked at consistently.

The only file that talks to delta-rs. Every append carries application transactions, so what has landed is known from
the table itself, whatever crashed. One writer at a time per log (the observer holds its folder); any number of readers.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import (
    CommitProperties,
    DeltaTable,
    PostCommitHookProperties,
    Transaction,
    WriterProperties,
    write_deltalake,
)
from deltalake.exceptions import DeltaError, TableNotFoundError

from andon.kernel.errors import Transient
from andon.ledger.tables.schema import DAY, Table

ROW_GROUP_ROWS = 65_536
UNREACHABLE = "tables_unreachable"
MESSAGE_MAX = 300
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")

# Statistics of these let a query pass over files; of every column they would make the log of commits fat.
_STATISTICS = frozenset(
    "id at_ns event_ns position request reference response response_id endpoint trace_id".split()
)
_CONFIGURATION = {
    "delta.logRetentionDuration": "interval 1 days",
    "delta.deletedFileRetentionDuration": "interval 1 hours",
}
_PASSED_ON = (
    "ACCESS_KEY_ID",
    "SECRET_ACCESS_KEY",
    "SESSION_TOKEN",
    "REGION",
    "DEFAULT_REGION",
    "ENDPOINT_URL",
)
# A store that is away must be noticed soon: the sealer waits by itself, and longer each time.
_PATIENCE = {"max_retries": "3", "connect_timeout": "5s", "timeout": "60s"}
_QUIET = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One table at one version: its files, and up to where each log is in exactly these files."""

    table: str
    version: int
    uris: tuple[str, ...]  # absolute paths, or s3:// URIs; hive-partitioned by day
    transactions: Mapping[str, int]  # by key, of those asked for; one that is missing has never been sealed


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """How much a table holds."""

    files: int
    rows: int
    size_bytes: int


def storage_options(environment: Mapping[str, str]) -> dict[str, str]:
    """Options of an object store as the AWS tools read them. Plain HTTP only towards an endpoint that is given so."""
    options = {
        f"AWS_{name}": environment[f"AWS_{name}"] for name in _PASSED_ON if f"AWS_{name}" in environment
    }
    options |= _PATIENCE
    if options.get("AWS_ENDPOINT_URL", "").startswith("http://"):
        options["AWS_ALLOW_HTTP"] = "true"
    if "AWS_REGION" not in options:
        options["AWS_REGION"] = options.get("AWS_DEFAULT_REGION", "us-east-1")
    return options


class Tables:
    """All tables below `root`: a local folder, or s3://bucket/prefix. Thread-safe.

    Raises `Transient` (`tables_unreachable`) where the store does not answer or has no room.
    """

    def __init__(self, root: str, options: Mapping[str, str] | None = None) -> None:
        """`options` are those of `storage_options`; without, delta-rs looks at the environment by itself."""
        self.root = root.rstrip("/")
        self.is_local = "://" not in self.root
        self.options = {} if self.is_local else dict(options or {})
        self._handles: dict[str, DeltaTable] = {}
        self._lock = threading.Lock()

    def uri(self, table: str) -> str:
        """Where a table lies; what one gives to Spark, Trino or DuckDB."""
        return f"{self.root}/{table}"

    def exists(self, table: str) -> bool:
        """Whether the table has been made."""
        return self._latest(table) is not None

    def version(self, table: str) -> int | None:
        """Delta version; None if there is no such table."""
        handle = self._latest(table)
        return None if handle is None else handle.version()

    def transaction(self, table: str, key: str) -> int | None:
        """The version of one application transaction; None before the first."""
        handle = self._latest(table)
        return None if handle is None else handle.transaction_version(key)

    def file_uris(self, table: str) -> list[str]:
        """Files of the latest version. To join them with a tail use `snapshot`."""
        handle = self._latest(table)
        return [] if handle is None else handle.file_uris()

    def snapshot(self, table: str, keys: Sequence[str] = ()) -> Snapshot | None:
        """Files and transactions of one and the same version; None if there is no such table."""
        with self._lock:
            handle = self._refresh(table)
            if handle is None:
                return None
            with translated(table):
                found = {key: handle.transaction_version(key) for key in keys}
            return Snapshot(
                table=table,
                version=handle.version(),
                uris=tuple(handle.file_uris()),
                transactions={key: version for key, version in found.items() if version is not None},
            )

    def handle(self, table: str) -> DeltaTable | None:
        """A handle of the caller's own, at the latest version."""
        return self._open(table)

    def create(self, table: Table) -> None:
        """Make an empty table if there is none."""
        if self.exists(table.name):
            return
        statistics = [name for name in table.schema.names if name in _STATISTICS]
        with translated(table.name):
            DeltaTable.create(
                self.uri(table.name),
                table.schema,
                mode="ignore",
                partition_by=[DAY],
                name=table.name,
                configuration={**_CONFIGURATION, "delta.dataSkippingStatsColumns": ",".join(statistics)},
                storage_options=self.options or None,
            )
        self.forget(table.name)

    def append(self, table: str, data: pa.Table, transactions: Mapping[str, int]) -> tuple[int, int]:
        """Add rows and set the transactions in one commit, merging new columns into the schema.

        Gives the table's version before and after. Raises `Transient`; the commit may then have landed all the
        same, so look at `transaction` before trying again.
        """
        handle = self._open(table)
        if handle is None:
            raise Transient(UNREACHABLE, f"There is no table {table}.", hint="It is made at the next turn.")
        before = handle.version()
        try:
            with translated(table):
                write_deltalake(
                    handle,
                    data,
                    mode="append",
                    schema_mode="merge",
                    writer_properties=writer_properties(),
                    commit_properties=commit_properties(transactions),
                    post_commithook_properties=_QUIET,
                )
        finally:
            self.forget(table)
        return before, handle.version()

    def replace(self, table: str, data: pa.RecordBatchReader, predicate: str) -> None:
        """Put rows in the place of all that fulfil `predicate` (the new ones must, too), in one commit.

        Transactions stay as they are. Raises `Transient`.
        """
        handle = self._open(table)
        if handle is None:
            raise Transient(UNREACHABLE, f"There is no table {table}.", hint="It is made at the next turn.")
        try:
            with translated(table):
                write_deltalake(
                    handle,
                    data,
                    mode="overwrite",
                    predicate=predicate,
                    schema_mode="merge",
                    writer_properties=writer_properties(),
                    post_commithook_properties=_QUIET,
                )
        finally:
            self.forget(table)

    def measure(self, table: str) -> Size:
        """Files, rows and bytes of the latest version, from the log of commits alone."""
        handle = self._latest(table)
        if handle is None:
            return Size(files=0, rows=0, size_bytes=0)
        with translated(table):
            added = pa.table(handle.get_add_actions(flatten=True))
        return Size(
            files=added.num_rows,
            rows=pc.sum(added["num_records"]).as_py() or 0,
            size_bytes=pc.sum(added["size_bytes"]).as_py() or 0,
        )

    def forget(self, table: str) -> None:
        """Read the table anew the next time."""
        with self._lock:
            self._handles.pop(table, None)

    def _latest(self, table: str) -> DeltaTable | None:
        with self._lock:
            return self._refresh(table)

    def _refresh(self, table: str) -> DeltaTable | None:
        handle = self._handles.get(table)
        if handle is not None:
            try:
                handle.update_incremental()
            except (DeltaError, OSError):
                # What led on from that version has been tidied away, or the table is gone: read it anew.
                self._handles.pop(table, None)
            else:
                return handle
        handle = self._open(table)
        if handle is not None:
            self._handles[table] = handle
        return handle

    def _open(self, table: str) -> DeltaTable | None:
        try:
            with translated(table):
                return DeltaTable(self.uri(table), storage_options=self.options or None)
        except TableNotFoundError:
            return None


def writer_properties() -> WriterProperties:
    """How files are written: compressed, in groups of rows small enough that a look-up reads little."""
    return WriterProperties(compression="ZSTD", compression_level=3, max_row_group_size=ROW_GROUP_ROWS)


def commit_properties(transactions: Mapping[str, int]) -> CommitProperties:
    """A commit that says how far each log has come."""
    return CommitProperties(
        app_transactions=[Transaction(key, version) for key, version in transactions.items()]
    )


@contextmanager
def translated(table: str) -> Iterator[None]:
    """Errors of the store as `Transient`; that there is no such table stays `TableNotFoundError`."""
    try:
        yield
    except TableNotFoundError:
        raise
    except (DeltaError, OSError) as error:
        raise Transient(
            UNREACHABLE,
            f"The table {table} cannot be read or written: {_plain(error)}",
            hint="Look at the space of the disk, or at the object store and its credentials; nothing is lost.",
            internal=repr(error),
        ) from error


def _plain(error: Exception) -> str:
    """One line without the colours that delta-rs puts into its errors."""
    return " ".join(_COLOUR.sub("", str(error)).split())[:MESSAGE_MAX]
