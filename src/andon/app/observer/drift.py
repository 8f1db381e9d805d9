"""The part of drift: looks at each monitor's periods, answers, keeps baselines, tells alerts what drifts.

Wires the watch to the routes, the driver, the metrics and the signals; decides nothing.
"""

from __future__ import annotations

import msgspec

from andon.app.observer.drift_routes import (
    BaselineView,
    DriftDetail,
    DriftPage,
    DriftView,
    drift_routes,
)
from andon.app.observer.part import ObserverGround, Part
from andon.kernel.errors import Refused
from andon.kernel.units import duration_s
from andon.observability.quality.drift.controller import DriftController, status_of
from andon.observability.quality.drift.model import MONITOR, DriftMonitorSpec
from andon.observability.quality.drift.profile import Profile
from andon.observability.quality.drift.watching import DriftWatch
from andon.store.model import Record, Store
from andon.web.routes import Call


class DriftVerbs:
    """What stands behind the routes."""

    def __init__(self, store: Store, watch: DriftWatch) -> None:
        self._store = store
        self._watch = watch

    async def list(self, call: Call) -> DriftPage:
        """Every monitor."""
        records = await self._store.transact(lambda unit: unit.list(MONITOR))
        return DriftPage(items=tuple(self._view(record) for record in records))

    async def show(self, call: Call) -> DriftDetail:
        """One monitor; raises `Refused` where there is none."""
        record = await self._record(call.path.name)
        latest = await self._watch.latest(record.name)
        return DriftDetail(
            monitor=self._view(record),
            report=latest.report if latest else None,
            report_until_ns=latest.until_ns if latest else 0,
        )

    async def baseline(self, call: Call) -> BaselineView:
        """Make the reference from traffic."""
        record = await self._record(call.path.name)
        try:
            duration_s(call.body.since)
        except ValueError as error:
            raise Refused("duration_invalid", f"{error}.", hint="Such as 7d.", param="since") from error
        spec = msgspec.convert(record.spec, DriftMonitorSpec)
        return _made(
            record, await self._watch.baseline(record.name, spec, call.body.release, call.body.since)
        )

    async def profile(self, call: Call) -> BaselineView:
        """Take a reference that was made elsewhere."""
        record = await self._record(call.path.name)
        return _made(record, await self._watch.adopt(record.name, call.body.data))

    async def _record(self, name: str) -> Record:
        record = await self._store.transact(lambda unit: unit.get(MONITOR, name))
        if record is None:
            raise Refused(
                "not_found",
                f"There is no drift monitor '{name}'.",
                hint="andon drift lists them.",
                status=404,
                param="name",
            )
        return record

    def _view(self, record: Record) -> DriftView:
        status = status_of(record)
        baseline = self._watch.origins.get(record.name, status.baseline)
        waits = status.state == "no baseline" and bool(baseline)
        return DriftView(
            name=record.name,
            endpoint=record.spec["endpoint"],
            period=record.spec.get("period", DriftMonitorSpec(endpoint="").period),
            state="waiting" if waits else status.state,
            message="" if waits else status.message,
            until_ns=status.until_ns,
            rows=status.rows,
            drifted=status.drifted,
            paging=status.paging,
            since_ns=status.since_ns,
            baseline=baseline,
        )


def _made(record: Record, profile: Profile) -> BaselineView:
    return BaselineView(
        monitor=record.name, origin=profile.origin, rows=profile.rows, columns=len(profile.columns)
    )


def build_drift(ground: ObserverGround) -> Part:
    """The part."""
    folder, unseal = ground.home.observer / "drift", ground.sealed.bodies.open
    watch = DriftWatch(ground.engine, ground.runner, ground.clock, folder, unseal)
    ground.signals.add("drift", watch.firing)
    return Part(
        name="drift",
        routes=drift_routes(DriftVerbs(ground.store, watch)),
        controllers=(DriftController(ground.store, ground.clock, watch),),
        metrics=(watch,),
    )
