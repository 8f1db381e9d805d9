"""Conditions in Python against Cedar: the same decision, determining policies and errors, whatever is written."""

from __future__ import annotations

import re
from typing import Any

import cedarpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andon.kernel.access import Decision, Resource
from andon.kernel.errors import Refused
from andon.kernel.principals import Principal
from andon.security.policy import entities
from andon.security.policy.engine import STEP_POLICIES, TOGETHER_MAX, Engine
from andon.security.policy.heads import WHOLE
from andon.security.policy.model import text_of

Asked = tuple[Principal, str, Resource, dict[str, Any]]
ANN = Principal(kind="user", id="ann", roles=("operator",), team="risk", label="internal")
ROLLOUT = Resource(kind="Rollout", name="credit-3", attributes={"riskTier": "high", "site": "north"})


def cedar(engine: Engine, asked: Asked) -> Decision:
    """What Cedar says of every policy at once, told everything."""
    principal, action, resource, context = asked
    p, r = entities.uid_of(principal), entities.resource_uid(resource)
    told = [
        entities.principal_text(principal),
        entities.action_text(action),
        entities.resource_text(resource),
    ]
    request = {
        "principal": {"type": p[0], "id": p[1]},
        "action": {"type": "Action", "id": action},
        "resource": {"type": r[0], "id": r[1]},
        "context": entities.context_text(context, {WHOLE}),
    }
    result = cedarpy.is_authorized(request, engine.whole(), f"[{','.join(told)}]")
    named = [re.search(r"policy `([^`]*)`", error) for error in result.diagnostics.errors]
    errors = {"request" if found is None else found.group(1) for found in named}
    return Decision(
        allowed=result.allowed,
        policies=tuple(sorted(result.diagnostics.reasons)),
        errors=tuple(sorted(errors)),
    )


ATOMS = (
    "true", "false", "0", "1", "(-1)", "2", "3", "9223372036854775807", "(-9223372036854775808)",
    '""', '"a"', '"ann"', '"high"', '"risk"', '"é*"', '"site"',
    "principal", "action", "resource", "context",
    'User::"ann"', 'Key::"ann"', 'Role::"operator"', 'Role::"viewer"', 'Team::"risk"', 'Action::"read"',
    'Action::"release.*"', 'Rollout::"credit-3"', 'Nothing::"at all"',
    "principal.label", "principal.roles", "principal.cohorts", "principal.team", "principal.nothing",
    "resource.riskTier", "resource.label", "resource.name", "resource.signatureVerified", "action.name",
    'User::"ann".team', 'Role::"operator".name',
    "context.number", "context.flag", "context.word", "context.words", "context.mixed", "context.missing",
    "context.address", "context.stream", '(context["number"])',
    "[]", '["a", "ann"]', '[1, true, "high"]', '[User::"ann", Role::"operator"]', "[[1], [true]]", "[true, 0]",
    'ip("10.0.0.1")', 'ip("10.0.0.0/8")', 'decimal("1.5")', "{}", "{a: 1, number: context.number}",
)  # fmt: skip
NETWORKS = (
    "10.0.0.0/8", "10.0.0.1", "10.0.0.1/8", "10.0.0.1/32", "0.0.0.0/0", "::/0", "::1", "2001:db8::/32", "::1/128",
    "fe80::1", "10.0.0.0/08", "nonsense",
)  # fmt: skip
PATTERNS = ("*", "a*", "*n", "a*n", "*h*h*", "", "é\\*", "a*a", "**")
NAMES = ("number", "flag", "address", "missing", "label", "team", "riskTier", "nothing", "a")
TWO = ("==", "!=", "<", "<=", ">", ">=", "&&", "||", "+", "-", "*", "in", "==", "&&", "||", "in")
CALLS = ("contains", "containsAll", "containsAny", "hasTag", "getTag")


