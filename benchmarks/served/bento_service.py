"""BentoML's service around the model, answering on the protocol's own path."""

from __future__ import annotations

import bentoml
import numpy as np
from onnx_model import run
from pydantic import BaseModel


class Tensor(BaseModel):
    """One tensor of a request."""

    name: str
    shape: list[int]
    datatype: str
    data: list[float]


@bentoml.service(workers=1, traffic={"timeout": 30}, logging={"access": {"enabled": False}})
class Credit:
    """One model."""

    @bentoml.api(route="/v2/models/credit/infer")
    async def infer(self, inputs: list[Tensor]) -> dict:  # type: ignore[type-arg]  # bentoml reads the annotation
        tensor = inputs[0]
        found = run(np.array(tensor.data, dtype=np.float32).reshape(tensor.shape))
        output = {"name": "probabilities", "shape": list(found.shape), "datatype": "FP32"}
        return {"model_name": "credit", "outputs": [{**output, "data": found.ravel().tolist()}]}
