"""No model is loaded that was not admitted: a real factory, real replica processes, hostile files."""

from __future__ import annotations

import json
import pickle
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.factories import Factory, model, resource, running_factory, wait_for
from tests.e2e.models import save_linear

SIGNATURE = {
    "inputs": '[{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 2]}}]',
    "outputs": '[{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}]',
}


class Evil:
    """Unpickling it writes a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, (f"open({str(self.canary)!r}, 'w').write('loaded')",)


def save_sklearn(folder: Path, content: object) -> None:
    folder.mkdir(parents=True)
    flavors = {"sklearn": {"pickled_model": "model.pkl", "serialization_format": "pickle"}}
    (folder / "MLmodel").write_text(yaml.safe_dump({"flavors": flavors, "signature": SIGNATURE}))
    (folder / "model.pkl").write_bytes(pickle.dumps(content))


def endpoint(name: str, version: str = "1") -> dict[str, Any]:
    return resource("Endpoint", name, release={"model": name, "version": version})


def predict(factory: Factory, name: str, values: list[list[float]]) -> Any:
    shape = [len(values), len(values[0])]
    flat = [value for row in values for value in row]
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": shape, "data": flat}]}
    request = urllib.request.Request(
        f"{factory.url}/v2/models/{name}/infer",
        json.dumps(body).encode(),
        {"content-type": "application/json", "authorization": f"Bearer {factory.key()[1]}"},
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["outputs"][0]["data"]


@pytest.fixture(scope="module")
def factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    root = tmp_path_factory.mktemp("admission")
    save_linear(root / "models" / "good" / "model.onnx")
    save_sklearn(root / "models" / "evil", Evil(root / "canary"))
    documents = [
        *model("good", {"1": "models/good"}),
        *model("evil", {"1": "models/evil"}, allowPickle=True),
        endpoint("good"),
        endpoint("evil"),
    ]
    with running_factory(root, documents) as running:
        yield running


def admission(factory: Factory, version: str) -> dict[str, Any]:
    found: dict[str, Any] = factory.get("modelversion", version).get("status", {}).get("admission", {})
    return found


def test_a_clean_model_is_admitted_and_served(factory: Factory) -> None:
    factory.wait_until_served("good")
    seen = admission(factory, "good-1")
    assert (seen["verdict"], seen["admitted"], seen["format"]) == ("clean", True, "onnx")
    assert factory.get("deployment", "good-1")["status"]["digest"] == seen["digest"]
    assert predict(factory, "good", [[1.0, 1.0, 1.0, 1.0]]) == [3.0]


def test_a_pickle_that_runs_code_never_reaches_a_replica(factory: Factory) -> None:
    seen = wait_for("the refusal", lambda: admission(factory, "evil-1"))
    assert (seen["verdict"], seen["admitted"]) == ("refused", False)
    status = wait_for("the deployment", lambda: factory.get("deployment", "evil-1").get("status"))
    wait_for("the reason", lambda: factory.get("deployment", "evil-1")["status"]["failed"])
    status = factory.get("deployment", "evil-1")["status"]
    assert "builtins.eval" in status["failed"]
    assert status["ready"] == 0
    assert status["targets"] == []
    assert not (factory.root / "canary").exists()
    assert any(event["name"] == "model.refused" for event in factory.events("ModelVersion/evil-1"))


def test_changed_bytes_are_not_loaded_and_what_runs_goes_on(factory: Factory) -> None:
    factory.wait_until_served("good")
    replica = factory.get("deployment", "good-1")["status"]["replicas"][0]
    save_linear(factory.root / "models" / "good" / "model.onnx", bias=100.0)
    wait_for(
        "the change to be told",
        lambda: any(event["name"] == "model.changed" for event in factory.events("ModelVersion/good-1")),
    )
    assert predict(factory, "good", [[1.0, 1.0, 1.0, 1.0]]) == [3.0]
    import psutil

    psutil.Process(replica["pid"]).kill()
    status = wait_for(
        "the refusal to load", lambda: factory.get("deployment", "good-1")["status"]["failed"] or None
    )
    assert "digest" in status
    assert factory.get("deployment", "good-1")["status"]["ready"] == 0
