"""A quality monitor in a real factory: answers recorded by the gateway, labels sent, figures and the page come back."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.e2e.factories import model, resource, running_factory, wait_for

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
ASKED = 60


@pytest.mark.slow
def test_labels_that_are_sent_become_figures(tmp_path: Path) -> None:
    root = tmp_path / "plant"
    root.mkdir()
    (root / "model.py").write_text(MODEL)
    documents = [
        resource("Team", "crew"),
        *model("credit", {"1": "model.py"}),
        resource(
            "Endpoint",
            "credit",
            release={"model": "credit", "version": "1"},
            recording={"prediction": {"output": "p", "classes": ["good", "bad"]}},
        ),
        resource(
            "Monitor", "credit", endpoint="credit", positive="bad", chunk="1m", minRows=20, slices=["team"]
        ),
    ]
    with running_factory(root, documents) as factory:
        _, key = factory.key("--team", "crew")
        factory.wait_until_served("credit")
        labels = []
        # Both of a minute's ends would be in the middle of the answers: wait until one has just begun.
        time.sleep(max(0.0, 61 - time.time() % 60) if time.time() % 60 > 45 else 0.0)
        for number in range(ASKED):
            bad = number % 3 == 0
            x = [1.0, 3.0] if bad else [3.0, 1.0]
            body = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": x}]}
            request = urllib.request.Request(
                f"{factory.url}/v2/models/credit/infer",
                json.dumps(body).encode(),
                {"authorization": f"Bearer {key}", "content-type": "application/json"},
            )
            with urllib.request.urlopen(request) as answer:
                labels.append({"request": answer.headers["x-request-id"], "value": float(number % 2 == 0)})
        sent = urllib.request.Request(
            f"http://127.0.0.1:{factory.control_port}/v1/labels",
            json.dumps({"items": labels}).encode(),
            {"authorization": f"Bearer {key}", "content-type": "application/json"},
        )

        def accepted() -> bool:
            try:
                with urllib.request.urlopen(sent) as answer:
                    return bool(answer.status == 200)
            except urllib.error.HTTPError as error:
                with error:
                    return False  # the observer is still starting

        wait_for("the observer to take labels", accepted, 30)

        def labelled() -> bool:
            told = factory.andon("quality", "-o", "json", code=None)
            if told.returncode:
                return False
            (item,) = json.loads(told.stdout)["items"]
            return sum(release["labelled"] for release in item["releases"].values()) == ASKED

        wait_for("the labels to be told", labelled, 120)
        shown = json.loads(factory.andon("quality", "credit", "-o", "json").stdout)
        chunks = shown["report"]["releases"][0]["chunks"]
        right = sum(
            chunk["confusion"]["true_positive"] + chunk["confusion"]["true_negative"] for chunk in chunks
        )
        assert right == sum((number % 3 == 0) == (number % 2 == 0) for number in range(ASKED))
        assert "accuracy" in factory.andon("quality", "credit").stdout
        factory.andon("quality", "report", "credit", "--html", str(root / "out.html"))
        page = (root / "out.html").read_text()
        assert "credit@1" in page
        assert "http" not in page.replace("http://www.w3.org/", "")
        assert "no quality monitor 'other'" in factory.andon("quality", "show", "other", code=1).stderr