def deeper(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Everything that Cedar can say about expressions, well typed or not."""
    return st.one_of(
        st.tuples(inner, st.sampled_from(TWO), inner).map(lambda e: f"({e[0]} {e[1]} {e[2]})"),
        st.tuples(inner, st.sampled_from(TWO), inner).map(lambda e: f"({e[0]} {e[1]} {e[2]})"),
        st.tuples(inner, inner, inner, st.sampled_from(["&&", "||"])).map(
            lambda e: f"({e[0]} {e[3]} {e[1]} {e[3]} {e[2]})"
        ),
        inner.map(lambda e: f"(!({e}))"),
        inner.map(lambda e: f"(-({e}))"),
        st.tuples(inner, st.sampled_from(CALLS), inner).map(lambda e: f"({e[0]}).{e[1]}({e[2]})"),
        inner.map(lambda e: f"({e}).isEmpty()"),
        st.tuples(inner, inner, inner).map(lambda e: f"(if {e[0]} then {e[1]} else {e[2]})"),
        st.tuples(inner, st.sampled_from(NAMES)).map(lambda e: f"(({e[0]}) has {e[1]})"),
        st.tuples(inner, st.sampled_from(NAMES)).map(lambda e: f"(({e[0]}).{e[1]})"),
        st.tuples(inner, st.sampled_from(PATTERNS)).map(lambda e: f'({e[0]} like "{e[1]}")'),
        st.tuples(inner, st.sampled_from(["User", "Role", "Rollout", "Action"])).map(
            lambda e: f"(({e[0]}) is {e[1]})"
        ),
        st.tuples(inner, st.sampled_from(["User", "Rollout", "Action"]), inner).map(
            lambda e: f"(({e[0]}) is {e[1]} in ({e[2]}))"
        ),
        st.lists(inner, max_size=3).map(lambda e: f"[{', '.join(e)}]"),
        st.tuples(st.one_of(inner, st.just("context.address")), st.sampled_from(NETWORKS)).map(
            lambda e: f'({e[0]}).isInRange(ip("{e[1]}"))'
        ),
        inner.map(lambda e: "(context has number && " + e + ")"),
        inner.map(lambda e: f"{{a: {e}}}.a"),
    )


expressions = st.recursive(st.sampled_from(ATOMS), deeper, max_leaves=6)
conditions = st.lists(
    st.tuples(st.sampled_from(["when", "unless"]), expressions).map(lambda e: f"{e[0]} {{ {e[1]} }}"),
    max_size=2,
).map(" ".join)
policies = st.lists(
    st.tuples(st.sampled_from(["permit", "permit", "forbid"]), conditions), min_size=1, max_size=8
)
values = st.one_of(
    st.booleans(),
    st.integers(-2, 3),
    st.sampled_from([2**63 - 1, -(2**63)]),
    st.sampled_from(["", "a", "ann", "high", "é*", "site"]),
    st.lists(st.one_of(st.booleans(), st.integers(0, 1), st.sampled_from(["a", "ann"])), max_size=3),
)
contexts = st.fixed_dictionaries(
    {},
    optional={
        "number": st.integers(-2, 3),
        "flag": st.booleans(),
        "word": st.sampled_from(["a", "ann", "site"]),
        "words": st.lists(st.sampled_from(["a", "ann", "b"]), max_size=3).map(tuple),
        "mixed": values,
        "stream": st.booleans(),
        "address": st.sampled_from(
            ["10.0.0.1", "11.0.0.1:80", "::1", "[2001:db8::1]:5", "::ffff:10.0.0.1", "", "x"]
        ),
    },
)
principals = st.builds(
    Principal,
    kind=st.sampled_from(["user", "key", "anonymous"]),
    id=st.sampled_from(["ann", "bob"]),
    roles=st.sampled_from([(), ("operator",), ("viewer", "operator")]),
    team=st.sampled_from(["", "risk"]),
    label=st.sampled_from(["public", "internal", "restricted"]),
    cohorts=st.sampled_from([(), ("a",)]),
)
resources = st.builds(
    Resource,
    kind=st.sampled_from(["Rollout", "Endpoint", "User", "Factory"]),
    name=st.sampled_from(["credit-3", "ann", ""]),
    attributes=st.fixed_dictionaries(
        {},
        optional={"riskTier": st.sampled_from(["high", 3]), "label": st.integers(0, 3), "site": st.just("a")},
    ),
)
requests = st.lists(
    st.tuples(
        principals, st.sampled_from(["release.promote", "infer.chat", "ledger.read"]), resources, contexts
    ),
    min_size=1,
    max_size=4,
)


def read(written: list[tuple[str, str]]) -> Engine:
    return Engine(
        "\n".join(
            f'@id("p{number}") {effect} (principal, action, resource) {condition};'
            for number, (effect, condition) in enumerate(written)
        )
    )


@settings(max_examples=500, deadline=None)
@given(policies, requests)
def test_conditions_say_what_cedar_says(written: list[tuple[str, str]], asked: list[Asked]) -> None:
    engine = read(written)
    for request in asked:
        assert engine.decide(*request) == cedar(engine, request)


@pytest.mark.parametrize(
    ("condition", "compiled"),
    [
        ("", True),
        ("when { context.labelRank <= principal.label }", True),
        ('when { resource.hasTag("area") && resource.getTag("area") == "credit" }', True),
        ("unless { context.stream || context.estimatedTokens > 50000 }", True),
        ('when { resource is Policy || resource in Endpoint::"e" } unless { principal in Role::"r" }', True),
        ('when { ["a", context.word].contains(principal.team) }', True),
        ("when { if context has number then context.number * 2 < 7 else !principal.roles.isEmpty() }", True),
        ('when { principal.id like "*@example.com" && principal.owner != "" }', True),
        ('when { context has address && context.address.isInRange(ip("10.0.0.0/8")) }', True),
        ('when { context.address.isInRange(ip("10.0.0.1/8")) }', False),
        ("when { context.address.isLoopback() }", False),
        ('when { decimal("1.0") < decimal("2.0") }', False),
        ("when { {a: 1}.a == 1 }", False),
        ("when { context == context }", False),
        ("when { " + "if true then " * 60 + "true" + " else false" * 60 + " }", False),
        ("when { " + " && ".join(["context.flag"] * 60) + " }", True),
    ],
)  # fmt: skip
def test_what_is_compiled_and_what_stays_with_cedar(condition: str, compiled: bool) -> None:
    engine = read([("permit", condition)])
    assert engine.compiled == compiled
    for flag in (True, False, 3, None):
        context = {"flag": flag, "stream": flag, "word": "risk", "number": 3, "address": "10.0.0.1:80"}
        asked = (ANN, "release.promote", ROLLOUT, context)
        assert engine.decide(*asked) == cedar(engine, asked)
    assert (engine.asked == 0) == compiled


def test_built_in_policies_and_examples_of_roles_need_no_cedar() -> None:
    engine = Engine(text_of(()))
    assert engine.compiled == len(engine.heads)


@pytest.mark.parametrize(
    "context",
    [
        {"number": 2**63},
        {"number": -(2**63) - 1},
        {"number": 1.5},
        {"number": "\ud800"},
        {"number": {"a": 1}},
        {"number": [None]},
        {"number": {"__entity": {"type": "Role", "id": "operator"}}},
        {"number": ["\ud800"]},
    ],
)
def test_what_is_no_value_of_ours_is_left_to_cedar(context: dict[str, Any]) -> None:
    """Told as it is where Cedar takes it; denied, and nobody's policy at fault, where it cannot be told."""
    engine = read([("permit", ""), ("forbid", "when { context.number == 1 }")])
    asked = (ANN, "release.promote", ROLLOUT, context)
    try:
        expected = cedar(engine, asked)
    except ValueError:
        expected = Decision(allowed=False, errors=("request",))
    assert engine.decide(*asked) == expected


def test_names_that_are_no_text_are_denied() -> None:
    engine = read([("permit", 'when { principal.id != "bob" }')])
    for principal, resource in (
        (Principal(kind="user", id="\udcff"), ROLLOUT),
        (Principal(kind="user", id="ann", team="\udcff"), ROLLOUT),
        (ANN, Resource(kind="Rollout", name="\udcff")),
        (ANN, Resource(kind="Roll out", name="a")),
    ):
        decision = engine.decide(principal, "release.promote", resource, {})
        assert decision == Decision(allowed=False, errors=("request",))


def test_many_policies_for_cedar_are_asked_once_each_decision() -> None:
    """Beyond what is handed over as it is, only those whose heads match are put together."""
    odd = "when { {a: context.number}.a == 1 }"
    text = "\n".join(
        f'@id("p{number}") permit (principal in Role::"r{number % 7}", action, resource) {odd};'
        for number in range(TOGETHER_MAX + 10)
    )
    engine = Engine(text + '@id("f") forbid (principal, action, resource) when { context.number == 2 };')
    for turn, number in enumerate((1, 2, 3, 1)):
        who = Principal(kind="user", id="ann", roles=("r1", "r3", "other"))
        asked = (who, "release.promote", ROLLOUT, {"number": number})
        assert engine.decide(*asked) == cedar(engine, asked)
        assert engine.asked == turn + 1


def test_a_set_read_in_steps_is_the_set_read_at_once() -> None:
    text = "\n".join(
        f'@id("p{number}") permit (principal, action, resource == Rollout::"r{number};//");'
        for number in range(3 * STEP_POLICIES + 1)
    )
    steps = Engine.in_steps(text)
    taken = 0
    while True:
        try:
            next(steps)
        except StopIteration as done:
            engine = done.value
            break
        taken += 1
    assert taken >= 4
    assert engine.heads == Engine(text).heads


def test_deeper_than_cedar_reads() -> None:
    """A chain is no depth here; whatever stays with Cedar is refused when it is read, not when it is asked."""
    chain = " && ".join(["context.flag"] * 300)
    engine = read([("permit", f"when {{ {chain} }}")])
    assert engine.decide(ANN, "release.promote", ROLLOUT, {"flag": True}).allowed
    assert not engine.decide(ANN, "release.promote", ROLLOUT, {"flag": 2**70}).allowed
    with pytest.raises(Refused):
        read([("permit", f"when {{ {chain} && {{a: true}}.a }}")])
