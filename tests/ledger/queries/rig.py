"""A home with real logs, a real sealer and the engine, for the tests of queries."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from andon.kernel.clock import SystemClock
from andon.ledger.folder import open_log
from andon.ledger.queries import Bounds
from andon.ledger.row import Intent, Outcome
from andon.ledger.settings import LogSettings
from andon.ledger.tables.delta import Tables
from andon.ledger.tables.engine import TableEngine
from tests.ledger.tables.worlds import World

SECOND_NS = 1_000_000_000
BASE_NS = 1_760_000_000 * SECOND_NS


class Rig:
    """The folders of one home; `world` seals."""

    def __init__(self, root: Path, url: str = "", options: Mapping[str, str] | None = None) -> None:
        self.world = World(root, url, options=options)
        logs = {log: self.world.folder(log) for log in ("rows", "facts", "bodies")}
        self.engine = TableEngine(logs, Tables(self.world.url, options))

    def write(self, log: str, rows: Iterable[object], segment_bytes: int = 64 * 2**20) -> None:
        """Append rows durably; every opening of a log begins a segment, and its end seals it."""
        settings = LogSettings(segment_bytes=segment_bytes)

        async def main() -> None:
            async with open_log(self.world.folder(log), SystemClock(), "gw", settings) as opened:
                for number, row in enumerate(rows):
                    opened.append(row)
                    if number % 50 == 49:
                        await opened.committed()
                await opened.committed()

        asyncio.run(main())

    def seal(self) -> None:
        self.world.seal_all()
        self.forget()

    def forget(self) -> None:
        """Look at the tables at the next query, whatever the time."""
        merged = self.engine._merged
        if merged is not None:
            merged.forget_files()

    def ask(self, sql: str, parameters: Sequence[Any] = (), **bounds: Any) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.engine.query(sql, parameters, Bounds(**bounds)).to_pylist()
        return rows

    def value(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        (row,) = self.ask(sql, parameters)
        return next(iter(row.values()))


def outcome(number: int, **fields: Any) -> Outcome:
    """An outcome a second after the one before."""
    given = {"endpoint": "credit", "release": "credit@1", "arm": "stable", "status": 200, "duration_us": 1500}
    return Outcome(f"r-{number}", at_ns=BASE_NS + number * SECOND_NS, **{**given, **fields})


def intent(number: int) -> Intent:
    return Intent(f"r-{number}", at_ns=BASE_NS + number * SECOND_NS, endpoint="credit")


class Background:
    """Work in another thread until the block ends; what it raised is raised at the end."""

    def __init__(self, work: Any) -> None:
        self._work = work
        self._stopping = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._work()
                self._stopping.wait(0.002)
        except BaseException as error:  # raised again where the block ends
            self._error = error
