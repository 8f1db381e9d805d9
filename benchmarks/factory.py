"""A real gateway process for proofs: its home with secrets and a kept snapshot, so that it serves with control away.

Everything that costs is on: a key, ceilings on key, team and endpoint (too high to refuse), a running 90/10 rollout
with both default gates. The snapshot is written by the gateway's own holder; nothing here imitates its format.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec

from andon.app.home import Home
from andon.gateway.meters import Meters
from andon.gateway.snapshots import Holder
from andon.kernel.clock import SystemClock
from andon.kernel.random import SeededRandom, SystemRandom
from andon.kernel.snapshot import (
    Arm,
    Durability,
    EndpointEntry,
    KeyEntry,
    LimitEntry,
    ReleaseEntry,
    RolloutEntry,
    Snapshot,
    TargetEntry,
)
from andon.ledger.disk import FileDisk
from andon.ledger.thread import WorkThread
from andon.lifecycle.rollouts.compilation import gate_entries
from andon.lifecycle.rollouts.strategy import StrategySpec
from andon.security.identity.secret_files import load_or_create_key, load_or_create_pepper
from andon.security.identity.token import keyed_digest, make_token
from benchmarks.harness import ROOT, Server, free_port, running

# The same key on every run, so that load generators can be told of it before there is a home; it protects nothing.
_KEY = make_token(SeededRandom(20))
KEY_HEADER: dict[str, str] = {"authorization": f"Bearer {_KEY.text}"}
CEILING = 10**9
ENDPOINT = "assistant"


def snapshot(upstream: int, durability: Durability, digest: str) -> Snapshot:
    """One endpoint before `upstream`, with every policy on."""

    def release(version: int, weight: int) -> ReleaseEntry:
        url = f"http://127.0.0.1:{upstream}"
        target = TargetEntry(id=f"{ENDPOINT}-{version}", url=url, protocol="openai")
        arm: Arm = "stable" if version == 1 else "canary"
        return ReleaseEntry(id=f"{ENDPOINT}@{version}", arm=arm, weight=weight, targets=(target,))

    rollout = RolloutEntry(
        id=f"{ENDPOINT}-2",
        generation=1,
        stable=f"{ENDPOINT}@1",
        canary=f"{ENDPOINT}@2",
        gates=gate_entries(StrategySpec(), 1),
        salt=f"{ENDPOINT}-2",
    )
    endpoint = EndpointEntry(
        name=ENDPOINT,
        protocol="openai",
        releases=(release(1, 9_000), release(2, 1_000)),
        rollout=rollout,
        durability=durability,
    )
    limits = tuple(
        LimitEntry(
            name=f"each-{scope}",
            scope=scope,
            requests_per_minute=CEILING,
            tokens_per_minute=1000 * CEILING,
            concurrency=CEILING,
        )
        for scope in ("key", "team", "endpoint")
    )
    return Snapshot(
        version=1,
        factory="proof",
        revision=1,
        compiled_at_ns=SystemClock().now_ns(),
        keys=(KeyEntry(id=_KEY.id, digest=digest, team="crew", owner="proof"),),
        limits=limits,
        endpoints=(endpoint,),
    )


async def _keep(disk: FileDisk, content: Snapshot) -> None:
    thread = WorkThread("snapshots")
    try:
        await Holder((), disk, "", thread, Meters()).adopt(msgspec.json.encode(content))
    finally:
        thread.close()


def make_home(
    work: Path,
    upstream: int,
    durability: Durability,
    change: Callable[[Snapshot], Snapshot] = lambda content: content,
) -> Home:
    """A home below `work` that a gateway can serve from at once; one that is there already is left as it is."""
    home = Home(work)
    if home.pepper.exists():
        return home
    home.create()
    random = SystemRandom()
    pepper = load_or_create_pepper(home.pepper, random)
    load_or_create_key(home.gateway_key, random)
    digest = keyed_digest(_KEY.text.encode(), pepper)
    content = change(snapshot(upstream, durability, digest))
    asyncio.run(_keep(FileDisk(home.snapshots), content))
    return home


def gateway_command(home: Home) -> list[str]:
    """How a gateway process is started on a home."""
    return [sys.executable, "-m", "andon.app.gateway_process", "--home", str(home.root)]


def gateway_environment(port: int) -> dict[str, str]:
    """Its ports: data on `port`, admin on any free one, control where nobody listens."""
    return {
        "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
        "ANDON_GATEWAY_PORT": str(port),
        "ANDON_GATEWAY_ADMIN_PORT": "0",
        "ANDON_CONTROL_PORT": str(free_port()),
    }


@contextlib.contextmanager
def gateway(
    work: Path,
    port: int,
    upstream: int,
    durability: Durability,
    *,
    change: Callable[[Snapshot], Snapshot] = lambda content: content,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Server]:
    """A gateway on core 0, listening on `port`, forwarding to `upstream`; ended at the end."""
    work.mkdir(parents=True, exist_ok=True)
    home = make_home(work, upstream, durability, change)
    with running(
        gateway_command(home), port, environment={**gateway_environment(port), **environment}
    ) as server:
        yield server


def start_gateway(home: Home, port: int) -> subprocess.Popen[bytes]:
    """A gateway that the caller will kill; its output is dropped."""
    return subprocess.Popen(
        gateway_command(home),
        env={**os.environ, **gateway_environment(port)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
