"""The part of objectives: counts live, keeps history, writes statuses, answers, and tells alerts what fires.

Alerts read `ground.signals.firing()["objectives"]`; nothing else of this part is known outside.
"""

from __future__ import annotations

from typing import Any

import msgspec

from andon.app.observer.objectives_routes import (
    ObjectiveContribution,
    ObjectiveDetail,
    ObjectivePage,
    ObjectiveSlice,
    ObjectiveView,
    ObjectiveWindow,
    objectives_routes,
)
from andon.app.observer.part import ObserverGround, Part
from andon.kernel.errors import Refused
from andon.kernel.ports import Runner
from andon.ledger.queries import Engine
from andon.observability.objectives.board import Board, Reading, SliceReading
from andon.observability.objectives.controller import ObjectiveController
from andon.observability.objectives.keeping import Keeper
from andon.observability.objectives.live import LiveObjective, LiveObjectives
from andon.observability.objectives.metrics import ObjectiveMetrics
from andon.observability.objectives.repository import contributors
from andon.observability.objectives.tallies import align_ns
from andon.observability.objectives.windows import period_from_ns
from andon.web.routes import Call


class ObjectiveVerbs:
    """What stands behind the routes."""

    def __init__(self, live: LiveObjectives, board: Board, engine: Engine, runner: Runner) -> None:
        self._live = live
        self._board = board
        self._engine = engine
        self._runner = runner

    async def list(self, call: Call) -> ObjectivePage:
        """Every objective."""
        objectives = sorted(self._live.objectives.items())
        return ObjectivePage(
            items=tuple(_view(one, self._board.readings.get(name)) for name, one in objectives)
        )

    async def show(self, call: Call) -> ObjectiveDetail:
        """One objective; raises `Refused` where there is none."""
        objective = self._live.objectives.get(call.path.name)
        if objective is None:
            raise Refused(
                "not_found",
                f"There is no objective '{call.path.name}'.",
                hint="andon objectives lists them; one that was just applied is known within two seconds.",
                status=404,
                param="name",
            )
        reading = self._board.readings.get(objective.name)
        found: tuple[ObjectiveContribution, ...] = ()
        if call.query.contributors and reading is not None:
            window = align_ns(period_from_ns(objective.spec, reading.at_ns), reading.at_ns)
            counting = objective.counting
            asked = await self._runner.run(lambda: contributors(self._engine, counting, *window))
            found = tuple(ObjectiveContribution(**msgspec.structs.asdict(one)) for one in asked)
        return ObjectiveDetail(objective=_view(objective, reading), contributors=found)


def _view(objective: LiveObjective, reading: Reading | None) -> ObjectiveView:
    spec = objective.spec
    return ObjectiveView(
        name=objective.name,
        description=spec.description,
        indicator=spec.indicator.kind,
        objective=spec.objective,
        period=spec.period,
        state="filling" if reading is None else reading.state,
        firing="" if reading is None else reading.firing,
        frozen=reading is not None and reading.frozen,
        history=reading is not None and reading.history,
        at_ns=0 if reading is None else reading.at_ns,
        slices=() if reading is None else tuple(_slice(one) for one in reading.slices),
    )


def _slice(one: SliceReading) -> ObjectiveSlice:
    budget: dict[str, Any] = {
        "events": one.budget.events,
        "bad": one.budget.bad,
        "attained": one.budget.attained,
        "budget_remaining": one.budget.remaining,
        "exhaustion_s": one.budget.exhaustion_s,
    }
    return ObjectiveSlice(
        slice=one.slice,
        state=one.state,
        firing=one.firing,
        since_ns=one.since_ns,
        burns=one.burns,
        windows=tuple(ObjectiveWindow(**msgspec.structs.asdict(verdict)) for verdict in one.verdicts),
        **budget,
    )


def build_objectives(ground: ObserverGround) -> Part:
    """The part."""
    live = LiveObjectives(ground.clock)
    board = Board(live, ground.clock)
    keeper = Keeper(ground.store, ground.clock, ground.runner, ground.engine, live, board)
    verbs = ObjectiveVerbs(live, board, ground.engine, ground.runner)
    ground.signals.add("objectives", board.firing)
    return Part(
        name="objectives",
        routes=objectives_routes(verbs),
        controllers=(ObjectiveController(ground.store, live, board),),
        loops=(keeper.keep, keeper.look),
        consumers=(live,),
        metrics=(ObjectiveMetrics(live, board),),
    )
