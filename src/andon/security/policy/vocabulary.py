"""The words that policies may use: actions, resources and their attributes; and the Cedar schema made of them.

Collected from the route tables and the kinds by `app`, so that a new route is a new word the moment it exists. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

PRINCIPALS: Final = ("User", "Service", "Key", "Gateway", "Anonymous")
INFER: Final = "infer"  # the group of everything that a client asks of a model
LIST: Final = "models.list"  # what there is to ask
SERVE: Final = "serve"  # whether a release may answer a principal
_READING: Final = frozenset({"read", "query", "explain", "plan", "list", "verify"})
_BOTH_PLANES: Final = {"address?": "ipaddr", "hour": "Long"}
ADMIN_CONTEXT: Final[Mapping[str, str]] = MappingProxyType(
    {**_BOTH_PLANES, "approvals": "Long", "approvers": "Set<String>", "change": "String"}
)
INFER_CONTEXT: Final[Mapping[str, str]] = MappingProxyType(
    {
        **_BOTH_PLANES,
        "labelRank": "Long",
        "stream": "Bool",
        "estimatedTokens": "Long",
        "pathPinned": "Bool",
    }
)
SERVE_CONTEXT: Final[Mapping[str, str]] = MappingProxyType(dict(_BOTH_PLANES))

# What is known of a resource, with what is assumed where it is not: always what a policy would refuse.
_ANY: Final[Mapping[str, Any]] = MappingProxyType({"name": "", "team": "", "riskTier": ""})
_MADE_OF_MODELS: Final[Mapping[str, Any]] = MappingProxyType(
    {**_ANY, "signatureVerified": False, "scanVerdict": ""}
)
_SPECIAL: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "Endpoint": {**_MADE_OF_MODELS, "label": 3, "labelMax": 0, "protocol": "", "priority": 0},
        "Release": {**_ANY, "endpoint": "", "arm": "canary", "label": 3},
        "Rollout": {**_MADE_OF_MODELS, "endpoint": ""},
        "Model": _MADE_OF_MODELS,
        "ModelVersion": _MADE_OF_MODELS,
        "Deployment": _MADE_OF_MODELS,
    }
)
_TYPES: Final = {bool: "Bool", int: "Long", str: "String"}


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that can be done, and to what."""

    name: str  # "release.promote"
    resources: tuple[str, ...] = ("Factory",)


class Vocabulary(msgspec.Struct, frozen=True, kw_only=True):
    """Every word of one version of Andon."""

    actions: tuple[Action, ...]  # of the admin plane
    kinds: tuple[str, ...]  # of resources


DATA_ACTIONS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "infer.chat": ("Endpoint",),
        "infer.completion": ("Endpoint",),
        "infer.embedding": ("Endpoint",),
        "infer.infer": ("Endpoint",),
        LIST: ("Factory",),
        SERVE: ("Release",),
    }
)
# Groups that policies may name whether or not this version has an action in each.
_STANDING: Final = ("admin", "read", INFER, "audit.*")


def type_of(kind: str) -> str:
    """What a kind of resource is called in policies: its name, unless principals are called that."""
    return f"{kind}Resource" if kind in PRINCIPALS or kind == "Role" else kind


def groups_of(action: str) -> tuple[str, ...]:
    """The groups that an action belongs to: its family, `read` where it changes nothing, `admin`, `infer`."""
    if action in DATA_ACTIONS:
        return (INFER,) if action.startswith("infer.") else ()
    family, _, verb = action.partition(".")
    found = [f"{family}.*"]
    if family != "gateway":
        found.append("admin")
        if verb in _READING:
            found.append("read")
    return tuple(found)


def attributes_of(kind: str) -> Mapping[str, Any]:
    """The attributes of a kind of resource with their defaults."""
    return _SPECIAL.get(kind, _ANY)


def schema_of(vocabulary: Vocabulary) -> str:
    """The Cedar schema, in Cedar's own syntax."""
    lines = ["entity Role;"]
    lines.append(
        f"entity {', '.join(PRINCIPALS)} in [Role, Team] {{ name: String, id: String, team: String, owner: String,"
        " issuer: String, label: Long, cohorts: Set<String>, roles: Set<String> };"
    )
    for kind in _kinds(vocabulary):
        fields = ", ".join(f"{name}: {_TYPES[type(value)]}" for name, value in attributes_of(kind).items())
        lines.append(f"entity {kind} {{ {fields} }} tags String;")
    groups = {group for action in vocabulary.actions for group in groups_of(action.name)} | {*_STANDING}
    lines += [f'action "{group}";' for group in sorted(groups)]
    admin = ("User", "Service", "Key", "Gateway")
    for action in vocabulary.actions:
        lines.append(_action(action.name, admin, action.resources, ADMIN_CONTEXT))
    data = ("User", "Service", "Key", "Anonymous")
    for name, resources in DATA_ACTIONS.items():
        context = {LIST: {}, SERVE: SERVE_CONTEXT}.get(name, INFER_CONTEXT)
        lines.append(_action(name, data, resources, context))
    return "\n".join(lines) + "\n"


def _kinds(vocabulary: Vocabulary) -> tuple[str, ...]:
    named = {kind for action in vocabulary.actions for kind in action.resources}
    kinds = {"Factory", "Release", "Endpoint", "Team", *vocabulary.kinds, *named}
    return tuple(sorted(type_of(kind) for kind in kinds))


def _action(
    name: str, principals: Iterable[str], resources: Iterable[str], context: Mapping[str, str]
) -> str:
    groups = groups_of(name)
    within = " in [" + ", ".join(f'"{group}"' for group in groups) + "]" if groups else ""
    fields = ", ".join(f"{field}: {kind}" for field, kind in context.items())
    return (
        f'action "{name}"{within} appliesTo {{ principal: [{", ".join(principals)}],'
        f" resource: [{', '.join(map(type_of, resources))}], context: {{ {fields} }} }};"
    )
