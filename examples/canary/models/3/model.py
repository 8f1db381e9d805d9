"""What a parcel costs: somebody renamed an input."""

from __future__ import annotations


class Model:
    signature = {
        "inputs": [
            {"name": "weight_kg", "datatype": "FP64", "shape": [-1], "minimum": 0, "maximum": 50},
            {"name": "distance_km", "datatype": "FP64", "shape": [-1], "minimum": 0},
        ],
        "outputs": [{"name": "price", "datatype": "FP64", "shape": [-1]}],
    }

    def predict(self, inputs):
        return {"price": 2.0 + 0.5 * inputs["weight_kg"] + 0.01 * inputs["distance"]}
