"""What a query of the ledger is: read-only SQL over the views, bounded in time, memory and rows.

The port that rooms above ask; `ledger/tables` answers it over sealed tables and the unsealed tail together. Nothing
here imports an engine, so that asking costs no start-up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

if TYPE_CHECKING:
    import pyarrow as pa

Parameters = Sequence[Any] | Mapping[str, Any]


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What one query may take at most; beyond it, it is stopped with a message."""

    seconds: float = 30.0
    memory_bytes: int = 1 << 30
    rows: int = 100_000


class Engine(Protocol):
    """Answers queries. Thread-safe; every call blocks, so the event loop hands it to a runner.

    Views: `requests` (one line per answered request: its final outcome), `attempts` (every outcome, shadows too),
    `open_intents`, `labels`, `feedback`, `kpi_events`, `evaluations`, `spans`, `prices` (each the latest known version
    of a fact; `*_history` has all), `bodies`. Columns are the fields of `ledger/row.py` and `ledger/facts/model.py`,
    with `at` and `event` as TIMESTAMP in UTC beside the `_ns` columns.
    """

    def query(self, sql: str, parameters: Parameters = (), bounds: Bounds | None = None) -> pa.Table:
        """The answer as an Arrow table. Raises `Refused` for SQL that is wrong, writes, or takes too much."""
        ...
