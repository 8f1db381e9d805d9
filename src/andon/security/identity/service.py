"""The verbs of API keys: create, rotate, revoke, list; each is one unit of work and leaves one event.

Called by the admin API. The secret of a key leaves through the answer of `create` and `rotate` and goes nowhere else:
not into the store, the journal, a log or an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from andon.kernel.clock import Clock
from andon.kernel.errors import Conflict, Refused
from andon.kernel.events import Event
from andon.kernel.labels import rank
from andon.kernel.principals import RESERVED_ROLES, Principal
from andon.kernel.random import Random
from andon.kernel.snapshot import KeyEntry
from andon.security.identity.bindings import Bindings, binding_entries
from andon.security.identity.model import (
    API_KEY,
    EVER,
    SERVICE,
    TEAM,
    ApiKeySpec,
    CreatedKey,
    KeyRequest,
    KeyView,
    ServiceSpec,
)
from andon.security.identity.people import check_grant
from andon.security.identity.token import Token, keyed_digest, make_token
from andon.store.model import Record, Store, Unit

SECOND_NS = 1_000_000_000
OVERLAP_S = 24 * 3600.0  # how long an old key goes on working beside its successor
KEYS_MAX = 100_000  # every gateway holds all of them in memory, about 500 bytes each


def _ignore() -> None:
    return None


class Keys:
    """Verbs over the store. `changed` is called after each success, so that a new snapshot is made at once."""

    def __init__(
        self, store: Store, clock: Clock, random: Random, pepper: bytes, changed: Callable[[], None] = _ignore
    ) -> None:
        self._store = store
        self._clock = clock
        self._random = random
        self._pepper = pepper
        self._changed = changed

    async def create(self, request: KeyRequest, *, actor: str, by: Principal | None = None) -> CreatedKey:
        """A new key. Raises Refused for an unknown team or service, for roles that whoever asks (`by`) does not have
        to give, or when there are too many keys."""
        # Drawn outside the unit of work: the store may run that again.
        token = make_token(self._random)
        now_ns = self._clock.now_ns()
        expires = EVER if request.expires_in_s is None else now_ns + int(request.expires_in_s * SECOND_NS)
        spec = ApiKeySpec(
            digest=keyed_digest(token.text.encode(), self._pepper),
            last4=token.text[-4:],
            owner=request.owner,
            team=request.team,
            endpoints=request.endpoints,
            cohorts=request.cohorts,
            expires_at_ns=expires,
            service=request.service,
            roles=request.roles,
            label=request.label,
        )

        def work(unit: Unit) -> KeyView:
            _check_team(unit, request.team)
            _check_grant(unit, spec, by)
            if len(unit.list(API_KEY.name)) >= KEYS_MAX:
                raise Refused(
                    "too_many_keys", f"There are {KEYS_MAX} keys.", hint="Purge revoked keys first."
                )
            record = unit.put(_record(token.id, spec), expect_version=0)
            unit.append(_created(token.id, spec, actor, now_ns))
            return view(record, now_ns)

        return await self._finish(token, work)

    async def rotate(
        self, id_: str, *, overlap_s: float = OVERLAP_S, actor: str, by: Principal | None = None
    ) -> CreatedKey:
        """A successor with the same rights; the old key works `overlap_s` seconds more, or until its own expiry.

        The successor does not expire unless the old key had an expiry after the overlap, which it then keeps.
        Raises Refused for an unknown, revoked, expired or already rotated key, or a negative overlap.
        """
        if not 0 <= overlap_s <= 365 * 24 * 3600:
            raise Refused("overlap_invalid", "An overlap is between 0 seconds and a year.", param="overlapS")
        token = make_token(self._random)
        now_ns = self._clock.now_ns()
        end_ns = now_ns + int(overlap_s * SECOND_NS)

        def work(unit: Unit) -> KeyView:
            record, old = _get(unit, id_)
            _check_grant(unit, old, by)  # its successor's secret is as good as the roles themselves
            if state(old, now_ns) in ("revoked", "expired"):
                raise Refused(
                    "key_inactive",
                    f"Key {id_} is {state(old, now_ns)}.",
                    hint="Create a new key instead.",
                    status=409,
                )
            if old.rotated_to:
                raise Conflict(
                    "key_rotated",
                    f"Key {id_} was already rotated to {old.rotated_to}.",
                    hint="Rotate that one.",
                )
            fresh = msgspec.structs.replace(
                old,
                digest=keyed_digest(token.text.encode(), self._pepper),
                last4=token.text[-4:],
                expires_at_ns=old.expires_at_ns if old.expires_at_ns > end_ns else EVER,
            )
            made = unit.put(_record(token.id, fresh), expect_version=0)
            until = end_ns if old.expires_at_ns == EVER else min(end_ns, old.expires_at_ns)
            # An overlap of nothing still expires: 0 would mean never.
            ended = msgspec.structs.replace(old, rotated_to=token.id, expires_at_ns=max(until, 1))
            unit.put(_record(id_, ended), expect_version=record.version)
            unit.append(_event("key.rotated", id_, actor, now_ns, to=token.id, until_ns=ended.expires_at_ns))
            return view(made, now_ns)

        return await self._finish(token, work)

    async def revoke(self, id_: str, *, reason: str = "", actor: str) -> KeyView:
        """End a key now and for good; a second time changes nothing. Raises Refused if there is no such key."""
        now_ns = self._clock.now_ns()

        def work(unit: Unit) -> KeyView:
            record, spec = _get(unit, id_)
            if spec.revoked_at_ns:
                return view(record, now_ns)
            revoked = msgspec.structs.replace(spec, revoked_at_ns=now_ns)
            changed = unit.put(_record(id_, revoked), expect_version=record.version)
            unit.append(_event("key.revoked", id_, actor, now_ns, reason=reason[:500]))
            return view(changed, now_ns)

        result = await self._store.transact(work)
        self._changed()
        return result

    async def list_keys(self, last_used_ns: Mapping[str, int] | None = None) -> tuple[KeyView, ...]:
        """Every key, newest first; `last_used_ns` by public id where a gateway has told it."""
        now_ns = self._clock.now_ns()
        records = await self._store.transact(lambda unit: tuple(unit.list(API_KEY.name)))
        used = last_used_ns or {}
        views = (view(record, now_ns, used.get(record.name)) for record in records)
        return tuple(sorted(views, key=lambda key: (-key.created_ns, key.id)))

    async def _finish(self, token: Token, work: Callable[[Unit], KeyView]) -> CreatedKey:
        shown = await self._store.transact(work)
        self._changed()
        return CreatedKey(secret=token.text, key=shown)


def key_entries(unit: Unit, now_ns: int) -> tuple[KeyEntry, ...]:
    """What a snapshot says of keys, by id. Revoked and expired ones are left out: the gateway forgets them."""
    entries = (key_entry(unit, record, now_ns) for record in unit.list(API_KEY.name))
    return tuple(sorted((entry for entry in entries if entry is not None), key=lambda entry: entry.id))


def key_entry(unit: Unit, record: Record, now_ns: int) -> KeyEntry | None:
    """A key as it is recognised by; None where it is not in force, or where the service that holds it is gone."""
    spec = msgspec.convert(record.spec, ApiKeySpec)
    if state(spec, now_ns) in ("revoked", "expired"):
        return None
    entry = KeyEntry(
        id=record.name,
        digest=spec.digest,
        team=spec.team,
        owner=spec.owner,
        endpoints=spec.endpoints,
        cohorts=spec.cohorts,
        expires_at_ns=spec.expires_at_ns,
        roles=tuple(sorted(set(spec.roles) - RESERVED_ROLES)),
        label=spec.label,
    )
    if not spec.service:
        return entry
    held = unit.get(SERVICE.name, spec.service)
    if held is None:
        return None
    service = msgspec.convert(held.spec, ServiceSpec)
    return msgspec.structs.replace(
        entry,
        service=spec.service,
        team=spec.team or service.team,
        owner=service.owner or spec.owner,
        roles=service_roles(unit, spec.service, service),
        label=min(spec.label, service.label, key=rank),
    )


def service_roles(unit: Unit, name: str, service: ServiceSpec) -> tuple[str, ...]:
    """What a service is granted: its own roles and those bound to it."""
    return Bindings(binding_entries(unit)).roles("", [f"service:{name}"], service.roles)


def state(spec: ApiKeySpec, now_ns: int) -> str:
    """`active`, `expired` or `revoked`."""
    if spec.revoked_at_ns:
        return "revoked"
    return "active" if spec.expires_at_ns == EVER or now_ns < spec.expires_at_ns else "expired"


def view(record: Record, now_ns: int, last_used_ns: int | None = None) -> KeyView:
    """A stored key as people may see it."""
    spec = msgspec.convert(record.spec, ApiKeySpec)
    return KeyView(
        id=record.name,
        last4=spec.last4,
        owner=spec.owner,
        team=spec.team,
        endpoints=spec.endpoints,
        cohorts=spec.cohorts,
        state=state(spec, now_ns),
        created_ns=record.created_ns,
        expires_at_ns=spec.expires_at_ns,
        revoked_at_ns=spec.revoked_at_ns,
        rotated_to=spec.rotated_to,
        last_used_ns=last_used_ns,
        service=spec.service,
        roles=spec.roles,
        label=spec.label,
    )


def _record(id_: str, spec: ApiKeySpec) -> Record:
    return Record(kind=API_KEY.name, name=id_, spec=msgspec.to_builtins(spec))


def _event(name: str, id_: str, actor: str, now_ns: int, **data: Any) -> Event:
    return Event(name=name, subject=f"{API_KEY.name}/{id_}", actor=actor, data=data, at_ns=now_ns)


def _get(unit: Unit, id_: str) -> tuple[Record, ApiKeySpec]:
    record = unit.get(API_KEY.name, id_)
    if record is None:
        # People paste whole keys here; the message must not repeat one.
        raise Refused(
            "key_not_found", "There is no key with this public id.", hint="See `andon keys list`.", status=404
        )
    return record, msgspec.convert(record.spec, ApiKeySpec)


def _created(id_: str, spec: ApiKeySpec, actor: str, now_ns: int) -> Event:
    more: dict[str, Any] = {"owner": spec.owner, "team": spec.team}
    if spec.service:
        more["service"] = spec.service
    if spec.roles:
        more["roles"] = list(spec.roles)
    return _event("key.created", id_, actor, now_ns, **more)


def _check_grant(unit: Unit, spec: ApiKeySpec, by: Principal | None) -> None:
    """Whoever makes a key hands out what it may do. Raises Refused."""
    roles = spec.roles
    if spec.service:
        record = unit.get(SERVICE.name, spec.service)
        if record is None:
            raise Refused(
                "service_not_found",
                f"There is no Service '{spec.service}'.",
                hint="Add it to the factory file and apply.",
                param="service",
            )
        if spec.roles:
            raise Refused(
                "roles_of_service",
                "A key of a Service has the roles of the Service.",
                hint="Leave the roles out, or give them to the Service.",
                param="roles",
            )
        roles = service_roles(unit, spec.service, msgspec.convert(record.spec, ServiceSpec))
    if by is not None:
        check_grant(by, roles)


def _check_team(unit: Unit, team: str) -> None:
    if team and unit.get(TEAM.name, team) is None:
        raise Refused(
            "team_not_found",
            f"There is no Team '{team}'.",
            hint="Add it to the factory file and apply, or leave the team out.",
            param="team",
        )
