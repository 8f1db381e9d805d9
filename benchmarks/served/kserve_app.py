"""KServe's model server around the model: `python kserve_app.py PORT`."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from onnx_model import run


class Credit(Model):
    """One model, ready at once."""

    def __init__(self) -> None:
        super().__init__("credit")
        self.ready = True

    async def predict(self, payload: InferRequest, headers: Any = None, response_headers: Any = None) -> Any:
        found = run(payload.inputs[0].as_numpy().astype(np.float32))
        output = InferOutput("probabilities", list(found.shape), "FP32")
        output.set_data_from_numpy(found, binary_data=False)
        return InferResponse(payload.id or "1", "credit", [output])


if __name__ == "__main__":
    ModelServer(http_port=int(sys.argv[1]), workers=1, enable_grpc=False, access_log_format=None).start(
        [Credit()]
    )
