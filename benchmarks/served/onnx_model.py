"""The model of `MODEL`, on one thread, as every peer loads it."""

from __future__ import annotations

import os
from typing import Any

import onnxruntime

_options = onnxruntime.SessionOptions()
_options.intra_op_num_threads = 1
_options.inter_op_num_threads = 1
_session = onnxruntime.InferenceSession(os.environ["MODEL"], _options, providers=["CPUExecutionProvider"])


def run(rows: Any) -> Any:
    """Probabilities of rows of 20 FP32 features."""
    return _session.run(["probabilities"], {"x": rows})[0]
