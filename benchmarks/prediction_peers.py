"""The prediction servers that `predict` runs side by side: same model, one thread, one worker, access log off.

They have no keys, no limits and no ledger; what each checks of a request is what its own framework checks.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import Server, free_port, running
from benchmarks.peers import environment

SERVED = Path(__file__).resolve().parent / "served"


def _environment(model: Path, program: Path) -> dict[str, str]:
    return {
        "MODEL": str(model),
        "PYTHONPATH": str(SERVED),
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "BENTOML_DO_NOT_TRACK": "True",
    }


@contextlib.contextmanager
def mlserver(port: int, model: Path, work: Path) -> Iterator[Server]:
    """MLServer with a custom runtime, in one process."""
    program = environment("mlserver", "mlserver", "onnxruntime") / "mlserver"
    folder = work / "mlserver"
    folder.mkdir()
    settings: dict[str, object] = {"http_port": port, "grpc_port": free_port(), "metrics_port": free_port()}
    settings |= {"host": "127.0.0.1", "parallel_workers": 0, "debug": False}
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(
        json.dumps({"name": "credit", "implementation": "mlserver_runtime.Onnx"})
    )
    command = [str(program), "start", str(folder)]
    given = _environment(model, program)
    with running(command, port, environment=given, cwd=folder, wait_s=90) as server:
        yield server


@contextlib.contextmanager
def kserve(port: int, model: Path, work: Path) -> Iterator[Server]:
    """KServe's Python model server, one worker, no gRPC."""
    python = environment("kserve", "kserve", "onnxruntime") / "python"
    command = [str(python), str(SERVED / "kserve_app.py"), str(port)]
    with running(command, port, environment=_environment(model, python), cwd=work, wait_s=90) as server:
        yield server


@contextlib.contextmanager
def bentoml(port: int, model: Path, work: Path) -> Iterator[Server]:
    """BentoML, one worker."""
    program = environment("bentoml", "bentoml", "onnxruntime", "numpy") / "bentoml"
    command = [str(program), "serve", "bento_service:Credit", "--host", "127.0.0.1", "--port", str(port)]
    given = _environment(model, program)
    with running(command, port, environment=given, cwd=SERVED, wait_s=90) as server:
        yield server
