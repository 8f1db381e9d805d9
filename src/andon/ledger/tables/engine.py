"""Queries by DuckDB over the sealed tables plus the unsealed tail. Read-only; bounded in time, memory and rows.

Implements `ledger/queries.Engine`; nothing here is ever written to disk except what a query spills, inside its quota.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from andon.ledger.queries import Bounds, Parameters


class TableEngine:
    """One DuckDB in memory. Thread-safe."""

    def query(self, sql: str, parameters: Parameters = (), bounds: Bounds | None = None) -> pa.Table:
        """See `ledger/queries.Engine`."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of everything."""


def open_engine(rows: Path, facts: Path, bodies: Path, tables: str) -> TableEngine:
    """An engine over the logs in these folders and the tables below `tables` (a path, or s3://bucket/prefix)."""
    return TableEngine()
