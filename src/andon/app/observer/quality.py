"""The part of quality: looks at each monitor, answers, keeps references, tells alerts what has fallen.

Wires the watch to the routes, the driver, the metrics and the signals; decides nothing.
"""

from __future__ import annotations

import msgspec

from andon.app.observer.gates import ObservedGates
from andon.app.observer.part import ObserverGround, Part
from andon.app.observer.quality_routes import MonitorView, QualityDetail, QualityPage, quality_routes
from andon.kernel.errors import Refused
from andon.kernel.units import duration_s
from andon.observability.quality.controller import QualityController, status_of
from andon.observability.quality.model import MONITOR, MonitorSpec
from andon.observability.quality.report import QualityReport, ReferenceView
from andon.observability.quality.repository import Span
from andon.observability.quality.watching import QualityWatch
from andon.store.model import Record
from andon.web.routes import Call


class QualityVerbs:
    """What stands behind the routes."""

    def __init__(self, ground: ObserverGround, watch: QualityWatch) -> None:
        self._ground = ground
        self._watch = watch

    async def list(self, call: Call) -> QualityPage:
        """Every monitor."""
        records = await self._ground.store.transact(lambda unit: unit.list(MONITOR))
        return QualityPage(items=tuple(_view(record) for record in records))

    async def show(self, call: Call) -> QualityDetail:
        """One monitor; raises `Refused` where there is none."""
        record = await self._record(call.path.name)
        span = self._span(call.query.since, call.query.as_of)
        if span.as_of_ns:
            spec = msgspec.convert(record.spec, MonitorSpec)
            return QualityDetail(
                monitor=_view(record), report=await self._watch.as_of(record.name, spec, span)
            )
        report = self._watch.reports.get(record.name)
        return QualityDetail(monitor=_view(record), report=_since(report, span) if report else None)

    async def reference(self, call: Call) -> ReferenceView:
        """Make the reference from traffic."""
        record = await self._record(call.path.name)
        spec = msgspec.convert(record.spec, MonitorSpec)
        return await self._watch.refer(record.name, spec, call.body.release, self._span(call.body.since))

    async def file(self, call: Call) -> ReferenceView:
        """Take the reference from a file."""
        record = await self._record(call.path.name)
        spec = msgspec.convert(record.spec, MonitorSpec)
        return await self._watch.adopt(record.name, spec, call.query.release, call.body.data)

    def _span(self, since: str, as_of_ns: int = 0) -> Span:
        try:
            back_ns = int(duration_s(since) * 1e9)
        except ValueError as error:
            raise Refused("duration_invalid", f"{error}.", hint="Such as 7d.", param="since") from error
        until_ns = as_of_ns or self._ground.clock.now_ns()
        return Span(from_ns=max(0, until_ns - back_ns), until_ns=until_ns, as_of_ns=as_of_ns)

    async def _record(self, name: str) -> Record:
        record = await self._ground.store.transact(lambda unit: unit.get(MONITOR, name))
        if record is None:
            raise Refused(
                "not_found",
                f"There is no quality monitor '{name}'.",
                hint="andon quality lists them.",
                status=404,
                param="name",
            )
        return record


def _since(report: QualityReport, span: Span) -> QualityReport:
    releases = tuple(
        msgspec.structs.replace(
            release, chunks=tuple(chunk for chunk in release.chunks if chunk.until_ns > span.from_ns)
        )
        for release in report.releases
    )
    return msgspec.structs.replace(report, releases=releases)


def _view(record: Record) -> MonitorView:
    spec, status = msgspec.convert(record.spec, MonitorSpec), status_of(record)
    return MonitorView(
        name=record.name,
        endpoint=spec.endpoint,
        metric=spec.leading,
        chunk=spec.chunk,
        state=status.state,
        message=status.message,
        until_ns=status.until_ns,
        since_ns=status.since_ns,
        reasons=status.reasons,
        releases=status.releases,
    )


def build_quality(ground: ObserverGround) -> Part:
    """The part."""
    watch = QualityWatch(ground.engine, ground.runner, ground.clock, ground.home.observer / "quality")
    ground.signals.add("quality", watch.firing)
    return Part(
        name="quality",
        routes=quality_routes(QualityVerbs(ground, watch)),
        controllers=(QualityController(ground.store, ground.clock, watch),),
        loops=(ObservedGates(ground).run,),
        consumers=(watch,),
        metrics=(watch,),
    )
