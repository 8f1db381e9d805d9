"""Releases through the real command line: promoted, stopping themselves, held by hand, undone."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e import models
from tests.e2e.factories import Factory, model, resource, running_factory, wait_for
from tests.e2e.traffic import Caller, Traffic

ERRORS = [{"name": "errors", "metric": "errorRate", "minimum": 30}]


def canary(*steps: tuple[float, int]) -> dict[str, Any]:
    """A canary judged by its errors: two cores under test say nothing of latency."""
    pauses = [{"weight": weight, "pause": {"requests": count}} for weight, count in steps]
    return {"type": "canary", "canary": {"steps": pauses}, "gates": ERRORS}


ENDPOINTS = {
    "promoted": canary((20, 30), (50, 30)),
    "stopped": canary((50, 100_000)),
    "held": canary((50, 100_000), (60, 100_000)),
    "unloadable": canary((50, 30)),
}


class Line:
    """A factory with one endpoint for each test, and which version each serves."""

    def __init__(self, factory: Factory) -> None:
        self.factory = factory
        self.versions = dict.fromkeys(ENDPOINTS, "1")
        self.key = ""

    def documents(self) -> list[dict[str, Any]]:
        sources = {
            "1": "models/1.onnx",
            "2": "models/2.onnx",
            "3": "models/dead.onnx",
            "4": "models/broken.onnx",
        }
        return [
            *model("credit", sources),
            *(
                resource("Endpoint", name, release={"model": "credit", "version": version},
                         strategy=ENDPOINTS[name])
                for name, version in self.versions.items()
            ),
        ]  # fmt: skip

    def release(self, endpoint: str, version: str) -> str:
        """Ask for a version; the name of the rollout that begins."""
        self.versions[endpoint] = version
        self.factory.apply(self.documents())
        return wait_for(
            "a rollout to begin",
            lambda: next(
                (
                    item["metadata"]["name"]
                    for item in self.factory.read("get", "rollouts")["items"]
                    if item["spec"]["endpoint"] == endpoint and item["spec"]["target"]["version"] == version
                ),
                "",
            ),
        )


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    root = tmp_path_factory.mktemp("releases")
    for version in ("1", "2"):
        models.save_linear(root / f"models/{version}.onnx", bias=float(version))
    models.save_dead(root / "models/dead.onnx")
    (root / "models/broken.onnx").write_bytes(b"this was never a model")
    documents = Line(Factory(root)).documents()
    with running_factory(root, documents) as factory:
        made = Line(factory)
        made.key = factory.key()[1]
        factory.wait_until_served(*ENDPOINTS)
        yield made


@pytest.fixture
def caller(line: Line) -> Iterator[Caller]:
    with contextlib.closing(Caller(line.factory.port, line.key)) as made:
        yield made


def test_a_better_release_is_promoted_under_traffic(line: Line, caller: Caller):
    factory = line.factory
    with Traffic(factory.port, line.key, "promoted") as traffic:
        rollout = line.release("promoted", "2")
        wait_for("the promotion", lambda: factory.phase(rollout) == "Succeeded")
        wait_for(
            "the new release alone", lambda: set(factory.snapshot()["endpoints"]["promoted"]) == {"credit@2"}
        )
    assert traffic.failures == []
    answer = caller.infer("promoted")
    assert answer.headers["x-andon-release"] == "credit@2"
    assert answer.json["outputs"][0]["data"] == [4.0]


def test_a_dead_release_stops_itself_and_everything_tells_the_story(line: Line, caller: Caller):
    factory = line.factory
    rollout = line.release("stopped", "3")
    wait_for("the canary", lambda: "credit@3" in factory.snapshot()["endpoints"]["stopped"])
    factory.wait_until_served("stopped")

    def ask() -> bool:
        caller.infer("stopped")
        return factory.phase(rollout) == "Aborted"

    for _ in range(60):
        caller.infer("stopped")
    wait_for("the abort", ask)
    told = factory.read("explain", "rollout", rollout)
    assert 1 <= told["canary_requests"] <= 10
    assert (told["stable"], told["canary"], told["phase"]) == ("credit@1", "credit@3", "Aborted")
    (reading,) = told["readings"]
    assert reading["verdict"] == "breach"
    assert reading["evidence"] >= reading["threshold"]
    text = factory.andon("explain", "rollout", rollout).stdout
    assert "breach" in text
    # Once in 128 runs the split sends the first seven requests to the canary, and the stable release none.
    assert re.search(r"errors\s+errorRate\s+100\.00% \(n=\d+\)\s+(?:0\.00%|-) \(n=\d+\)", text)
    assert "Aborted" in factory.andon("get", "rollouts").stdout
    names = [event["name"] for event in factory.events(f"Rollout/{rollout}")]
    assert names[0] == "rollout.started"
    assert names.count("rollout.aborted") == 1
    described = factory.andon("describe", "endpoint", "stopped").stdout
    assert "Degraded" in described
    assert "the canary is worse" in described
    answers = [caller.infer("stopped") for _ in range(40)]
    assert {(answer.status, answer.headers["x-andon-release"]) for answer in answers} == {(200, "credit@1")}


def test_people_pause_resume_abort_and_promote(line: Line):
    factory = line.factory
    first = line.release("held", "2")
    wait_for("the canary", lambda: factory.phase(first) == "Progressing")
    factory.andon("pause", first, "--reason", "lunch")
    wait_for("the pause", lambda: factory.phase(first) == "Paused")
    factory.andon("resume", first)
    wait_for("the resumption", lambda: factory.phase(first) == "Progressing")
    factory.andon("abort", first, "--reason", "second thoughts")
    wait_for("the abort", lambda: factory.phase(first) == "Aborted")
    assert "second thoughts" in factory.andon("explain", "rollout", first).stdout
    wait_for("only the stable one", lambda: set(factory.snapshot()["endpoints"]["held"]) == {"credit@1"})
    refused = factory.andon("promote", first, code=1)
    assert "Aborted" in refused.stderr or "aborted" in refused.stderr
    # An aborted release is not tried again by itself: going back and asking anew is what a person does.
    line.versions["held"] = "1"
    factory.apply(line.documents())
    line.versions["held"] = "2"
    factory.apply(line.documents())
    second = wait_for(
        "another rollout",
        lambda: next(
            (
                item["metadata"]["name"]
                for item in factory.read("get", "rollouts")["items"]
                if item["spec"]["endpoint"] == "held" and item["metadata"]["name"] != first
            ),
            "",
        ),
    )
    wait_for("the canary", lambda: factory.phase(second) == "Progressing")
    factory.andon("promote", second)
    wait_for("the promotion", lambda: factory.phase(second) == "Succeeded")
    wait_for("only the new one", lambda: set(factory.snapshot()["endpoints"]["held"]) == {"credit@2"})


def test_a_model_that_does_not_load_is_named_and_the_stable_one_goes_on(line: Line, caller: Caller):
    factory = line.factory
    rollout = line.release("unloadable", "4")
    wait_for("the abort", lambda: factory.phase(rollout) == "Aborted")
    for words in (("describe", "endpoint", "unloadable"), ("explain", "rollout", rollout), ("events",)):
        told = wait_for(
            "the reason", lambda words=words: _line_about("broken.onnx", factory.andon(*words).stdout)
        )
        assert "is not admitted" in told
    assert caller.infer("unloadable").headers["x-andon-release"] == "credit@1"


def _line_about(word: str, text: str) -> str:
    return next((line for line in text.splitlines() if word in line), "")


def test_a_saved_plan_does_exactly_that_or_refuses(line: Line):
    factory = line.factory
    assert "No changes" in factory.andon("plan").stdout
    factory.write([*line.documents(), resource("Team", "night")])
    factory.andon("plan", "-o", "night.plan", code=2)
    factory.write([*line.documents(), resource("Team", "day")])
    factory.andon("plan", "-o", "day.plan", code=2)
    factory.andon("apply", "day.plan")
    refused = factory.andon("apply", "night.plan", code=1)
    assert "Next:" in refused.stderr
    assert [item["metadata"]["name"] for item in factory.read("get", "teams")["items"]] == ["day"]
    factory.file.write_text("kind: [")
    factory.andon("plan", code=1)


def test_undo_returns_the_factory_to_its_first_revision(line: Line, caller: Caller):
    factory = line.factory
    assert factory.get("endpoint", "promoted")["spec"]["release"]["version"] == "2"
    with Traffic(factory.port, line.key, "promoted") as traffic:
        factory.andon("undo", "--to", "1", "--yes")
        wait_for(
            "the first release alone",
            lambda: set(factory.snapshot()["endpoints"]["promoted"]) == {"credit@1"},
        )
    assert traffic.failures == []
    assert caller.infer("promoted").json["outputs"][0]["data"] == [3.0]
    assert factory.read("get", "teams")["items"] == []
    for name in ENDPOINTS:
        assert factory.get("endpoint", name)["spec"]["release"]["version"] == "1"
    assert "undo" in factory.andon("history").stdout
