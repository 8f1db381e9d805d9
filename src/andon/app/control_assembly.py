"""How control is put together from what it stands on: the one wiring that the process and the simulation share.

Pure wiring: it opens nothing, starts nothing and knows neither sockets nor folders. Who calls it publishes once
(`publisher.refresh`) and runs the `loops`; the verbs of people and gateways are called on the parts.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from andon.app.admission import installed_packages, places_of
from andon.app.compiling import Compiler
from andon.app.keeping import Keeping, KeptSecrets, inspector
from andon.app.kinds import catalogue
from andon.app.notices import remember_notices
from andon.app.noticing import NoticingStore
from andon.app.publishing import Publisher
from andon.control.controller import Controller
from andon.control.driver import Driver
from andon.control.factory import Factory
from andon.control.retention import Limits, Retention
from andon.control.turn import Terms
from andon.kernel.clock import Clock
from andon.kernel.ports import Upstream
from andon.kernel.random import Random
from andon.kernel.reports import Report
from andon.lifecycle.endpoints.controller import EndpointController
from andon.lifecycle.rollouts.reports import RolloutReports
from andon.lifecycle.rollouts.service import RolloutService
from andon.security.admission.controller import AdmissionController
from andon.security.identity.discovery import Upstreams
from andon.security.identity.issuer_controller import IssuerController
from andon.security.identity.service import Keys
from andon.security.identity.uses import KeyUses
from andon.security.supply.controller import VulnerabilityController
from andon.serving.deployments.controller import DeploymentController, SweepController
from andon.serving.executors.port import Executor
from andon.serving.models.digest import take
from andon.serving.providers.controller import ProviderController
from andon.store.model import Store


@dataclass(frozen=True, kw_only=True)
class ControlGround:
    """What control stands on."""

    store: Store
    clock: Clock
    random: Random
    executor: Executor
    upstream: Upstream  # for looks at providers
    pepper: bytes
    root: Path  # the factory file's folder; sources of models are relative to it
    owner: str  # who holds the leases; different in every process
    gateways: int = 1
    allow_anonymous: bool = False
    audited: bool = False  # nothing may be served that cannot be audited
    keeping: Keeping | None = None  # None = no secrets are kept here
    models: Path | None = None  # where manifests of models are kept; None = models are served unseen
    issuers: Upstreams | None = None  # None = issuers are not asked, and keys stay as they are


@dataclass(frozen=True, kw_only=True)
class AssembledControl:
    """The parts of control, connected."""

    store: NoticingStore
    driver: Driver
    publisher: Publisher
    factory: Factory
    rollouts: RolloutService
    keys: Keys
    uses: KeyUses
    secrets: KeptSecrets | None = None

    def loops(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """What runs until it is cancelled; each is to become a task."""
        more = () if self.secrets is None else self.secrets.loops()
        return self.driver.run(), self.publisher.run(), *more


def assemble_control(ground: ControlGround) -> AssembledControl:
    """Connect the parts of one control process."""
    clock, random = ground.clock, ground.random
    store = NoticingStore(ground.store)
    controllers: list[Controller[Any]] = [
        EndpointController(store, clock),
        DeploymentController(store, ground.executor, clock, ground.root, admits=ground.models is not None),
        SweepController(store, ground.executor),
        ProviderController(store, ground.upstream, clock),
        Retention(ground.store, clock, Limits()),
    ]
    if ground.issuers is not None:
        controllers.append(IssuerController(store, ground.issuers, clock, ground.root))
    if ground.models is not None:
        controllers.append(AdmissionController(store, clock, take, ground.root, ground.models))
        places = places_of(ground.root, ground.models)
        controllers.append(VulnerabilityController(store, clock, places, installed_packages))
    driver = Driver(store, clock, random, controllers, Terms(owner=ground.owner))
    compiler = Compiler(
        ground.root.name,
        ground.gateways,
        allow_anonymous=ground.allow_anonymous,
        audited=ground.audited,
    )
    reports = RolloutReports(store, clock)
    uses = KeyUses(ground.store)  # not the one that notices: nothing is decided by who was last seen when

    async def receive(batch: Sequence[Report], gateway: str) -> None:
        await reports.receive(batch)
        await uses.receive(batch)
        await remember_notices(store, batch, gateway, clock.now_ns())

    publisher = Publisher(ground.store, clock, compiler.compile, receive)
    store.listeners += [publisher.signal, driver.signal]
    secrets = None
    if ground.keeping is not None:
        secrets = KeptSecrets(ground.keeping, store, clock, random, publisher.signal)
    return AssembledControl(
        secrets=secrets,
        store=store,
        driver=driver,
        publisher=publisher,
        factory=Factory(store, catalogue(), driver.signal, inspect=inspector(ground.keeping, clock)),
        rollouts=RolloutService(store, clock),
        keys=Keys(store, clock, random, ground.pepper, changed=publisher.signal),
        uses=uses,
    )
