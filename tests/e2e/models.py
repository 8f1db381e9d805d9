"""Small real models: ONNX graphs made on the spot, and Python entry points that misbehave on purpose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper


def _save(path: Path, graph: onnx.GraphProto) -> None:
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(made)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(made.SerializeToString())


def save_linear(path: Path, features: int = 4, bias: float = 1.0) -> None:
    """`y = 0.5 * sum(x) + bias`, FP32 [-1, features] to FP32 [-1, 1]."""
    weights = np.full((features, 1), 0.5, np.float32)
    _save(
        path,
        helper.make_graph(
            [helper.make_node("MatMul", ["x", "w"], ["xw"]), helper.make_node("Add", ["xw", "b"], ["y"])],
            "linear",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", features])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 1])],
            [
                helper.make_tensor("w", TensorProto.FLOAT, weights.shape, weights.ravel().tolist()),
                helper.make_tensor("b", TensorProto.FLOAT, [1], [bias]),
            ],
        ),
    )


def save_echo(path: Path) -> None:
    """Gives four inputs of different types back under another name: FP32, INT64, BYTES and BOOL."""
    types = {"f": TensorProto.FLOAT, "i": TensorProto.INT64, "s": TensorProto.STRING, "b": TensorProto.BOOL}
    _save(
        path,
        helper.make_graph(
            [helper.make_node("Identity", [name], [f"{name}_out"]) for name in types],
            "echo",
            [
                helper.make_tensor_value_info(name, type_, ["rows", "columns"])
                for name, type_ in types.items()
            ],
            [
                helper.make_tensor_value_info(f"{name}_out", type_, ["rows", "columns"])
                for name, type_ in types.items()
            ],
        ),
    )


def save_dead(path: Path, features: int = 4) -> None:
    """Loads, is warm on zeros, and fails on every real row: its index is beyond its table."""
    table = np.zeros((1, 1), np.float32)
    nodes = [
        helper.make_node("ReduceSum", ["x", "axes"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["sum"], ["place"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "place"], ["y"], axis=0),
    ]
    _save(
        path,
        helper.make_graph(
            nodes,
            "dead",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", features])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 1])],
            [
                helper.make_tensor("table", TensorProto.FLOAT, table.shape, table.ravel().tolist()),
                helper.make_tensor("axes", TensorProto.INT64, [1], [1]),
            ],
        ),
    )
