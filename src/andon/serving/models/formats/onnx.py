"""ONNX files by onnxruntime, on the CPU: the format to prefer, because loading one runs no code of its author.

The graph's own inputs and outputs are the signature. Sequences of maps, which scikit-learn exports make of
probabilities (ZipMap), are turned back into a matrix with one column a class, in the order of the class labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from andon.kernel.errors import Permanent
from andon.kernel.snapshot import Signature, TensorSpec
from andon.serving.models.formats.library import load_library
from andon.serving.models.formats.port import Array, ModelSource

_DATATYPES: Mapping[str, str] = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}
_ZIPMAPS: Mapping[str, str] = {
    "seq(map(int64,tensor(float)))": "FP32",
    "seq(map(string,tensor(float)))": "FP32",
    "seq(map(int64,tensor(double)))": "FP64",
    "seq(map(string,tensor(double)))": "FP64",
}


def find_onnx(path: Path) -> Path | None:
    """The ONNX file that a source means: itself, `model.onnx` in it, or its only `*.onnx`."""
    if path.is_file():
        return path if path.suffix == ".onnx" else None
    if (path / "model.onnx").is_file():
        return path / "model.onnx"
    found = sorted(path.glob("*.onnx"))
    return found[0] if len(found) == 1 else None


class OnnxModel:
    """One inference session."""

    platform = "onnxruntime_onnx"

    def __init__(self, session: Any, signature: Signature, zipmaps: Mapping[str, np.dtype[Any]]) -> None:
        self.signature = signature
        self._run = session.run
        self._names = [tensor.name for tensor in signature.outputs]
        self._zipmaps = zipmaps

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs. Raises onnxruntime's errors."""
        outputs = dict(zip(self._names, self._run(self._names, inputs), strict=True))
        for name, dtype in self._zipmaps.items():
            outputs[name] = np.array([[row[label] for label in sorted(row)] for row in outputs[name]], dtype)
        return outputs

    def close(self) -> None:
        """Let go of the session."""
        del self._run


def open_onnx(source: ModelSource) -> OnnxModel:
    """Load an ONNX file with `source.threads` threads; raises `Permanent` if it cannot be served."""
    path = find_onnx(source.path)
    if path is None:
        raise Permanent(
            "model_missing",
            f"There is no single ONNX file at {source.path}.",
            hint="Name the .onnx file, or a folder with model.onnx.",
        )
    runtime = load_library("onnxruntime", "onnx")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = source.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # A spinning thread pool would burn the core that the server of the same replica needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises many types of its own, none with a common root
        raise Permanent(
            "model_unreadable",
            f"onnxruntime cannot load {path}: {_first_line(error)}",
            hint="Export it again, or with an opset that the installed onnxruntime knows.",
        ) from error
    zipmaps = {
        value.name: np.dtype("<f4" if _ZIPMAPS[value.type] == "FP32" else "<f8")
        for value in session.get_outputs()
        if value.type in _ZIPMAPS
    }
    signature = Signature(
        inputs=tuple(_tensor(value, path) for value in session.get_inputs()),
        outputs=tuple(_tensor(value, path) for value in session.get_outputs()),
    )
    return OnnxModel(session, signature, zipmaps)


def _tensor(value: Any, path: Path) -> TensorSpec:
    if value.type in _ZIPMAPS:
        return TensorSpec(name=value.name, datatype=_ZIPMAPS[value.type], shape=(-1, -1))
    datatype = _DATATYPES.get(value.type)
    if datatype is None:
        raise Permanent(
            "model_unsupported",
            f"'{value.name}' of {path} is a {value.type}, which cannot be served.",
            hint="Serve tensors of numbers, booleans or strings.",
        )
    shape = tuple(size if isinstance(size, int) else -1 for size in value.shape)
    return TensorSpec(name=value.name, datatype=datatype, shape=shape)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0][:300]
