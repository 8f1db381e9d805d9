"""Cedar's semantics through the engine, and slices that decide as the whole set does."""

from __future__ import annotations

import cedarpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andon.kernel.access import Decision, Resource
from andon.kernel.errors import Refused
from andon.kernel.principals import Principal
from andon.security.policy import entities
from andon.security.policy.engine import Engine
from andon.security.policy.heads import WHOLE
from andon.security.policy.text import built_in

ANN = Principal(kind="user", id="ann", roles=("operator",), team="risk")
ROLLOUT = Resource(kind="Rollout", name="credit-3", attributes={"riskTier": "high", "site": "north"})
PROMOTE = "release.promote"


def decide(text: str, context: dict[str, object] | None = None, action: str = PROMOTE) -> Decision:
    return Engine(text).decide(ANN, action, ROLLOUT, context or {})


PERMIT = '@id("p") permit (principal, action, resource);'


@pytest.mark.parametrize(
    ("text", "allowed", "policies", "errors"),
    [
        ("", False, (), ()),
        (PERMIT, True, ("p",), ()),
        (PERMIT + '@id("f") forbid (principal, action, resource);', False, ("f",), ()),
        (PERMIT + '@id("q") permit (principal in Role::"operator", action, resource);', True, ("p", "q"), ()),
        ('@id("p") permit (principal in Role::"viewer", action, resource);', False, (), ()),
        ('@id("p") permit (principal in Team::"risk", action in Action::"release.*", resource is Rollout);',
         True, ("p",), ()),
        ('@id("p") permit (principal, action == Action::"release.*", resource);', False, (), ()),
        ('@id("p") permit (principal == User::"ann", action, resource == Rollout::"credit-3");', True, ("p",), ()),
        ('@id("p") permit (principal == Service::"ann", action, resource);', False, (), ()),
        # A policy that cannot be evaluated neither permits nor forbids, and stops no other.
        ('@id("e") permit (principal, action, resource) when { context.missing == 1 };', False, (), ("e",)),
        (PERMIT + '@id("e") forbid (principal, action, resource) when { context.missing == 1 };',
         True, ("p",), ("e",)),
        ('@id("e") permit (principal, action, resource) when { 9223372036854775807 + 1 == 0 };'
         '@id("f") forbid (principal, action, resource);', False, ("f",), ("e",)),
        ('@id("p") permit (principal, action, resource) unless { resource.riskTier == "high" };', False, (), ()),
        ('@id("p") permit (principal, action, resource) when { resource.getTag("site") == "north" };',
         True, ("p",), ()),
        ('@id("p") permit (principal, action, resource) when { principal.roles.contains("operator") };',
         True, ("p",), ()),
        ('@id("p") permit (principal, action, resource) when { false && context.missing };', False, (), ()),
        ('@id("p") permit (principal, action, resource) when { principal.name == "user:ann" };', True, ("p",), ()),
    ],
)  # fmt: skip
def test_cedars_semantics(
    text: str, allowed: bool, policies: tuple[str, ...], errors: tuple[str, ...]
) -> None:
    assert decide(text) == Decision(allowed=allowed, policies=policies, errors=errors)


def test_an_address_is_compared_as_one_and_nonsense_is_absent() -> None:
    text = (
        '@id("p") permit (principal, action, resource) when { context has address &&'
        ' context.address.isInRange(ip("10.0.0.0/8")) };'
    )
    for address, allowed in (
        ("10.1.2.3", True),
        ("10.1.2.3:5000", True),
        ("192.168.0.1", False),
        ("::1", False),
        ("[::ffff:10.0.0.1]:80", False),
        ("10.1.2.3, 1.1.1.1", False),
        ("", False),
        ("x" * 10_000, False),
    ):
        found = decide(text, {"address": address})
        assert (found.allowed, found.errors) == (allowed, ())


@pytest.mark.parametrize(
    "text",
    [
        "permit (principal, action, resource);",
        PERMIT + PERMIT,
        "permit (",
        '@id("t") permit (principal == ?principal, action, resource);',
        '@id("x") allow (principal, action, resource);',
        "\0",
    ],
)
def test_what_is_no_policy_set_is_refused_whole(text: str) -> None:
    with pytest.raises(Refused):
        Engine(text)


def test_errors_are_counted_by_policy() -> None:
    engine = Engine('@id("e") permit (principal, action, resource) when { context.missing };')
    for _ in range(3):
        engine.decide(ANN, PROMOTE, ROLLOUT, {})
    assert engine.errors == {"e": 3}


def test_names_with_quotes_and_control_characters_stay_names() -> None:
    engine = Engine(
        '@id("p") permit (principal == User::"ann", action, resource);'
        '@id("f") forbid (principal, action, resource == Rollout::"a");'
    )
    hostile = ['ann"', 'ann"]}, {"uid"', "ann\n", "a\0nn", "ann\\", "\u202eann", 'User::"ann"', "ann" * 1000]
    for name in hostile:
        assert not engine.decide(Principal(kind="user", id=name), PROMOTE, ROLLOUT, {}).allowed
        assert engine.decide(ANN, PROMOTE, Resource(kind="Rollout", name=name), {}).allowed


# Slices against the whole.

