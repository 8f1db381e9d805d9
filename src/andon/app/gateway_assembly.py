"""How a gateway is put together from what it stands on: the one wiring that the process and the simulation share.

Pure wiring: it opens nothing, starts nothing and knows neither sockets nor folders. Who calls it loads the last good
snapshot (`holder.load`), runs the `loops` and serves `gateway`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from andon.app.chain import build_chain
from andon.app.telling import Telling
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
from andon.security.abuse.settings import UNSET, AbuseSettings
from andon.security.abuse.stage import AddressStage, ConductStage
from andon.security.audit.stage import AuditStage, AuditTerms
from andon.security.guards.detectors import Means
from andon.security.guards.engine import GuardEngine
from andon.security.guards.vault import SealedVault
from andon.security.identity.discovery import Upstreams
from andon.security.identity.learning import KeyLearner
from andon.security.identity.stage import IdentifyStage
from andon.security.identity.uses import tell_callers
from andon.security.limits.shared import SharedCounters
from andon.security.policy.ahead import read_ahead
from andon.security.policy.stage import AuthoriseStage
from andon.security.secrets.leases import Leases

S = TypeVar("S")
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
    audit: AuditTerms | None = None  # None = nobody audits here, and nothing waits for it
    issuers: Upstreams | None = None  # None = signing keys come with snapshots only
    abuse: AbuseSettings = UNSET
    shared: SharedCounters | None = None  # None = this gateway counts for itself
    leases: Leases | None = None  # None = targets refer to nothing that control lends


@dataclass(frozen=True, kw_only=True)
class AssembledGateway:
    """The parts of a gateway, connected."""

    clock: Clock
    gateway: Gateway
    stages: Sequence[Stage]
    rollouts: RolloutStage
    audit: AuditStage
    files: Runner
    identify: IdentifyStage
    holder: Holder
    link: Link
    health: HealthLoop
    reports: ReportQueue
    leases: Leases | None
    addresses: AddressStage
    conduct: ConductStage
    shared: SharedCounters | None

    def loops(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """What runs beside the requests until it is cancelled; each is to become a task."""
        more: tuple[Coroutine[Any, Any, None], ...] = () if self.leases is None else (self.leases.run(),)
        more += (self.audit.run(self.files),) if self.audit.engaged else ()
        if self.shared is not None:
            more = (*more, self.shared.run())
        more = (*more, self.conduct.run())
        callers = tell_callers(self.identify, self.reports, self.gateway.settings.gateway, self.clock)
        return self.link.run(), self.health.run(), tell_progress(self.rollouts, self.clock), callers, *more


def assemble_gateway(ground: GatewayGround) -> AssembledGateway:
    """Connect the parts of one gateway."""
    clock, random, bounds = ground.clock, ground.random, ground.bounds
    reports = ReportQueue(meters := Meters())
    stages = build_chain(
        gateway=bounds.gateway,
        pepper=ground.pepper,
        cuts=ground.cuts,
        reports=reports,
        clock=clock,
        random=random,
        abuse=ground.abuse,
        shared=ground.shared,
    )
    identify, audit = stage_of(stages, IdentifyStage), stage_of(stages, AuditStage)
    if ground.audit is not None:
        audit.engage(ground.audit, ground.log)
    gateway = Gateway(stages, _parts(ground, identify, reports, meters), bounds)
    ground.log.crowd = lambda: gateway.meters.in_flight
    leases = ground.leases
    # Leases first: what a snapshot says of a secret holds before a target is built with it.
    adopters = gateway.adopters if leases is None else (leases, *gateway.adopters)
    holder = Holder(adopters, ground.snapshots, "", ground.files, gateway.meters)
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
    link.prepare = _preparing(leases, stage_of(stages, AuthoriseStage))
    if leases is not None:
        leases.changed = lambda: rebuild_targets(gateway, holder)
    return AssembledGateway(
        clock=clock,
        gateway=gateway,
        stages=stages,
        identify=identify,
        rollouts=stage_of(stages, RolloutStage),
        audit=audit,
        files=ground.files,
        holder=holder,
        link=link,
        health=HealthLoop(
            ground.upstream, gateway.targets, reports, clock=clock, random=random, settings=bounds
        ),
        reports=reports,
        leases=leases,
        addresses=stage_of(stages, AddressStage),
        conduct=watch(stages, ground, reports),
        shared=ground.shared,
    )


def _preparing(leases: Leases | None, authorise: AuthoriseStage) -> Callable[[bytes], Awaitable[None]]:
    """What is done with a snapshot that has come, before it is adopted."""

    async def prepare(raw: bytes) -> None:
        if leases is not None:
            await leases.prepare(raw)
        await read_ahead(authorise, raw)

    return prepare


def _parts(ground: GatewayGround, identify: IdentifyStage, reports: ReportQueue, meters: Meters) -> Parts:
    """What the gateway itself is built from."""
    clock, random = ground.clock, ground.random
    learner = None
    if ground.issuers is not None:
        learner = KeyLearner(identify.issuers, identify.learn_keys, ground.issuers, clock)
    means = Means(
        clock=clock,
        vault=SealedVault(ground.pepper),
        secret=ground.pepper,
        upstream=ground.upstream,
        credentials=ground.credentials,
    )
    return Parts(
        upstream=ground.upstream,
        log=ground.log,
        reports=reports,
        credentials=ground.credentials,
        clock=clock,
        ids=Ids(clock, random),
        random=random,
        meters=meters,
        bodies=ground.bodies,
        learner=learner,
        guards=GuardEngine(means),
    )


def stage_of(stages: Sequence[Stage], kind: type[S]) -> S:
    """The one stage of a chain that is of this kind."""
    return next(stage for stage in stages if isinstance(stage, kind))


def watch(stages: Sequence[Stage], ground: GatewayGround, reports: ReportQueue) -> ConductStage:
    """Let what protects the gateway tell control what people should know."""
    conduct = stage_of(stages, ConductStage)
    tell = Telling(ground.bounds.gateway, reports.send, ground.clock)
    conduct.told = tell.suspicion
    if ground.shared is not None:
        ground.shared.told = tell.counters
    return conduct


def rebuild_targets(gateway: Gateway, holder: Holder) -> None:
    """Secrets changed: build the targets of the snapshot in force anew, with the credentials of now."""
    if holder.current is not None:
        gateway.targets.adopt(holder.current)()


async def tell_progress(rollouts: RolloutStage, clock: Clock) -> None:
    """Report how rollouts stand each second, silence included, until cancelled."""
    while True:
        await clock.sleep(PROGRESS_S)
        rollouts.tick()
