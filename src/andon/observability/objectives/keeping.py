"""Keeps the live tallies true: follows the objectives in the store, and reads by query what the feed has not told.

Two loops of the observer. History is read once an objective is known and the feed has told everything since; quality
objectives are read again when a fact was about a request that is not at hand, and once an hour in any case. A query
that fails is counted, told and tried again; meanwhile what is in memory goes on.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import structlog

from andon.kernel.clock import Clock
from andon.kernel.errors import AndonError
from andon.kernel.ports import Runner
from andon.ledger.queries import Engine
from andon.observability.objectives.board import Board
from andon.observability.objectives.live import EVENTS_MAX, LiveObjective, LiveObjectives
from andon.observability.objectives.model import ObjectiveSpec
from andon.observability.objectives.repository import JudgedRow, count_slots, judged
from andon.observability.objectives.tallies import COARSE_NS, FINE_NS, FINE_REACH_S, NS, Slot
from andon.store.model import Record, Store

KEEP_S = 2.0
LOOK_S = 0.5
SETTLE_NS = 2 * NS  # rows are visible to queries within a second of their outcome
AGAIN_NS = 15 * NS  # between two readings of one objective
PARTIAL_NS = 300 * NS
RECONCILE_NS = 3600 * NS

_logger = structlog.get_logger("andon.objectives")


class Keeper:
    """The two loops."""

    def __init__(
        self, store: Store, clock: Clock, runner: Runner, engine: Engine, live: LiveObjectives, board: Board
    ) -> None:
        self._store = store
        self._clock = clock
        self._runner = runner
        self._engine = engine
        self._live = live
        self._board = board
        self._tried: dict[str, int] = {}
        self._refused: dict[str, int] = {}  # generation of specs that cannot be counted, each told once
        self.failures = 0

    async def keep(self) -> None:
        """Follow the store and read history, for ever."""
        while True:
            try:
                await self.turn()
            except AndonError as error:
                self.failures += 1
                _logger.warning("objectives_not_read", error=str(error))
            await self._clock.sleep(KEEP_S)

    async def look(self) -> None:
        """Evaluate the board, for ever."""
        while True:
            self._board.evaluate()
            await self._clock.sleep(LOOK_S)

    async def turn(self) -> None:
        """One look at the store, and one reading at most of each objective that wants it."""
        records = await self._store.transact(lambda unit: unit.list("Objective"))
        self._follow(records)
        for objective in list(self._live.objectives.values()):
            if self.wants(objective):
                self._tried[objective.name] = self._clock.now_ns()
                await self._read(objective)

    def _follow(self, records: Sequence[Record]) -> None:
        for name in set(self._live.objectives) - {record.name for record in records}:
            self._live.remove(name)
        for record in records:
            if self._refused.get(record.name) == record.generation:
                continue
            try:
                self._live.put(record.name, record.generation, msgspec.convert(record.spec, ObjectiveSpec))
            except (ValueError, msgspec.ValidationError) as error:
                # `plan` refuses such a spec; one that an older version let in must not stop the others.
                self._refused[record.name] = record.generation
                self._live.remove(record.name)
                _logger.error("objective_not_counted", objective=record.name, error=str(error))

    def wants(self, objective: LiveObjective) -> bool:
        """Whether an objective is to be read now."""
        now_ns = self._clock.now_ns()
        if now_ns < objective.since_ns + SETTLE_NS:
            return False
        if now_ns < self._tried.get(objective.name, 0) + AGAIN_NS and objective.filled:
            return False
        if not objective.filled:
            return True
        if objective.verdicts is None:
            return False
        age_ns = now_ns - objective.read_ns
        return objective.stale or (objective.partial and age_ns >= PARTIAL_NS) or age_ns >= RECONCILE_NS

    async def _read(self, objective: LiveObjective) -> None:
        try:
            if objective.verdicts is None:
                await self._fill(objective, objective.since_ns)
            else:
                await self._load(objective)
        except AndonError as error:
            self.failures += 1
            _logger.warning("objective_not_read", objective=objective.name, error=str(error))

    async def _fill(self, objective: LiveObjective, before_ns: int) -> None:
        """Counts by slot before a fine boundary."""

        def ask() -> tuple[Sequence[Slot], Sequence[Slot]]:
            counting = objective.counting
            fine_from = before_ns - FINE_REACH_S * NS - COARSE_NS
            coarse_from = (before_ns - objective.reach_s * NS) // COARSE_NS * COARSE_NS
            fine = count_slots(self._engine, counting, fine_from, before_ns, FINE_NS)
            return fine, count_slots(self._engine, counting, coarse_from, before_ns, COARSE_NS)

        fine, coarse = await self._runner.run(ask)
        objective.fill(before_ns, fine, coarse, self._clock.now_ns())

    async def _load(self, objective: LiveObjective) -> None:
        """Judged requests one by one, or counts by slot where there are too many of them."""
        begun_ns = self._clock.now_ns()

        def ask() -> Sequence[JudgedRow]:
            from_ns = begun_ns - objective.reach_s * NS
            return judged(self._engine, objective.counting, from_ns, EVENTS_MAX)

        assert objective.verdicts is not None
        if objective.verdicts.complete:
            rows = await self._runner.run(ask)
            if len(rows) <= EVENTS_MAX:
                objective.load(rows, self._clock.now_ns())
                self._live.replay(objective, begun_ns)
                return
            objective.verdicts.complete = False
        await self._fill(objective, begun_ns // FINE_NS * FINE_NS)
