"""Rebuild: a table made again from the segments of the log that are still there, in one commit.

Every table is a projection of its log, and this is what proves it. Rows from segments that retention has removed have
no other copy; they stay untouched.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from andon.ledger.tables.delta import Tables
from andon.ledger.tables.schema import Table
from andon.ledger.tables.segments import Closed, LogFolder, closed_segments, read_segment


def rebuild_table(tables: Tables, table: Table, log: LogFolder, sealed: int) -> int:
    """Replace the rows of all segments up to number `sealed` that are still there without a gap after them.

    How many rows they gave; 0 if there is no such segment. Raises `Transient`, OSError.
    """
    kept = _unbroken([closed for closed in closed_segments(log.disk) if closed.number <= sealed], sealed)
    if not kept:
        return 0
    counted = _Counted()
    first, last = kept[0].first_row, _last_position(tables, table, log)
    reader = pa.RecordBatchReader.from_batches(table.schema, counted.pass_on(_rows(table, log, kept)))
    predicate = f"log = '{log.segment_key}' AND position >= {first} AND position <= {last}"
    tables.replace(table.name, reader, predicate)
    return counted.rows


class _Counted:
    """Counts rows while they stream by."""

    def __init__(self) -> None:
        self.rows = 0

    def pass_on(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            self.rows += batch.num_rows
            yield batch


def _unbroken(closed: list[Closed], sealed: int) -> list[Closed]:
    """The run of consecutive segments that ends with `sealed`."""
    kept: list[Closed] = []
    wanted = sealed
    for one in reversed(closed):
        if one.number != wanted:
            break
        kept.insert(0, one)
        wanted -= 1
    return kept


def _last_position(tables: Tables, table: Table, log: LogFolder) -> int:
    return tables.transaction(table.name, log.position_key) or 0


def _rows(table: Table, log: LogFolder, segments: list[Closed]) -> Iterator[pa.RecordBatch]:
    position = 0
    for closed in segments:
        content = read_segment(log, closed, position)
        position = content.last
        yield from content.batches.get(table.name, ())
