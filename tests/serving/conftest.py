"""Small real models, made in milliseconds, and a way to run a replica in the test's own process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper


def save_linear(path: Path, features: int = 20, rows: int | str = "rows") -> Path:
    """`y = x @ w + 1`, FP32 [rows, features] to [rows, 1], with every weight 0.5."""
    weights = np.full((features, 1), 0.5, np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["xw"]), helper.make_node("Add", ["xw", "one"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, features])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [rows, 1])],
        [
            helper.make_tensor("w", TensorProto.FLOAT, weights.shape, weights.ravel().tolist()),
            helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def linear(tmp_path: Path) -> Path:
    return save_linear(tmp_path / "linear" / "model.onnx")
