"""MLflow model directories, read by ourselves from `MLmodel`: flavors onnx, sklearn and python_function.

The onnx flavor is served whenever it is there: it needs no mlflow and runs no code of the file's author. Flavors that
unpickle are refused unless the version allows it, before a single byte of the pickle is read.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import yaml

from andon.kernel.errors import Permanent
from andon.kernel.snapshot import Signature, TensorSpec
from andon.serving.models.formats.library import load_library
from andon.serving.models.formats.onnx import open_onnx
from andon.serving.models.formats.port import Array, LoadedModel, ModelSource, datatype_of

MLMODEL = "MLmodel"
_MLMODEL_BYTES_MAX = 1 << 20
_UNNAMED_INPUT, _UNNAMED_OUTPUT = "input", "output"

# Column types of MLflow signatures (mlflow.types.DataType), as one tensor of shape [rows, 1] a column.
_COLUMNS: Mapping[str, str] = {
    "boolean": "BOOL",
    "integer": "INT32",
    "long": "INT64",
    "float": "FP32",
    "double": "FP64",
    "string": "BYTES",
    "binary": "BYTES",
}


class MlflowModel:
    """A model with a `predict` of one table or one tensor, behind the port."""

    def __init__(
        self,
        predict: Callable[[Any], Any],
        signature: Signature,
        platform: str,
        frame: Callable[..., Any] | None,
    ) -> None:
        self.signature = signature
        self.platform = platform
        self._predict = predict
        self._frame = frame  # pandas.DataFrame when the inputs are columns of a table
        self._outputs = tuple(tensor.name for tensor in signature.outputs)
        self._columns = tuple(tensor.name for tensor in signature.inputs)

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs. Raises whatever the model raises."""
        given: Any
        if self._frame is not None:
            columns = [name for name in self._columns if name in inputs]
            given = self._frame({name: inputs[name].reshape(-1) for name in columns})
        elif len(self._columns) == 1:
            given = inputs[self._columns[0]]
        else:
            given = dict(inputs)
        return self._named(self._predict(given))

    def _named(self, answer: Any) -> dict[str, Array]:
        """The model's table, mapping or array as named tensors."""
        if isinstance(answer, Mapping):
            return {str(name): np.asarray(value) for name, value in answer.items()}
        if hasattr(answer, "columns") and hasattr(answer, "to_numpy"):
            named = {str(name): answer[name].to_numpy().reshape(-1, 1) for name in answer.columns}
            if set(named) == set(self._outputs) or len(self._outputs) != 1:
                return named
            return {self._outputs[0]: answer.to_numpy()}
        return {self._outputs[0] if self._outputs else _UNNAMED_OUTPUT: np.asarray(answer)}

    def close(self) -> None:
        """Let go of the model."""
        del self._predict


def open_mlflow(source: ModelSource) -> LoadedModel:
    """The best flavor of a directory; raises `Permanent` if none can be served as the version allows."""
    document = _read(source)
    flavors = document.get("flavors")
    flavors = flavors if isinstance(flavors, dict) else {}
    onnx = flavors.get("onnx")
    if isinstance(onnx, dict):
        return open_onnx(msgspec.structs.replace(source, path=_part(source, onnx.get("data"), "model.onnx")))
    sklearn, pyfunc = flavors.get("sklearn"), flavors.get("python_function")
    if isinstance(sklearn, dict):
        function = pyfunc.get("predict_fn") if isinstance(pyfunc, dict) else None
        return _open_sklearn(source, document, sklearn, str(function or "predict"))
    if isinstance(pyfunc, dict):
        return _open_pyfunc(source, document, pyfunc)
    raise Permanent(
        "format_unknown",
        f"{source.path / MLMODEL} has the flavors {', '.join(sorted(flavors)) or 'none'}; none can be served.",
        hint="Save it with the onnx, sklearn or python_function flavor.",
    )


def _read(source: ModelSource) -> dict[str, Any]:
    path = source.path / MLMODEL
    if not path.is_file():
        raise Permanent(
            "model_missing", f"There is no {path}.", hint="Name the folder that mlflow's save_model wrote."
        )
    if path.stat().st_size > _MLMODEL_BYTES_MAX:
        raise Permanent("model_unreadable", f"{path} is larger than {_MLMODEL_BYTES_MAX} bytes.")
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Permanent("model_unreadable", f"{path} is not YAML: {error}") from error
    if not isinstance(document, dict):
        raise Permanent("model_unreadable", f"{path} is not a mapping.")
    return document


def _part(source: ModelSource, named: object, otherwise: str) -> Path:
    """A file that `MLmodel` names. Raises `Permanent` where it lies elsewhere: then nobody has looked at it."""
    path = source.path / (named if isinstance(named, str) and named else otherwise)
    if not path.resolve().is_relative_to(source.path.resolve()):
        raise Permanent(
            "model_unreadable",
            f"{source.path / MLMODEL} names {path}, which is not part of the model.",
            hint="Put the file into the folder.",
        )
    return path


