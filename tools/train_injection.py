"""Trains the injection detector: `python tools/train_injection.py --data FOLDER [--out FILE]`, a minute on one core.

FOLDER holds unified.jsonl.gz and bipia/ (docs/guards-injection.md). The same data and libraries give the same bytes.
Without --data it learns from the texts of this workshop alone. Prints the SHA-256 of what it made.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import numpy as np  # noqa: E402  # after the path that makes this file runnable by itself

from andon.security.guards.injection.classifier import SHIPPED  # noqa: E402  # as above
from andon.security.guards.injection.features import WORD  # noqa: E402  # as above
from andon.security.guards.injection.weights import SCALE, Channel, Weights, load, seal  # noqa: E402  # as above
from tools.injection.corpus import read  # noqa: E402  # as above
from tools.injection.examination import Exam  # noqa: E402  # as above
from tools.injection.recipe import BIAS, WORD_SCALE, Head, fit  # noqa: E402  # as above

RATES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05)


def train(data: Path | None, scale: float = 1.0) -> Weights:
    """Both heads from everything that may teach; thresholds from folds of it."""
    examples = read(data, scale)
    exam = Exam(examples)
    taught = sorted({example.source for example in examples if example.teaches})
    counts = {name: sum(one.source == name and one.teaches for one in examples) for name in taught}
    made = f"linear heads, {len(examples)} texts read"
    return Weights(
        made=made, sources=counts, input=_channel(exam, "input"), context=_channel(exam, "context")
    )


def _channel(exam: Exam, head: Head) -> Channel:
    table = exam.tables[head]
    learned = fit(table, exam.teaches)
    attacks, benign = exam.unseen(head)
    threshold = exam.chosen(head, benign)
    weights = {}
    for name, weight in zip(table.names, learned, strict=True):
        whole = round(float(weight) * SCALE * (WORD_SCALE if name.startswith(WORD) else 1.0))
        if whole and name != BIAS:
            weights[name] = whole
    rates = {}
    slope = _slope(attacks - threshold, benign - threshold)
    for rate in RATES:
        at = float(np.quantile(benign, 1 - rate))
        rates[str(rate)] = round(1 / (1 + float(np.exp(-slope * (at - threshold)))), 4)
    bias = round(float(learned[table.names.index(BIAS)]) * SCALE)
    return Channel(
        bias=bias, weights=weights, centre=round(threshold * SCALE), slope=round(slope, 4), rates=rates
    )


def _slope(attacks: np.ndarray, benign: np.ndarray) -> float:
    """Slope of a logistic curve through 0.5 at the threshold that fits best, classes evenly (Platt 1999, one-sided)."""
    slopes = np.linspace(0.2, 4.0, 77)
    losses = [
        np.logaddexp(0, -slope * attacks).mean() + np.logaddexp(0, slope * benign).mean() for slope in slopes
    ]
    return float(slopes[int(np.argmin(losses))])


def main() -> None:
    """Train, write, tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of the public sets")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="where the weights go")
    given = parser.parse_args()
    content = seal(train(given.data))
    given.out.write_bytes(content)
    weights, digest = load(given.out)
    print(f"{given.out}: {len(content):,} bytes, sha256 {digest}")
    for name, channel in (("input", weights.input), ("context", weights.context)):
        print(f"{name}: {len(channel.weights):,} weights, scores by benign rate {channel.rates}")


if __name__ == "__main__":
    main()
