"""The recipe: from examples to two linear heads with whole-number weights. The same examples give the same bytes.

L2-regularised logistic regression (liblinear's trust-region Newton, primal), sources weighted by the root of their
size, classes evenly. Plain words count only where two sources or more know them, and less than concepts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import scipy.sparse
from sklearn.linear_model import LogisticRegression

from andon.security.guards.injection.features import WORD
from andon.security.guards.injection.weights import dilution
from tools.injection.corpus import OWN, Example

Head = Literal["input", "context"]
STRENGTH: dict[Head, float] = {"input": 1.0, "context": 0.15}  # inverse of the penalty, as liblinear's C
WORD_SCALE = 0.5
OCCURRENCES_MIN = 4
OWN_WEIGHT = 0.5  # a text of our own counts half as much as a real one, in the context head
BIAS = "bias"


class Table(NamedTuple):
    """All rows of one head: features by example, and where each example's rows are."""

    head: Head
    names: list[str]
    rows: scipy.sparse.csr_matrix
    labels: np.ndarray  # -1 unknown
    owner: np.ndarray  # index of the example of each row
    shares: np.ndarray  # of its example's weight that each row has
    sources: np.ndarray  # of each example


def tabulate(examples: Sequence[Example], head: Head) -> Table:
    """The examples' rows of the head as one sparse table over all names that occur often enough."""
    rows: list[frozenset[str]] = []
    labels: list[int] = []
    owner: list[int] = []
    shares: list[float] = []
    for index, example in enumerate(examples):
        if head == "input":
            told: Sequence[int | None] = example.window_labels
            mine: Sequence[frozenset[str]] = example.windows
            shares += [1.0 / len(mine)] * len(mine) if mine else []  # the windows of a text share its weight
        else:
            told, mine = example.part_labels, example.parts
            shares += [1.0] * len(mine)
        rows += mine
        labels += [-1 if label is None else label for label in told]
        owner += [index] * len(mine)
    counts: dict[str, int] = {}
    for row in rows:
        for name in row:
            counts[name] = counts.get(name, 0) + 1
    names = [BIAS, *sorted(name for name, count in counts.items() if count >= OCCURRENCES_MIN)]
    column = {name: index for index, name in enumerate(names)}
    scales = [WORD_SCALE if name.startswith(WORD) else 1.0 for name in names]
    data: list[float] = []
    indices: list[int] = []
    starts = [0]
    for row in rows:
        mine_columns = [0, *sorted(column[name] for name in row if name in column)]
        indices += mine_columns
        data += [scales[at] for at in mine_columns]
        starts.append(len(indices))
    if head == "input":
        factors = np.repeat([dilution(len(row)) for row in rows], np.diff(starts))
        factors[np.array(starts[:-1], dtype=int)] = 1.0  # the bias stays
        data = list(np.array(data) * factors)
    matrix = scipy.sparse.csr_matrix((data, indices, starts), shape=(len(rows), len(names)))
    sources = np.array([example.source for example in examples])
    return Table(head, names, matrix, np.array(labels), np.array(owner), np.array(shares), sources)


def fit(table: Table, taught: np.ndarray) -> np.ndarray:
    """Weights by column (scales included), learned from the rows of the examples marked in `taught`."""
    chosen = taught[table.owner] & (table.labels >= 0)
    rows, labels = table.rows[chosen], table.labels[chosen]
    sources = table.sources[table.owner[chosen]]
    known = _known(table, rows, sources)
    weights = _row_weights(table, labels, sources, chosen)
    model = LogisticRegression(
        C=STRENGTH[table.head], solver="liblinear", fit_intercept=False, max_iter=400, tol=1e-5
    )
    model.fit(rows[:, known], labels, sample_weight=weights)
    learned = np.zeros(len(table.names))
    learned[known] = model.coef_[0]
    return learned


def _known(table: Table, rows: scipy.sparse.csr_matrix, sources: np.ndarray) -> np.ndarray:
    """Columns that may count: often enough, and words only if several sources use them."""
    present = rows.copy()
    present.data = np.ones_like(present.data)
    often = np.asarray(present.sum(axis=0)).ravel() >= OCCURRENCES_MIN
    spread = np.zeros(rows.shape[1])
    for source in np.unique(sources):
        spread += np.asarray(present[sources == source].sum(axis=0)).ravel() > 0
    is_word = np.array([name.startswith(WORD) for name in table.names])
    return np.flatnonzero(often & (~is_word | (spread >= 2)))


def _row_weights(table: Table, labels: np.ndarray, sources: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    if table.head == "context":
        return np.where(sources == OWN, OWN_WEIGHT, 2.0) * np.where(labels == 1, 4.0, 1.0)
    weights = table.shares[chosen].copy()
    for label in (0, 1):
        for source in np.unique(sources):
            group = (labels == label) & (sources == source)
            if group.any():
                weights[group] /= math.sqrt(weights[group].sum())
        weights[labels == label] /= weights[labels == label].sum()
    balanced: np.ndarray = weights * len(labels) / 2
    return balanced


def scores(table: Table, weights: np.ndarray, count: int) -> np.ndarray:
    """The highest score of each of `count` examples; the lowest possible where it has no rows."""
    by_row = table.rows @ weights
    best = np.full(count, -20.0)
    np.maximum.at(best, table.owner, by_row)
    return best
