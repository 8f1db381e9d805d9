"""Formats: each is opened as it is meant, refused where it is dangerous, and never trusted beyond its digest."""

from __future__ import annotations

import pickle
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper
from sklearn.linear_model import LogisticRegression

from andon.kernel.errors import Permanent
from andon.kernel.snapshot import Signature, TensorSpec
from andon.serving.models.digest import digest_of, take, verify
from andon.serving.models.formats.port import ModelSource
from andon.serving.models.formats.python_entry import open_python
from andon.serving.models.formats.select import open_model
from tests.serving.conftest import save_linear

X = np.arange(8, dtype=np.float32).reshape(2, 4)
COLUMNS = (
    '[{"type": "double", "name": "a", "required": true}, {"type": "double", "name": "b", "required": false}]'
)


def test_onnx_file_and_folder_are_the_same_model(linear: Path) -> None:
    for path in (linear, linear.parent):
        model = open_model(ModelSource(path=path))
        assert model.signature.inputs == (TensorSpec(name="x", datatype="FP32", shape=(-1, 20)),)
        answer = model.predict({"x": np.ones((3, 20), np.float32)})
        assert answer["y"].tolist() == [[11.0]] * 3
        model.close()


def test_onnx_with_text_and_zipmap(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [
            helper.make_node(
                "ZipMap", ["p"], ["probabilities"], domain="ai.onnx.ml", classlabels_strings=["bad", "good"]
            ),
            helper.make_node("Identity", ["t"], ["same"]),
        ],
        "zip",
        [
            helper.make_tensor_value_info("p", TensorProto.FLOAT, [None, 2]),
            helper.make_tensor_value_info("t", TensorProto.STRING, [None, 1]),
        ],
        [
            helper.make_value_info(
                "probabilities",
                helper.make_sequence_type_proto(
                    helper.make_map_type_proto(
                        TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
                    )
                ),
            ),
            helper.make_tensor_value_info("same", TensorProto.STRING, [None, 1]),
        ],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    path = tmp_path / "zip.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())
    model = open_model(ModelSource(path=path))
    p = np.array([[0.25, 0.75]], np.float32)
    answer = model.predict({"p": p, "t": np.array([["ä"]], object)})
    assert answer["probabilities"].tolist() == p.tolist()
    assert answer["probabilities"].dtype == np.float32
    assert answer["same"].tolist() == [["ä"]]


def test_broken_onnx_says_where(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(Permanent, match=r"m\.onnx"):
        open_model(ModelSource(path=path))


def test_a_declared_signature_adds_ranges_and_must_fit(linear: Path) -> None:
    tensor = TensorSpec(name="x", datatype="FP32", shape=(-1, 20), minimum=0.0, maximum=9.0)
    model = open_model(ModelSource(path=linear, signature=Signature(inputs=(tensor,))))
    assert model.signature.inputs == (tensor,)
    assert model.signature.outputs[0].name == "y"
    for wrong in (
        TensorSpec(name="z", datatype="FP32", shape=(-1, 20)),
        TensorSpec(name="x", datatype="FP64", shape=(-1, 20)),
        TensorSpec(name="x", datatype="FP32", shape=(-1, 19)),
        TensorSpec(name="x", datatype="FP32", shape=(20,)),
    ):
        with pytest.raises(Permanent) as refused:
            open_model(ModelSource(path=linear, signature=Signature(inputs=(wrong,))))
        assert refused.value.code == "signature_wrong"
        assert "x FP32 [-1, 20]" in refused.value.hint


def mlmodel(folder: Path, flavors: dict[str, Any], **signature: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    document: dict[str, Any] = {"flavors": flavors}
    if signature:
        document["signature"] = signature
    (folder / "MLmodel").write_text(yaml.safe_dump(document))
    return folder


def test_the_onnx_flavor_is_preferred_and_needs_no_permission(tmp_path: Path) -> None:
    save_linear(tmp_path / "m" / "graph.onnx", features=4)
    (tmp_path / "m" / "model.pkl").write_bytes(b"never opened")
    flavors = {"onnx": {"data": "graph.onnx"}, "sklearn": {"pickled_model": "model.pkl"}}
    model = open_model(ModelSource(path=mlmodel(tmp_path / "m", flavors)))
    assert model.predict({"x": X})["y"].shape == (2, 1)


def sklearn_folder(tmp_path: Path) -> Path:
    table = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 0.0], [3.0, 1.0]])
    estimator = LogisticRegression().fit(table, [0, 0, 1, 1])
    flavors = {
        "sklearn": {"pickled_model": "model.pkl", "serialization_format": "pickle"},
        "python_function": {"loader_module": "mlflow.sklearn", "predict_fn": "predict"},
    }
    outputs = '[{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}]'
    inputs = '[{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 2]}}]'
    folder = mlmodel(tmp_path / "sk", flavors, inputs=inputs, outputs=outputs)
    (folder / "model.pkl").write_bytes(pickle.dumps(estimator))
    return folder


