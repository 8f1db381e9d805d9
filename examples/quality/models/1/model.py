"""Whether a loan will be paid back, from what the applicant owes and earns."""

from __future__ import annotations

import numpy as np


class Model:
    """Answers with the probabilities of good and bad."""

    signature = {
        "inputs": [
            {"name": "debt", "datatype": "FP64", "shape": [-1]},
            {"name": "income", "datatype": "FP64", "shape": [-1]},
        ],
        "outputs": [{"name": "probabilities", "datatype": "FP64", "shape": [-1, 2]}],
    }

    def predict(self, inputs):
        bad = 1 / (1 + np.exp(4 - 5 * inputs["debt"] / inputs["income"]))
        return {"probabilities": np.stack([1 - bad, bad], axis=1)}
