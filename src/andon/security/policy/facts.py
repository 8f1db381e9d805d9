"""What conditions may look at, as Python values with Cedar's distinctions: the other form of `entities`.

Pure. Values are booleans, 64-bit integers, text, entities (type and id), sets of these, and addresses. Whatever is none
of them, or could not be told to Cedar, makes `NoFactsError`: then Cedar itself is asked, and says what it says.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from andon.kernel.access import Resource
from andon.kernel.principals import Principal
from andon.security.policy import entities
from andon.security.policy.heads import TAGS, WHOLE, Uid

Value = Any  # bool, int, str, Uid, frozenset of `member`s, IPv4Address, IPv6Address; told apart by their exact type
LONG_MIN: Final = -(2**63)
LONG_MAX: Final = 2**63 - 1
_NONE: Final[Mapping[str, Value]] = MappingProxyType({})


class NoFactsError(Exception):
    """Something is there that only Cedar can judge."""


class Thing:
    """One entity."""

    __slots__ = ("ancestors", "attributes", "tags")

    def __init__(
        self, ancestors: frozenset[Uid], attributes: Mapping[str, Value], tags: Mapping[str, str] = _NONE
    ) -> None:
        self.ancestors = ancestors  # itself included
        self.attributes = attributes
        self.tags = tags


class Facts:
    """One request."""

    __slots__ = ("action", "context", "principal", "resource", "things")

    def __init__(
        self,
        uids: tuple[Uid, Uid, Uid],
        things: Mapping[Uid, Thing],
        context: Mapping[str, Value],
    ) -> None:
        self.principal, self.action, self.resource = uids
        self.things = things
        self.context = context


def member(value: Value) -> Value:
    """A value as sets hold it. Python takes True for 1; Cedar does not."""
    return (None, value) if type(value) is bool else value


def value_of(raw: Any) -> Value:
    """A value that a caller gave. Raises NoFactsError."""
    kind = type(raw)
    if kind is bool:
        return raw
    if kind is int and LONG_MIN <= raw <= LONG_MAX:
        return raw
    if kind is str and (raw.isascii() or _writable(raw)):
        return raw
    if kind is tuple or kind is list:
        return frozenset([member(value_of(one)) for one in raw])
    raise NoFactsError


def principal_thing(principal: Principal, ancestors: frozenset[Uid]) -> Thing:
    """The principal. Raises NoFactsError."""
    if not all(type(name) is str and (name.isascii() or _writable(name)) for _, name in ancestors):
        raise NoFactsError
    told = entities.principal_attributes(principal)
    return Thing(ancestors, {name: value_of(value) for name, value in told.items()})


def action_thing(action: str, groups: Iterable[str]) -> Thing:
    """The action and the groups that it is in."""
    return Thing(frozenset([("Action", name) for name in (action, *groups)]), _NONE)


def resource_thing(resource: Resource, uid: Uid, wanted: frozenset[str]) -> Thing:
    """The resource, with the attributes that are wanted. Raises NoFactsError."""
    type_ = uid[0]
    # Whether other types are names to Cedar at all is for it to say.
    if not (type_.isascii() and type_.isalnum() and type_[0].isupper()) or type_ == "Action":
        raise NoFactsError
    value_of(uid[1])
    told = entities.resource_attributes(resource, wanted)
    attributes = {name: value_of(value) for name, value in told.items()}
    if TAGS not in wanted:
        return Thing(frozenset((uid,)), attributes)
    tags = {value_of(name): value_of(value) for name, value in entities.resource_tags(resource).items()}
    return Thing(frozenset((uid,)), attributes, tags)


def context_values(context: Mapping[str, Any], fields: frozenset[str]) -> Mapping[str, Value]:
    """The fields that policies read. Raises NoFactsError."""
    told: dict[str, Value] = {}
    for name in context if WHOLE in fields else fields:
        value = context.get(name)
        if name == "address":
            address = entities.address_of(value)
            if address is not None:
                told[name] = address
        elif value is not None:
            told[name] = value_of(value)
    return told


def network_of(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """A network as policies write it; None unless it is written in its one shortest form, without host bits."""
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        return None
    short = str(network)
    return network if text in (short, short.removesuffix(f"/{network.max_prefixlen}")) else None


def _writable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair is no text
        return False
    return True
