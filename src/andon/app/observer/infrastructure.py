"""The part that looks at hosts, processes, logs and GPUs: wires the collector to this home and to NVML.

Processes are found through the home's run info and the statuses of deployments; nothing is searched for.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from andon.adapters.device_file import DeviceFile
from andon.adapters.nvml import NvmlProbe
from andon.app.observer.gateways import GatewayLook
from andon.app.observer.infrastructure_routes import AttributionPage, InfrastructurePage, SinceQuery
from andon.app.observer.infrastructure_routes import infrastructure_routes as routes_of
from andon.app.observer.part import ObserverGround, Part
from andon.kernel.deployments import DEPLOYMENT, DeploymentSpec, DeploymentStatus
from andon.kernel.devices import DeviceProbe, Devices
from andon.observability.infrastructure.collector import Census, Collector
from andon.observability.infrastructure.host import children_of, read_host, read_logs, read_processes
from andon.observability.infrastructure.model import Gateway, Moment, Wanted, warnings_of
from andon.observability.infrastructure.upstreams import Upstreams
from andon.store.model import Record, Unit
from andon.web.routes import Call

MODULES = {
    "andon.app.gateway_process": "gateway",
    "andon.app.control_process": "control",
    "andon.app.observer.process": "observer",
}
SECOND = 10**9


class InfrastructureVerbs:
    """What stands behind the routes."""

    def __init__(self, ground: ObserverGround, collector: Collector) -> None:
        self._ground = ground
        self._collector = collector

    async def infrastructure(self, call: Call) -> InfrastructurePage:
        """The latest look and the figures of the time asked for."""
        asked: SinceQuery = call.query
        moment = self._collector.moment
        since_ns = self._ground.clock.now_ns() - asked.seconds * SECOND
        return InfrastructurePage(
            now=moment,
            warnings=warnings_of(moment) if moment else (),
            windows_complete_since_ns=self._ground.windows.complete_since_ns,
            series=self._collector.history.series(since_ns) if asked.seconds else (),
        )

    async def attribution(self, call: Call) -> AttributionPage:
        """GPU time of the time asked for."""
        asked: SinceQuery = call.query
        since_ns = self._ground.clock.now_ns() - asked.seconds * SECOND
        moment = self._collector.moment
        devices = moment.devices if moment else Devices(absent="not looked at yet")
        return AttributionPage(
            seconds=asked.seconds,
            absent=devices.absent,
            devices=tuple(self._collector.attribution.devices(since_ns)),
            endpoints=tuple(self._collector.attribution.endpoints(since_ns)),
        )


class _Surroundings:
    """Finds what is to be looked at in one home."""

    def __init__(self, ground: ObserverGround, probe: DeviceProbe) -> None:
        self._ground = ground
        self._probe = probe
        self._look = GatewayLook(ground.home, ground.internal, ground.clock)
        self._syncs: tuple[float, float] | None = None  # count and seconds at the last look

    async def census(self) -> Census:
        """Processes and replicas as the home and the store know them."""

        def read(unit: Unit) -> tuple[list[Record], frozenset[str]]:
            return list(unit.list(DEPLOYMENT)), frozenset(record.name for record in unit.list("Endpoint"))

        deployments, endpoints = await self._ground.store.transact(read)
        replicas = [one for record in deployments for one in _replicas(record)]
        return Census(
            wanted=[*self._own(), *replicas],
            replicas={one.name: one.pid for one in replicas},
            endpoints=endpoints,
        )

    def _own(self) -> list[Wanted]:
        info = self._ground.home.read_run_info()
        found = children_of(info.pid, MODULES) if info else []
        if all(one.role != "observer" for one in found):
            found.append(Wanted(role="observer", name="observer", pid=os.getpid()))
        return found

    async def gateway(self) -> Gateway:
        """What the gateway says of its log and of what is in flight."""
        metrics = await self._look.metrics()
        if not metrics:
            return Gateway()
        in_flight = metrics.get("andon_requests_in_flight")
        trouble = metrics.get("andon_ledger_in_trouble")
        away = metrics.get("andon_limits_store_away")
        return Gateway(
            answers=True,
            ledger_lag_s=metrics.get("andon_ledger_lag_seconds"),
            ledger_in_trouble=None if trouble is None else bool(trouble),
            sync_s=self._sync_s(metrics),
            in_flight=None if in_flight is None else int(in_flight),
            counters_away=None if away is None else bool(away),
        )

    def _sync_s(self, metrics: Mapping[str, float]) -> float | None:
        count, spent = (
            metrics.get("andon_ledger_commits_total"),
            metrics.get("andon_ledger_sync_seconds_total"),
        )
        if count is None or spent is None:
            return None
        before, self._syncs = self._syncs, (count, spent)
        if before is None or count <= before[0]:
            return None
        return (spent - before[1]) / (count - before[0])

    def measure(self, wanted: Sequence[Wanted], before: Mapping[int, tuple[float, float]]) -> Moment:
        """Blocking: this host, its processes and devices."""
        home, now_ns = self._ground.home, self._ground.clock.now_ns()
        folders = (("ledger", home.ledger), ("facts", home.facts), ("bodies", home.bodies))
        return Moment(
            at_ns=now_ns,
            host=read_host(home.ledger),
            processes=read_processes(wanted, before, now_ns / SECOND),
            logs=read_logs(folders),
            devices=self._probe.read(),
        )


def _replicas(record: Record) -> list[Wanted]:
    spec = msgspec.convert(record.spec, DeploymentSpec)
    status = msgspec.convert(record.status, DeploymentStatus) if record.status else DeploymentStatus()
    return [
        Wanted(
            role="replica",
            name=replica.id,
            pid=replica.pid,
            endpoint=",".join(spec.wanted_by),
            release=f"{spec.model}@{spec.version}",
        )
        for replica in status.replicas
        if replica.pid
    ]


def build_infrastructure(ground: ObserverGround) -> Part:
    """The part."""
    told = ground.settings.devices_file
    probe: DeviceProbe = DeviceFile(Path(told)) if told else NvmlProbe()
    around = _Surroundings(ground, probe)
    collector = Collector(ground.clock, ground.runner, around.measure, around.census, around.gateway)
    upstreams = Upstreams()
    return Part(
        name="infrastructure",
        routes=routes_of(InfrastructureVerbs(ground, collector)),
        loops=(collector.run,),
        consumers=(collector, upstreams),
        metrics=(collector, upstreams),
        closing=(probe.close,),
    )
