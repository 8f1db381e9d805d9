"""Proof `predict`: what a prediction costs through gateway and replica with everything on, beside prediction servers.

Logistic regression of 20 features in ONNX, one row a request, 32 connections in a closed loop. On: a whole factory with
API key, limits of key, team and endpoint, validation by the model's signature, a running 90/10 canary of two replicas
with both gates, `acknowledged` rows. Counted: the CPU of gateway and replicas together.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from onnx import TensorProto, helper

from benchmarks import prediction_peers
from benchmarks.harness import (
    PAYLOADS,
    PEERS,
    QUICK,
    ROOT,
    Load,
    Server,
    conclude,
    free_port,
    median,
    need,
    running,
    table,
    wrk,
)

ROUNDS, SECONDS, WARM_S = (1, 2.0, 1.0) if QUICK else (3, 4.0, 2.0)
FEATURES = 20
BODY = PAYLOADS / "infer.json"
PATH = "/v2/models/credit/infer"
PATIENCE_S = 30.0
COUNTED = ("andon.app.gateway_process", "andon.app.replica_process")


def save_model(path: Path) -> None:
    """A logistic regression as exporters write it: label and probabilities of two classes."""
    weights = np.random.default_rng(0).normal(size=FEATURES)
    node = helper.make_node(
        "LinearClassifier",
        ["x"],
        ["label", "probabilities"],
        domain="ai.onnx.ml",
        classlabels_ints=[0, 1],
        coefficients=[*(-weights).tolist(), *weights.tolist()],
        intercepts=[0.1, -0.1],
        multi_class=1,
        post_transform="LOGISTIC",
    )
    graph = helper.make_graph(
        [node],
        "credit",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", FEATURES])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, ["rows"]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["rows", 2]),
        ],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 1)]
    path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


def documents(version: int) -> str:
    """The factory file with the endpoint on a version; a change starts a canary that never ends."""
    steps = [{"weight": 10, "pause": {"requests": 10**9}}]
    ceilings = {"requestsPerMinute": 10**9, "concurrency": 10**6}
    specs: list[tuple[str, str, dict[str, Any]]] = [
        ("Team", "crew", {}),
        ("Model", "credit", {}),
        *(
            ("ModelVersion", f"credit-{n}", {"model": "credit", "version": str(n), "source": "credit.onnx"})
            for n in (1, 2)
        ),
        *(("Limit", f"each-{scope}", {"scope": scope, **ceilings}) for scope in ("key", "team", "endpoint")),
        (
            "Endpoint",
            "credit",
            {
                "release": {"model": "credit", "version": str(version)},
                "strategy": {"type": "canary", "canary": {"steps": steps}},
            },
        ),
    ]
    return "\n---\n".join(  # JSON is YAML
        json.dumps({"apiVersion": "andon/v1", "kind": kind, "metadata": {"name": name}, "spec": spec})
        for kind, name, spec in specs
    )


class Andon(Server):
    """A factory of which the gateway and its replicas are counted; control and supervisor carry no request."""

    def tree(self) -> list[psutil.Process]:
        """The processes on the path of a request."""
        found = []
        for process in super().tree():
            with contextlib.suppress(psutil.Error):  # it may end between listing and reading
                if any(module in process.cmdline() for module in COUNTED):
                    found.append(process)
        return found


@dataclass
class Contender:
    """One server under test and what was read of it."""

    name: str
    port: int
    server: Server
    headers: dict[str, str] = field(default_factory=dict)
    busy: list[Load] = field(default_factory=list)
    single: list[Load] = field(default_factory=list)
    rss_mb: float = 0.0

    def run(self, connections: int, seconds: float) -> Load:
        """One run of the load generator."""
        url = f"http://127.0.0.1:{self.port}{PATH}"
        return wrk(
            url, BODY, connections=connections, seconds=seconds, headers=self.headers, server=self.server
        )

    def measure(self) -> None:
        """One round: saturated with 32 connections, then alone."""
        self.busy.append(self.run(32, SECONDS))
        self.single.append(self.run(1, SECONDS / 2))
        self.rss_mb = self.server.rss_mb()

    @property
    def per_core(self) -> float:
        """Requests per CPU second, the median of the rounds."""
        return median(self.busy, lambda load: load.per_core)


def wait_for_answer(port: int, headers: dict[str, str]) -> None:
    """Until a prediction is answered with 200; ends the proof if that never happens."""
    deadline, last = time.perf_counter() + PATIENCE_S, ""
    given = {"content-type": "application/json", **headers}
    url = f"http://127.0.0.1:{port}{PATH}"
    while time.perf_counter() < deadline:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, BODY.read_bytes(), given), timeout=5):
                return
        except (OSError, urllib.error.HTTPError) as error:
            last = str(error)
        time.sleep(0.05)
    raise RuntimeError(f"no prediction on port {port}: {last}")


@contextlib.contextmanager
def andon(work: Path) -> Iterator[Contender]:
    """A whole factory on core 0, a canary under way."""
    home = work / "andon"
    home.mkdir()
    save_model(home / "credit.onnx")
    (home / "factory.yaml").write_text(documents(1))
    port, admin, control = free_port(), free_port(), free_port()
    ports = {"GATEWAY_PORT": port, "GATEWAY_ADMIN_PORT": admin, "CONTROL_PORT": control, "OBSERVER_PORT": 0}
    environment = {f"ANDON_{name}": str(value) for name, value in ports.items()}
    environment["PYTHONPATH"] = str(ROOT / "src")
    program = [sys.executable, "-m", "andon.app.cli.main"]

    def call(*words: str) -> str:
        done = subprocess.run(
            [*program, *words],
            cwd=home,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    up = [*program, "up", "-f", "factory.yaml"]
    with running(up, port, environment=environment, cwd=home) as server:
        answered(f"http://127.0.0.1:{control}/readyz")
        made = json.loads(call("keys", "create", "--team", "crew", "-o", "json"))
        headers = {"authorization": f"Bearer {made['secret']}"}
        wait_for_answer(port, headers)
        (home / "factory.yaml").write_text(documents(2))
        call("apply", "--yes")
        deadline = time.perf_counter() + PATIENCE_S
        while not canary_serves(f"http://127.0.0.1:{admin}/debug/snapshot"):
            if time.perf_counter() > deadline:
                raise RuntimeError("the canary did not begin to serve")
            time.sleep(0.05)
        counted = Andon(server.process, server.log)
        yield Contender("andon", port, counted, headers)


def answered(url: str) -> None:
    """Until a listener says that it is ready."""
    deadline = time.perf_counter() + PATIENCE_S
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            if time.perf_counter() > deadline:
                raise
            time.sleep(0.05)


def canary_serves(url: str) -> bool:
    """Whether the snapshot in force has two releases with targets."""
    with urllib.request.urlopen(url, timeout=5) as answer:
        releases = json.load(answer)["endpoints"]["credit"]
    return len(releases) == 2 and all(release["targets"] for release in releases.values())


def peers(work: Path) -> list[Contender]:
    """The prediction servers, one after the other, because each idles expensively."""
    makers: dict[str, Callable[..., contextlib.AbstractContextManager[Server]]] = {
        "mlserver": prediction_peers.mlserver,
        "kserve": prediction_peers.kserve,
        "bentoml": prediction_peers.bentoml,
    }
    found = []
    for name, make in makers.items():
        port = free_port()
        try:
            with make(port, work / "andon/credit.onnx", work) as server:
                wait_for_answer(port, {})
                contender = Contender(name, port, server)
                contender.run(32, WARM_S)
                for _ in range(ROUNDS):
                    contender.measure()
                found.append(contender)
        except (RuntimeError, subprocess.CalledProcessError) as error:
            print(f"{name}: not measured: {str(error)[:400]}", file=sys.stderr)
    return found


def main() -> None:
    """Measure, print the table, conclude."""
    need("wrk", "taskset")
    with tempfile.TemporaryDirectory(prefix="andon-predict-") as name:
        work = Path(name)
        with andon(work) as ours:
            ours.run(32, WARM_S)
            for _ in range(ROUNDS):
                ours.measure()
        others = peers(work) if PEERS else []
    rows = [
        [
            one.name,
            round(median(one.busy, lambda load: load.rps)),
            round(one.per_core),
            round(1e6 / one.per_core, 1),
            round(median(one.busy, lambda load: load.p50_us)),
            round(median(one.busy, lambda load: load.p99_us)),
            round(median(one.single, lambda load: load.p50_us)),
            round(one.rss_mb),
            sum(load.errors for load in [*one.busy, *one.single]),
        ]
        for one in (ours, *others)
    ]
    headings = ["", "rps c32", "per core", "CPU µs", "P50 µs", "P99 µs", "c1 P50 µs", "RSS MiB", "errors"]
    table(headings, rows)
    figures: dict[str, float | int | None] = {"rps_per_core": ours.per_core}
    if PEERS:
        named = {one.name: one for one in others if not any(load.errors for load in one.busy)}
        for peer in ("mlserver", "kserve", "bentoml"):
            figures[f"{peer}_ratio"] = ours.per_core / named[peer].per_core if peer in named else None
    conclude(figures)


if __name__ == "__main__":
    main()
