"""What the tests of facts share: an intake on a simulated disk, an engine over a table that the test fills."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import duckdb
import pyarrow as pa

from andon.kernel.clock import SystemClock
from andon.kernel.ids import Ids
from andon.kernel.random import SeededRandom
from andon.ledger.facts.intake import Intake
from andon.ledger.facts.known import KnownRequests
from andon.ledger.facts.log import FactCursor, FactLog
from andon.ledger.facts.model import Fact
from andon.ledger.log import Log
from andon.ledger.queries import Bounds, Parameters
from andon.ledger.reader import Entry
from andon.ledger.row import Outcome
from andon.testing.disk import SimulatedDisk
from tests.ledger.conftest import InlineRunner, disk, opened

COLUMNS = "id VARCHAR, reference VARCHAR, response_id VARCHAR, traceparent VARCHAR, at_ns BIGINT"


class TableOfRequests:
    """An engine whose view `requests` holds what the test says."""

    def __init__(self, columns: str = COLUMNS) -> None:
        self._lock = threading.Lock()
        self._base = duckdb.connect()
        self._base.execute(f"CREATE TABLE requests ({columns})")
        self.asked = 0
        self.problem: Exception | None = None

    def put(self, *values: Any) -> None:
        self._base.execute(f"INSERT INTO requests VALUES ({', '.join('?' * len(values))})", values)

    def query(self, sql: str, parameters: Parameters = (), bounds: Bounds | None = None) -> pa.Table:
        self.asked += 1
        if self.problem is not None:
            raise self.problem
        with self._lock:
            return self._base.sql(sql, params=parameters).to_arrow_table()

    def close(self) -> None:
        self._base.close()


def unit_hash(unit: str) -> int:
    return sum(unit.encode())


class Rig:
    """One intake and everything that it stands on."""

    def __init__(self, log: Log, on: SimulatedDisk) -> None:
        self.clock = SystemClock()
        self.ids = Ids(self.clock, SeededRandom(5))
        self.disk = on
        self.log = log
        self.engine = TableOfRequests()
        self.known = KnownRequests()
        self.facts = FactLog(log)
        self.intake = Intake(self.facts, self.known, self.engine, InlineRunner(), self.clock, unit_hash)

    @classmethod
    async def open(cls, capacity_bytes: int | None = None) -> Rig:
        on = disk(capacity_bytes)
        return cls(await opened(on), on)

    async def close(self) -> None:
        self.engine.close()
        await self.log.close()

    def written(self) -> Sequence[Fact]:
        return FactCursor(self.disk, "gw").poll(10**6)

    def answered(self, **fields: Any) -> Outcome:
        """A row that the feed brings."""
        fields = {"id": self.ids.next(), "at_ns": self.clock.now_ns(), "status": 200} | fields
        row = Outcome(**({"endpoint": "credit"} | fields))
        self.known.take_rows([Entry(1, row)])
        return row
