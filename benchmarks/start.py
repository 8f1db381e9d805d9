"""Proof `start`: how long until the package is imported, the command line answers, and a factory serves.

Fresh processes each time, medians. `up_s` is `andon up -d` in a home whose endpoint has been applied before, until the
gateway answers a request for it with 200: control, gateway and replica started, model loaded and warm.
"""

from __future__ import annotations

import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from onnx import TensorProto, helper

from benchmarks.harness import QUICK, ROOT, conclude, free_port, table

IMPORTS, STARTS = (7, 3) if QUICK else (15, 7)
PATIENCE_S = 30.0
FACTORY = """
apiVersion: andon/v1
kind: Model
metadata: {name: credit}
spec: {}
---
apiVersion: andon/v1
kind: ModelVersion
metadata: {name: credit-1}
spec: {model: credit, version: "1", source: credit.onnx}
---
apiVersion: andon/v1
kind: Endpoint
metadata: {name: credit}
spec: {release: {model: credit, version: "1"}}
"""
ROW = json.dumps({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]})


def save_model(path: Path) -> None:
    """The smallest model that computes something: the sum of a row."""
    graph = helper.make_graph(
        [helper.make_node("ReduceSum", ["x", "axes"], ["y"])],
        "sum",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 1])],
        [helper.make_tensor("axes", TensorProto.INT64, [1], [1])],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(made.SerializeToString())


@dataclass
class Factory:
    """A home, its ports and its key."""

    root: Path
    port: int = field(default_factory=free_port)
    key: str = ""

    def __post_init__(self) -> None:
        ports = {
            "CONTROL_PORT": free_port(),
            "GATEWAY_ADMIN_PORT": free_port(),
            "GATEWAY_PORT": self.port,
            "OBSERVER_PORT": free_port(),
        }
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT / "src"),
            **{f"ANDON_{name}": str(port) for name, port in ports.items()},
        }

    def andon(self, *words: str) -> str:
        """Run one command line; its output."""
        done = subprocess.run(
            [sys.executable, "-m", "andon.app.cli.main", *words],
            cwd=self.root,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"andon {' '.join(words)}: {done.stderr}")
        return done.stdout

    def served_at(self) -> float:
        """When the gateway has answered a request with 200."""
        deadline = time.perf_counter() + PATIENCE_S
        headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        while time.perf_counter() < deadline:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            try:
                connection.request("POST", "/v2/models/credit/infer", ROW, headers)
                if connection.getresponse().status == 200:
                    return time.perf_counter()
            except OSError:
                pass  # not listening yet
            finally:
                connection.close()
            time.sleep(0.005)
        raise SystemExit(f"The factory did not serve within {PATIENCE_S:.0f} s.")


def process_ms(words: Sequence[str]) -> list[float]:
    """What a fresh process takes from its start to its end, a few times over; the first warms the disk's cache."""
    taken = []
    for _ in range(IMPORTS + 1):
        before = time.perf_counter()
        subprocess.run(
            [sys.executable, *words],
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        taken.append((time.perf_counter() - before) * 1e3)
    return taken[1:]


def starts(root: Path) -> tuple[float, list[float]]:
    """Seconds of the first start of a home, making a key included, and of the later ones."""
    save_model(root / "credit.onnx")
    (root / "factory.yaml").write_text(FACTORY)
    factory = Factory(root)
    try:
        before = time.perf_counter()
        factory.andon("up", "-d", "-f", "factory.yaml")
        factory.key = json.loads(factory.andon("keys", "create", "-o", "json"))["secret"]
        first = factory.served_at() - before
        later = []
        for _ in range(STARTS):
            factory.andon("down")
            before = time.perf_counter()
            factory.andon("up", "-d")
            later.append(factory.served_at() - before)
    finally:
        factory.andon("down")
    return first, later


def main() -> None:
    """Measure, print the table, conclude."""
    bare = process_ms(["-c", "pass"])
    imported = process_ms(["-c", "import andon"])
    line = process_ms(["-c", "import andon.app.cli.main"])
    told = process_ms(["-m", "andon.app.cli.main", "--help"])
    with tempfile.TemporaryDirectory(prefix="andon-start-") as name:
        first, later = starts(Path(name))
    rows = [
        ["bare interpreter", statistics.median(bare), max(bare)],
        ["import andon", statistics.median(imported), max(imported)],
        ["import andon.app.cli.main", statistics.median(line), max(line)],
        ["andon --help", statistics.median(told), max(told)],
        ["first start, with a key made", first * 1e3, first * 1e3],
        ["later start, until 200", statistics.median(later) * 1e3, max(later) * 1e3],
    ]
    table(["", "median ms", "worst ms"], rows)
    conclude(
        {
            "import_ms": statistics.median(imported),
            "help_ms": statistics.median(told),
            "up_s": statistics.median(later),
        }
    )


if __name__ == "__main__":
    main()
