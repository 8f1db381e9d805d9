"""Tidying a table: small files made into large ones, a checkpoint, files and commits that nobody needs removed.

Each step is a commit of its own and leaves the table valid, so it may end anywhere. Files stay for hours after the
version that needed them, for queries still at work. A table with a limit loses its oldest files.
"""

from __future__ import annotations

import msgspec
import pyarrow as pa

from andon.ledger.tables.delta import Tables, translated, writer_properties
from andon.ledger.tables.settings import SealSettings


class Tidied(msgspec.Struct, frozen=True, kw_only=True):
    """What one tidying did."""

    merged: int  # files that became part of larger ones
    removed: int  # files taken off the store


def is_due(before: int, after: int, every: int) -> bool:
    """Whether a commit took a table's version over a multiple of `every`; survives restarts without a memory."""
    return before // every != after // every


def tidy(tables: Tables, table: str, settings: SealSettings) -> Tidied:
    """Compact, checkpoint, vacuum. Raises `Transient`; what was done until then stays."""
    handle = tables.handle(table)
    if handle is None:
        return Tidied(merged=0, removed=0)
    with translated(table):
        done = handle.optimize.compact(target_size=settings.file_bytes, writer_properties=writer_properties())
        handle.create_checkpoint()
        handle.cleanup_metadata()
        # `full` finds, besides what compaction replaced, files that a killed writer never committed.
        removed = handle.vacuum(
            retention_hours=settings.vacuum_hours, dry_run=False, enforce_retention_duration=False, full=True
        )
    tables.forget(table)
    return Tidied(merged=int(done["numFilesRemoved"]), removed=len(removed))


def trim(tables: Tables, table: str, size_bytes: int, settings: SealSettings) -> int:
    """Take the oldest files out of a table until at most `size_bytes` remain; bytes taken out. Raises `Transient`."""
    handle = tables.handle(table)
    if handle is None:
        return 0
    with translated(table):
        added = pa.table(handle.get_add_actions(flatten=True))
        files = sorted(added.to_pylist(), key=lambda file: file["max.at_ns"] or 0)
        excess = sum(file["size_bytes"] for file in files) - size_bytes
        taken, until = 0, None
        for file in files:
            if taken >= excess:
                break
            taken, until = taken + file["size_bytes"], file["max.at_ns"] or 0
        if until is None:
            return 0
        handle.delete(f"at_ns <= {until}")
        handle.vacuum(retention_hours=settings.vacuum_hours, dry_run=False, enforce_retention_duration=False)
    tables.forget(table)
    return int(taken)
