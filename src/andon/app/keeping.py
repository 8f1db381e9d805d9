"""How control keeps secrets: the wrapping keys of the settings, the verbs, and what gateways are lent.

Wiring and one decision: a gateway gets a value only for a reference that the snapshot in force names, because only
targets that it serves are named there.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from andon.app.home import Home
from andon.app.outside import OutsideSecrets, open_outside
from andon.app.settings import Settings
from andon.control.factory import Inspect
from andon.kernel.clock import Clock
from andon.kernel.errors import AndonError, Refused
from andon.kernel.events import Event
from andon.kernel.ports import Runner
from andon.kernel.random import Random
from andon.kernel.redaction import KnownSecrets
from andon.kernel.references import parse_reference
from andon.security.identity.secret_files import load_or_create
from andon.security.secrets.compilation import version_of
from andon.security.secrets.envelope import Wrapper
from andon.security.secrets.inspection import Inspection
from andon.security.secrets.keyring import DistantKeys, FileKeys, Keyring, parse_keys
from andon.security.secrets.model import Lease, LeaseAnswer, SecretView, SecretWish
from andon.security.secrets.places import read_local
from andon.security.secrets.service import Secrets
from andon.store.model import Record, Store, Unit

REFERENCES_MAX = 1_000  # that one gateway may ask for at once
_IDENTITY = "FactoryIdentity"

_logger = structlog.get_logger("andon.secrets")


def open_wrapper(home: Home, settings: Settings, environment: Mapping[str, str], random: Random) -> Keyring:
    """The wrapping keys that the settings name. Raises Refused where one cannot be had."""
    named = [one.strip() for one in settings.kek.split(",") if one.strip()] or [f"file:{home.kek}"]
    return Keyring([_source(one, settings, environment, random) for one in named])


def _source(named: str, settings: Settings, environment: Mapping[str, str], random: Random) -> Wrapper:
    form, _, place = named.partition(":")
    if form == "file" and place:
        return FileKeys(Path(place), random)
    if form == "env" and place:
        return parse_keys(read_local(named, environment), f"The variable {place}", random)
    if form == "aws-kms" and place:
        try:
            module = importlib.import_module("andon.adapters.aws.kms")
            return DistantKeys(module.Kms(place, settings.aws_region, settings.aws_endpoint_url))
        except ImportError as error:
            raise Refused(
                "extra_missing", "AWS KMS needs the extra aws.", hint="pip install 'andon[aws]'"
            ) from error
    raise Refused(
        "settings_invalid",
        "The setting kek names no source of wrapping keys.",
        hint="Write file:PATH, env:NAME or aws-kms:KEY; several joined by commas, the first wraps.",
    )


def home_identity(home: Home, random: Random) -> str:
    """What the sealed files of a home are bound to; made on the first start."""
    return load_or_create(home.identity, random.secret_bytes(16).hex())


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """What control keeps secrets with."""

    wrapper: Wrapper
    runner: Runner
    known: KnownSecrets
    settings: Settings
    environment: Mapping[str, str]
    factory: str  # identity of the database's factory


async def factory_identity(store: Store, random: Random) -> str:
    """What the sealed records of a database are bound to; made once."""
    fresh = random.secret_bytes(16).hex()

    def work(unit: Unit) -> str:
        held = unit.get(_IDENTITY, "current")
        if held is None:
            held = unit.put(Record(kind=_IDENTITY, name="current", spec={"id": fresh}), expect_version=0)
        return str(held.spec["id"])

    return await store.transact(work)


def inspector(keeping: Keeping | None, clock: Clock) -> Inspect:
    """What looks for secrets at `plan`."""
    outside = frozenset() if keeping is None else open_outside(keeping.settings, keeping.environment).forms
    inspection = Inspection(outside)
    return lambda unit, record: inspection(unit, record, clock.now_ns())


class KeptSecrets:
    """Everything that control does with secrets."""

    def __init__(
        self, keeping: Keeping, store: Store, clock: Clock, random: Random, changed: Callable[[], None]
    ) -> None:
        self._keeping = keeping
        self._store = store
        self._clock = clock
        self.verbs = Secrets(
            store, clock, random, keeping.wrapper, keeping.runner, factory=keeping.factory, changed=changed
        )
        self.outside = OutsideSecrets(
            open_outside(keeping.settings, keeping.environment),
            store,
            clock,
            keeping.runner,
            keeping.known,
            every_s=keeping.settings.outside_secret_s,
            stale_s=keeping.settings.secret_stale_s,
            changed=changed,
        )

    def loops(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """What runs until it is cancelled."""
        return (self.outside.run(),)

    async def put(self, name: str, value: bytes, wish: SecretWish, *, actor: str) -> SecretView:
        """A new version; what is learnt of it is that no log may hold it."""
        self._keeping.known.learn(value.decode("utf-8", "replace"))
        return await self.verbs.put(name, value, wish, actor=actor)

    async def lease(self, references: Sequence[str], served: frozenset[str], gateway: str) -> LeaseAnswer:
        """Values for a gateway: of those references that the snapshot names, with their versions and an end."""
        if len(references) > REFERENCES_MAX:
            raise Refused("too_many_leases", f"At most {REFERENCES_MAX} secrets can be asked for at once.")
        leases: list[Lease] = []
        refused: list[str] = []
        troubled: list[str] = []
        for reference in dict.fromkeys(references):
            if reference not in served:
                refused.append(reference)
                continue
            try:
                lease = await self._lease(reference, gateway)
            except Refused as error:
                _logger.warning("not lent", reference=reference, gateway=gateway, code=error.code)
                # What was damaged or wrapped by a key that is away may come back; what is gone will not.
                (refused if error.code in ("secret_unknown", "secret_revoked") else troubled).append(
                    reference
                )
            except AndonError as error:
                _logger.warning("not lent", reference=reference, gateway=gateway, code=error.code)
                troubled.append(reference)
            else:
                leases.append(lease)
        return LeaseAnswer(leases=tuple(leases), refused=tuple(refused), troubled=tuple(troubled))

    async def _lease(self, reference: str, gateway: str) -> Lease:
        parsed = parse_reference(reference)
        if parsed is None or not parsed.leased:
            raise Refused("secret_unknown", "A gateway reads this reference itself.", status=404)
        now_ns = self._clock.now_ns()
        version = await self._store.transact(lambda unit: version_of(unit, reference, now_ns))
        if not version:
            raise Refused("secret_revoked", f"{reference} may not be used.", hint="andon secrets list")
        if parsed.form == "secret":
            value, version = await self.verbs.read(parsed.place, parsed.version, user=gateway)
            text = value.decode("utf-8", "strict")
        else:
            text = await self.outside.value(reference)
        self._keeping.known.learn(text)
        event = Event(
            name="secret.leased",
            subject=f"Secret/{reference}",
            actor=gateway,
            data={"version": version},
            unique=f"lease {gateway} {reference} {version}",
        )
        await self._store.transact(lambda unit: unit.append(event))
        expires_ns = now_ns + int(self._keeping.settings.secret_lease_s * 1e9)
        return Lease(reference=reference, version=version, value=text, expires_ns=expires_ns)
