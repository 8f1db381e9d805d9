"""The German Credit data and the four models of the story, as files that the factory serves.

Called by `app/demo/story` before any traffic. Trains with scikit-learn and writes ONNX; knows nothing of gateways.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from skl2onnx import to_onnx
from skl2onnx.common.data_types import Int64TensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

# Attribute names in file order, after the description that comes with the data.
COLUMNS = (
    "checking_status",
    "duration_months",
    "credit_history",
    "purpose",
    "amount",
    "savings",
    "employment_since",
    "installment_rate",
    "personal_status",
    "other_debtors",
    "residence_since",
    "property",
    "age",
    "other_plans",
    "housing",
    "existing_credits",
    "job",
    "dependents",
    "telephone",
    "foreign_worker",
)
NUMBERS = frozenset(
    (
        "duration_months",
        "amount",
        "installment_rate",
        "residence_since",
        "age",
        "existing_credits",
        "dependents",
    )
)
# Sex, marital status and nationality are in the data and must not decide about credit.
FEATURES = tuple(name for name in COLUMNS if name not in {"personal_status", "foreign_worker"})
FALSE_ACCEPT_COST, FALSE_DECLINE_COST = 5, 1
TRAIN_ROWS = 600
OPSET = {"": 17, "ai.onnx.ml": 3}


class Applicants(msgspec.Struct, frozen=True):
    """Rows of the data: `columns[name]` is an (n, 1) array, `bad` the outcome known later."""

    columns: dict[str, Any]
    bad: Any

    def __len__(self) -> int:
        return len(self.bad)

    def take(self, rows: Sequence[int] | slice) -> Applicants:
        """Some of the rows."""
        return Applicants({name: values[rows] for name, values in self.columns.items()}, self.bad[rows])


class Trained(msgspec.Struct, frozen=True, kw_only=True):
    """One version of the model and what it would cost, measured on rows it has not seen."""

    version: str
    path: str
    format: str
    note: str
    cost_per_applicant: float | None
    accepted_share: float | None


def load() -> tuple[Applicants, Applicants]:
    """The rows to train on and the rows that arrive as traffic, split in file order (the file is unordered)."""
    text = resources.files("andon.app.demo").joinpath("data/german_credit.csv").read_text()
    rows = list(csv.reader(text.splitlines()))
    columns: dict[str, Any] = {}
    for place, name in enumerate(COLUMNS):
        values = [row[place] for row in rows]
        if name in NUMBERS:
            columns[name] = np.array([[int(value)] for value in values], dtype=np.int64)
        else:
            columns[name] = np.array([[value] for value in values], dtype=object)
    everyone = Applicants(columns, np.array([row[-1] == "2" for row in rows]))
    return everyone.take(slice(0, TRAIN_ROWS)), everyone.take(slice(TRAIN_ROWS, None))


def _matrix(applicants: Applicants, features: Sequence[str]) -> Any:
    return np.concatenate([applicants.columns[name].astype(object) for name in features], axis=1)


def _fit(
    applicants: Applicants, features: Sequence[str], classifier: Any, *, ignore_unknown: bool
) -> Pipeline:
    numbers = [place for place, name in enumerate(features) if name in NUMBERS]
    words = [place for place, name in enumerate(features) if name not in NUMBERS]
    encoder = OneHotEncoder(handle_unknown="ignore" if ignore_unknown else "error", sparse_output=False)
    prepare = ColumnTransformer([("words", encoder, words), ("numbers", StandardScaler(), numbers)])
    pipeline = Pipeline([("prepare", prepare), ("classify", classifier)])
    pipeline.fit(_matrix(applicants, features), applicants.bad)
    return pipeline


def _export(pipeline: Pipeline, features: Sequence[str], threshold: float, path: Path) -> None:
    """Write ONNX with one named input per feature and two outputs: probability_bad and decline."""
    inputs = [
        (name, Int64TensorType([None, 1]) if name in NUMBERS else StringTensorType([None, 1]))
        for name in features
    ]
    model = to_onnx(
        pipeline, initial_types=inputs, target_opset=OPSET, options={"zipmap": False}, name="credit"
    )
    graph, helper = model.graph, onnx.helper
    probabilities = graph.output[1].name
    graph.initializer.extend(
        [
            helper.make_tensor("andon_one", onnx.TensorProto.INT64, [1], [1]),
            helper.make_tensor("andon_threshold", onnx.TensorProto.FLOAT, [1], [threshold]),
        ]
    )
    graph.node.extend(
        [
            helper.make_node("Gather", [probabilities, "andon_one"], ["probability_bad"], axis=1),
            helper.make_node("Greater", ["probability_bad", "andon_threshold"], ["andon_above"]),
            helper.make_node("Cast", ["andon_above"], ["decline"], to=onnx.TensorProto.INT64),
        ]
    )
    del graph.output[:]
    graph.output.extend(
        [
            helper.make_tensor_value_info("probability_bad", onnx.TensorProto.FLOAT, [None, 1]),
            helper.make_tensor_value_info("decline", onnx.TensorProto.INT64, [None, 1]),
        ]
    )
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())


def _judge(
    pipeline: Pipeline, features: Sequence[str], threshold: float, unseen: Applicants
) -> tuple[float, float]:
    """Mean cost per applicant under the data's own cost matrix, and the share accepted."""
    declined = pipeline.predict_proba(_matrix(unseen, features))[:, 1] > threshold
    cost = FALSE_ACCEPT_COST * (~declined & unseen.bad) + FALSE_DECLINE_COST * (declined & ~unseen.bad)
    return float(cost.mean()), float((~declined).mean())


