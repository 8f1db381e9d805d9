"""Principals by the names that rows and people use, with what the store knows of them now.

For explanations and replays only: whoever really acts is identified by `security/identity`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast, get_args

import msgspec

from andon.kernel.principals import NOBODY, Principal, PrincipalKind
from andon.kernel.snapshot import KeyEntry
from andon.security.identity.bindings import Bindings, binding_entries
from andon.security.identity.people import USER, UserSpec
from andon.security.identity.service import key_entries
from andon.store.model import Unit


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """Who there is."""

    keys: Mapping[str, KeyEntry]
    services: Mapping[str, KeyEntry]  # by the key that a service holds
    bindings: Bindings
    users: Mapping[str, UserSpec] = {}  # of the factory itself

    def find(self, name: str, *, data: bool) -> tuple[Principal, bool]:
        """Whoever has this name, and whether anything is known of them. Raises ValueError for what names nobody.

        `data`: as the data plane sees them; the admin plane lets keys send facts and nothing else.
        """
        kind, colon, id_ = name.partition(":")
        if name in ("anonymous", NOBODY.name):
            return NOBODY, True
        if not colon or not id_ or kind not in get_args(PrincipalKind):
            raise ValueError(name)
        if kind == "key" or (kind == "service" and id_ in self.services):
            entry = self.keys.get(id_) if kind == "key" else self.services[id_]
            if entry is None:
                return Principal(kind="key", id=id_), False
            roles = entry.roles if data else (*entry.roles, "sender")
            return (
                Principal(
                    kind="key" if kind == "key" else "service",
                    id=id_,
                    roles=roles,
                    team=entry.team,
                    owner=entry.owner,
                    cohorts=entry.cohorts,
                    label=entry.label,
                ),
                True,
            )
        if name == "user:admin":
            return Principal(kind="user", id="admin", roles=("administrator",)), True
        if kind == "gateway":
            return Principal(kind="gateway", id=id_, roles=("gateway",)), True
        issuer, slash, subject = id_.partition("/")
        if not slash:
            issuer, subject = "", id_
        if kind == "user" and not issuer and subject in self.users:
            spec = self.users[subject]
            roles = self.bindings.roles("", [name], spec.roles)
            return Principal(kind="user", id=id_, roles=roles, team=spec.team, label=spec.label), True
        roles = self.bindings.roles(issuer, [f"{kind}:{subject}"])
        return Principal(kind=cast("PrincipalKind", kind), id=id_, roles=roles, issuer=issuer), bool(roles)


def known_in(unit: Unit, now_ns: int) -> Known:
    """Everybody of whom the store knows something."""
    entries = key_entries(unit, now_ns)
    return Known(
        keys={entry.id: entry for entry in entries},
        services={entry.service: entry for entry in entries if entry.service},
        bindings=Bindings(binding_entries(unit)),
        users={record.name: msgspec.convert(record.spec, UserSpec) for record in unit.list(USER)},
    )
