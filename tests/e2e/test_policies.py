"""Policies on a running factory: both planes decide by what was applied, and rows say by which policy."""

from __future__ import annotations

import contextlib
import json
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from andon.ledger.disk import FileDisk
from andon.ledger.reader import tail
from andon.ledger.row import Outcome
from tests.e2e import models
from tests.e2e.factories import ROOT, Factory, model, resource, running_factory, wait_for
from tests.e2e.traffic import Answer, Caller, rows

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


def outcomes(line: Factory) -> list[Outcome]:
    entries = tail(FileDisk(line.root / ".andon" / "ledger"), 1000)
    return [entry.row for entry in entries if isinstance(entry.row, Outcome)]


def settled(line: Factory) -> list[Outcome]:
    """Rows of those kept away, once both kinds are there."""
    rows_ = [row for row in outcomes(line) if "canary-needs-opt-in" in (row.policies or "")]
    return rows_ if {row.status for row in rows_} == {200, 403} else []


def ask_once(line: Factory, key: str, path: str = PATH) -> Answer:
    with contextlib.closing(Caller(line.port, key)) as caller:
        return caller.post(path, rows())


def post(line: Factory, path: str, body: dict[str, Any], token: str = "") -> tuple[int, Any]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{line.control_port}{path}",
        data=json.dumps(body).encode(),
        headers={"content-type": "application/json"}
        | ({"authorization": f"Bearer {token}"} if token else {}),
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


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
        found: Counter[str] = Counter()
        with contextlib.closing(Caller(line.port, key)) as caller:
            for _ in range(10):
                answer = caller.post(PATH, rows())
                assert answer.status == 200, answer.body
                found[answer.headers["x-andon-arm"]] += 1
        return found

    wait_for("policies at the gateway", lambda: ask(plain) == {"stable": 10})
    wait_for("the canary's weight", lambda: ask(early)["canary"] > 0)
    arms["plain"] = ask(plain)
    assert arms["plain"] == {"stable": 10}
    version = ask_once(line, plain, "/v2/models/credit/versions/2/infer")
    assert version.status == 403
    assert b"canary" not in version.body
    kept_away = wait_for("the refusal's row", lambda: settled(line))
    # What a policy decided is no evidence for a gate.
    assert all(row.pinned and row.arm == "stable" for row in kept_away if row.status == 200)


def test_a_denial_says_nothing_of_the_policy_and_the_row_says_all(line: Factory) -> None:
    _, key = line.key("--team", "")
    policy = resource(
        "Policy",
        "closed",
        cedar='@id("nobody-asks") forbid (principal, action in Action::"infer", resource);',
    )
    line.apply(documents("1", policy))
    wait_for("the policy", lambda: ask_once(line, key).status == 403)
    answer = ask_once(line, key)
    assert b"nobody-asks" not in answer.body
    found = wait_for("its row", lambda: [row for row in outcomes(line) if row.policies == "nobody-asks"])
    assert found[-1].error_code == "policy_denied"
    assert found[-1].refused_by == "policy"
    line.apply(documents("1"))
    wait_for("the way back", lambda: ask_once(line, key).status == 200)


def test_a_broken_policy_is_refused_at_plan_and_a_lock_out_too(line: Factory) -> None:
    for cedar, words in (
        ('@id("a") permit (principal, action, resource) when { context. };', "line 1"),
        ("permit (principal, action, resource);", "@id"),
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


def test_an_access_is_explained_with_what_would_permit_it(line: Factory) -> None:
    id_, key = line.key()
    told = line.andon("explain", "access", f"key:{id_}", "infer.infer", "Endpoint/credit").stdout
    assert "allowed" in told
    assert "role-model-user" in told
    told = line.andon("explain", "access", "user:eve", "release.promote", "Rollout/credit-2").stdout
    assert "denied" in told
    assert 'It asks for the principal to be in Role::"operator"' in told
    line.andon("explain", "access", "user:eve", "release.explode", code=1)
    answer = line.read("policies", "explain", "user:eve", "release.promote", "--role", "operator")
    assert answer["allowed"]
    assert answer["policies"][0]["id"] == "role-operator"
    # The key was made only for this test: asked once, so that a replay has a row of it.
    assert ask_once(line, key).status == 200
    draft = line.root / "draft.cedar"
    draft.write_text(
        f'@id("not-this-key") forbid (principal == Key::"{id_}", action in Action::"infer", resource);'
    )
    wait_for("its row", lambda: [row for row in outcomes(line) if row.key == id_])
    report = line.read("policies", "replay", str(draft))
    assert report["newly_denied"] == 1
    denied = [one for one in report["changes"] if one["change"] == "denied"]
    assert [one["policies"] for one in denied] == [["not-this-key"]]
    assert "entity Rollout" in line.andon("policies", "schema").stdout


def test_high_risk_needs_a_second_person_for_exactly_this_plan(line: Factory) -> None:
    def risky(version: str) -> list[dict[str, Any]]:
        found = documents(version, *example("four-eyes.yaml"))
        found[3]["metadata"]["labels"] = {"risk-tier": "high"}
        return found

    line.apply(documents("1", *example("four-eyes.yaml")))
    line.write(risky("1"))
    done = line.andon("apply", "--yes", code=1)
    assert "factory.apply on Endpoint/credit" in done.stderr
    saved = line.root / "saved.plan"
    line.andon("plan", "-o", str(saved), code=2)
    plan = json.loads(saved.read_text())["plan"]
    # Its author's own yes does not count.
    line.andon("approve", plan["id"])
    line.andon("apply", "--yes", str(saved), code=1)
    # Nor does that of a key, which anybody who makes keys could make.
    _, machine = line.key("--role", "operator", "--owner", "bea")
    path = f"/v1/plans/{plan['id']}/approvals"
    assert post(line, path, {}, machine)[0] == 403
    line.andon("apply", "--yes", str(saved), code=1)
    invited = line.read("users", "invite", "bea", "--role", "operator")
    _, told = post(
        line, "/v1/session/acceptance", {"code": invited["code"], "password": "seven quiet herons"}
    )
    status, given = post(line, path, {"reason": "looked at it"}, told["token"])
    assert (status, given["subject"]) == (200, f"Plan/{plan['id']}")
    line.andon("apply", "--yes", str(saved))
    # It was for that plan and no other.
    line.write(risky("1")[:3] + risky("2")[3:])
    line.andon("apply", "--yes", code=1)