def train_first(folder: Path, train: Applicants, unseen: Applicants) -> Trained:
    """Version 1: what a team ships first. A few plain features, threshold one half."""
    features = FEATURES
    pipeline = _fit(train, features, LogisticRegression(max_iter=2000), ignore_unknown=True)
    _export(pipeline, features, 0.5, folder / "1" / "model.onnx")
    cost, accepted = _judge(pipeline, features, 0.5, unseen)
    return Trained(
        version="1",
        path=str(folder / "1" / "model.onnx"),
        format="onnx",
        note="logistic regression, declines above one half",
        cost_per_applicant=cost,
        accepted_share=accepted,
    )


def train_better(folder: Path, train: Applicants, unseen: Applicants) -> Trained:
    """Version 2: boosted trees that decline where the expected cost says so (Elkan 2001: p > 1 / (1 + 5))."""
    threshold = FALSE_DECLINE_COST / (FALSE_DECLINE_COST + FALSE_ACCEPT_COST)
    classifier = GradientBoostingClassifier(n_estimators=120, max_depth=2, learning_rate=0.08, random_state=0)
    pipeline = _fit(train, FEATURES, classifier, ignore_unknown=True)
    _export(pipeline, FEATURES, threshold, folder / "2" / "model.onnx")
    cost, accepted = _judge(pipeline, FEATURES, threshold, unseen)
    return Trained(
        version="2",
        path=str(folder / "2" / "model.onnx"),
        format="onnx",
        note="boosted trees, declines by expected cost (5:1)",
        cost_per_applicant=cost,
        accepted_share=accepted,
    )


def train_broken(folder: Path, train: Applicants) -> Trained:
    """Version 3: trained on a sample of car and television credits, so every other purpose is an error.

    Nothing offline shows it: the sample's own hold-out has no other purposes either.
    """
    known = {"A40", "A41", "A42", "A43"}
    sample = [row for row, purpose in enumerate(train.columns["purpose"][:, 0]) if purpose in known]
    pipeline = _fit(train.take(sample), FEATURES, LogisticRegression(max_iter=2000), ignore_unknown=False)
    _export(pipeline, FEATURES, 1 / 6, folder / "3" / "model.onnx")
    return Trained(
        version="3",
        path=str(folder / "3" / "model.onnx"),
        format="onnx",
        note="trained on a sample: fails on purposes that it has never seen",
        cost_per_applicant=None,
        accepted_share=None,
    )


SLOW_SOURCE = '''"""Version 4: version 2 behind a synchronous call to a credit bureau that takes its time."""

import time
from pathlib import Path

import onnxruntime


class Model:
    """Scores with version 2 after asking the bureau, one applicant after the other."""

    def __init__(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(Path(__file__).with_name("model.onnx")), options)
        kinds = {"tensor(string)": "BYTES", "tensor(int64)": "INT64", "tensor(float)": "FP32"}
        self.signature = {
            side: [{"name": one.name, "datatype": kinds[one.type], "shape": [-1, 1]} for one in tensors]
            for side, tensors in (("inputs", self.session.get_inputs()), ("outputs", self.session.get_outputs()))
        }

    def predict(self, inputs):
        time.sleep(0.015)
        names = [output.name for output in self.session.get_outputs()]
        return dict(zip(names, self.session.run(names, inputs)))
'''


def write_slow(folder: Path, better: Trained) -> Trained:
    """Version 4: right answers, fifteen milliseconds late."""
    target = folder / "4"
    target.mkdir(parents=True, exist_ok=True)
    (target / "model.py").write_text(SLOW_SOURCE)
    (target / "model.onnx").write_bytes(Path(better.path).read_bytes())
    return Trained(
        version="4",
        path=str(target),  # the folder, because the entry reads a file beside itself
        format="python",
        note="version 2 plus a blocking call to a credit bureau",
        cost_per_applicant=better.cost_per_applicant,
        accepted_share=better.accepted_share,
    )


def infer_body(applicants: Applicants, row: int) -> bytes:
    """One applicant as an Open Inference Protocol v2 request."""
    inputs = []
    for name in FEATURES:
        value = applicants.columns[name][row, 0]
        number = name in NUMBERS
        inputs.append(
            {
                "name": name,
                "shape": [1, 1],
                "datatype": "INT64" if number else "BYTES",
                "data": [int(value) if number else str(value)],
            }
        )
    return msgspec.json.encode({"inputs": inputs})
