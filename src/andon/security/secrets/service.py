"""The verbs of secrets: set, list, revoke, remove, read for a use, wrap anew. Values go in, never out to people.

Called by control (for the admin API and for gateways' leases) and by the observer (for its receivers). Sealing happens
outside of units of work, because a wrapping key may be far away; what is journaled names versions, never values.
"""

from __future__ import annotations

import base64
from collections.abc import Callable

import msgspec

from andon.kernel.clock import Clock
from andon.kernel.errors import Conflict, Refused
from andon.kernel.events import Event
from andon.kernel.ports import Runner
from andon.kernel.random import Random
from andon.security.secrets.envelope import Context, Wrapper, rewrap, seal, take_apart, unseal
from andon.security.secrets.model import (
    SECRET,
    SECRET_VERSION,
    SECRETS_MAX,
    VALUE_BYTES_MAX,
    VERSIONS_MAX,
    SecretEntry,
    SecretView,
    SecretWish,
    VersionEntry,
)
from andon.store.model import Record, Store, Unit

USED_EVERY_NS = 60 * 10**9  # the last use is written down at most this often


def _ignore() -> None:
    return None


class Secrets:
    """Verbs over the store of one factory. `changed` is called after each success that gateways must hear of."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        random: Random,
        wrapper: Wrapper,
        runner: Runner,
        *,
        factory: str,
        changed: Callable[[], None] = _ignore,
    ) -> None:
        self._store = store
        self._clock = clock
        self._random = random
        self._wrapper = wrapper
        self._runner = runner
        self._factory = factory
        self._changed = changed

    async def put(self, name: str, value: bytes, wish: SecretWish, *, actor: str) -> SecretView:
        """A new version, which is the latest from now on. Raises Refused for an empty or too long value."""
        if not value or len(value) > VALUE_BYTES_MAX:
            raise Refused(
                "secret_size", f"A secret has between 1 and {VALUE_BYTES_MAX} bytes.", param="value"
            )
        number = (await self._store.transact(lambda unit: _entry(unit, name) or SecretEntry())).next
        sealed = await self._runner.run(
            lambda: seal(value, self._context(name, number), self._wrapper, self._random)
        )
        now_ns = self._clock.now_ns()
        fresh = VersionEntry(number=number, created_ns=now_ns, author=actor, size_bytes=len(value))

        def work(unit: Unit) -> SecretView:
            held = _entry(unit, name)
            if held is None and len(unit.list(SECRET)) >= SECRETS_MAX:
                raise Refused("too_many_secrets", f"There are {SECRETS_MAX} secrets.", hint="Remove some.")
            entry = held or SecretEntry(owner=actor)
            if entry.next != number:
                raise Conflict(
                    "secret_moved", f"Secret '{name}' was set meanwhile.", hint="Look, then set again."
                )
            versions = (*entry.versions, fresh)
            gone, versions = versions[:-VERSIONS_MAX], versions[-VERSIONS_MAX:]
            for one in gone:
                unit.delete(SECRET_VERSION, f"{name}@{one.number}")
            entry = msgspec.structs.replace(_wished(entry, wish, now_ns), versions=versions, next=number + 1)
            record = unit.put(_record(name, entry))
            unit.put(
                Record(
                    kind=SECRET_VERSION,
                    name=f"{name}@{number}",
                    spec={"sealed": base64.b64encode(sealed).decode()},
                    owner=f"{SECRET}/{name}",
                )
            )
            unit.append(_event("secret.set", name, actor, version=number))
            return _view(record, now_ns)

        found = await self._store.transact(work)
        self._changed()
        return found

    async def list(self) -> tuple[SecretView, ...]:
        """Every secret by name, without values."""
        now_ns = self._clock.now_ns()
        records = await self._store.transact(lambda unit: tuple(unit.list(SECRET)))
        return tuple(_view(record, now_ns) for record in records)

    async def get(self, name: str) -> SecretView:
        """One secret, without values. Raises Refused 404."""
        record = await self._store.transact(lambda unit: _found(unit, name))
        return _view(record, self._clock.now_ns())

    async def revoke(self, name: str, version: int, *, actor: str, reason: str = "") -> SecretView:
        """A version (0 = all) is given out no more, and its value is forgotten. Raises Refused 404."""
        now_ns = self._clock.now_ns()

        def work(unit: Unit) -> SecretView:
            record = _found(unit, name)
            entry = msgspec.convert(record.spec, SecretEntry)
            wanted = {one.number for one in entry.versions if version in (0, one.number)}
            if not wanted:
                raise _unknown(f"{name}@{version}")
            versions = tuple(
                msgspec.structs.replace(one, revoked_ns=one.revoked_ns or now_ns)
                if one.number in wanted
                else one
                for one in entry.versions
            )
            for number in wanted:
                unit.delete(SECRET_VERSION, f"{name}@{number}")
            changed = unit.put(_record(name, msgspec.structs.replace(entry, versions=versions)))
            unit.append(_event("secret.revoked", name, actor, versions=sorted(wanted), reason=reason[:500]))
            return _view(changed, now_ns)

        found = await self._store.transact(work)
        self._changed()
        return found

    async def remove(self, name: str, *, actor: str, reason: str = "") -> None:
        """Forget a secret with all its versions. Raises Refused 404."""

        def work(unit: Unit) -> None:
            _found(unit, name)
            unit.delete(SECRET, name)
            unit.append(_event("secret.removed", name, actor, reason=reason[:500]))

        await self._store.transact(work)
        self._changed()

    async def read(self, name: str, version: int = 0, *, user: str = "") -> tuple[bytes, int]:
        """A value for a use, and its version. Raises Refused where there is none that may be given out."""
        now_ns = self._clock.now_ns()

        def look(unit: Unit) -> tuple[int, str]:
            record = unit.get(SECRET, name)
            entry = msgspec.convert(record.spec, SecretEntry) if record else None
            chosen = entry.find(version) if entry is not None and entry.state(now_ns) == "active" else None
            kept = unit.get(SECRET_VERSION, f"{name}@{chosen.number}") if chosen else None
            if record is None or chosen is None or kept is None:
                raise _unknown(f"{name}@{version}" if version else name)
            if now_ns - int(record.status.get("lastUsedNs", 0)) > USED_EVERY_NS:
                unit.put_status(SECRET, name, {"lastUsedNs": now_ns, "lastUser": user})
            return chosen.number, str(kept.spec["sealed"])

        number, sealed = await self._store.transact(look)
        context = self._context(name, number)
        value = await self._runner.run(lambda: unseal(base64.b64decode(sealed), context, self._wrapper))
        return value, number

    async def rewrap(self) -> int:
        """Wrap every value by the present version of the key; how many were changed.

        Each in a unit of work of its own, those that are done are passed over: whoever dies goes on where it stopped.
        """
        changed = 0
        names = await self._store.transact(lambda unit: [record.name for record in unit.list(SECRET_VERSION)])
        for record_name in names:
            changed += await self._rewrap(record_name)
        return changed

    async def _rewrap(self, record_name: str) -> bool:
        record = await self._store.transact(lambda unit: unit.get(SECRET_VERSION, record_name))
        if record is None:
            return False
        sealed = base64.b64decode(record.spec["sealed"])
        wrapped = take_apart(sealed).wrapped
        if (wrapped.key, wrapped.version) == self._wrapper.present():
            return False
        name, _, number = record_name.rpartition("@")
        context = self._context(name, int(number))
        fresh = await self._runner.run(lambda: rewrap(sealed, context, self._wrapper))
        spec = {"sealed": base64.b64encode(fresh).decode()}
        version = record.version

        def work(unit: Unit) -> bool:
            held = unit.get(SECRET_VERSION, record_name)
            if held is None or held.version != version:
                return False  # removed or wrapped meanwhile by somebody else
            unit.put(msgspec.structs.replace(held, spec=spec), expect_version=version)
            return True

        return await self._store.transact(work)

    async def wrapped_by(self) -> dict[tuple[str, int], int]:
        """How many values each version of a wrapping key holds."""
        kept = await self._store.transact(
            lambda unit: [str(one.spec["sealed"]) for one in unit.list(SECRET_VERSION)]
        )
        counts: dict[tuple[str, int], int] = {}
        for sealed in kept:
            wrapped = take_apart(base64.b64decode(sealed)).wrapped
            counts[wrapped.key, wrapped.version] = counts.get((wrapped.key, wrapped.version), 0) + 1
        return counts

    def _context(self, name: str, number: int) -> Context:
        return Context(factory=self._factory, kind=SECRET, record=f"{name}@{number}")


def entries_of(unit: Unit) -> dict[str, SecretEntry]:
    """Every secret's entry by name."""
    return {record.name: msgspec.convert(record.spec, SecretEntry) for record in unit.list(SECRET)}


