"""HopSkipJump and ZOO, by the Adversarial Robustness Toolbox, row by row and within a budget of queries for each.

Sources: Chen, Jordan, Wainwright, "HopSkipJumpAttack" (2020), which needs labels only; Chen et al., "ZOO" (2017), which
needs scores. A row has fallen as soon as any query within epsilon gets another answer: what the attack ends with is not
asked for. Needs the extra `robustness`, which is imported when an assessment is made.
"""

from __future__ import annotations

import importlib
import io
import warnings
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

from andon.kernel.errors import Refused
from andon.security.robustness.model import Outcome, Predict, Terms

_STARTS, _STARTS_AT_ONCE = 20, 5
_ATTEMPTS_MAX = 50  # of one row; each but the last ended before the budget did


class _Spent(Exception):
    """The row's budget is spent."""


class _Fallen(Exception):
    """An answer within epsilon is another."""


def _library(name: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ART tells of frameworks that nobody asked for
            return importlib.import_module(name)
    except ImportError as error:
        raise Refused(
            "library_missing",
            f"An assessment needs the Python package {name.partition('.')[0]}, which cannot be imported ({error}).",
            hint="Install it: pip install 'andon[robustness]'.",
        ) from error


class _Watched:
    """The model as an attack may use it: counted, and looked at for the first answer that is another."""

    def __init__(self, predict: Predict, numpy: Any, terms: Terms, spans: tuple[Any, Any]) -> None:
        self.queries = 0
        self._predict = predict
        self._np = numpy
        self._terms = terms
        self._low, self._width = spans
        self._row: Any = None
        self.label = -1
        self._left = 0

    def begin(self, row: Any, label: int) -> None:
        """Attack another row; its label is what the model rightly said."""
        self._row, self.label, self._left = row, label, self._terms.budget

    def __call__(self, points: Any) -> Any:
        """Scores of points in the unit cube. Raises `_Fallen` or `_Spent`."""
        np = self._np
        points = np.clip(np.asarray(points, dtype=np.float64).reshape(len(points), -1), 0.0, 1.0)
        if len(points) > self._left:
            points = points[: self._left]
        if len(points) == 0:
            raise _Spent
        self._left -= len(points)
        self.queries += len(points)
        scores = np.asarray(self._predict(points * self._width + self._low), dtype=np.float64)
        differences = points - self._row
        norm = np.inf if self._terms.norm == "linf" else 2
        near = np.linalg.norm(differences, ord=norm, axis=1) <= self._terms.epsilon + 1e-9
        if bool((near & (scores.argmax(axis=1) != self.label)).any()):
            raise _Fallen
        if self._left <= 0:
            raise _Spent
        return scores.astype(np.float32)


def assess(predict: Predict, rows: Any, labels: Any, terms: Terms) -> Outcome:
    """Attack `terms.rows` rows, drawn by the seed. `rows` is [n, features], `labels` [n] of class numbers.

    Epsilon is a share of each feature's range in `rows`. Raises `Refused` where there is nothing to attack.
    """
    np = _library("numpy")
    evasion = _library("art.attacks.evasion")
    estimators = _library("art.estimators.classification")
    rows, labels = np.asarray(rows, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    if rows.ndim != 2 or len(rows) != len(labels) or len(rows) == 0:
        raise Refused(
            "assessment_data", "There are no rows with labels to attack.", hint="Give a CSV or .npz file."
        )
    low, high = rows.min(axis=0), rows.max(axis=0)
    width = np.where(high > low, high - low, 1.0)
    chosen = np.random.RandomState(terms.seed).permutation(len(rows))[: terms.rows]
    scores = np.asarray(predict(rows[chosen]))
    said = scores.argmax(axis=1)
    watched = _Watched(predict, np, terms, (low, width))
    classifier = estimators.BlackBoxClassifier(
        watched, input_shape=(rows.shape[1],), nb_classes=scores.shape[1], clip_values=(0.0, 1.0)
    )
    right = [place for place, row in enumerate(chosen) if said[place] == labels[row]]
    stood = 0
    for place in right:
        row = (rows[chosen[place]] - low) / width
        watched.begin(row, int(said[place]))
        drawn = np.random.RandomState(terms.seed + place)
        np.random.seed(terms.seed + place)  # the toolbox draws from the global generator
        stood += _stands(_Row(evasion, classifier, watched, row, drawn), terms)
    return Outcome(rows=len(chosen), right=len(right), stood=stood, queries=watched.queries)


class _Row:
    """One row under attack."""

    def __init__(self, evasion: Any, classifier: Any, watched: _Watched, row: Any, drawn: Any) -> None:
        self.evasion = evasion
        self.classifier = classifier
        self.row = row[None, :].astype("float32")
        self._watched = watched
        self._drawn = drawn

    def start(self) -> Any:
        """A point with another answer to begin from. The toolbox would draw it by a generator that nobody seeds."""
        for _ in range(_STARTS):
            points = self._drawn.uniform(size=(_STARTS_AT_ONCE, self.row.shape[1]))
            answers = self._watched(points).argmax(axis=1)
            other = (answers != self._watched.label).nonzero()[0]
            if len(other):
                return points[other[0]][None, :].astype("float32")
        return None


def _stands(one: _Row, terms: Terms) -> bool:
    """Whether the row's answer stays, as far as the budget shows; an attack that gives up begins again."""
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")  # of the toolbox, about rows that it could not move
            for _ in range(_ATTEMPTS_MAX):
                attack = _attack(one.evasion, one.classifier, terms)
                if terms.attack == "zoo":
                    attack.generate(x=one.row)
                elif (start := one.start()) is not None:
                    attack.generate(x=one.row, x_adv_init=start)
    except _Fallen:
        return False
    except _Spent:
        return True
    return True


def _attack(evasion: Any, classifier: Any, terms: Terms) -> Any:
    if terms.attack == "zoo":
        return evasion.ZooAttack(
            classifier=classifier,
            max_iter=max(1, terms.budget // 4),
            learning_rate=0.05,
            use_resize=False,
            use_importance=False,
            nb_parallel=1,
            batch_size=1,
            variable_h=0.05,
            verbose=False,
        )
    return evasion.HopSkipJump(
        classifier=classifier,
        targeted=False,
        norm="inf" if terms.norm == "linf" else 2,
        max_iter=20,
        max_eval=200,
        init_eval=20,
        init_size=50,
        batch_size=256,
        verbose=False,
    )
