"""How many stamps a parcel needs, by its weight."""

from __future__ import annotations

import numpy as np


class Model:
    """One stamp for each 500 g that was begun."""

    signature = {
        "inputs": [{"name": "weight_kg", "datatype": "FP64", "shape": [-1]}],
        "outputs": [{"name": "stamps", "datatype": "FP64", "shape": [-1]}],
    }

    def predict(self, inputs):
        weight = inputs["weight_kg"]
        if (weight <= 0).any():
            raise ValueError("the scales are broken")
        return {"stamps": np.ceil(weight / 0.5)}