def latest_of(unit: Unit, name: str, version: int, now_ns: int) -> int:
    """The version that a reference means now; 0 where none may be given out."""
    entry = _entry(unit, name)
    if entry is None or entry.state(now_ns) != "active":
        return 0
    chosen = entry.find(version)
    return chosen.number if chosen else 0


def _entry(unit: Unit, name: str) -> SecretEntry | None:
    record = unit.get(SECRET, name)
    return None if record is None else msgspec.convert(record.spec, SecretEntry)


def _found(unit: Unit, name: str) -> Record:
    record = unit.get(SECRET, name)
    if record is None:
        raise _unknown(name)
    return record


def _unknown(name: str) -> Refused:
    return Refused(
        "secret_unknown",
        f"There is no secret '{name}' that may be used.",
        hint="andon secrets list shows which there are; andon secrets set NAME makes one.",
        status=404,
    )


def _wished(entry: SecretEntry, wish: SecretWish, now_ns: int) -> SecretEntry:
    said: dict[str, object] = {
        field: value
        for field in ("owner", "labels", "users", "rotate_s")
        if (value := getattr(wish, field)) is not None
    }
    if wish.expires_in_s is not None:
        said["expires_ns"] = now_ns + int(wish.expires_in_s * 1e9) if wish.expires_in_s else 0
    return msgspec.structs.replace(entry, **said)


def _record(name: str, entry: SecretEntry) -> Record:
    return Record(kind=SECRET, name=name, spec=msgspec.to_builtins(entry))


def _view(record: Record, now_ns: int) -> SecretView:
    entry = msgspec.convert(record.spec, SecretEntry)
    return SecretView(
        name=record.name,
        entry=entry,
        state=entry.state(now_ns),
        last_used_ns=int(record.status.get("lastUsedNs", 0)),
        changed_ns=record.updated_ns,
    )


def _event(name: str, secret: str, actor: str, **data: object) -> Event:
    return Event(name=name, subject=f"{SECRET}/{secret}", actor=actor, data=data)