def _refuse_pickle(source: ModelSource, what: str) -> None:
    if not source.allow_pickle:
        raise Permanent(
            "pickle_refused",
            f"{source.path} is {what}: loading it runs code from the file.",
            hint="Convert it to ONNX, or set allowPickle: true on this version if you trust who wrote it.",
        )


def _open_sklearn(
    source: ModelSource, document: dict[str, Any], flavor: dict[str, Any], function: str
) -> MlflowModel:
    serialization = str(flavor.get("serialization_format") or "pickle")
    if serialization not in ("pickle", "cloudpickle"):
        raise Permanent(
            "model_unsupported",
            f"{source.path} is a scikit-learn model in the format {serialization}, which cannot be served.",
            hint="Save it with the onnx flavor, or as cloudpickle with allowPickle: true.",
        )
    _refuse_pickle(source, f"a scikit-learn model in the format {serialization}")
    signature = read_signature(document, source)
    load_library("sklearn", "sklearn")
    path = _part(source, flavor.get("pickled_model"), "model.pkl")
    try:
        with path.open("rb") as file:
            estimator = pickle.load(file)  # noqa: S301  # only where the version allows it, see above
    except Exception as error:  # unpickling may raise anything, its classes' own errors included
        raise Permanent(
            "model_unreadable",
            f"Unpickling {path} raised {type(error).__name__}: {error}",
            hint=f"It was saved with scikit-learn {flavor.get('sklearn_version', 'unknown')}; install that one.",
        ) from error
    predict = getattr(estimator, function, None)
    if predict is None:
        raise Permanent("entry_missing", f"The model of {source.path} has no {function}().")
    return _complete(predict, signature, "sklearn", _is_table(document))


def _open_pyfunc(source: ModelSource, document: dict[str, Any], flavor: dict[str, Any]) -> MlflowModel:
    suffixes = {path.suffix for path in source.path.rglob("*") if path.is_file()}
    pickled = suffixes & {".pkl", ".pickle", ".cloudpickle", ".joblib", ".pt", ".pth"}
    if pickled or not flavor.get("model_code_path"):
        _refuse_pickle(source, f"a python_function of {flavor.get('loader_module', 'unknown origin')}")
    signature = read_signature(document, source)
    pyfunc = load_library("mlflow.pyfunc", "mlflow")
    try:
        model = pyfunc.load_model(str(source.path))
    except Exception as error:  # loading runs the author's code, which may raise anything
        raise Permanent(
            "model_unreadable",
            f"mlflow cannot load {source.path}: {type(error).__name__}: {error}",
            hint="Install what its requirements.txt names.",
        ) from error
    return _complete(model.predict, signature, "mlflow_pyfunc", _is_table(document))


def _complete(
    predict: Callable[[Any], Any], signature: Signature, platform: str, is_table: bool
) -> MlflowModel:
    frame = load_library("pandas", "sklearn").DataFrame if is_table else None
    return MlflowModel(predict, signature, platform, frame)


def _is_table(document: dict[str, Any]) -> bool:
    return any(item.get("type") != "tensor" for item in _items(document, "inputs"))


def _items(document: dict[str, Any], side: str) -> list[dict[str, Any]]:
    stated = (document.get("signature") or {}).get(side)
    items = msgspec.json.decode(stated) if isinstance(stated, str) else stated
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def read_signature(document: dict[str, Any], source: ModelSource) -> Signature:
    """The signature in `MLmodel`, else the declared one; raises `Permanent` if there is neither.

    Columns become tensors of shape [-1, 1] by the column's name; nameless tensors are `input` and `output`.
    """
    try:
        inputs = tuple(
            _tensor(item, _UNNAMED_INPUT, place) for place, item in enumerate(_items(document, "inputs"))
        )
        outputs = tuple(
            _tensor(item, _UNNAMED_OUTPUT, place) for place, item in enumerate(_items(document, "outputs"))
        )
    except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
        raise Permanent(
            "signature_wrong",
            f"The signature in {source.path / MLMODEL} cannot be served: {error}",
            hint="Columns of plain types and tensors can be.",
        ) from error
    if inputs:
        return Signature(inputs=inputs, outputs=outputs)
    if source.signature is None:
        raise Permanent(
            "signature_missing",
            f"{source.path / MLMODEL} has no signature.",
            hint="Save the model with one (infer_signature), or write spec.signature.",
        )
    return source.signature


def _tensor(item: dict[str, Any], unnamed: str, place: int) -> TensorSpec:
    name = str(item.get("name") or (unnamed if place == 0 else f"{unnamed}_{place}"))
    optional = not item.get("required", True)
    if item.get("type") == "tensor":
        stated = item["tensor-spec"]
        dtype = np.dtype("O" if stated["dtype"] in ("str", "object") else stated["dtype"])
        shape = tuple(int(size) for size in stated["shape"])
        return TensorSpec(name=name, datatype=datatype_of(np.empty(0, dtype)), shape=shape, optional=optional)
    datatype = _COLUMNS.get(str(item["type"]))
    if datatype is None:
        raise ValueError(f"'{name}' is a {item['type']}")
    return TensorSpec(name=name, datatype=datatype, shape=(-1, 1), optional=optional)
