"""Trains a small classifier and saves it the way MLflow does, in models/iris. Needs scikit-learn and mlflow."""

from __future__ import annotations

import shutil
from pathlib import Path

import mlflow.sklearn
from mlflow.models.signature import infer_signature
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression


def main() -> None:
    """Train and save."""
    target = Path(__file__).parent / "models" / "iris"
    shutil.rmtree(target, ignore_errors=True)
    data = load_iris()
    model = LogisticRegression(max_iter=500).fit(data.data, data.target)
    mlflow.sklearn.save_model(
        model,
        target,
        serialization_format="cloudpickle",
        signature=infer_signature(data.data, model.predict(data.data)),
        pip_requirements=["scikit-learn"],
    )


if __name__ == "__main__":
    main()
