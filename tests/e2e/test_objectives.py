"""An objective in a real factory: counted as traffic flows, told, journaled once, and the same after a restart."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from andon.app.cli.client import Client
from andon.kernel.errors import AndonError
from tests.e2e.conftest import chat_endpoint
from tests.e2e.factories import Factory, resource, running_factory, wait_for

GOOD, BAD = 12, 20
BODY = b'{"model":"%s","max_tokens":2,"messages":[{"role":"user","content":"which spindle"}]}'


def documents(provider: str) -> list[dict[str, Any]]:
    behaviours = {"good": "dummy", "ill": "dummy?status=500"}
    return [
        resource("Provider", "dummy", url=f"{provider}/v1", models=behaviours),
        *(chat_endpoint(name) for name in behaviours),
        resource(
            "Objective",
            "answers",
            indicator={"availability": {}},
            by=["endpoint"],
            objective=0.999,
            description="A thousand requests, and one may fail.",
        ),
        resource("Objective", "right", indicator={"quality": {"below": 0.5}}, objective=0.5),
    ]


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory, provider: str) -> Iterator[Factory]:
    with running_factory(tmp_path_factory.mktemp("plant"), documents(provider)) as started:
        started.wait_until_served("good", "ill")
        yield started


def ask(factory: Factory, key: str, name: str) -> str:
    sent = urllib.request.Request(
        factory.url + "/v1/chat/completions",
        BODY % name.encode(),
        {"authorization": f"Bearer {key}", "content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(sent, timeout=30) as answer:
            return str(answer.headers["x-request-id"])
    except urllib.error.HTTPError as error:
        with error:
            return str(error.headers["x-request-id"])


def budgets(factory: Factory, name: str = "answers") -> dict[str, dict[str, Any]]:
    key = (factory.root / ".andon" / "admin.key").read_text().strip()
    try:
        answer = Client(f"http://127.0.0.1:{factory.control_port}", key).get(f"/v1/objectives/{name}")
    except AndonError:
        return {}
    return {",".join(one["slice"].values()): one for one in answer["objective"]["slices"]}


def counts(factory: Factory, name: str = "answers") -> dict[str, tuple[int, int]]:
    return {key: (one["events"], one["bad"]) for key, one in budgets(factory, name).items()}


WANTED = {"good": (GOOD, 0), "ill": (BAD, BAD)}


def burning(factory: Factory) -> list[dict[str, Any]]:
    return [e for e in factory.events("Objective/answers") if e["name"] == "objective.burning"]


@pytest.fixture(scope="module")
def asked(plant: Factory) -> list[str]:
    """Ids of the good requests; the others have failed."""
    key = plant.key("--owner", "app")[1]
    ids = [ask(plant, key, "good") for _ in range(GOOD)]
    for _ in range(BAD):
        ask(plant, key, "ill")
    return ids


def test_an_outage_is_counted_and_told(plant: Factory, asked: list[str]) -> None:
    wait_for("both budgets", lambda: counts(plant) == WANTED, 60)
    found = budgets(plant)
    assert found["good"]["state"] == "ok"
    assert found["ill"]["state"] == "exhausted"
    assert found["ill"]["firing"] == "page"
    shown = plant.andon("objectives", "show", "answers").stdout
    assert "endpoint=ill" in shown
    assert "Who takes the budget" in shown
    wait_for("the journal", lambda: burning(plant), 60)
    wait_for("the status", lambda: plant.get("objective", "answers")["status"].get("frozen"), 30)


def test_counts_labels_and_the_journal_survive_a_restart(plant: Factory, asked: list[str]) -> None:
    plant.andon("label", asked[0], "0")
    plant.andon("label", asked[1], "1")
    wait_for("the labels", lambda: counts(plant, "right") == {"": (2, 1)}, 60)
    plant.kill("andon.app.observer.process")
    wait_for("the same budgets after a restart", lambda: counts(plant) == WANTED, 60)
    wait_for("the labels after it", lambda: counts(plant, "right") == {"": (2, 1)}, 60)
    plant.andon("label", asked[0], "1")  # of a request that the observer has not seen since it began
    wait_for("the corrected label", lambda: counts(plant, "right") == {"": (2, 0)}, 60)
    assert len(burning(plant)) == 1


def test_rules_for_prometheus_come_from_what_is_applied(plant: Factory) -> None:
    text = plant.andon("objectives", "rules").stdout
    assert "slo:period_error_budget_remaining:ratio" in text
    assert 'andon_objective_bad_total{objective="answers"}' in text


def test_an_objective_of_an_unknown_endpoint_is_refused(plant: Factory) -> None:
    wrong = resource(
        "Objective", "lost", indicator={"availability": {}}, objective=0.9, over={"endpoint": "nowhere"}
    )
    path: Path = plant.root / "wrong.yaml"
    path.write_text(yaml.safe_dump(wrong))
    done = plant.andon("plan", "-f", "wrong.yaml", code=None)
    assert done.returncode == 1
    assert "There is no endpoint 'nowhere'" in done.stderr
