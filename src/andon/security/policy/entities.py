"""Principals, resources and contexts as Cedar's JSON entities: the one place where our names become its names.

Pure. Every attribute of the schema is always there, with the value that a policy would refuse where it is not known;
text that no schema foresees becomes a tag.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from andon.kernel.access import Resource
from andon.kernel.labels import RANKS
from andon.kernel.principals import Principal
from andon.security.policy.heads import TAGS, WHOLE, Uid
from andon.security.policy.vocabulary import attributes_of, groups_of, type_of

_TYPES: Final = {
    "user": "User",
    "service": "Service",
    "key": "Key",
    "gateway": "Gateway",
    "anonymous": "Anonymous",
}
_OWN: Final = (
    "key",
    "service",
    "anonymous",
)  # of this factory: without a role they call models, as they always could
_DEFAULT_ROLES: Final = ("model-user",)
_encode = msgspec.json.Encoder().encode


def uid_of(principal: Principal) -> Uid:
    """What a principal is called in policies: User::"ann@example.com"."""
    return _TYPES[principal.kind], principal.id


def resource_uid(resource: Resource) -> Uid:
    """What a resource is called in policies: Rollout::"credit-3", Factory::"factory"."""
    return type_of(resource.kind), resource.name or resource.kind.lower()


def roles_of(principal: Principal) -> tuple[str, ...]:
    """The roles that policies see."""
    if not principal.roles and not principal.issuer and principal.kind in _OWN:
        return _DEFAULT_ROLES
    return principal.roles


def ancestors_of(principal: Principal) -> frozenset[Uid]:
    """Everything that a principal is `in`, itself included."""
    found = {uid_of(principal), *(("Role", role) for role in roles_of(principal))}
    if principal.team:
        found.add(("Team", principal.team))
    return frozenset(found)


def principal_attributes(principal: Principal) -> dict[str, Any]:
    """The principal's attributes, as the schema has them."""
    return {
        "name": principal.name,
        "id": principal.id,
        "team": principal.team,
        "owner": principal.owner,
        "issuer": principal.issuer,
        "label": RANKS[principal.label],
        "cohorts": principal.cohorts,
        "roles": roles_of(principal),
    }


def principal_text(principal: Principal, wanted: frozenset[str] | None = None) -> str:
    """The principal's entity as JSON; with the attributes that are wanted, or all."""
    parents = [{"type": "Role", "id": role} for role in roles_of(principal)]
    if principal.team:
        parents.append({"type": "Team", "id": principal.team})
    type_, id_ = uid_of(principal)
    attributes = principal_attributes(principal)
    if wanted is not None:
        attributes = {name: value for name, value in attributes.items() if name in wanted}
    return _encode({"uid": {"type": type_, "id": id_}, "attrs": attributes, "parents": parents}).decode()


def resource_attributes(resource: Resource, wanted: frozenset[str] | None = None) -> dict[str, Any]:
    """The resource's attributes as the schema has them; those that are wanted, or all."""
    told = resource.attributes
    attributes = {}
    for name, default in attributes_of(type_of(resource.kind)).items():
        if wanted is None or name in wanted:
            value = resource.name if name == "name" else told.get(name, default)
            attributes[name] = value if type(value) is type(default) else default
    return attributes


def resource_tags(resource: Resource) -> dict[str, str]:
    """Text that no schema foresees."""
    known = attributes_of(type_of(resource.kind))
    return {
        name: value
        for name, value in resource.attributes.items()
        if name not in known and isinstance(value, str)
    }


def resource_text(resource: Resource, wanted: frozenset[str] | None = None) -> str:
    """The resource's entity as JSON; with the attributes that are wanted, or all."""
    type_, id_ = resource_uid(resource)
    attributes = resource_attributes(resource, wanted)
    entity: dict[str, Any] = {"uid": {"type": type_, "id": id_}, "attrs": attributes, "parents": ()}
    if wanted is None or TAGS in wanted:
        entity["tags"] = resource_tags(resource)
    return _encode(entity).decode()


def action_text(action: str) -> str:
    """The action's entity as JSON, with the groups that it is in."""
    parents = [{"type": "Action", "id": group} for group in groups_of(action)]
    return _encode({"uid": {"type": "Action", "id": action}, "attrs": {}, "parents": parents}).decode()


def context_text(context: Mapping[str, Any], fields: Iterable[str]) -> str:
    """The fields that policies read, as JSON; all of them where one reads the context as a whole."""
    wanted = context if WHOLE in fields else fields
    told = {}
    for name in wanted:
        value = context.get(name)
        if name == "address":
            address = address_of(value)
            if address is not None:
                # Cedar takes no IPv4 written within IPv6, as some versions of Python write it.
                written = str(address) if address.version == 4 else address.exploded
                told[name] = {"__extn": {"fn": "ip", "arg": written}}
        elif value is not None:
            told[name] = value
    return _encode(told).decode()


def address_of(value: Any) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address alone, of "10.0.0.1:5000" too; None where it is none, as on Unix sockets."""
    text = str(value or "")
    for candidate in (text, text.rpartition(":")[0].strip("[]")):
        try:
            return ipaddress.ip_address(candidate.partition("%")[0])
        except (
            ValueError
        ):  # the other form may be one; a context without an address is what is left otherwise
            continue
    return None
