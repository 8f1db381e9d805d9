"""The control process: desired state, controllers, admin API; compiles snapshots for gateways.

`python -m andon.app.control_process --home DIR [--file FACTORY …]`. The files are applied on the first start of a
home only. Killed, it leaves gateways and replicas serving; asked to end (SIGTERM), it stops the replicas it started.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import structlog
import uvloop

from andon import __version__
from andon.app.addresses import address, check_certificates
from andon.app.admission import ModelPapers
from andon.app.api import build_routes
from andon.app.behind import ControlHealth, KeyVerbs, LedgerVerbs, RolloutVerbs
from andon.app.control_assembly import AssembledControl, ControlGround, assemble_control
from andon.app.home import Home
from andon.app.identity import Identities, IdentityGround, assemble_identities, leave_code, read_reference
from andon.app.issuing import IssuerClients
from andon.app.journals import set_up
from andon.app.keeping import Keeping, factory_identity, home_identity, open_wrapper
from andon.app.listening import ApiServer, factory_credentials, serve_api
from andon.app.observer.forwarding import forward_to
from andon.app.observer.senders import Senders
from andon.app.plan_changes import PlanChanges
from andon.app.policies import PolicyBook
from andon.app.policy_verbs import PolicyDesk
from andon.app.policy_vocabulary import vocabulary
from andon.app.rotating import Rotation, RotationGround
from andon.app.secret_verbs import SecretVerbs
from andon.app.services import Services
from andon.app.settings import Settings, load_settings
from andon.app.transport import Transport
from andon.control.documents import parse_sources, read_sources
from andon.control.factory import Factory
from andon.kernel.clock import SystemClock
from andon.kernel.errors import AndonError
from andon.kernel.ids import Ids
from andon.kernel.random import SystemRandom
from andon.kernel.redaction import KnownSecrets
from andon.ledger.disk import FileDisk
from andon.security.audit.records import AccessRecords
from andon.security.identity.secret_files import load_or_create_pepper
from andon.security.secrets.body_keys import BodyKeys
from andon.serving.executors.local import LocalExecutor
from andon.serving.executors.port import stop_all
from andon.store.model import Store
from andon.store.runner import ThreadRunner
from andon.store.sql import open_store
from andon.web.application import Surroundings, build_application
from andon.web.authentication import Authenticator
from andon.web.authorisation import Authoriser
from andon.wire.client import Client

REPLICA_GRACE_S = 5.0

_logger = structlog.get_logger("andon.control")


class ControlProcess:
    """Everything that one control process is made of."""

    def __init__(self, home: Home, settings: Settings, known: KnownSecrets) -> None:
        self._home = home
        self._settings = settings
        self._clock = SystemClock()
        self._random = SystemRandom()
        self._runner = ThreadRunner(2)
        self._hashing = ThreadRunner(2)  # of passwords: its own threads, so that nobody else waits for them
        self._records = AccessRecords(
            home.access, "control", self._clock, closed=settings.audit_mode == "closed"
        )
        self._known = known
        self._wrapper = open_wrapper(home, settings, os.environ, self._random)

    async def run(self, files: Sequence[Path], stopping: asyncio.Event) -> None:
        """Work until `stopping`; the replicas are stopped at the end, because somebody asked for the end."""
        home, clock = self._home, self._clock
        raw = await open_store(self._settings.database_url or home.database_url(), clock, random=self._random)
        client = Client(clock)
        transport = Transport(home, self._settings, "control", clock)
        internal = Client(clock, ssl_context=transport.internal)
        executor = LocalExecutor(home.state, clock, client, os.environ, program="andon.app.replica_process")
        pepper = load_or_create_pepper(home.pepper, self._random)
        issuers = IssuerClients(clock)
        built = assemble_control(
            ControlGround(
                store=raw,
                keeping=await self._keeping(raw),
                clock=clock,
                random=self._random,
                executor=executor,
                upstream=client,
                pepper=pepper,
                root=home.root,
                models=home.models,
                owner=f"control-{os.getpid()}-{self._random.bits(32):08x}",
                gateways=self._settings.gateways,
                allow_anonymous=self._settings.allow_anonymous,
                audited=self._settings.audit_mode == "closed",
                issuers=issuers.find,
            )
        )
        try:
            await self._bootstrap(built.factory, files)
            await built.publisher.refresh()
            tasks = [asyncio.create_task(loop) for loop in built.loops()]
            identities = self._identities(raw, issuers, pepper)
            await leave_code(identities.people, home.setup_code)
            book = PolicyBook(built.store, clock)
            built.store.listeners.append(book.changed)
            await book.refresh()
            authoriser = Authoriser(book, clock, "control", self._records, book)
            changes = PlanChanges(built.store, book, authoriser)
            services = self._services(built, changes, identities, self._desk(built, book))
            server = self._server(services, identities.authenticator, authoriser, internal, transport)
            tasks += [asyncio.create_task(loop) for loop in transport.loops()]
            tasks.append(asyncio.create_task(server.serve()))
            await self._until(stopping, tasks)
            built.driver.stop()
            built.publisher.close()
            server.should_exit = True
            await asyncio.wait(tasks[-1:], timeout=2)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await stop_all(executor, clock, REPLICA_GRACE_S)
        finally:
            await client.close()
            await internal.close()
            await issuers.close()
            await built.store.close()
            await self._records.close()
            self._runner.close()
            self._hashing.close()

    async def _keeping(self, store: Store) -> Keeping:
        """What secrets are kept with. Raises Refused where the wrapping keys cannot be had."""
        return Keeping(
            wrapper=self._wrapper,
            runner=self._runner,
            known=self._known,
            settings=self._settings,
            environment=os.environ,
            factory=await factory_identity(store, self._random),
        )

    def _identities(self, store: Store, issuers: IssuerClients, pepper: bytes) -> Identities:
        return assemble_identities(
            IdentityGround(
                store=store,
                clock=self._clock,
                random=self._random,
                runner=self._hashing,
                pepper=pepper,
                upstreams=issuers.find,
                credentials=factory_credentials(self._home, self._random, pepper),
                lookup=Senders(store, self._clock).find,
                secrets=read_reference,
                code_file=self._home.setup_code,
            )
        )

    async def _until(self, stopping: asyncio.Event, tasks: Sequence[asyncio.Task[None]]) -> None:
        """Return when the end is asked for; a loop that ends by itself is a bug and ends the process."""
        asked = asyncio.create_task(stopping.wait())
        waited: set[asyncio.Task[Any]] = {asked, *tasks}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        for task in tasks:
            if task.done() and not task.cancelled():
                task.result()

    async def _bootstrap(self, factory: Factory, files: Sequence[Path]) -> None:
        """Apply the factory files of a home that has no revision yet."""
        if not files or await factory.revisions(limit=1):
            return
        sources = read_sources([str(path) for path in files])
        plan = await factory.plan(parse_sources(sources, factory.catalogue))
        revision = await factory.apply(plan, author="andon up", message="first start")
        _logger.info("applied", revision=revision.number, files=[str(path) for path in files])

    def _secrets(self, built: AssembledControl) -> SecretVerbs:
        assert built.secrets is not None  # this process always keeps them
        identity = home_identity(self._home, self._random)
        keys = BodyKeys(self._home.body_keys, self._wrapper, self._random, identity)
        rotation = Rotation(
            RotationGround(
                home=self._home,
                identity=identity,
                pepper=load_or_create_pepper(self._home.pepper, self._random),
                wrapper=self._wrapper,
                secrets=built.secrets.verbs,
                keys=keys,
                store=built.store,
                clock=self._clock,
                runner=self._runner,
            )
        )
        return SecretVerbs(built.secrets, rotation, lambda: built.publisher.encoded)

    def _desk(self, built: AssembledControl, book: PolicyBook) -> PolicyDesk:
        catalogue = built.factory.catalogue
        return PolicyDesk(
            built.store,
            book,
            catalogue,
            vocabulary(kind.name for kind in catalogue),
            clock=self._clock,
            ledger=FileDisk(self._home.ledger),
            runner=ThreadRunner(1),
        )

    def _services(
        self, built: AssembledControl, changes: PlanChanges, identities: Identities, desk: PolicyDesk
    ) -> Services:
        return Services(
            clock=self._clock,
            runner=self._runner,
            factory=built.factory,
            rollouts=RolloutVerbs(built.rollouts),
            keys=KeyVerbs(built.keys, built.uses),
            ledger=LedgerVerbs(FileDisk(self._home.ledger), self._clock, ThreadRunner(1)),
            gateways=built.publisher,
            secrets=self._secrets(built),
            papers=ModelPapers(built.store, self._clock, self._random, self._home.root, self._home.models),
            health=ControlHealth(built.publisher, lambda: built.driver.counts.bugs),
            changes=changes,
            policies=desk,
            identities=identities,
        )

    def _server(
        self,
        services: Services,
        authenticator: Authenticator,
        authoriser: Authoriser,
        internal: Client,
        transport: Transport,
    ) -> ApiServer:
        settings = self._settings
        application = build_application(
            build_routes(services),
            Surroundings(
                authenticator=authenticator,
                authoriser=authoriser,
                clock=self._clock,
                ids=Ids(self._clock, self._random),
                version=__version__,
                forward=forward_to(
                    address(settings, settings.control_host, settings.observer_port), internal, self._clock
                ),
                mutual=transport.secure,
            ),
        )
        return serve_api(
            application,
            settings.control_host,
            settings.control_port,
            transport.listener(settings.control_certificate, settings.control_private_key),
        )


async def _main(process: ControlProcess, files: Sequence[Path]) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    await process.run(files, stopping)


def main() -> None:
    """The command line of the process."""
    parser = argparse.ArgumentParser(prog="andon control")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--file", type=Path, action="append", default=[])
    options = parser.parse_args()
    home = Home(options.home)
    try:
        home.create()
        settings = load_settings(home.root, os.environ)
        check_certificates(settings)
        known = KnownSecrets()
        set_up("control", settings.log_level, known)
        process = ControlProcess(home, settings, known)
        with contextlib.suppress(KeyboardInterrupt):  # the signal handler has stopped already
            uvloop.run(_main(process, options.file))
    except (AndonError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
