"""The unsealed tail: rows in the logs that are in no table yet, as columns, read once as they come.

Follows one log from where its tables end. Rows are kept in chunks until every table has them; what is in memory is
bounded, and beyond the bound nothing is answered rather than something wrong. It only reads. Not thread-safe.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pyarrow as pa

from andon.kernel.errors import Transient
from andon.ledger.disk import FileDisk
from andon.ledger.reader import Cursor, Decode
from andon.ledger.tables.schema import Origin, Transposer, find_table
from andon.ledger.tables.sources import read_source, segment_key

POLL_ROWS = 16_384
TAIL_BYTES_MAX = 2**30

_ARRAY = struct.Struct(">BI")  # MessagePack array 32

# Rows stay as they were written: the transposer turns them into columns without making objects of them.
_split: Decode = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode


class Arrival(msgspec.Struct, frozen=True):
    """Rows that came since the last look: of each table that got any, and the position of the last of all."""

    tables: Mapping[str, pa.Table]
    last_position: int
    size_bytes: int


class LogTail:
    """Follows one log."""

    def __init__(self, log: str, folder: Path) -> None:
        self.log = log
        self.folder = folder
        self.source = ""
        self.held_bytes = 0  # kept up by the owner of what arrived
        self._cursor: Cursor | None = None

    def settle(self) -> str:
        """The name by which tables know this log; empty while nothing of it is sealed."""
        self.source = self.source or read_source(self.folder)
        return self.source

    def poll(self, sealed: int) -> Arrival | None:
        """What came since the last look, the first time since position `sealed`; None if nothing did.

        Raises `Transient` (`tail_too_long`) when too much is unsealed to be kept; then begin with a new one.
        """
        if self._cursor is None:
            self._cursor = Cursor(FileDisk(self.folder), after=sealed, decode=_split)
        transposer = Transposer(self.log, Origin(segment_key(self.log, self.source), 0, 0))
        found: dict[str, list[pa.RecordBatch]] = {}
        size_bytes = 0
        while entries := self._cursor.poll(POLL_ROWS):
            rows: list[bytes] = [bytes(entry.row) for entry in entries]  # type: ignore[call-overload]  # Raw
            first = entries[0].position
            if entries[-1].position - first == len(entries) - 1:
                transposer.add(first, _ARRAY.pack(0xDD, len(rows)) + b"".join(rows))
            else:
                for entry, row in zip(entries, rows, strict=True):
                    transposer.add(entry.position, _ARRAY.pack(0xDD, 1) + row)
            size_bytes += sum(map(len, rows))
            if self.held_bytes + size_bytes > TAIL_BYTES_MAX:
                raise Transient(
                    "tail_too_long",
                    f"More than {TAIL_BYTES_MAX >> 20} MiB of the ledger's {self.log} are in no table yet.",
                    hint="Start the factory, or look at why its observer does not seal: andon status",
                )
        if not size_bytes:
            return None
        for name, batches in transposer.take().items():
            if batches:
                found.setdefault(name, []).extend(batches)
        return Arrival(
            {name: pa.Table.from_batches(batches, _schema(name)) for name, batches in found.items()},
            self._cursor.position,
            size_bytes,
        )


def _schema(name: str) -> pa.Schema:
    table = find_table(name)
    assert table is not None
    return table.schema
