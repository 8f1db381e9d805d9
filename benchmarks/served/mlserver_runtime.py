"""MLServer's custom runtime around the model."""

from __future__ import annotations

import numpy as np
from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput
from onnx_model import run


class Onnx(MLModel):
    """Loads nothing of its own: the module has the session."""

    async def load(self) -> bool:
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        tensor = payload.inputs[0]
        given = tensor.data.root if hasattr(tensor.data, "root") else tensor.data
        found = run(np.array(given, dtype=np.float32).reshape(tensor.shape))
        output = ResponseOutput(
            name="probabilities", shape=list(found.shape), datatype="FP32", data=found.ravel().tolist()
        )
        return InferenceResponse(model_name=self.name, outputs=[output])