def test_sklearn_is_refused_unless_allowed(tmp_path: Path) -> None:
    folder = sklearn_folder(tmp_path)
    with pytest.raises(Permanent) as refused:
        open_model(ModelSource(path=folder))
    assert refused.value.code == "pickle_refused"
    assert "allowPickle" in refused.value.hint
    model = open_model(ModelSource(path=folder, allow_pickle=True))
    answer = model.predict({"input": np.array([[0.0, 0.0], [3.0, 1.0]])})
    assert answer["output"].tolist() == [0, 1]


def test_columns_become_a_table(tmp_path: Path) -> None:
    folder = sklearn_folder(tmp_path)
    document = yaml.safe_load((folder / "MLmodel").read_text())
    document["signature"]["inputs"] = COLUMNS
    (folder / "MLmodel").write_text(yaml.safe_dump(document))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn notes that it was fitted without names
        model = open_model(ModelSource(path=folder, allow_pickle=True))
        assert [(t.name, t.shape, t.optional) for t in model.signature.inputs] == [
            ("a", (-1, 1), False),
            ("b", (-1, 1), True),
        ]
        answer = model.predict({"b": np.array([[0.0], [1.0]]), "a": np.array([[0.0], [3.0]])})
    assert answer["output"].tolist() == [0, 1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # mlflow warns of its own defaults
def test_a_real_pyfunc_is_served_when_allowed(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow.pyfunc
        from mlflow.models.signature import infer_signature

        class Doubling(mlflow.pyfunc.PythonModel):  # type: ignore[misc]  # mlflow has no types
            def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # mlflow reads hints
                return model_input * 2

        folder = tmp_path / "pf"
        mlflow.pyfunc.save_model(
            str(folder), python_model=Doubling(), signature=infer_signature(X, X), pip_requirements=[]
        )
        with pytest.raises(Permanent) as refused:
            open_model(ModelSource(path=folder))
        assert refused.value.code == "pickle_refused"
        model = open_model(ModelSource(path=folder, allow_pickle=True))
        assert model.predict({"input": X})["output"].tolist() == (X * 2).tolist()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("[1, 2", "model_unreadable"),
        ("just text", "model_unreadable"),
        ("flavors: {spark: {}}", "format_unknown"),
        ("flavors: {sklearn: {serialization_format: skops}}", "model_unsupported"),
        ("flavors: {python_function: {loader_module: evil}}", "pickle_refused"),
    ],
)
def test_mlflow_folders_that_cannot_be_served(tmp_path: Path, text: str, code: str) -> None:
    (tmp_path / "MLmodel").write_text(text)
    with pytest.raises(Permanent) as refused:
        open_model(ModelSource(path=tmp_path))
    assert refused.value.code == code


def test_a_file_outside_of_the_folder_is_not_loaded_whatever_the_folder_says(tmp_path: Path) -> None:
    (tmp_path / "other.pkl").write_bytes(pickle.dumps(["never opened"]))
    elsewhere: list[dict[str, Any]] = [
        {"sklearn": {"pickled_model": "../other.pkl"}},
        {"onnx": {"data": "/dev/null"}},
    ]
    for flavors in elsewhere:
        folder = mlmodel(tmp_path / next(iter(flavors)), flavors)
        with pytest.raises(Permanent, match="not part of the model"):
            open_model(ModelSource(path=folder, allow_pickle=True, signature=Signature()))


