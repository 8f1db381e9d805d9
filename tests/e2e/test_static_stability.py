"""Control is killed: traffic, keys, limits and gates go on; what happened meanwhile is taken in once it is back."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import models
from tests.e2e.factories import Factory, model, resource, running_factory, wait_for
from tests.e2e.traffic import Caller

GATES = [{"name": "errors", "metric": "errorRate"}]
STEPS = [{"weight": 50, "pause": {"requests": 100_000}}]


def documents(version: str) -> list[dict[str, object]]:
    strategy = {"type": "canary", "canary": {"steps": STEPS}, "gates": GATES}
    return [
        *model("credit", {"1": "models/1.onnx", "2": "models/dead.onnx"}),
        resource("Endpoint", "credit", release={"model": "credit", "version": version}, strategy=strategy),
        resource("Endpoint", "few", release={"model": "credit", "version": "1"}),
        resource("Limit", "few", scope="endpoint", subject="few", requestsPerMinute=3),
    ]


@pytest.fixture
def factory(home: Path) -> Iterator[Factory]:
    models.save_linear(home / "models/1.onnx")
    models.save_dead(home / "models/dead.onnx")
    with running_factory(home, documents("1")) as started:
        started.wait_until_served("credit", "few")
        yield started


def test_a_factory_without_control_serves_and_still_stops_a_bad_release(factory: Factory):
    id_, key = factory.key()
    factory.apply(documents("2"))
    wait_for("the canary", lambda: len(factory.snapshot()["endpoints"]["credit"]) == 2)
    factory.wait_until_served("credit")
    rollout = factory.read("get", "rollouts")["items"][0]["metadata"]["name"]
    wait_for("the new key", lambda: id_ in factory.kept_keys())

    # Nobody starts again what dies: the supervisor goes first.
    factory.kill("andon.app.supervisor")
    factory.kill("andon.app.control_process")
    with contextlib.closing(Caller(factory.port, key)) as caller:
        # Zeros suit the canary, so both arms serve while nobody judges them but the gateway itself.
        arms = {caller.infer("credit", 0.0).headers["x-andon-arm"] for _ in range(60)}
        assert arms == {"stable", "canary"}
        assert [caller.infer("few").status for _ in range(4)] == [200, 200, 200, 429]
        with contextlib.closing(Caller(factory.port, "sk-andon-nobody")) as stranger:
            assert stranger.infer("credit").status == 401
        for _ in range(60):
            caller.infer("credit")
        assert _served(caller) == {(200, "credit@1")}

    # A gateway that starts now has nothing but its home: the snapshot, and that it stopped this release.
    factory.kill("andon.app.gateway_process")
    factory.start("andon.app.gateway_process")
    wait_for("the gateway", factory.snapshot)
    with contextlib.closing(Caller(factory.port, key)) as caller:
        assert _served(caller) == {(200, "credit@1")}
        factory.start("andon.app.control_process")
        wait_for("control to finish the abort", lambda: factory.phase(rollout) == "Aborted")
        wait_for("the next snapshot", lambda: set(factory.snapshot()["endpoints"]["credit"]) == {"credit@1"})
        assert _served(caller) == {(200, "credit@1")}
    names = [event["name"] for event in factory.events(f"Rollout/{rollout}")]
    assert names.count("rollout.aborted") == 1
    told = factory.read("explain", "rollout", rollout)
    assert told["canary_requests"] >= 1
    assert told["readings"][0]["verdict"] == "breach"
    # What was started by hand is stopped by hand; control takes its replicas with it.
    for module in ("andon.app.gateway_process", "andon.app.control_process", "andon.app.observer.process"):
        factory.kill(module, signal.SIGTERM)
    wait_for("everything to be gone", lambda: not factory.processes())


def _served(caller: Caller) -> set[tuple[int, str]]:
    """Who answers forty requests that the canary would fail."""
    answers = [caller.infer("credit") for _ in range(40)]
    return {(answer.status, answer.headers.get("x-andon-release", "")) for answer in answers}
