"""Writes models/1.onnx and models/2.onnx: two linear scores of four numbers. Needs the packages onnx and numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper


def save(path: Path, weights: list[float]) -> None:
    """`score = x @ weights`, FP32 [-1, 4] to FP32 [-1, 1]."""
    matrix = np.array(weights, np.float32).reshape(4, 1)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weights"], ["score"])],
        "score",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 4])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["rows", 1])],
        [helper.make_tensor("weights", TensorProto.FLOAT, matrix.shape, matrix.ravel().tolist())],
    )
    path.parent.mkdir(exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


if __name__ == "__main__":
    folder = Path(__file__).parent / "models"
    save(folder / "1.onnx", [0.1, 0.2, 0.3, 0.4])
    save(folder / "2.onnx", [0.4, 0.3, 0.2, 0.1])
