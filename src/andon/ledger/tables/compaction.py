"""Tidying a table: small files made into large ones, a checkpoint, files and commits that nobody needs removed.

Each step is a commit of its own and leaves the table valid, so it may end anywhere. Files stay for hours after the
version that needed them, for queries still at work.
"""

from __future__ import annotations

import msgspec

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
