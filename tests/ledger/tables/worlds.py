"""Logs as a gateway leaves them, written segment by segment, and the sealer that puts them into tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
from deltalake import DeltaTable

from andon.kernel.clock import SystemClock
from andon.kernel.errors import Transient
from andon.kernel.random import SystemRandom
from andon.ledger.disk import FileDisk
from andon.ledger.facts.model import Label, Price
from andon.ledger.recovery import write_seal
from andon.ledger.row import SCHEMA_VERSION, Intent, Outcome
from andon.ledger.segment import (
    FORMAT_VERSION,
    Header,
    Seal,
    encode_header,
    finish_frame,
    name_segment,
    start_frame,
)
from andon.ledger.tables.delta import Tables
from andon.ledger.tables.quarantine import Quarantine
from andon.ledger.tables.sealer import Sealer
from andon.ledger.tables.segments import LogFolder
from andon.ledger.tables.settings import SealSettings
from andon.ledger.tables.sources import settle_source

DAY_NS = 86_400_000_000_000
NOON_NS = 20_000 * DAY_NS + DAY_NS // 2
FRAME_ROWS = 5


class World:
    """One home's three logs, and its tables."""

    def __init__(
        self,
        root: Path,
        url: str = "",
        settings: SealSettings | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        self.options = dict(options or {})
        self.root = root
        self.url = url or str(root / "tables")
        self.settings = settings or SealSettings(retry_s=1e-9, retry_s_max=1e-9, keep_s=1e9)
        self.sealer = self.open()

    def open(self, tables: Tables | None = None) -> Sealer:
        """A sealer as a new process has it: nothing remembered but what lies on disk."""
        self.tables = tables or Tables(self.url, self.options)
        logs = []
        for log in ("rows", "facts", "bodies"):
            folder = self.folder(log)
            folder.mkdir(parents=True, exist_ok=True)
            logs.append(LogFolder(log, folder, settle_source(folder, SystemRandom())))
        self.quarantine = Quarantine(self.root / "quarantine")
        self.sealer = Sealer(self.tables, logs, self.quarantine, SystemClock(), self.settings)
        return self.sealer

    def folder(self, log: str) -> Path:
        return self.root / log

    def seal_all(self, turns: int = 50) -> None:
        """Turn until nothing is left."""
        for _ in range(turns):
            turn = self.sealer.turn()
            if not turn.segments and not turn.failures:
                return
        raise AssertionError("the sealer does not come to an end")

    def read(self, table: str) -> list[dict[str, Any]]:
        """All rows of a table, by position."""
        if not Tables(self.url, self.options).exists(table):
            return []
        handle = DeltaTable(f"{self.url}/{table}", storage_options=self.options or None)
        rows: list[dict[str, Any]] = handle.to_pyarrow_table().to_pylist()
        return sorted(rows, key=lambda row: (row["log"], row["position"]))

    def ids(self, table: str = "attempts") -> list[str]:
        return [row["id"] for row in self.read(table)]


def write_segment(
    folder: Path,
    number: int,
    first_row: int,
    rows: Sequence[object],
    *,
    sealed: bool = True,
    after_row: int | None = None,
    schema_version: int = SCHEMA_VERSION,
    sealed_ns: int = NOON_NS,
) -> Path:
    """One segment with frames of a few rows; the number of its next row is first_row + len(rows)."""
    folder.mkdir(parents=True, exist_ok=True)
    after = first_row - 1 if after_row is None else after_row
    data = encode_header(Header(FORMAT_VERSION, schema_version, number, first_row, after, NOON_NS, "0"))
    for start in range(0, len(rows), FRAME_ROWS):
        part = rows[start : start + FRAME_ROWS]
        data += frame(first_row + start, part)
    path = folder / name_segment(number, first_row)
    path.write_bytes(data)
    if sealed:
        last = first_row + len(rows) - 1
        seal = Seal(
            segment=number,
            first_row=first_row,
            last_row=last,
            rows=len(rows),
            size_bytes=len(data),
            sealed_ns=sealed_ns,
        )
        write_seal(FileDisk(folder), path.name, seal)
    return path


def frame(first_row: int, rows: Sequence[object]) -> bytes:
    """One frame as the log writes it."""
    buffer = start_frame()
    for row in rows:
        msgspec.msgpack.Encoder().encode_into(row, buffer, -1)
    finish_frame(buffer, first_row, len(rows))
    return bytes(buffer)


def outcomes(names: Iterable[object], **fields: Any) -> list[Outcome]:
    return [
        Outcome(id=f"r-{name}", **{"at_ns": NOON_NS + place, "status": 200, **fields})
        for place, name in enumerate(names)
    ]


def exchanges(names: Iterable[object]) -> list[Intent | Outcome]:
    """An intent and an outcome each."""
    return [
        row
        for name in names
        for row in (Intent(f"r-{name}", at_ns=NOON_NS), Outcome(id=f"r-{name}", at_ns=NOON_NS))
    ]


def labels(names: Iterable[object]) -> list[Label]:
    return [Label(id=f"l-{name}", at_ns=NOON_NS, event_ns=NOON_NS - 5, request=f"r-{name}") for name in names]


def prices(names: Iterable[object]) -> list[Price]:
    return [Price(id=f"p-{name}", at_ns=NOON_NS, book="list") for name in names]


class BreakingTables(Tables):
    """Tables whose n-th append fails, before it lands or just after: what a crash or a lost answer looks like."""

    def __init__(self, root: str, *, fails_at: int, landed: bool) -> None:
        super().__init__(root)
        self.appends = 0
        self.fails_at = fails_at
        self.landed = landed

    def append(self, table: str, data: pa.Table, transactions: Mapping[str, int]) -> tuple[int, int]:
        self.appends += 1
        if self.appends != self.fails_at:
            return super().append(table, data, transactions)
        if self.landed:
            super().append(table, data, transactions)
        raise Transient("tables_unreachable", "The store is away.")
