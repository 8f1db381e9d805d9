"""Signed: change one byte of this file, and no replica of it starts."""


class Model:
    """Says how urgent a letter is, from two figures about it."""

    signature = {
        "inputs": [{"name": "x", "datatype": "FP64", "shape": [-1, 2]}],
        "outputs": [{"name": "urgency", "datatype": "FP64", "shape": [-1]}],
    }

    def predict(self, inputs):
        return {"urgency": inputs["x"].sum(axis=1)}
