"""What the gateway's process does: built from its home alone, so that it serves with control away.

Started by `app/gateway_process`. Opens the ledger's log, loads the last good snapshot, listens for
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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
import uvloop

from andon.app.addresses import check_certificates, control_address
from andon.app.compiled import SHARED
from andon.app.gateway_assembly import GatewayGround, assemble_gateway
from andon.app.home import Home
from andon.app.issuing import IssuerClients
from andon.app.journals import set_up
from andon.app.keeping import open_wrapper
from andon.app.leasing import Channel, LeaseGround, build_leases, seal_bodies
from andon.app.settings import Settings, load_settings, log_settings
from andon.app.sharing import abuse_settings, protection_counters, protection_gauges, shared_counters
from andon.app.transport import Transport
from andon.gateway.admin import Admin
from andon.gateway.bodies import BodySink
from andon.gateway.link import CONTROL
from andon.gateway.settings import GatewaySettings
from andon.kernel.clock import SystemClock
from andon.kernel.errors import AndonError
from andon.kernel.ports import Stage
from andon.kernel.random import SystemRandom
from andon.kernel.redaction import KnownSecrets
from andon.kernel.snapshot import Snapshot
from andon.ledger.body_store import BodyStore, body_settings
from andon.ledger.disk import FileDisk
from andon.ledger.folder import open_log
from andon.ledger.log import Log
from andon.ledger.thread import WorkThread
from andon.security.audit.sealed import read_sealed
from andon.security.audit.stage import AuditTerms
from andon.security.identity.secret_files import load_or_create_key, load_or_create_pepper
from andon.security.policy.stage import AuthoriseStage
from andon.security.secrets.leases import Leases
from andon.store.runner import ThreadRunner
from andon.wire.client import Client
from andon.wire.limits import ServerLimits
from andon.wire.server import Server

_logger = structlog.get_logger("andon.gateway")
_COLLECT_EVERY = 20_000  # objects more than before; bounds what a cycle made by accident can hold


def reached(snapshot: Snapshot) -> frozenset[str]:
    """The targets of a snapshot, and control: every other connection can be let go."""
    return frozenset(
        target.id
        for endpoint in snapshot.endpoints
        for release in endpoint.releases
        for target in release.targets
    ) | {CONTROL}


async def serve(home: Home, settings: Settings, stopping: asyncio.Event, known: KnownSecrets) -> None:
    """Serve until `stopping`, then drain."""
    clock, random = SystemClock(), SystemRandom()
    pepper = load_or_create_pepper(home.pepper, random)
    key = load_or_create_key(home.gateway_key, random)
    async with contextlib.AsyncExitStack() as stack:
        log = await stack.enter_async_context(
            open_log(home.ledger, clock, settings.gateway_name, log_settings(settings))
        )
        client = Client(clock)
        transport = Transport(home, settings, "gateway", clock)
        internal = Client(clock, ssl_context=transport.internal)
        issuers = IssuerClients(clock)
        thread = WorkThread("files")
        sealing = ThreadRunner(1)  # wrapping keys may be far away: what waits for them holds up nobody else
        bodies = None
        try:
            ground = LeaseGround(
                home=home,
                settings=settings,
                environment=os.environ,
                wrapper=await sealing.run(lambda: open_wrapper(home, settings, os.environ, random)),
                clock=clock,
                random=random,
                runner=sealing,
                known=known,
            )
            channel = Channel(url=control_address(settings), key=key, upstream=internal, clock=clock)
            leases = build_leases(ground, channel.ask)
            bodies = await _open_bodies(home, settings, stack, clock, thread)
            wiring = Wiring(
                clock=clock,
                random=random,
                pepper=pepper,
                key=key,
                log=log,
                client=client,
                internal=internal,
                transport=transport,
                issuers=issuers,
                thread=thread,
                leases=leases,
                bodies=bodies,
                sink=None if bodies is None else seal_bodies(ground, bodies, pepper),
            )
            await _serve(home, settings, stopping, wiring)
        finally:
            await client.close()
            await internal.close()
            await issuers.close()
            if bodies is not None:
                await bodies.settled()
            sealing.close()
            thread.close()


async def _open_bodies(
    home: Home, settings: Settings, stack: contextlib.AsyncExitStack, clock: SystemClock, thread: WorkThread
) -> BodyStore | None:
    """The store of bodies. One that cannot be opened costs bodies, never the gateway."""
    limit = settings.bodies_limit
    if not limit:
        return None
    try:
        log = await stack.enter_async_context(
            open_log(home.bodies, clock, settings.gateway_name, body_settings(limit))
        )
        store = BodyStore(log, FileDisk(home.bodies), thread, clock, limit)
        await store.open()
    except (AndonError, OSError) as error:
        _logger.error("bodies cannot be recorded", reason=str(error))
        return None
    return store


def _counters(log: Log, bodies: BodyStore | None) -> dict[str, float]:
    """What the logs have done since they were opened, by the names of their metrics."""
    found = _counters_of("andon_ledger", log)
    if bodies is not None:
        found |= _counters_of("andon_bodies", bodies.log)
        found["andon_bodies_removed_segments_total"] = bodies.removed_segments
    return found


def _policy_counters(stages: Sequence[Stage]) -> dict[str, float]:
    stage = next(stage for stage in stages if isinstance(stage, AuthoriseStage))
    return {
        "andon_policy_asked_total": stage.asked,
        "andon_policy_denied_total": stage.denied,
        "andon_policy_barred_total": stage.barred,
        "andon_policy_errors_total": stage.errors,
    }


def _counters_of(prefix: str, log: Log) -> dict[str, float]:
    counters = log.counters
    return {
        f"{prefix}_rows_total": counters.rows,
        f"{prefix}_bytes_total": counters.bytes,
        f"{prefix}_commits_total": counters.commits,
        f"{prefix}_waits_total": counters.waits,
        f"{prefix}_sync_seconds_total": counters.sync_us / 1e6,
        f"{prefix}_failures_total": counters.failures,
        f"{prefix}_dropped_total": counters.dropped,
    }


def _gauges(log: Log, bodies: BodyStore | None) -> dict[str, float]:
    found = {
        "andon_ledger_sync_seconds_max": log.counters.sync_us_max / 1e6,
        "andon_ledger_pending_bytes": log.pending_bytes,
    }
    if bodies is not None:
        found["andon_bodies_used_bytes"] = bodies.used_bytes
        found["andon_bodies_limit_bytes"] = bodies.limit_bytes
        found["andon_bodies_lag_seconds"] = bodies.log.lag_s
    return found


@dataclass(frozen=True, kw_only=True)
class Wiring:
    """What the process was built on: clock, chance, secrets, logs, upstream connections, a thread for files."""

    clock: SystemClock
    random: SystemRandom
    pepper: bytes
    key: str
    log: Log
    client: Client
    internal: Client  # to control
    transport: Transport
    issuers: IssuerClients
    thread: WorkThread
    leases: Leases
    bodies: BodyStore | None
    sink: BodySink | None  # what bodies are handed to: their store, or what seals them before


def _ground(home: Home, settings: Settings, wiring: Wiring) -> GatewayGround:
    return GatewayGround(
        bounds=GatewaySettings(gateway=settings.gateway_name, drain_timeout_s=settings.drain_s),
        pepper=wiring.pepper,
        control_url=control_address(settings),
        control_key=wiring.key,
        clock=wiring.clock,
        random=wiring.random,
        log=wiring.log,
        upstream=wiring.client,
        internal=wiring.internal,
        files=wiring.thread,
        cuts=FileDisk(home.cuts),
        snapshots=FileDisk(home.snapshots),
        credentials=wiring.leases.read,
        leases=wiring.leases,
        bodies=wiring.sink,
        issuers=wiring.issuers.find,
        abuse=abuse_settings(settings),
        shared=shared_counters(
            settings, clock=wiring.clock, random=wiring.random, credential=wiring.leases.read
        ),
        audit=AuditTerms(
            closed=settings.audit_mode == "closed",
            lag_s=settings.audit_lag_s,
            read=lambda: read_sealed(home.audit),
        ),
    )


async def _serve(home: Home, settings: Settings, stopping: asyncio.Event, wiring: Wiring) -> None:
    clock = wiring.clock
    built = assemble_gateway(_ground(home, settings, wiring))
    gateway, holder = built.gateway, built.holder
    holder.on_adopted = lambda snapshot: wiring.client.keep_targets(reached(snapshot))
    await wiring.leases.load()
    await holder.load()
    admin_application = Admin(
        gateway,
        holder,
        connected=lambda: built.link.connected,
        counters=lambda: (
            _counters(wiring.log, wiring.bodies)
            | protection_counters(built, data)
            | _policy_counters(built.stages)
        ),
        gauges=lambda: _gauges(wiring.log, wiring.bodies) | built.audit.gauges() | protection_gauges(built),
    )
    admin = Server(admin_application, ServerLimits(), clock)
    data = Server(gateway, settings.listener, clock, built.addresses)
    listener = wiring.transport.listener
    await admin.start(settings.host, settings.gateway_admin_port, ssl_context=listener())
    await data.start(
        settings.host,
        settings.gateway_port,
        ssl_context=listener(settings.gateway_certificate, settings.gateway_private_key),
    )
    _logger.info(
        "serving",
        port=data.port,
        admin_port=admin.port,
        snapshot=holder.version,
        compiled=SHARED in sys.modules,
    )
    # What was built so far lives as long as the process: the collector need not look at it again.
    # A request makes no cycles, so reference counts free what it took; the rest can be looked at less often.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_EVERY)
    loops = [asyncio.ensure_future(loop) for loop in (*built.loops(), *wiring.transport.loops())]
    try:
        await stopping.wait()
        await gateway.drain(data)
    finally:
        for task in loops:
            task.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        await admin.drain(0.5)


async def _main(home: Home, settings: Settings, known: KnownSecrets) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    await serve(home, settings, stopping, known)


def main() -> None:
    """The command line of the process."""
    parser = argparse.ArgumentParser(prog="andon gateway")
    parser.add_argument("--home", type=Path, required=True)
    home = Home(parser.parse_args().home)
    try:
        home.create()
        settings = load_settings(home.root, os.environ)
        check_certificates(settings)
        known = KnownSecrets()
        set_up("gateway", settings.log_level, known)
        with contextlib.suppress(KeyboardInterrupt):  # the signal handler has drained already
            uvloop.run(_main(home, settings, known))
    except (AndonError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(1)
