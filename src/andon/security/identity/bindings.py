"""Who has which roles: bindings of roles to people, services and groups, and the principal that comes of an identity.

Pure. Names that an issuer vouches for carry the issuer's name in front, so that no claim can make anybody a user of the
factory itself or of another issuer. Roles of the factory's own processes are granted to nobody.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from andon.control.kinds import Kind, Problem, World
from andon.kernel.principals import RESERVED_ROLES, Principal
from andon.kernel.snapshot import BindingEntry
from andon.security.identity.tokens import Identity
from andon.store.model import Record, Unit

ROLE_BINDING = "RoleBinding"
ROLE = r"^[a-z][a-z0-9-]{0,62}$"
STARS_MAX = 2  # also keeps matching cheap for the names that strangers choose
_SUBJECT = re.compile(r"(user|service|group):[^\x00-\x20\x7f]{1,200}")


class RoleBindingSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Who gets which roles."""

    subject: Annotated[
        str,
        Meta(
            max_length=210,
            description="user:NAME, service:NAME or group:NAME, as the issuer names them; * stands for any letters.",
        ),
    ]
    roles: Annotated[
        tuple[Annotated[str, Meta(pattern=ROLE)], ...],
        Meta(min_length=1, max_length=50, description="What they are granted, such as operator or viewer."),
    ]
    issuer: Annotated[
        str,
        Meta(
            max_length=63,
            description="The Issuer that vouches for them; empty = users and services of this factory itself.",
        ),
    ] = ""


def check_binding(spec: Any, record: Record, world: World) -> list[Problem]:
    """The subject can be somebody, the issuer exists, and the roles may be given."""
    assert isinstance(spec, RoleBindingSpec)
    problems = []
    if not _SUBJECT.fullmatch(spec.subject):
        problems.append(
            Problem(
                path="spec.subject",
                message="This names nobody.",
                hint="Write user:NAME, service:NAME or group:NAME.",
            )
        )
    if spec.subject.count("*") > STARS_MAX:
        problems.append(
            Problem(
                path="spec.subject", message=f"More than {STARS_MAX} stars make a subject hard to understand."
            )
        )
    if spec.issuer and ("Issuer", spec.issuer) not in world:
        problems.append(
            Problem(
                path="spec.issuer",
                message=f"There is no Issuer '{spec.issuer}'.",
                hint="Add it, or correct it.",
            )
        )
    if not spec.issuer and spec.subject.startswith("group:"):
        problems.append(
            Problem(
                path="spec.issuer",
                message="The factory itself has no groups.",
                hint="Name the Issuer whose tokens carry the group.",
            )
        )
    problems += [
        Problem(path="spec.roles", message=f"The role '{role}' belongs to the factory's own processes.")
        for role in spec.roles
        if role in RESERVED_ROLES
    ]
    return problems


ROLE_BINDING_KIND = Kind(
    name=ROLE_BINDING,
    plural="rolebindings",
    short=("rb",),
    spec=RoleBindingSpec,
    summary="Grants roles to people, services or groups of an issuer.",
    check=check_binding,
    columns=(("SUBJECT", "spec.subject"), ("ISSUER", "spec.issuer"), ("ROLES", "spec.roles")),
)


def binding_entries(unit: Unit) -> tuple[BindingEntry, ...]:
    """What a snapshot says of bindings."""
    return tuple(
        BindingEntry(name=record.name, subject=spec.subject, roles=spec.roles, issuer=spec.issuer)
        for record in unit.list(ROLE_BINDING)
        for spec in (msgspec.convert(record.spec, RoleBindingSpec),)
    )


class Bindings:
    """Bindings as they are looked up."""

    def __init__(self, entries: Sequence[BindingEntry]) -> None:
        self._by_issuer: dict[str, list[tuple[re.Pattern[str], tuple[str, ...]]]] = {}
        for entry in entries:
            line = (_pattern(entry.subject), entry.roles)
            self._by_issuer.setdefault(entry.issuer, []).append(line)

    def roles(self, issuer: str, subjects: Sequence[str], claimed: Sequence[str] = ()) -> tuple[str, ...]:
        """Every role of somebody, sorted: those claimed and those bound, without reserved ones."""
        found = set(claimed)
        for pattern, roles in self._by_issuer.get(issuer, ()):
            if any(pattern.fullmatch(subject) for subject in subjects):
                found.update(roles)
        return tuple(sorted(found - RESERVED_ROLES))

    def principal(self, identity: Identity) -> Principal:
        """Who the holder of a token is here."""
        kind = "service" if identity.service else "user"
        subjects = [f"{kind}:{identity.subject}", *(f"group:{group}" for group in identity.groups)]
        return Principal(
            kind="service" if identity.service else "user",
            id=f"{identity.issuer}/{identity.subject}",
            roles=self.roles(identity.issuer, subjects, identity.roles),
            team=identity.team,
            label=identity.label,
            issuer=identity.issuer,
        )


def _pattern(subject: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in re.sub(r"\*+", "*", subject).split("*")))
