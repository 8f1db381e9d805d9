"""Teams and API keys as resources, and what the verbs of keys take and give.

Teams are written by people; keys are made by verbs only, because their secret must be shown once and kept nowhere.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from andon.control.kinds import Kind, Problem, World
from andon.kernel.labels import Label
from andon.kernel.principals import RESERVED_ROLES
from andon.security.identity.bindings import ROLE
from andon.store.model import Record

EVER = 0  # an expiry that never comes


class TeamSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Who a key, a limit or a cost belongs to."""

    description: Annotated[
        str, msgspec.Meta(description="What the team does, for people.", max_length=500)
    ] = ""
    contact: Annotated[
        str, msgspec.Meta(description="Where to reach the team: an address or a channel.", max_length=200)
    ] = ""


class ApiKeySpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """An API key as the factory keeps it: never the key, only its keyed hash."""

    digest: Annotated[
        str, msgspec.Meta(description="Hex HMAC-SHA256 of the whole key under the factory's pepper.")
    ]
    last4: Annotated[
        str, msgspec.Meta(description="The key's last four characters, to tell keys apart by eye.")
    ]
    owner: Annotated[str, msgspec.Meta(description="The person or service that holds the key.")] = ""
    team: Annotated[str, msgspec.Meta(description="The Team that limits and costs are counted for.")] = ""
    endpoints: Annotated[
        tuple[str, ...], msgspec.Meta(description="Endpoints that the key may call; empty means all.")
    ] = ()
    cohorts: Annotated[
        tuple[str, ...], msgspec.Meta(description="Cohorts that rollouts can pin to one release.")
    ] = ()
    expires_at_ns: Annotated[
        int,
        msgspec.Meta(
            ge=0, description="Nanoseconds since the epoch after which the key is refused; 0 = never."
        ),
    ] = EVER
    revoked_at_ns: Annotated[
        int, msgspec.Meta(ge=0, description="When the key was revoked; 0 = it is not.")
    ] = 0
    rotated_to: Annotated[
        str, msgspec.Meta(description="Public id of the key that takes over from this one.")
    ] = ""
    service: Annotated[
        str, msgspec.Meta(description="The Service that holds it: then that is who acts, with its roles.")
    ] = ""
    roles: Annotated[
        tuple[str, ...], msgspec.Meta(description="What policies grant to; a Service has its own.")
    ] = ()
    label: Annotated[Label, msgspec.Meta(description="Highest data class that it may send and receive.")] = (
        "restricted"
    )


TEAM = Kind(
    name="Team",
    plural="teams",
    spec=TeamSpec,
    summary="A group of people that keys, limits and costs belong to.",
    columns=(("CONTACT", "spec.contact"), ("DESCRIPTION", "spec.description")),
)


class ServiceSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """A program with a name of its own, whoever's keys it holds today."""

    description: Annotated[str, msgspec.Meta(max_length=500, description="What it does, for people.")] = ""
    owner: Annotated[str, msgspec.Meta(max_length=200, description="The person who answers for it.")] = ""
    team: Annotated[
        str, msgspec.Meta(max_length=63, description="The Team that its limits and costs are counted for.")
    ] = ""
    roles: Annotated[
        tuple[Annotated[str, msgspec.Meta(pattern=ROLE)], ...],
        msgspec.Meta(max_length=50, description="What policies grant to; RoleBindings add to it."),
    ] = ()
    label: Annotated[Label, msgspec.Meta(description="Highest data class that it may handle.")] = "internal"


def check_service(spec: Any, record: Record, world: World) -> list[Problem]:
    """Its team exists and its roles may be given."""
    assert isinstance(spec, ServiceSpec)
    problems = [
        Problem(path="spec.roles", message=f"The role '{role}' belongs to the factory's own processes.")
        for role in spec.roles
        if role in RESERVED_ROLES
    ]
    if spec.team and (TEAM.name, spec.team) not in world:
        problems.append(
            Problem(
                path="spec.team", message=f"There is no Team '{spec.team}'.", hint="Add it, or correct it."
            )
        )
    return problems


SERVICE = Kind(
    name="Service",
    plural="services",
    short=("svc",),
    spec=ServiceSpec,
    summary="A program that calls the factory: it holds keys, and acts under its own name.",
    check=check_service,
    columns=(
        ("OWNER", "spec.owner"),
        ("TEAM", "spec.team"),
        ("ROLES", "spec.roles"),
        ("LABEL", "spec.label"),
    ),
)

API_KEY = Kind(
    name="ApiKey",
    plural="apikeys",
    short=("key", "keys"),
    spec=ApiKeySpec,
    summary="A credential of the gateway, made by `andon keys create`; only its keyed hash is kept.",
    generated=True,
    columns=(("OWNER", "spec.owner"), ("TEAM", "spec.team"), ("LAST4", "spec.last4")),
)


class KeyRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What to make a key for."""

    owner: Annotated[str, msgspec.Meta(min_length=1, max_length=200, description="Who will hold it.")]
    team: Annotated[str, msgspec.Meta(max_length=63, description="An existing Team; may be left out.")] = ""
    endpoints: Annotated[
        tuple[str, ...], msgspec.Meta(max_length=1000, description="Endpoints it may call; empty means all.")
    ] = ()
    cohorts: Annotated[
        tuple[str, ...], msgspec.Meta(max_length=100, description="Cohorts for rollouts.")
    ] = ()
    service: Annotated[str, msgspec.Meta(max_length=63, description="The Service that will hold it.")] = ""
    roles: Annotated[
        tuple[Annotated[str, msgspec.Meta(pattern=ROLE)], ...],
        msgspec.Meta(max_length=50, description="What policies grant to; none for a key of a Service."),
    ] = ()
    label: Annotated[Label, msgspec.Meta(description="Highest data class.")] = "restricted"
    expires_in_s: Annotated[
        float | None, msgspec.Meta(gt=0, description="Seconds until it expires; left out: never.")
    ] = None


class KeyView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A key as people may see it."""

    id: str
    last4: str
    owner: str
    team: str
    endpoints: tuple[str, ...]
    cohorts: tuple[str, ...]
    state: str  # "active", "expired", "revoked"
    created_ns: int
    expires_at_ns: int
    revoked_at_ns: int
    rotated_to: str
    last_used_ns: int | None = None  # unknown is null
    service: str = ""
    roles: tuple[str, ...] = ()
    label: Label = "restricted"


class CreatedKey(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A key just made. `secret` is in no other answer, ever."""

    secret: str
    key: KeyView
