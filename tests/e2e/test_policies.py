"""Policies on a running factory: both planes decide by what was applied, and rows say by which policy."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e import models
from tests.e2e.factories import ROOT, Factory, model, resource, running_factory, wait_for
from tests.e2e.traffic import Caller, rows

CANARY = {
    "type": "canary",
    "canary": {"steps": [{"weight": 90, "pause": {"requests": 1_000_000}}]},
    "gates": [{"name": "errors", "metric": "errorRate", "minimum": 30}],
}
PATH = "/v2/models/credit/infer"


def example(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((ROOT / "examples/policies" / name).read_text()))


def documents(version: str, *more: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        *model("credit", {"1": "models/1.onnx", "2": "models/2.onnx"}),
        resource("Endpoint", "credit", release={"model": "credit", "version": version}, strategy=CANARY),
        *more,
    ]


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    root: Path = tmp_path_factory.mktemp("policies")
    models.save_linear(root / "models/1.onnx")
    models.save_linear(root / "models/2.onnx")
    with running_factory(root, documents("1")) as factory:
        factory.wait_until_served("credit")
        yield factory


def test_a_canary_is_for_those_who_opted_in(line: Factory) -> None:
    _, early = line.key("--cohort", "early")
    _, plain = line.key()
    line.apply(documents("2", *example("canary-opt-in.yaml")))
    wait_for("the canary", lambda: len(line.snapshot()["endpoints"]["credit"]) == 2)
    arms: dict[str, Counter[str]] = {}

    def ask(key: str) -> Counter[str]:
        caller = Caller(line.port, key)
        found: Counter[str] = Counter()
        for _ in range(10):
            answer = caller.post(PATH, rows())
            assert answer.status == 200, answer.body
            found[answer.headers["x-andon-arm"]] += 1
        return found

    wait_for("policies at the gateway", lambda: ask(plain) == {"stable": 10})
    wait_for("the canary's weight", lambda: ask(early)["canary"] > 0)
    arms["plain"] = ask(plain)
    assert arms["plain"] == {"stable": 10}
    version = Caller(line.port, plain).post("/v2/models/credit/versions/2/infer", rows())
    assert version.status == 403
    assert b"canary" not in version.body
    seen = line.read("query", "SELECT policies, pinned, arm FROM requests WHERE arm = 'stable' LIMIT 500")
    assert "canary-needs-opt-in" in json.dumps(seen)


def test_a_denial_says_nothing_of_the_policy_and_the_row_says_all(line: Factory) -> None:
    _, key = line.key("--team", "")
    policy = resource(
        "Policy", "closed", cedar='@id("nobody-asks") forbid (principal, action in Action::"infer", resource);'
    )
    line.apply(documents("1", policy))
    caller = Caller(line.port, key)
    wait_for("the policy", lambda: caller.post(PATH, rows()).status == 403)
    answer = caller.post(PATH, rows())
    assert b"nobody-asks" not in answer.body
    found = line.read("query", "SELECT error_code, policies FROM requests WHERE status = 403 LIMIT 10")
    assert "policy_denied" in json.dumps(found)
    assert "nobody-asks" in json.dumps(found)
    line.apply(documents("1"))
    wait_for("the way back", lambda: caller.post(PATH, rows()).status == 200)


def test_a_broken_policy_is_refused_at_plan_and_a_lock_out_too(line: Factory) -> None:
    for cedar, words in (
        ('@id("a") permit (principal, action, resource) when { context. };', "line 1"),
        ('permit (principal, action, resource);', "@id"),
        ('@id("a") permit (principal, action in Action::"infer", resource) when { resource.colour == 1 };', "colour"),
        ('@id("role-viewer") permit (principal, action == Action::"serve", resource);', "taken"),
        ('@id("a") forbid (principal, action in Action::"admin", resource);', "lock everybody out"),
        ('@id("a") permit (principal, action == Action::"infer", resource);', "in Action"),
        ('@id("a") permit (principal == ?principal, action, resource);', "Templates"),
    ):  # fmt: skip
        line.write(documents("1", resource("Policy", "wrong", cedar=cedar)))
        done = line.andon("plan", code=1)
        assert words in done.stderr, (cedar, done.stderr)


def test_whoever_has_no_grant_on_a_resource_cannot_change_it(line: Factory) -> None:
    cedar = '@id("teams-stay") forbid (principal, action == Action::"factory.apply", resource is Team);'
    line.apply(documents("1", resource("Policy", "teams", cedar=cedar)))
    line.write(documents("1", resource("Policy", "teams", cedar=cedar), resource("Team", "new")))
    done = line.andon("apply", "--yes", code=1)
    assert "factory.apply on Team/new" in done.stderr
    line.apply(documents("1"))
