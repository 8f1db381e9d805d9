"""The part that seals: moves closed segments into the tables for ever, and says how that goes.

All blocking work goes through the runner. A store that is away or full is waited for; nothing is lost meanwhile,
because segments leave the log only once they are in every table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog

from andon.app.observer.part import ObserverGround, Part
from andon.app.observer.sealing_routes import (
    LedgerDamage,
    LedgerLog,
    LedgerRebuild,
    LedgerStatus,
    LedgerTable,
    RebuildRequest,
    sealing_routes,
)
from andon.kernel.errors import AndonError, Conflict, Refused
from andon.kernel.events import Event
from andon.ledger.recovery import segments_of
from andon.ledger.tables.delta import Tables, storage_options
from andon.ledger.tables.quarantine import Quarantine, Quarantined
from andon.ledger.tables.schema import LOGS, TABLES, find_table
from andon.ledger.tables.sealer import Sealer, Turn
from andon.ledger.tables.segments import LogFolder, closed_segments
from andon.ledger.tables.settings import SealSettings
from andon.ledger.tables.sources import settle_source
from andon.observability.families import Family, Sample
from andon.store.model import Unit
from andon.web.routes import Call

PERIOD_S = 1.0
LOOK_S = 15.0  # how often sizes and lags are measured for the metrics
REASONS_MAX = 3
ACTOR = "observer:sealing"

_logger = structlog.get_logger("andon.sealing")


class Sealing:
    """The loop, the verbs and the metrics."""

    def __init__(self, ground: ObserverGround, tables: Tables, logs: Sequence[LogFolder]) -> None:
        settings = ground.settings
        self._ground = ground
        self._tables = tables
        self._logs = logs
        self._quarantine = Quarantine(ground.home.observer / "quarantine")
        self._sealer = Sealer(
            tables,
            logs,
            self._quarantine,
            ground.clock,
            SealSettings(
                keep_s=settings.ledger_keep_s,
                keep_segments=settings.ledger_keep_segments,
                bodies_bytes=settings.bodies_limit,
            ),
        )
        self._rebuild = LedgerRebuild()
        self._sizes: dict[str, int] = {}
        self._lags: dict[str, float] = {}
        self._look_at = 0.0
        self._crashes = 0

    async def run(self) -> None:
        """Seal for ever."""
        clock, runner = self._ground.clock, self._ground.runner
        while True:
            sealed = 0
            try:
                turn = await runner.run(self._sealer.turn)
                sealed = turn.segments
                await self._tell(turn)
                await self._rebuild_next()
                if clock.monotonic() >= self._look_at:
                    self._sizes, self._lags = await runner.run(self._look)
                    self._look_at = clock.monotonic() + LOOK_S
            # Whatever is wrong with one turn, the log goes on and a later turn may do better: counted and told.
            except Exception:
                self._crashes += 1
                sealed = 0
                _logger.exception("sealing_failed")
            if not sealed:
                await clock.sleep(PERIOD_S)

    async def status(self, call: Call) -> LedgerStatus:
        """How everything stands, measured now."""
        return await self._ground.runner.run(self._status)

    async def rebuild(self, call: Call) -> LedgerRebuild:
        """Begin to make tables again. Raises `Refused` for an unknown table, `Conflict` while one is being made."""
        request: RebuildRequest = call.body
        if request.table != "all" and find_table(request.table) is None:
            names = ", ".join(table.name for table in TABLES)
            raise Refused(
                "table_unknown", f"There is no table {request.table}.", hint=f"One of {names}; or all."
            )
        if self._rebuild.waiting:
            raise Conflict(
                "rebuild_running",
                f"{self._rebuild.waiting[0]} is being rebuilt.",
                hint="Wait for it: andon ledger status",
            )
        wanted = [table.name for table in TABLES] if request.table == "all" else [request.table]
        self._rebuild = LedgerRebuild(waiting=tuple(wanted))
        return self._rebuild

    def families(self) -> tuple[Family, ...]:
        """From memory; sizes and lags are a few seconds old."""
        counters = self._sealer.counters
        by_log = "By log."
        return (
            _total("sealed_rows", "Rows written to the tables.", counters.rows),
            Family(
                name="andon_ledger_sealed_segments_total",
                kind="counter",
                meaning=f"Segments that are in all their tables. {by_log}",
                samples=tuple(Sample((("log", log),), float(counters.segments.get(log, 0))) for log in LOGS),
            ),
            Family(
                name="andon_ledger_seal_lag_seconds",
                kind="gauge",
                meaning=f"How long the oldest closed segment waits for its tables. {by_log}",
                samples=tuple(Sample((("log", log),), self._lags.get(log, 0.0)) for log in LOGS),
            ),
            Family(
                name="andon_ledger_tables_bytes",
                kind="gauge",
                meaning="Size of the latest version of each table.",
                samples=tuple(
                    Sample((("table", name),), float(size)) for name, size in sorted(self._sizes.items())
                ),
            ),
            _total("commits", "Commits of segments to tables.", counters.commits),
            _total(
                "compactions", "Tables tidied: small files merged, old ones removed.", counters.compactions
            ),
            _total("quarantined", "Segments found damaged.", self._quarantine.segments),
            _total("seal_failures", "Times that a table could not be written.", self._failures()),
            _total("retired_segments", "Segments removed from the logs after sealing.", counters.retired),
        )

    def _failures(self) -> int:
        return self._sealer.counters.failures + self._crashes

    async def _tell(self, turn: Turn) -> None:
        for failure in turn.failures:
            _logger.warning("table_not_written", reason=failure.message, detail=failure.internal[:500])
        for record in turn.quarantined:
            _logger.error("segment_damaged", log=record.log, segment=record.segment, rows=record.rows)
        if turn.quarantined:
            await self._ground.store.transact(lambda unit: _journal(unit, turn.quarantined))

    async def _rebuild_next(self) -> None:
        """One table of those that wait."""
        if not self._rebuild.waiting:
            return
        name, *rest = self._rebuild.waiting
        try:
            rows = await self._ground.runner.run(lambda: self._sealer.rebuild(name))
        except AndonError as error:
            self._rebuild = LedgerRebuild(rows=self._rebuild.rows, problem=f"{name}: {error.message}")
            return
        _logger.info("table_rebuilt", table=name, rows=rows)
        self._rebuild = LedgerRebuild(waiting=tuple(rest), rows={**self._rebuild.rows, name: rows})

    def _look(self) -> tuple[dict[str, int], dict[str, float]]:
        sizes = {table.name: self._tables.measure(table.name).size_bytes for table in TABLES}
        return sizes, dict(self._sealer.lag_s())

    def _status(self) -> LedgerStatus:
        failing, marks, lags = self._sealer.failing(), self._sealer.marks(), self._sealer.lag_s()
        return LedgerStatus(
            tables=tuple(self._table(table.name, failing) for table in TABLES),
            logs=tuple(
                LedgerLog(
                    name=log.log,
                    segments=len(names := segments_of(log.disk, "")),
                    size_bytes=sum(log.disk.size(name) for name in names),
                    sealed_segment=marks[log.log].segment,
                    sealed_position=marks[log.log].position,
                    waiting=len(closed_segments(log.disk, marks[log.log].segment)),
                    lag_s=lags[log.log],
                )
                for log in self._logs
            ),
            quarantined=tuple(_damage(record) for record in self._quarantine.records()),
            rebuild=self._rebuild,
        )

    def _table(self, name: str, failing: Mapping[str, str]) -> LedgerTable:
        spec = find_table(name) or TABLES[0]
        problem, version = failing.get(name, ""), None
        files = rows = size_bytes = 0
        try:
            version = self._tables.version(name)
            size = self._tables.measure(name)
            files, rows, size_bytes = size.files, size.rows, size.size_bytes
        except AndonError as error:
            problem = problem or error.message
        return LedgerTable(
            name=name,
            uri=self._tables.uri(name),
            log=spec.log,
            version=version,
            files=files,
            rows=rows,
            size_bytes=size_bytes,
            problem=problem,
        )


def _total(name: str, meaning: str, value: int) -> Family:
    return Family(
        name=f"andon_ledger_{name}_total",
        kind="counter",
        meaning=meaning,
        samples=(Sample((), float(value)),),
    )


def _damage(record: Quarantined) -> LedgerDamage:
    return LedgerDamage(
        log=record.log,
        segment=record.segment,
        at_ns=record.at_ns,
        rows=record.rows,
        places=record.places,
        reasons=tuple(damage.reason for damage in record.damages[:REASONS_MAX]),
    )


def _journal(unit: Unit, records: Sequence[Quarantined]) -> None:
    for record in records:
        unit.append(
            Event(
                name="segment.quarantined",
                subject=f"Ledger/{record.log}",
                actor=ACTOR,
                data={"segment": record.segment, "rows": record.rows, "places": record.places},
                unique=f"segment.quarantined/{record.log}/{record.segment}/{record.at_ns}",
                at_ns=record.at_ns,
            )
        )


def build_sealing(ground: ObserverGround) -> Part:
    """The part. Raises `OSError` where a log's folder cannot be named."""
    home = ground.home
    folders: dict[str, Path] = {"rows": home.ledger, "facts": home.facts, "bodies": home.bodies}
    logs = []
    for log in LOGS:
        folders[log].mkdir(parents=True, exist_ok=True)
        logs.append(LogFolder(log, folders[log], settle_source(folders[log], ground.random)))
    place = ground.settings.tables_url or str(home.tables)
    tables = Tables(place, storage_options(ground.environment))
    sealing = Sealing(ground, tables, logs)
    return Part(
        name="sealing",
        routes=sealing_routes(sealing),
        loops=(sealing.run,),
        metrics=(sealing,),
    )
