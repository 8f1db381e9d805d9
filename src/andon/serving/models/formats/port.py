"""The port between a model's format and the replica that serves it, and the names of tensor types.

Arrays are numpy's. BYTES tensors are object arrays, of `str` where the whole tensor is UTF-8 text and else of `bytes`;
BF16, which numpy lacks, travels as float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from andon.kernel.snapshot import Signature

Array = npt.NDArray[Any]

DTYPES: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "BF16": np.dtype("<f4"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BYTES": np.dtype(object),
}
_BY_DTYPE: Mapping[np.dtype[Any], str] = {
    dtype: name for name, dtype in DTYPES.items() if name not in ("BF16", "BYTES")
}


def datatype_of(array: Array) -> str:
    """The protocol's name for an array's type; raises ValueError if it has none."""
    name = _BY_DTYPE.get(array.dtype)
    if name is not None:
        return name
    if array.dtype.kind in "OUS":
        return "BYTES"
    raise ValueError(f"no tensor type for arrays of {array.dtype}")


class ModelSource(msgspec.Struct, frozen=True, kw_only=True):
    """What to open and how far to trust it."""

    path: Path
    format: str = "auto"
    entry: str = ""
    allow_pickle: bool = False
    signature: Signature | None = None  # as declared; formats without one of their own need it
    threads: int = 1


class LoadedModel(Protocol):
    """A model in memory. `predict` is called from one thread at a time, not always the same one."""

    signature: Signature
    platform: str  # for the protocol's metadata: "onnxruntime_onnx"

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs for inputs that already match the signature. Raises whatever the model raises."""
        ...

    def close(self) -> None:
        """Let go of what it holds; nothing is called afterwards."""
        ...
