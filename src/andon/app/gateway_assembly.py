"""How a gateway is put together from what it stands on: the one wiring that the process and the simulation share.

Pure wiring: it opens nothing, starts nothing and knows neither sockets nor folders. Who calls it loads the last good
snapshot (`holder.load`), runs the `loops` and serves `gateway`.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from andon.app.chain import build_chain
from andon.gateway.bodies import BodySink
from andon.gateway.gateway import Gateway, Parts
from andon.gateway.health import HealthLoop
from andon.gateway.link import Link, ReportQueue
from andon.gateway.meters import Meters
from andon.gateway.settings import GatewaySettings
from andon.gateway.snapshots import Holder
from andon.gateway.targets import Credentials
from andon.kernel.clock import Clock
from andon.kernel.ids import Ids
from andon.kernel.ports import Disk, Runner, Stage, Upstream
from andon.kernel.random import Random
from andon.ledger.log import Log
from andon.lifecycle.rollouts.stage import RolloutStage
from andon.security.identity.discovery import Upstreams
from andon.security.identity.learning import KeyLearner
from andon.security.secrets.leases import Leases
from andon.security.identity.stage import IdentifyStage
from andon.security.identity.uses import tell_callers

PROGRESS_S = 1.0


@dataclass(frozen=True, kw_only=True)
class GatewayGround:
    """What a gateway stands on."""

    bounds: GatewaySettings
    pepper: bytes
    control_url: str
    control_key: str
    clock: Clock
    random: Random
    log: Log
    upstream: Upstream
    files: Runner  # runs the holder's writes
    cuts: Disk  # where stopped releases are remembered
    snapshots: Disk  # where the last good snapshot is kept
    credentials: Credentials
    internal: Upstream | None = None  # to control; None = as to anybody
    bodies: BodySink | None = None  # None = no bodies are recorded, whatever endpoints say
    issuers: Upstreams | None = None  # None = signing keys come with snapshots only
    leases: Leases | None = None  # None = targets refer to nothing that control lends


@dataclass(frozen=True, kw_only=True)
class AssembledGateway:
    """The parts of a gateway, connected."""

    clock: Clock
    gateway: Gateway
    stages: Sequence[Stage]
    rollouts: RolloutStage
    identify: IdentifyStage
    holder: Holder
    link: Link
    health: HealthLoop
    reports: ReportQueue

    def loops(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """What runs beside the requests until it is cancelled; each is to become a task."""
        more = () if self.leases is None else (self.leases.run(),)
        callers = tell_callers(self.identify, self.reports, self.gateway.settings.gateway, self.clock)
        return self.link.run(), self.health.run(), tell_progress(self.rollouts, self.clock), callers, *more


def assemble_gateway(ground: GatewayGround) -> AssembledGateway:
    """Connect the parts of one gateway."""
    clock, random, bounds = ground.clock, ground.random, ground.bounds
    meters = Meters()
    reports = ReportQueue(meters)
    stages = build_chain(
        gateway=bounds.gateway,
        pepper=ground.pepper,
        cuts=ground.cuts,
        reports=reports,
        clock=clock,
        random=random,
    )
    parts = Parts(
    identify = next(stage for stage in stages if isinstance(stage, IdentifyStage))
    learner = (
        None
        if ground.issuers is None
        else KeyLearner(identify.issuers, identify.learn_keys, ground.issuers, clock)
    )
        upstream=ground.upstream,
        log=ground.log,
        reports=reports,
        credentials=ground.credentials,
        clock=clock,
        ids=Ids(clock, random),
        random=random,
        meters=meters,
        bodies=ground.bodies,
    )
        learner=learner,
    gateway = Gateway(stages, parts, bounds)
    ground.log.crowd = lambda: gateway.meters.in_flight
    holder = Holder(gateway.adopters, ground.snapshots, "", ground.files, gateway.meters)
    link = Link(
        ground.control_url,
        ground.control_key,
        upstream=ground.internal or ground.upstream,
        holder=holder,
        reports=reports,
        clock=clock,
        random=random,
        meters=gateway.meters,
    )
    health = HealthLoop(
        ground.upstream, gateway.targets, reports, clock=clock, random=random, settings=bounds
    )
    return AssembledGateway(
        clock=clock,
        gateway=gateway,
        stages=stages,
        rollouts=next(stage for stage in stages if isinstance(stage, RolloutStage)),
        holder=holder,
        link=link,
        health=health,
        reports=reports,
    )

        identify=identify,

async def tell_progress(rollouts: RolloutStage, clock: Clock) -> None:
    """Report how rollouts stand each second, silence included, until cancelled."""
    while True:
        await clock.sleep(PROGRESS_S)
        rollouts.tick()
