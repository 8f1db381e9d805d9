"""The gateway's stage: what is asked, what is remembered, what is kept away."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from andon.kernel.clock import SystemClock
from andon.kernel.errors import Refused
from andon.kernel.exchange import Exchange, Operation
from andon.kernel.principals import Principal
from andon.kernel.snapshot import EndpointEntry, PolicyEntry, ReleaseEntry, Snapshot
from andon.security.policy.model import PolicySpec, text_of
from andon.security.policy.stage import AuthoriseStage, ReconsiderStage

CREDIT = EndpointEntry(
    name="credit",
    protocol="oip",
    releases=(
        ReleaseEntry(id="credit@1", arm="stable", weight=5000),
        ReleaseEntry(id="credit@2", arm="canary", weight=5000),
    ),
    fallbacks=("spare",),
    label_max="confidential",
)
SPARE = EndpointEntry(
    name="spare", protocol="oip", releases=(ReleaseEntry(id="credit@1", arm="stable", weight=10000),)
)
KEY = Principal(kind="key", id="k1")


def snapshot(cedar: str | None, *replaces: str, version: int = 1) -> Snapshot:
    text = "" if cedar is None else text_of([PolicySpec(cedar=cedar, replaces=replaces)])
    policy = None if cedar is None else PolicyEntry(digest=f"{hash(text)}", text=text)
    return Snapshot(
        version=version, factory="f", revision=1, compiled_at_ns=0, endpoints=(CREDIT, SPARE), policy=policy
    )


def stage_with(cedar: str | None, *replaces: str) -> AuthoriseStage:
    stage = AuthoriseStage(SystemClock())
    stage.adopt(snapshot(cedar, *replaces))()
    return stage


def exchange(principal: Principal | None = KEY, endpoint: EndpointEntry | None = CREDIT) -> Exchange:
    x = Exchange()
    x.principal, x.endpoint, x.operation, x.peer = principal, endpoint, Operation.INFER, "10.0.0.1:99"
    return x


def test_without_policies_nothing_is_asked() -> None:
    stage, x = stage_with(None), exchange()
    assert stage.admit(x) is None
    assert (stage.asked, x.policies, x.barred) == (0, (), None)


def test_an_answer_is_asked_for_once_and_not_beyond_a_snapshot() -> None:
    stage = stage_with('@id("none") forbid (principal == Key::"other", action, resource);')
    for _ in range(5):
        x = exchange()
        assert stage.admit(x) is None
        assert x.policies == ("role-model-user",)
    assert stage.asked == 1
    stage.adopt(
        snapshot('@id("gone") forbid (principal == Key::"k1", action in Action::"infer", resource);')
    )()
    x = exchange()
    refused = stage.admit(x)
    assert refused is not None
    assert (refused.code, refused.status, x.policies) == ("policy_denied", 403, ("gone",))
    assert "gone" not in refused.message + refused.hint


def test_principals_of_one_name_and_other_rights_are_not_confused() -> None:
    stage = stage_with('@id("r") permit (principal in Role::"r", action in Action::"infer", resource);',
                       "role-model-user")  # fmt: skip
    may, may_not = replace(KEY, roles=("r",)), replace(KEY, roles=("q",))
    for principal, allowed in ((may, True), (may_not, False), (may, True), (replace(may), True)):
        assert (stage.admit(exchange(principal)) is None) is allowed


def test_what_policies_look_at_is_part_of_what_is_remembered() -> None:
    stage = stage_with(
        '@id("big") forbid (principal, action in Action::"infer", resource)'
        " when { context.estimatedTokens > 100 };"
        '@id("net") forbid (principal, action in Action::"infer", resource)'
        ' when { context has address && !context.address.isInRange(ip("10.0.0.0/8")) };'
    )
    for tokens, peer, allowed in (
        (10, "10.0.0.1:1", True),
        (1000, "10.0.0.1:1", False),
        (10, "11.0.0.1:1", False),
        (10, "::1:500", False),
        (10, "", True),
        (10, "10.0.0.1:2", True),
    ):
        x = exchange()
        x.max_output_tokens, x.peer = tokens, peer
        assert (stage.admit(x) is None) is allowed, (tokens, peer)


def test_releases_and_fallbacks_that_may_not_answer_are_named() -> None:
    stage = stage_with(
        '@id("opt-in") forbid (principal, action == Action::"serve", resource)'
        ' when { resource.arm == "canary" } unless { principal.cohorts.contains("early") };'
        '@id("no-spare") forbid (principal, action in Action::"infer", resource == Endpoint::"spare");'
    )
    x = exchange()
    assert stage.admit(x) is None
    assert x.barred == {"credit/credit@2", "spare/credit@1"}
    assert x.policies == ("role-model-user", "opt-in")
    x = exchange(replace(KEY, cohorts=("early",)))
    assert stage.admit(x) is None
    assert x.barred == {"spare/credit@1"}


def test_a_class_that_was_found_later_is_asked_about_again() -> None:
    stage = stage_with(
        '@id("class") forbid (principal, action in Action::"infer", resource)'
        " when { context.labelRank > resource.labelMax };"
    )
    again = ReconsiderStage(stage)
    x = exchange()
    assert stage.admit(x) is None
    assert again.admit(x) is None
    x.label = "restricted"
    refused = again.admit(x)
    assert refused is not None
    assert x.policies == ("class",)


def test_a_policy_that_cannot_be_evaluated_is_counted_and_lets_nobody_in() -> None:
    stage = stage_with(
        '@id("odd") permit (principal, action in Action::"infer", resource)'
        " when { context.estimatedTokens + 9223372036854775807 > 0 };",
        "role-model-user",
    )
    assert stage.admit(exchange()) is not None
    assert (stage.errors, stage.denied) == (1, 1)


def test_a_broken_set_is_refused_and_the_last_one_stays() -> None:
    stage = stage_with('@id("all") forbid (principal, action, resource);')
    with pytest.raises(Refused):
        stage.adopt(replace(snapshot(None), policy=PolicyEntry(digest="x", text="permit (")))
    assert stage.admit(exchange()) is not None
