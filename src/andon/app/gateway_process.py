"""The gateway's process: built from its home alone, so that it serves with control away.

`python -m andon.app.gateway_process --home DIR`. Opens the ledger's log, loads the last good snapshot, listens for
data and for its admin, and keeps the link to control. SIGTERM drains: nothing that was begun fails.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import signal
import sys
from pathlib import Path

import structlog
import uvloop

from andon.app.chain import build_chain
from andon.app.home import Home
from andon.app.journals import set_up
from andon.app.settings import Settings, load_settings
from andon.gateway.admin import Admin
from andon.gateway.gateway import Gateway, Parts
from andon.gateway.health import HealthLoop
from andon.gateway.link import CONTROL, Link, ReportQueue
from andon.gateway.meters import Meters
from andon.gateway.settings import GatewaySettings
from andon.gateway.snapshots import Holder
from andon.kernel.clock import Clock, SystemClock
from andon.kernel.errors import AndonError, Refused
from andon.kernel.ids import Ids
from andon.kernel.random import SystemRandom
from andon.kernel.snapshot import Snapshot
from andon.ledger.disk import FileDisk
from andon.ledger.folder import open_log
from andon.ledger.log import Log
from andon.ledger.thread import WorkThread
from andon.lifecycle.rollouts.stage import RolloutStage
from andon.security.identity.secret_files import load_or_create_key, load_or_create_pepper
from andon.wire.client import Client
from andon.wire.limits import ServerLimits
from andon.wire.server import Server

PROGRESS_S = 1.0

_logger = structlog.get_logger("andon.gateway")


def read_credential(reference: str) -> str:
    """The secret behind `env:NAME` or `file:PATH`; raises Refused, never naming the value."""
    form, _, place = reference.partition(":")
    try:
        value = os.environ[place] if form == "env" else Path(place).read_text()
    except (KeyError, OSError) as error:
        raise Refused(
            "credential_missing",
            f"The credential {reference} cannot be read: {type(error).__name__}.",
            hint="Set the environment variable of the gateway, or make the file readable to it.",
        ) from error
    return value.strip()


def reached(snapshot: Snapshot) -> frozenset[str]:
    """The targets of a snapshot, and control: every other connection can be let go."""
    return frozenset(
        target.id
        for endpoint in snapshot.endpoints
        for release in endpoint.releases
        for target in release.targets
    ) | {CONTROL}


async def serve(home: Home, settings: Settings, stopping: asyncio.Event) -> None:
    """Serve until `stopping`, then drain."""
    clock, random = SystemClock(), SystemRandom()
    pepper = load_or_create_pepper(home.pepper, random)
    key = load_or_create_key(home.gateway_key, random)
    async with open_log(home.ledger, clock, settings.gateway_name) as log:
        client = Client(clock)
        thread = WorkThread("files")
        try:
            await _serve(home, settings, stopping, Wiring(clock, random, pepper, key, log, client, thread))
        finally:
            await client.close()
            thread.close()


class Wiring:
    """What the process was built on: clock, chance, secrets, log, upstream connections, a thread for files."""

    def __init__(
        self,
        clock: SystemClock,
        random: SystemRandom,
        pepper: bytes,
        key: str,
        log: Log,
        client: Client,
        thread: WorkThread,
    ) -> None:
        self.clock = clock
        self.random = random
        self.pepper = pepper
        self.key = key
        self.log = log
        self.client = client
        self.thread = thread


async def _serve(home: Home, settings: Settings, stopping: asyncio.Event, wiring: Wiring) -> None:
    clock, random = wiring.clock, wiring.random
    bounds = GatewaySettings(gateway=settings.gateway_name, drain_timeout_s=settings.drain_s)
    meters = Meters()
    reports = ReportQueue(meters)
    stages = build_chain(
        gateway=settings.gateway_name,
        pepper=wiring.pepper,
        cuts=FileDisk(home.cuts),
        reports=reports,
        clock=clock,
        random=random,
    )
    parts = Parts(
        upstream=wiring.client,
        log=wiring.log,
        reports=reports,
        credentials=read_credential,
        clock=clock,
        ids=Ids(clock, random),
        random=random,
    )
    gateway = Gateway(stages, parts, bounds)
    wiring.log.crowd = lambda: gateway.meters.in_flight
    holder = Holder(gateway.adopters, FileDisk(home.snapshots), "", wiring.thread, gateway.meters)
    holder.on_adopted = lambda snapshot: wiring.client.keep_targets(reached(snapshot))
    await holder.load()
    link = Link(
        f"http://{settings.control_host}:{settings.control_port}",
        wiring.key,
        upstream=wiring.client,
        holder=holder,
        reports=reports,
        clock=clock,
        random=random,
        meters=gateway.meters,
    )
    health = HealthLoop(wiring.client, gateway.targets, reports, clock=clock, random=random, settings=bounds)
    admin = Server(Admin(gateway, holder, connected=lambda: link.connected), ServerLimits(), clock)
    data = Server(gateway, ServerLimits(), clock)
    await admin.start(settings.host, settings.gateway_admin_port)
    await data.start(settings.host, settings.gateway_port)
    _logger.info("serving", port=data.port, admin_port=admin.port, snapshot=holder.version)
    # What was built so far lives as long as the process: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    rollouts = next(stage for stage in stages if isinstance(stage, RolloutStage))
    loops = [
        asyncio.ensure_future(link.run()),
        asyncio.ensure_future(health.run()),
        asyncio.ensure_future(tell_progress(rollouts, clock)),
    ]
    try:
        await stopping.wait()
        await gateway.drain(data)
    finally:
        for task in loops:
            task.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        await admin.drain(0.5)


async def tell_progress(rollouts: RolloutStage, clock: Clock) -> None:
    """Report how rollouts stand each second, silence included, until cancelled."""
    while True:
        await clock.sleep(PROGRESS_S)
        rollouts.tick()


async def _main(home: Home, settings: Settings) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    await serve(home, settings, stopping)


def main() -> None:
    """The command line of the process."""
    parser = argparse.ArgumentParser(prog="andon gateway")
    parser.add_argument("--home", type=Path, required=True)
    home = Home(parser.parse_args().home)
    try:
        home.create()
        settings = load_settings(home.root, os.environ)
        set_up("gateway", settings.log_level)
        with contextlib.suppress(KeyboardInterrupt):  # the signal handler has drained already
            uvloop.run(_main(home, settings))
    except (AndonError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
