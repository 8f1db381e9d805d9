"""The proof of the estimate before labels: ours against NannyML's, chunk by chunk, on real predictions.

NannyML runs in an environment of its own, as an oracle for this test alone. "The same calibration" is made so that it
cannot hide anything: each side calibrates by isotonic regression on the whole reference with its own code, and both
leave the scores as they are in a second pass. Chunks are of equal size, in the order of the rows. Average precision
is left out: NannyML takes equal scores as thresholds of their own, in an order that its sort happens to give, so that
on these data (many equal scores) its figure is one of many; ours takes them together, as scikit-learn does.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from andon.observability.quality.calibration import fit_isotonic
from andon.observability.quality.estimate import estimate
from benchmarks.harness import QUICK, ROOT, conclude, table
from benchmarks.peers import environment

DATA = ROOT.parent / "shared" / "data" / "drift"
CHUNK = 10_000 if QUICK else 2_000
METRICS = ("roc_auc", "f1", "precision", "recall", "specificity", "accuracy")
ORACLE = """
import json, os, sys
os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"
import pandas as pd
import nannyml as nml
from nannyml.calibration import IsotonicCalibrator, NoopCalibrator
from nannyml.performance_estimation.confidence_based import cbpe

asked = json.load(open(sys.argv[1]))
reference, analysis = pd.read_parquet(asked["reference"]), pd.read_parquet(asked["analysis"])
# Whether calibration is worth it is another question: here it is asked for, or not.
cbpe.needs_calibration = lambda *given, **named: asked["calibrate"]
made = nml.CBPE(
    y_true="truth", y_pred="predicted", y_pred_proba="score", problem_type="classification_binary",
    metrics=asked["metrics"], chunk_size=asked["chunk"],
    calibrator=IsotonicCalibrator() if asked["calibrate"] else NoopCalibrator(),
)
made.fit(reference)
frame = made.estimate(analysis).filter(period="analysis").to_df()
answer = {metric: frame[(metric, "value")].tolist() for metric in asked["metrics"]}
answer["starts"] = frame[("chunk", "start_index")].tolist()
answer["ends"] = frame[("chunk", "end_index")].tolist()
json.dump(answer, open(sys.argv[2], "w"))
"""


def census() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Employment in Massachusetts: a model of 2015 on 2016 and 2017."""
    folder = DATA / "acs_ma_employment"
    parts = []
    for name in ("reference_2015.csv.gz", "analysis_2016_2017.csv.gz"):
        read = pd.read_csv(folder / name)
        parts.append(
            pd.DataFrame(
                {
                    "score": read["predicted_probability"].astype(float),
                    "predicted": read["prediction"].astype(int),
                    "truth": read["employed"].astype(int),
                }
            )
        )
    return parts[0], parts[1]


def housing() -> tuple[pd.DataFrame, pd.DataFrame]:
    """California housing: a covariate shift."""
    folder = DATA / "california_housing"
    reference = pd.read_csv(folder / "california_housing_reference.csv.gz")
    analysis = pd.read_csv(folder / "california_housing_analysis.csv.gz")
    return tuple(
        pd.DataFrame(
            {
                "score": read["y_pred_proba"].astype(float),
                "predicted": read["y_pred"].astype(int),
                "truth": read["clf_target"].astype(int) if "clf_target" in read else 0,
            }
        )
        for read in (reference, analysis)
    )  # type: ignore[return-value]  # two of them


def oracle(reference: pd.DataFrame, analysis: pd.DataFrame, chunk: int, *, calibrate: bool) -> dict[str, Any]:
    """What NannyML says of each chunk."""
    python = environment("nannyml", "nannyml==0.13.1", "statsmodels") / "python"
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        reference.to_parquet(folder / "reference.parquet")
        analysis.to_parquet(folder / "analysis.parquet")
        asked = {
            "reference": str(folder / "reference.parquet"),
            "analysis": str(folder / "analysis.parquet"),
            "chunk": chunk,
            "metrics": METRICS,
            "calibrate": calibrate,
        }
        (folder / "asked.json").write_text(json.dumps(asked))
        (folder / "oracle.py").write_text(ORACLE)
        subprocess.run(
            [python, "-W", "ignore", folder / "oracle.py", folder / "asked.json", folder / "answer.json"],
            check=True,
            stdout=sys.stderr,
        )
        answer: dict[str, Any] = json.loads((folder / "answer.json").read_text())
        return answer


def compare(
    name: str, data: tuple[pd.DataFrame, pd.DataFrame], chunk: int, *, calibrate: bool
) -> list[list[Any]]:
    """The largest difference of each metric over all chunks."""
    reference, analysis = data
    said = oracle(reference, analysis, chunk, calibrate=calibrate)
    scores = analysis["score"].to_numpy()
    probabilities = scores
    if calibrate:
        fitted = fit_isotonic(reference["score"].to_numpy(), reference["truth"].to_numpy(dtype=float))
        probabilities = fitted.apply(scores)
    predicted = analysis["predicted"].to_numpy() == 1
    worst = dict.fromkeys(METRICS, 0.0)
    for number, (start, end) in enumerate(zip(said["starts"], said["ends"], strict=True)):
        part = slice(int(start), int(end) + 1)
        ours = estimate(scores[part], probabilities[part], predicted[part])
        for metric in METRICS:
            worst[metric] = max(worst[metric], abs(ours[metric] - said[metric][number]))
    return [
        [name, "isotonic" if calibrate else "none", metric, len(said["starts"]), f"{worst[metric]:.2e}"]
        for metric in METRICS
    ] + [[name, "isotonic" if calibrate else "none", "all", len(said["starts"]), float(max(worst.values()))]]


def main() -> None:
    if not DATA.exists():
        sys.exit("the proof needs the shared data sets beside the project, and they are not there")
    rows: list[list[Any]] = []
    for name, data, chunk in (("census", census(), CHUNK), ("housing", housing(), CHUNK // 10)):
        for calibrate in (True, False):
            rows += compare(name, data, chunk, calibrate=calibrate)
    shown = [row for row in rows if row[2] != "all"]
    table(["data", "calibration", "metric", "chunks", "largest difference"], shown)
    conclude({"max_abs_diff_nannyml": float(np.max([row[4] for row in rows if row[2] == "all"]))})


if __name__ == "__main__":
    main()