def test_a_python_model_may_say_how_long_its_features_took(tmp_path: Path) -> None:
    signature = "{'inputs': [{'name': 'x', 'datatype': 'FP32', 'shape': [-1, 4]}], 'outputs': []}"
    file = tmp_path / "timed.py"
    file.write_text(
        f"class Timed:\n    signature = {signature}\n"
        "    def predict(self, inputs):\n"
        "        self.timings = {'age': 1.5, 'bad': 'x', 3: 1.0, 'back': -1}\n        return inputs\n"
    )
    model = open_python(ModelSource(path=file))
    assert model.features_ms() == {}
    model.predict({"x": X})
    assert model.features_ms() == {"age": 1.5}


def test_a_python_file_with_a_class_or_a_function(tmp_path: Path) -> None:
    signature = "{'inputs': [{'name': 'x', 'datatype': 'FP32', 'shape': [-1, 4]}], 'outputs': []}"
    file = tmp_path / "scorer.py"
    file.write_text(
        f"class Scorer:\n    signature = {signature}\n"
        "    def __init__(self, folder):\n        self.name = folder.name\n"
        "    def predict(self, inputs):\n        return {'y': inputs['x'].sum(axis=1), 'n': [self.name]}\n"
    )
    answer = open_model(ModelSource(path=file)).predict({"x": X})
    assert answer["y"].tolist() == [6.0, 22.0]
    assert answer["n"].tolist() == [tmp_path.name]
    (tmp_path / "model.py").write_text(f"signature = {signature}\ndef predict(inputs):\n    return inputs\n")
    assert open_model(ModelSource(path=tmp_path)).predict({"x": X})["x"] is X


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("x = 1\n", "entry_missing"),
        ("raise ValueError('no')\n", "model_code_failed"),
        ("import a_package_that_is_not_there\n", "model_code_failed"),
        ("def predict(inputs):\n    return {}\n", "signature_missing"),
        ("signature = {'inputs': 3}\ndef predict(inputs):\n    return {}\n", "signature_wrong"),
        ("class Model:\n    def __init__(self):\n        raise OSError('no')\n", "model_code_failed"),
    ],
)
def test_python_that_cannot_be_served(tmp_path: Path, code: str, error: str) -> None:
    file = tmp_path / "served.py"
    file.write_text(code)
    with pytest.raises(Permanent) as refused:
        open_model(ModelSource(path=file))
    assert refused.value.code == error


def test_bare_pickles_have_no_format(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps([1]))
    with pytest.raises(Permanent) as refused:
        open_model(ModelSource(path=path, allow_pickle=True))
    assert "Pickles are not served bare" in refused.value.hint


def test_a_digest_covers_every_file_and_name(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    (folder / "sub").mkdir(parents=True)
    (folder / "a").write_bytes(b"1")
    (folder / "sub" / "b").write_bytes(b"2")
    first = digest_of(folder)
    shutil.copytree(folder, tmp_path / "copy")
    assert digest_of(tmp_path / "copy") == first
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "c.pyc").write_bytes(b"3")
    assert digest_of(folder) == first
    (folder / "a").rename(folder / "c")
    second = digest_of(folder)
    assert second != first
    (folder / "c").write_bytes(b"4")
    assert digest_of(folder) not in (first, second)
    assert verify(folder, "") == digest_of(folder)
    with pytest.raises(Permanent) as refused:
        verify(folder, first)
    assert refused.value.code == "digest_mismatch"


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(Permanent) as refused:
        digest_of(tmp_path / "m")
    assert refused.value.code == "model_link"


def test_a_copy_never_fills_the_disk(tmp_path: Path) -> None:
    """A sparse file costs whoever makes it nothing, and whoever copies it everything."""
    (tmp_path / "m").mkdir()
    with (tmp_path / "m" / "weights.bin").open("wb") as file:
        file.truncate(shutil.disk_usage(tmp_path).free)
    for source in (tmp_path / "m", tmp_path / "m" / "weights.bin"):
        with pytest.raises(Permanent, match="bytes, and the disk"):
            take(source, tmp_path / f"copy-{source.name}")


def test_onnx_checker_agrees_with_the_fixture(linear: Path) -> None:
    onnx.checker.check_model(onnx.load(linear))
