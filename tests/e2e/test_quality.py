"""A quality monitor in a real factory: answers recorded by the gateway, labels sent, figures and the page come back."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.factories import Factory, model, resource, running_factory, wait_for

MODEL = """
class Model:
    signature = {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
        "outputs": [{"name": "p", "datatype": "FP32", "shape": [-1, 2]}],
    }

    def predict(self, inputs):
        x = inputs["x"]
        return {"p": x / x.sum(axis=1, keepdims=True)}
"""
WRONG = MODEL.replace("x = inputs", "x = 4 - inputs")  # says good of what is bad, and bad of what is good
ASKED = 60


DOCUMENTS = [
    resource("Team", "crew"),
    *model("credit", {"1": "model.py"}),
    resource(
        "Endpoint",
        "credit",
        release={"model": "credit", "version": "1"},
        recording={"prediction": {"output": "p", "classes": ["good", "bad"]}},
    ),
    resource("Monitor", "credit", endpoint="credit", positive="bad", chunk="1m", minRows=20, slices=["team"]),
]


def post(url: str, key: str, body: Any) -> tuple[int, str]:
    """Status and request id."""
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, json.dumps(body).encode(), headers)
        ) as answer:
            return answer.status, answer.headers["x-request-id"]
    except urllib.error.HTTPError as error:
        with error:
            return error.code, ""


def ask(factory: Factory, key: str) -> list[dict[str, Any]]:
    """Answers of which a third say bad, and the labels that half of them are."""
    labels = []
    for number in range(ASKED):
        x = [1.0, 3.0] if number % 3 == 0 else [3.0, 1.0]
        body = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": x}]}
        status, id_ = post(f"{factory.url}/v2/models/credit/infer", key, body)
        assert status == 200
        labels.append({"request": id_, "value": float(number % 2 == 0)})
    return labels


@pytest.mark.slow
def test_labels_that_are_sent_become_figures(tmp_path: Path) -> None:
    root = tmp_path / "plant"
    root.mkdir()
    (root / "model.py").write_text(MODEL)
    with running_factory(root, DOCUMENTS) as factory:
        _, key = factory.key("--team", "crew")
        factory.wait_until_served("credit")
        labels = {"items": ask(factory, key)}
        url = f"http://127.0.0.1:{factory.control_port}/v1/labels"
        # Until the observer has started there is nobody to take them.
        wait_for("the observer to take labels", lambda: post(url, key, labels)[0] == 200, 30)

        def labelled() -> bool:
            told = factory.andon("quality", "-o", "json", code=None)
            if told.returncode:
                return False
            (item,) = json.loads(told.stdout)["items"]
            return sum(release["labelled"] for release in item["releases"].values()) == ASKED

        wait_for("the labels to be told", labelled, 120)
        shown = json.loads(factory.andon("quality", "credit", "-o", "json").stdout)
        counted = [chunk["confusion"] for chunk in shown["report"]["releases"][0]["chunks"]]
        right = sum(one["true_positive"] + one["true_negative"] for one in counted)
        assert right == sum((number % 3 == 0) == (number % 2 == 0) for number in range(ASKED))
        assert "accuracy" in factory.andon("quality", "credit").stdout
        factory.andon("quality", "report", "credit", "--html", str(root / "out.html"))
        page = (root / "out.html").read_text()
        assert "credit@1" in page
        assert "http" not in page.replace("http://www.w3.org/", "")
        assert "no quality monitor 'other'" in factory.andon("quality", "show", "other", code=1).stderr


@pytest.mark.slow
def test_a_canary_that_labels_find_worse_is_stopped(tmp_path: Path) -> None:
    """Answered without an error and in time, by a model that is wrong: only labels can tell."""
    root = tmp_path / "plant"
    root.mkdir()
    (root / "model.py").write_text(MODEL)
    (root / "wrong.py").write_text(WRONG)
    steps = [{"weight": 50, "pause": {"requests": 100_000}}]
    gates = [{"name": "right", "metric": "quality", "minimum": 200}]

    def documents(version: str) -> list[dict[str, Any]]:
        return [
            resource("Team", "crew"),
            *model("credit", {"1": "model.py", "2": "wrong.py"}),
            resource(
                "Endpoint",
                "credit",
                release={"model": "credit", "version": version},
                recording={"prediction": {"output": "p", "classes": ["good", "bad"]}},
                strategy={"type": "canary", "canary": {"steps": steps}, "gates": gates},
            ),
            resource("Monitor", "credit", endpoint="credit", positive="bad"),
        ]

    with running_factory(root, documents("1")) as factory:
        _, key = factory.key("--team", "crew")
        factory.wait_until_served("credit")
        factory.apply(documents("2"))
        url = f"http://127.0.0.1:{factory.control_port}/v1/labels"

        def stopped() -> bool:
            """What is asked before the canary has traffic was not drawn, and is no evidence."""
            asked = ask(factory, key)
            truths = [
                {"request": told["request"], "value": float(number % 3 == 0)}
                for number, told in enumerate(asked)
            ]
            wait_for("the observer to take labels", lambda: post(url, key, {"items": truths})[0] == 200, 30)
            return factory.phase("credit-1") == "Aborted"

        wait_for("the stop", stopped, 90)
        told = factory.andon("explain", "rollout", "credit-1").stdout
        assert "gate 'right': the canary is worse" in told
        assert "quality" in told
        stops = [event for event in factory.events("Rollout/credit-1") if event["name"] == "rollout.aborted"]
        assert [event["actor"] for event in stops] == ["observer"]
