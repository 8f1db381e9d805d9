"""How a gateway's process holds secrets: its leases, where they are kept, and how control is asked for them.

Pure wiring: nothing is read or asked before `load` and `run`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from andon.app.home import Home
from andon.app.keeping import home_identity
from andon.app.settings import Settings
from andon.gateway.bodies import BodySink
from andon.gateway.link import CONTROL
from andon.kernel.clock import Clock
from andon.kernel.errors import Transient
from andon.kernel.ports import Runner, Upstream
from andon.kernel.random import Random
from andon.kernel.redaction import KnownSecrets
from andon.kernel.snapshot import TargetEntry
from andon.ledger.body_store import BodyStore
from andon.security.secrets.bodies import SealedBodies
from andon.security.secrets.body_keys import BodyKeys
from andon.security.secrets.envelope import Wrapper
from andon.security.secrets.leases import SUFFIX, LeaseFile, Leases, lease_context
from andon.security.secrets.model import LeaseAnswer
from andon.security.secrets.places import read_local

ASK_S = 10.0
_decode = msgspec.json.Decoder(LeaseAnswer).decode


@dataclass(frozen=True, kw_only=True)
class Channel:
    """The gateway's authenticated way to control."""

    url: str
    key: str
    upstream: Upstream
    clock: Clock

    async def ask(self, references: Sequence[str]) -> LeaseAnswer:
        """Leases of these references. Raises AndonError or OSError where control does not answer."""
        answer = await self.upstream.send(
            TargetEntry(id=CONTROL, url=self.url, protocol="oip"),
            b"POST",
            b"/v1/leases",
            ((b"authorization", b"Bearer " + self.key.encode()), (b"content-type", b"application/json")),
            msgspec.json.encode({"references": list(references)}),
            connect_timeout_s=2.0,
            first_byte_timeout_s=ASK_S,
            idle_timeout_s=ASK_S,
            deadline_at=self.clock.monotonic() + ASK_S,
        )
        if answer.status != 200:
            raise Transient("lease_unanswered", f"Control answered {answer.status} when asked for leases.")
        return _decode(answer.body)


@dataclass(frozen=True, kw_only=True)
class LeaseGround:
    """What leases stand on."""

    home: Home
    settings: Settings
    environment: Mapping[str, str]
    wrapper: Wrapper
    clock: Clock
    random: Random
    runner: Runner  # for the file of leases
    known: KnownSecrets


def build_leases(ground: LeaseGround, ask: Callable[[Sequence[str]], Awaitable[LeaseAnswer]]) -> Leases:
    """The leases of this gateway. Raises Refused or OSError where the home's identity cannot be read."""
    name = ground.settings.gateway_name
    context = lease_context(home_identity(ground.home, ground.random), name)
    return Leases(
        LeaseFile(lease_path(ground.home, name), ground.wrapper, ground.random, context),
        ask,
        lambda reference: read_local(reference, ground.environment, ground.home.state),
        clock=ground.clock,
        runner=ground.runner,
        known=ground.known,
        stale_s=ground.settings.secret_stale_s,
    )


def seal_bodies(ground: LeaseGround, store: BodyStore, pepper: bytes) -> BodySink:
    """What bodies are handed to: sealed before they are stored, unless the settings say otherwise."""
    if not ground.settings.bodies_sealed:
        return store
    home = home_identity(ground.home, ground.random)
    keys = BodyKeys(ground.home.body_keys, ground.wrapper, ground.random, home)
    return SealedBodies(
        store, keys, home=home, pepper=pepper, clock=ground.clock, random=ground.random, runner=ground.runner
    )


def lease_path(home: Home, gateway: str) -> Path:
    """Where a gateway keeps what it was lent."""
    return home.leases / f"gateway-{gateway}{SUFFIX}"