ROLES = ("operator", "viewer", "auditor")
TEAMS = ("risk", "shop", "")
USERS = ("ann", "bob")
ACTIONS = ("release.promote", "release.read", "factory.apply", "infer.chat", "serve")
THINGS = (("Rollout", "credit-3"), ("Rollout", "shop-1"), ("Endpoint", "credit"), ("Factory", ""))

principals = st.builds(
    Principal,
    kind=st.sampled_from(["user", "service", "key", "anonymous"]),
    id=st.sampled_from(USERS),
    roles=st.lists(st.sampled_from(ROLES), unique=True, max_size=3).map(tuple),
    team=st.sampled_from(TEAMS),
    cohorts=st.sampled_from([(), ("early",)]),
)
things = st.builds(
    lambda named, tier, label: Resource(
        kind=named[0], name=named[1], attributes={"riskTier": tier, "label": label}
    ),
    st.sampled_from(THINGS),
    st.sampled_from(["high", "low", ""]),
    st.integers(0, 3),
)
contexts = st.fixed_dictionaries(
    {"labelRank": st.integers(0, 3), "approvals": st.integers(0, 2), "stream": st.booleans()}
)
PRINCIPAL_SCOPES = (
    "principal",
    "principal is User",
    *(f'principal == User::"{name}"' for name in USERS),
    *(f'principal in Role::"{name}"' for name in ROLES),
    'principal in Team::"risk"',
    'principal is Key in Role::"viewer"',
    'principal in User::"ann"',
    'principal is Service in Team::"shop"',
)
ACTION_SCOPES = (
    "action",
    'action == Action::"release.promote"',
    'action in Action::"release.*"',
    'action in Action::"read"',
    'action in [Action::"infer", Action::"admin"]',
    'action in [Action::"serve"]',
)
RESOURCE_SCOPES = (
    "resource",
    "resource is Rollout",
    'resource == Rollout::"credit-3"',
    'resource in Endpoint::"credit"',
    'resource is Endpoint in Endpoint::"credit"',
    'resource == Factory::"factory"',
)
CONDITIONS = (
    "",
    "when { context.labelRank > 1 }",
    "unless { context.approvals >= 1 }",
    "when { context has stream && context.stream }",
    'when { resource.riskTier == "high" }',
    'when { principal.cohorts.contains("early") }',
    "when { context.nothing == 1 }",  # cannot be evaluated
    "when { {a: context}.a.labelRank == 2 }",
    'when { principal in Role::"viewer" }',
    'when { action in Action::"read" }',
    "when { resource has label && resource.label < 2 } unless { principal is Key }",
)
policies = st.lists(
    st.tuples(
        st.sampled_from(["permit", "permit", "forbid"]),
        st.sampled_from(PRINCIPAL_SCOPES),
        st.sampled_from(ACTION_SCOPES),
        st.sampled_from(RESOURCE_SCOPES),
        st.sampled_from(CONDITIONS),
    ),
    max_size=12,
)
requests = st.lists(st.tuples(principals, st.sampled_from(ACTIONS), things, contexts), min_size=1, max_size=6)


def whole(engine: Engine, asked: tuple[Principal, str, Resource, dict[str, object]]) -> Decision:
    """The decision of every policy at once, with the context as it is."""
    principal, action, resource, context = asked
    p, r = entities.uid_of(principal), entities.resource_uid(resource)
    told = ",".join(
        [
            entities.principal_text(principal),
            entities.action_text(action),
            entities.resource_text(resource),
        ]
    )
    result = cedarpy.is_authorized(
        {
            "principal": {"type": p[0], "id": p[1]},
            "action": {"type": "Action", "id": action},
            "resource": {"type": r[0], "id": r[1]},
            "context": entities.context_text(context, {WHOLE}),
        },
        engine.whole(),
        f"[{told}]",
    )
    errors = {error.split("`")[1] for error in result.diagnostics.errors}
    return Decision(
        allowed=result.allowed,
        policies=tuple(sorted(result.diagnostics.reasons)),
        errors=tuple(sorted(errors)),
    )


@settings(max_examples=300, deadline=None)
@given(policies, requests)
def test_slices_decide_as_the_whole_set_does(
    written: list[tuple[str, str, str, str, str]],
    asked: list[tuple[Principal, str, Resource, dict[str, object]]],
) -> None:
    engine = Engine(
        "\n".join(
            f'@id("p{number}") {effect} ({principal}, {action}, {resource}) {condition};'
            for number, (effect, principal, action, resource, condition) in enumerate(written)
        )
    )
    for request in (*asked, *asked):  # the second time from slices that are there already
        assert engine.decide(*request) == whole(engine, request)


@pytest.mark.parametrize("kind", ["Policy", "RoleBinding", "Issuer", "Service", "Signer", "Admission"])
def test_an_operator_applies_much_and_nothing_that_says_whom_or_what_to_trust(kind: str) -> None:
    """An operator who may replace a signer, or what pickles may call, has got around every rule about models."""
    engine = Engine(built_in())
    admin = Principal(kind="user", id="eve", roles=("administrator",))
    for resource in (Resource(kind=kind, name="x"), Resource(kind="ModelVersion", name="x")):
        assert engine.decide(ANN, "factory.apply", resource, {}).allowed == (resource.kind != kind)
        assert engine.decide(admin, "factory.apply", resource, {}).allowed
