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


def train(folder: Path, name: str) -> Path:
    """A real scikit-learn model as an MLflow folder, and the rows it was made from."""
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    rows, labels = load_iris(return_X_y=True)
    estimator = LogisticRegression(max_iter=500).fit(rows, labels)
    signature = {
        "inputs": '[{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 4]}}]',
        "outputs": '[{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}]',
    }
    path = folder / name
    path.mkdir(parents=True)
    flavors = {"sklearn": {"pickled_model": "model.pkl", "serialization_format": "pickle"}}
    (path / "MLmodel").write_text(yaml.safe_dump({"flavors": flavors, "signature": signature}))
    (path / "model.pkl").write_bytes(pickle.dumps(estimator))
    (path / "requirements.txt").write_text("scikit-learn==1.2.0\nnumpy\n")
    table = "\n".join(f"{','.join(map(str, row))},{label}" for row, label in zip(rows, labels, strict=True))
    (folder / "iris.csv").write_text(f"a,b,c,d,label\n{table}\n")
    return path


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    """A factory that takes nothing unsigned: one version is signed, one is not, one was changed afterwards."""
    root = tmp_path_factory.mktemp("signed")
    tool = Factory(root)
    for name in ("one", "two", "three"):
        train(root / "models", name)
    public = tool.andon("models", "key", "build.key").stdout.strip()
    assert (root / "build.key").stat().st_mode & 0o777 == 0o600
    for name in ("one", "three"):
        tool.andon("models", "sign", f"models/{name}", "--key", "build.key")
    tool.andon("models", "verify", "models/one", "--signer", public)
    (root / "models" / "three" / "requirements.txt").write_text("scikit-learn==1.2.1\n")
    assert (
        "requirements.txt"
        in tool.andon("models", "verify", "models/three", "--signer", public, code=1).stderr
    )
    versions = {"1": "models/one", "2": "models/two", "3": "models/three"}
    documents = [
        resource("Signer", "build", publicKey=public),
        *model("iris", versions, allowPickle=True, card={"licence": "Apache-2.0", "datasets": ["iris"]}),
        resource("Endpoint", "iris", release={"model": "iris", "version": "1"}),
        resource("Endpoint", "unsigned", release={"model": "iris", "version": "2"}),
        resource("Endpoint", "tampered", release={"model": "iris", "version": "3"}),
    ]
    with running_factory(root, documents) as running:
        yield running


def test_only_what_a_declared_signer_signed_is_served(signed: Factory) -> None:
    signed.wait_until_served("iris")
    seen = admission(signed, "iris-1")
    assert (seen["verdict"], seen["verified"], seen["signer"]) == ("clean", True, "build")
    for version, reason in (("iris-2", "not signed"), ("iris-3", "requirements.txt")):
        refused = wait_for("the refusal", lambda version=version: admission(signed, version))
        assert not refused["admitted"]
        assert not refused["verified"]
        assert reason in refused["reason"]
        status = wait_for(
            "the deployment",
            lambda version=version: (
                signed.get("deployment", version)["status"]
                if signed.get("deployment", version).get("status", {}).get("failed")
                else None
            ),
        )
        assert (status["ready"], status["targets"]) == (0, [])
    assert "not signed" in signed.andon("models", "list").stdout


def test_papers_are_made_of_what_is_known(signed: Factory) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    signed.wait_until_served("iris")
    bom = signed.andon("models", "bom", "iris-1").stdout
    assert JsonStrictValidator(SchemaVersion.V1_7).validate_str(bom) is None
    assert json.loads(bom)["metadata"]["component"]["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    assert {one["name"] for one in json.loads(bom)["components"]} == {"scikit-learn", "numpy", "iris"}
    assert "signed by build" in signed.andon("models", "card", "iris-1").stdout
    assert (signed.root / ".andon" / "models" / "iris-1.cdx.json").exists()


def test_an_assessment_is_recorded_and_can_be_made_again(signed: Factory) -> None:
    signed.wait_until_served("iris")
    words = ("models", "assess", "iris-1", "--data", "models/iris.csv", "--epsilon", "0.2", "--budget", "200")
    first = signed.read(*words, "--rows", "12")
    again = signed.read(*words, "--rows", "12")
    assert 0.0 <= first["robustAccuracy"] < first["cleanAccuracy"] <= 1.0
    assert first["robustLow"] <= first["robustAccuracy"] <= first["robustHigh"]
    assert {**first, "at": 0} == {**again, "at": 0}
    kept = signed.get("modelversion", "iris-1")["status"]["assessments"]
    assert [one["robustAccuracy"] for one in kept] == [first["robustAccuracy"]]
    _, secret = signed.key()
    through = signed.read(*words, "--rows", "5", "--through", "iris", "--key", secret)
    assert through["cleanAccuracy"] >= 0.8
    assert "robust accuracy" in signed.andon("models", "card", "iris-1").stdout


def test_known_vulnerabilities_are_told_offline(signed: Factory) -> None:
    affected = {
        "package": {"ecosystem": "PyPI", "name": "scikit-learn"},
        "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.5.0"}]}],
    }
    record = {
        "id": "PYSEC-2024-110",
        "modified": "2024-06-06T00:00:00Z",
        "summary": "Leak",
        "affected": [affected],
    }
    (signed.root / "osv.json").write_text(json.dumps([record]))
    words = ("scan", "models/one", "--osv", "osv.json")
    assert "PYSEC-2024-110" in signed.andon(*words, code=1).stdout
    sarif = json.loads(signed.andon(*words, "--sarif", code=1).stdout)
    assert sarif["runs"][0]["results"][0]["ruleId"] == "PYSEC-2024-110"
    signed.andon("scan", "models/two", "--osv", "missing", code=1)
    assert json.loads(signed.andon("scan", "--sbom").stdout)["bomFormat"] == "CycloneDX"
