"""What the observer's process does: opens its ground, builds the parts, runs their loops, serves their routes.

Started by `app/observer/process`. A loop that ends by itself is a bug and ends the process; the supervisor starts it
again. At the end everything that was begun is written down.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import structlog

from andon import __version__
from andon.app.home import Home
from andon.app.issuing import IssuerClients
from andon.app.listening import ApiServer, factory_credentials, serve_api
from andon.app.observer.assembly import build_parts
from andon.app.observer.part import ObserverGround, Part
from andon.app.observer.sealed import Opening, open_sealed
from andon.app.observer.senders import Senders
from andon.app.policies import PolicyBook
from andon.app.settings import Settings, log_settings
from andon.app.transport import Transport
from andon.control.driver import Driver
from andon.control.turn import Terms
from andon.kernel.clock import SystemClock
from andon.kernel.ids import Ids
from andon.kernel.random import SystemRandom
from andon.kernel.redaction import KnownSecrets
from andon.ledger.disk import FileDisk
from andon.ledger.facts.log import FactCursor, FactLog
from andon.ledger.folder import open_log
from andon.ledger.reader import Cursor, last_position
from andon.ledger.tables.engine import open_engine
from andon.observability.feed import Feed
from andon.observability.windows.service import Windows
from andon.security.audit.records import AccessRecords
from andon.security.identity.directory import Directory
from andon.security.identity.secret_files import load_or_create_pepper
from andon.security.identity.sessions import Sessions
from andon.store.runner import ThreadRunner
from andon.store.sql import open_store
from andon.web.application import Limits, Surroundings, build_application
from andon.web.authentication import Authenticator
from andon.web.authorisation import Authoriser
from andon.wire.client import Client

THREADS = 4
BODY_BYTES_MAX = 64 * 2**20

_logger = structlog.get_logger("andon.observer")


@asynccontextmanager
async def open_ground(
    home: Home, settings: Settings, environment: Mapping[str, str], known: KnownSecrets
) -> AsyncIterator[ObserverGround]:
    """Everything that the parts stand on, closed at the end."""
    clock, random = SystemClock(), SystemRandom()
    async with contextlib.AsyncExitStack() as stack:
        store = await open_store(settings.database_url or home.database_url(), clock, random=random)
        stack.push_async_callback(store.close)
        log = await stack.enter_async_context(open_log(home.facts, clock, "facts", log_settings(settings)))
        client = Client(clock)
        stack.push_async_callback(client.close)
        transport = Transport(home, settings, "observer", clock)
        internal = Client(clock, ssl_context=transport.internal)
        stack.push_async_callback(internal.close)
        runner = ThreadRunner(THREADS)
        stack.callback(runner.close)
        place = settings.tables_url or str(home.tables)
        records = AccessRecords(home.access, "observer", clock, closed=settings.audit_mode == "closed")
        stack.push_async_callback(records.close)
        engine = open_engine(home.ledger, home.facts, home.bodies, place, environment)
        stack.callback(engine.close)
        sealed = await open_sealed(
            Opening(
                home=home,
                settings=settings,
                environment=environment,
                store=store,
                clock=clock,
                random=random,
                runner=runner,
                known=known,
            )
        )
        yield ObserverGround(
            sealed=sealed,
            home=home,
            settings=settings,
            environment=environment,
            store=store,
            clock=clock,
            random=random,
            upstream=client,
            internal=internal,
            transport=transport,
            runner=runner,
            disk=FileDisk(home.ledger),
            facts=FactLog(log),
            engine=engine,
            windows=Windows(clock),
            records=records,
            owner=f"observer-{os.getpid()}-{random.bits(32):08x}",
        )


async def observe(
    home: Home,
    settings: Settings,
    environment: Mapping[str, str],
    stopping: asyncio.Event,
    known: KnownSecrets,
) -> None:
    """Work until `stopping`."""
    async with open_ground(home, settings, environment, known) as ground:
        parts = build_parts(ground)
        driver = Driver(
            ground.store,
            ground.clock,
            ground.random,
            [controller for part in parts for controller in part.controllers],
            Terms(owner=ground.owner),
        )
        feed = _feed(ground, parts)
        issuers = IssuerClients(ground.clock)
        server = _server(ground, parts, issuers)
        loops = [
            feed.run(),
            *ground.transport.loops(),
            *(loop() for part in parts for loop in part.loops),
        ]
        if any(part.controllers for part in parts):
            loops.append(driver.run())  # with nothing to look after it would end at once
        tasks: list[asyncio.Task[Any]] = [asyncio.create_task(loop) for loop in loops]
        tasks.append(asyncio.create_task(server.serve()))
        asked = asyncio.create_task(stopping.wait())
        _logger.info("observing", port=settings.observer_port, parts=[part.name for part in parts])
        try:
            await asyncio.wait([asked, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done() and not task.cancelled():
                    task.result()
        finally:
            driver.stop()
            server.should_exit = True
            await asyncio.wait(tasks[-1:], timeout=2)
            for task in (asked, *tasks):
                task.cancel()
            await asyncio.gather(asked, *tasks, return_exceptions=True)
            await issuers.close()
            for part in parts:
                for close in part.closing:
                    close()


def _feed(ground: ObserverGround, parts: Sequence[Part]) -> Feed:
    consumers = [consumer for part in parts for consumer in part.consumers]
    after = last_position(ground.disk)
    facts = FileDisk(ground.home.facts)
    return Feed(
        [Cursor(ground.disk, after=after)],
        FactCursor(facts, after=last_position(facts)),
        consumers,
        ground.clock,
        ground.runner,
    )


def _server(ground: ObserverGround, parts: Sequence[Part], issuers: IssuerClients) -> ApiServer:
    home, settings = ground.home, ground.settings
    pepper = load_or_create_pepper(home.pepper, ground.random)
    credentials = factory_credentials(home, ground.random, pepper)
    book = PolicyBook(ground.store, ground.clock)
    application = build_application(
        [route for part in parts for route in part.routes],
        Surroundings(
            authenticator=Authenticator(
                credentials,
                pepper,
                Senders(ground.store, ground.clock).find,
                tokens=Directory(ground.store, ground.clock, issuers.find).find,
                sessions=Sessions(ground.store, ground.clock, ground.random, pepper).find,
            ),
            authoriser=Authoriser(book, ground.clock, "observer", ground.records, book),
            clock=ground.clock,
            ids=Ids(ground.clock, ground.random),
            version=__version__,
            mutual=ground.transport.secure,
            limits=Limits(body_bytes_max=BODY_BYTES_MAX),
        ),
    )
    return serve_api(application, settings.control_host, settings.observer_port, ground.transport.listener())
