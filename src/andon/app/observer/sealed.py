"""What the observer opens: secrets for its receivers and exporters, recorded bodies for those who may read them.

It shares database and home with control, so it opens both by itself; nothing is lent to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from andon.app.home import Home
from andon.app.keeping import factory_identity, home_identity, open_wrapper
from andon.app.outside import OutsideSecrets, open_outside
from andon.app.settings import Settings
from andon.kernel.clock import Clock
from andon.kernel.errors import Refused
from andon.kernel.ports import Runner
from andon.kernel.random import Random
from andon.kernel.redaction import KnownSecrets
from andon.kernel.references import WRITE_AS, parse_reference
from andon.security.secrets.bodies import BodyReader
from andon.security.secrets.body_keys import BodyKeys
from andon.security.secrets.places import read_local
from andon.security.secrets.service import Secrets
from andon.store.model import Store


def _nobody() -> None:
    """Nobody here waits for news of secrets: they are read at each use."""


@dataclass(frozen=True, kw_only=True)
class Opening:
    """What opening stands on."""

    home: Home
    settings: Settings
    environment: Mapping[str, str]
    store: Store
    clock: Clock
    random: Random
    runner: Runner
    known: KnownSecrets


class Sealed:
    """Reads references, and opens bodies."""

    def __init__(
        self, ground: Opening, secrets: Secrets, outside: OutsideSecrets, bodies: BodyReader
    ) -> None:
        self._ground = ground
        self._secrets = secrets
        self._outside = outside
        self.bodies = bodies

    async def value(self, reference: str) -> str:
        """The value behind a reference. Raises AndonError, never naming the value."""
        parsed = parse_reference(reference)
        if parsed is None:
            raise Refused("credential_missing", "What was given is no reference.", hint=WRITE_AS)
        if parsed.form == "secret":
            raw, _ = await self._secrets.read(parsed.place, parsed.version, user="observer")
            value = raw.decode()
        elif parsed.leased:
            await self._outside.look([reference])
            value = await self._outside.value(reference)
        else:
            ground = self._ground
            value = await ground.runner.run(
                lambda: read_local(reference, ground.environment, ground.home.state)
            )
        self._ground.known.learn(value)
        return value


async def open_sealed(ground: Opening) -> Sealed:
    """Raises Refused where the wrapping keys cannot be had."""
    home, settings, random, clock = ground.home, ground.settings, ground.random, ground.clock
    wrapper = await ground.runner.run(lambda: open_wrapper(home, settings, ground.environment, random))
    factory = await factory_identity(ground.store, random)
    identity = await ground.runner.run(lambda: home_identity(home, random))
    secrets = Secrets(ground.store, clock, random, wrapper, ground.runner, factory=factory)
    outside = OutsideSecrets(
        open_outside(settings, ground.environment),
        ground.store,
        clock,
        ground.runner,
        ground.known,
        every_s=settings.outside_secret_s,
        stale_s=settings.secret_stale_s,
        changed=_nobody,
    )
    keys = BodyKeys(home.body_keys, wrapper, random, identity)
    return Sealed(ground, secrets, outside, BodyReader(keys, identity, random, clock.now_ns))
