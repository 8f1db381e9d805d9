"""Secrets in others' stores (AWS Secrets Manager, Vault): looked at by control every minute, lent like its own.

What is found is kept in memory only; the control database remembers a number that grows when the value changes, and
nothing about it. A store that is away changes nothing: what was found goes on being used for `stale_s`.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
import structlog

from andon.app.settings import Settings
from andon.kernel.clock import Clock, SystemClock
from andon.kernel.errors import AndonError, Refused, Transient
from andon.kernel.events import Event
from andon.kernel.ports import Runner
from andon.kernel.redaction import KnownSecrets
from andon.kernel.references import Reference, parse_reference
from andon.security.secrets.compilation import outside_name
from andon.security.secrets.model import OUTSIDE
from andon.security.secrets.places import read_local
from andon.serving.providers.model import PROVIDER
from andon.store.model import Record, Store, Unit

REFERENCES_MAX = 500
_logger = structlog.get_logger("andon.secrets.outside")


class OutsideStore(Protocol):
    """Somebody else's store of secrets. Blocks."""

    def read(self, reference: Reference) -> str:
        """The value. Raises Refused where it is not there or not for us, Transient where it may be asked again."""
        ...


class OutsideStores:
    """The stores that the settings name, by the form of their references."""

    def __init__(self, makers: Mapping[str, Callable[[], OutsideStore]]) -> None:
        self._makers = dict(makers)
        self._made: dict[str, OutsideStore] = {}
        self.forms = frozenset(makers)

    def read(self, text: str) -> str:
        """The value behind a reference. Blocks. Raises AndonError."""
        parsed = parse_reference(text)
        if parsed is None or parsed.form not in self.forms:
            raise Refused("secret_unknown", "No store for this form of reference is configured.", status=404)
        if parsed.form not in self._made:
            self._made[parsed.form] = self._makers[parsed.form]()
        return self._made[parsed.form].read(parsed)


def open_outside(settings: Settings, environment: Mapping[str, str]) -> OutsideStores:
    """The stores of the settings; nothing is connected before it is asked."""
    makers: dict[str, Callable[[], OutsideStore]] = {}
    if importlib.util.find_spec("boto3") is not None:
        makers["aws-sm"] = lambda: _aws(settings)
    if settings.vault_url:
        makers["vault"] = lambda: _vault(settings, environment)
    return OutsideStores(makers)


def _aws(settings: Settings) -> OutsideStore:
    module = importlib.import_module("andon.adapters.aws.secretsmanager")
    store: OutsideStore = module.AwsSecrets(settings.aws_region, settings.aws_endpoint_url)
    return store


def _vault(settings: Settings, environment: Mapping[str, str]) -> OutsideStore:
    module = importlib.import_module("andon.adapters.vault.store")

    def read(reference: str) -> Callable[[], str]:
        return lambda: read_local(reference, environment) if reference else ""

    store: OutsideStore = module.VaultStore(
        settings.vault_url,
        mount=settings.vault_mount,
        area=settings.vault_namespace,
        monotonic=SystemClock().monotonic,
        login=module.Login(
            token=read(settings.vault_token),
            role_id=read(settings.vault_role_id),
            secret_id=read(settings.vault_secret_id),
        ),
    )
    return store


class _Found(msgspec.Struct, frozen=True):
    """What was last found behind a reference."""

    value: str
    at: float  # monotonic


class OutsideSecrets:
    """Follows the references that providers hold."""

    def __init__(
        self,
        stores: OutsideStores,
        store: Store,
        clock: Clock,
        runner: Runner,
        known: KnownSecrets,
        *,
        every_s: float,
        stale_s: float,
        changed: Callable[[], None],
    ) -> None:
        self._stores = stores
        self._store = store
        self._clock = clock
        self._runner = runner
        self._known = known
        self._every_s = every_s
        self._stale_s = stale_s
        self._changed = changed
        self._found: dict[str, _Found] = {}
        self._tried: dict[str, float] = {}

    async def run(self) -> None:
        """Look at what is due, for ever."""
        while True:
            if self._stores.forms:
                try:
                    await self.look(await self._store.transact(_in_use))
                except AndonError as error:
                    _logger.warning("references not read", code=error.code)
            await self._clock.sleep(min(5.0, self._every_s))

    async def look(self, references: Sequence[str], *, now: bool = False) -> None:
        """Ask for those that are due (or all, at once); what fails is remembered in words, without a value."""
        moment = self._clock.monotonic()
        for reference in list(dict.fromkeys(references))[:REFERENCES_MAX]:
            if now or moment - self._tried.get(reference, -1e9) >= self._every_s:
                self._tried[reference] = moment
                await self._look(reference)

    async def _look(self, reference: str) -> None:
        try:
            value = await self._runner.run(lambda: self._stores.read(reference))
        except AndonError as error:
            gone = isinstance(error, Refused)
            _logger.warning("secret not found", reference=reference, code=error.code, gone=gone)
            if gone:
                self._found.pop(reference, None)
            await self._remember(reference, None, error.message, gone=gone)
            return
        self._known.learn(value)
        held = self._found.get(reference)
        self._found[reference] = _Found(value, self._clock.monotonic())
        # After a start nothing is held, so the number grows although the value may be the same: no digest of a value
        # is kept, because a short one could be guessed from it.
        await self._remember(reference, value, "", fresh=held is None or held.value != value)

    async def _remember(
        self, reference: str, value: str | None, problem: str, *, gone: bool = False, fresh: bool = False
    ) -> None:
        name, now_ns = outside_name(reference), self._clock.now_ns()

        def work(unit: Unit) -> bool:
            held = unit.get(OUTSIDE, name)
            spec: dict[str, Any] = (
                dict(held.spec) if held is not None else {"reference": reference, "version": 0, "last": 0}
            )
            before = spec["version"]
            if fresh or (value is not None and not before):
                spec |= {"last": spec["last"] + 1, "version": spec["last"] + 1}
            elif gone:
                spec["version"] = 0
            unit.put(Record(kind=OUTSIDE, name=name, spec=spec))
            had = str(held.status.get("problem", "")) if held is not None else ""
            if problem != had:
                unit.append(
                    Event(
                        name="secret.missed" if problem else "secret.found",
                        subject=f"Secret/{reference}",
                        actor="controller:secrets",
                        data={"problem": problem} if problem else {},
                    )
                )
            unit.put_status(OUTSIDE, name, {"problem": problem, "failedNs": now_ns if value is None else 0})
            return bool(before != spec["version"])

        if await self._store.transact(work):
            self._changed()

    async def value(self, reference: str) -> str:
        """The value as last found; asked for now if it never was. Raises AndonError where there is none to use."""
        found = self._found.get(reference)
        if found is None:
            await self.look([reference], now=True)
            found = self._found.get(reference)
        if found is None:
            raise Transient("secret_unreachable", f"Nothing is found behind {reference} at the moment.")
        if self._clock.monotonic() - found.at > self._every_s + self._stale_s:
            raise Transient("secret_unreachable", f"What is known of {reference} is too old to be used.")
        return found.value


def _in_use(unit: Unit) -> list[str]:
    """References to others' stores that providers hold."""
    found = {str(record.spec.get("credential", "")) for record in unit.list(PROVIDER)}
    return sorted(
        one for one in found if (parsed := parse_reference(one)) and parsed.form in ("aws-sm", "vault")
    )
