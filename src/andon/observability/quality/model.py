"""The kind `Monitor` as people write it, and its status. Frozen; imports no engine, because control reads it too.

A monitor says what a good answer of an endpoint is: which label is the truth, which figures matter, what a fall is.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from andon.ledger.row import Outcome

D = msgspec.Meta

MONITOR = "Monitor"
Problem = Literal["binary", "multiclass", "regression"]
Metric = Literal[
    "accuracy",
    "precision",
    "recall",
    "specificity",
    "f1",
    "roc_auc",
    "average_precision",
    "log_loss",
    "brier",
    "ece",
    "mae",
    "rmse",
    "mape",
    "cost",
]
METRICS: dict[str, tuple[Metric, ...]] = {
    "binary": (
        "accuracy",
        "precision",
        "recall",
        "specificity",
        "f1",
        "roc_auc",
        "average_precision",
        "log_loss",
        "brier",
        "ece",
    ),
    "multiclass": ("accuracy", "precision", "recall", "f1"),
    "regression": ("mae", "rmse", "mape"),
}
LESS_IS_BETTER = frozenset({"log_loss", "brier", "ece", "mae", "rmse", "mape", "cost"})
ESTIMATED = ("accuracy", "precision", "recall", "specificity", "f1", "roc_auc", "average_precision", "cost")
SLICE_COLUMNS = frozenset(field.name for field in msgspec.structs.fields(Outcome)) - {
    "id",
    "at_ns",
    "features",
    "traceparent",
    "score",
}
State = Literal["waiting", "good", "alarm"]


class Written(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True
):
    """A part of a factory file: unknown fields are refused, names are camelCase."""


class CostSpec(Written, frozen=True, kw_only=True):
    """What each outcome of a binary decision costs; negative is a gain. The figure `cost` is the mean per answer."""

    true_positive: Annotated[float, D(description="Cost of a hit.")] = 0.0
    false_positive: Annotated[float, D(description="Cost of a false alarm.")] = 0.0
    true_negative: Annotated[float, D(description="Cost of a right refusal.")] = 0.0
    false_negative: Annotated[float, D(description="Cost of a miss.")] = 0.0


class FormulaSpec(Written, frozen=True, kw_only=True):
    """A figure of one's own, from labels."""

    name: Annotated[str, D(description="Name of the figure.", pattern="^[a-z][a-z0-9_]{0,40}$")]
    sql: Annotated[
        str,
        D(
            description="An SQL aggregate over the labelled rows of a chunk: columns of `requests`, and `label` "
            "(number) and `label_text`. Such as avg(abs(score - label)).",
            min_length=1,
            max_length=1000,
        ),
    ]


class ReferenceSpec(Written, frozen=True, kw_only=True):
    """What good times were: falls are measured from it, scores are calibrated on it."""

    automatic: Annotated[
        bool, D(description="Make one for each release once enough of its labels have come.")
    ] = True
    min_labels: Annotated[int, D(description="Labelled rows that a reference needs.", ge=100)] = 500
    since: Annotated[str, D(description="From labels of so far back at most.")] = "30d"


class AlarmSpec(Written, frozen=True, kw_only=True):
    """What is told as a fall."""

    metric: Annotated[
        Metric | None, D(description="Which figure; left out: accuracy, or mae of a regression.")
    ] = None
    tolerance: Annotated[float, D(description="A fall from the reference up to this is no alarm.", ge=0)] = (
        0.02
    )
    false_alarms_per_month: Annotated[
        float, D(description="How many alarms chance alone may raise, over all chunks.", gt=0, le=30)
    ] = 0.5
    severity: Annotated[Literal["page", "ticket"], D(description="How loud it is.")] = "page"


class MonitorSpec(Written, frozen=True, kw_only=True):
    """How good the answers of an endpoint are, from labels when they come and from scores before."""

    endpoint: Annotated[str, D(description="The endpoint that is watched.")]
    label: Annotated[str, D(description="Name of the label that is the truth.")] = "label"
    problem: Annotated[Problem, D(description="What is predicted.")] = "binary"
    positive: Annotated[
        str,
        D(
            description="Binary: the positive class as it is recorded. Left out, the score alone decides, and labels "
            "are numbers or one of 1, true, yes."
        ),
    ] = ""
    threshold: Annotated[
        float | None,
        D(
            description="Binary: the score from which an answer counts as positive. Left out: the recorded "
            "prediction, or 0.5 where no positive class is named."
        ),
    ] = None
    close_enough: Annotated[
        float | None, D(description="Regression: an error up to this is a good answer, for gates.")
    ] = None
    metrics: Annotated[
        tuple[Metric, ...], D(description="Which figures; empty for all of the problem's.")
    ] = ()
    costs: Annotated[CostSpec | None, D(description="Binary: adds the figure `cost`.")] = None
    formulas: Annotated[tuple[FormulaSpec, ...], D(description="Figures of one's own.", max_length=20)] = ()
    slices: Annotated[
        tuple[str, ...],
        D(description="Columns of the ledger by whose values accuracy is told.", max_length=8),
    ] = ()
    chunk: Annotated[str, D(description="Length of the periods that are judged.")] = "1d"
    keep: Annotated[int, D(description="How many chunks of a release are kept.", ge=2, le=2000)] = 400
    min_rows: Annotated[int, D(description="A chunk with fewer rows or labels is not judged.", ge=20)] = 100
    max_rows: Annotated[
        int, D(description="Of a chunk with more, a fair part by request id.", ge=1000, le=500_000)
    ] = 100_000
    labels_within: Annotated[
        str, D(description="How late labels may be; after it an estimate is held against them.")
    ] = "7d"
    reference: Annotated[ReferenceSpec, D(description="The reference.")] = ReferenceSpec()
    alarm: Annotated[AlarmSpec, D(description="What is told as a fall.")] = AlarmSpec()

    @property
    def figures(self) -> tuple[Metric, ...]:
        """The figures, defaults filled in."""
        found = self.metrics or METRICS[self.problem]
        return (*found, "cost") if self.costs is not None and "cost" not in found else found

    @property
    def leading(self) -> Metric:
        """The figure that alarms, and by which an estimate is trusted."""
        return self.alarm.metric or ("mae" if self.problem == "regression" else "accuracy")


class ReleaseStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One release in brief; figures are of the leading metric in its last judged chunk."""

    rows: int = 0
    labelled: int = 0
    realised: float | None = None
    estimated: float | None = None
    band: float | None = None
    estimate_state: str = "no reference"
    reason: str = ""


class MonitorStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What became of the last look."""

    state: State = "waiting"
    message: str = ""
    until_ns: int = 0  # end of the last chunk that was looked at
    since_ns: int = 0  # since when it is an alarm
    episode: int = 0  # how many alarms there were
    reasons: tuple[str, ...] = ()
    releases: dict[str, ReleaseStatus] = {}
