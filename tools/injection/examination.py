"""The honest examination: every family of attacks is judged by a model that never saw it, benign rows likewise.

For a held-out family and an outer fold of benign rows: learn from the rest, choose the threshold on inner folds of the
rest at `TARGET_FPR`, then judge the family and the outer fold. Nothing held out takes part in any choice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from tools.injection.corpus import FOLDS, Example
from tools.injection.recipe import Head, Table, fit, scores, tabulate

TARGET_FPR = {"input": 0.005, "context": 0.007}
BENIGN = (
    "wildguard_benign",
    "cyberseceval_frr",
    "bipia_train_email",
    "bipia_train_table",
    "bipia_train_code",
)
CHANNEL_OF: dict[Head, str] = {"input": "direct", "context": "indirect"}


class Judged(NamedTuple):
    """How one held-out group fared."""

    found: dict[tuple[str, str], list[float]]  # (source, family) to the shares found, by fold
    benign: dict[str, tuple[float, float]]  # source to (flagged, judged)
    notinject: tuple[float, float]  # (left alone, judged)


class Exam:
    """Tables of all examples, and questions asked of them."""

    def __init__(self, examples: Sequence[Example], folds: int = FOLDS, inner: int = 3) -> None:
        self.examples = examples
        self.folds, self.inner = folds, inner
        self.tables: dict[Head, Table] = {head: tabulate(examples, head) for head in ("input", "context")}
        self.teaches = np.array([example.teaches for example in examples])
        self.fold = np.array([example.fold for example in examples])
        self.labels = np.array([example.label for example in examples])
        self.sources = np.array([example.source for example in examples])
        self.channels = np.array([example.channel for example in examples])

    def hold_out(
        self, head: Head, is_held: Callable[[Example], bool], folds: Sequence[int] | None = None
    ) -> Judged:
        """The examples of the head's channel that are held, judged without them; benign rows fold by fold."""
        channel = CHANNEL_OF[head]
        held = np.array([example.label == 1 and is_held(example) for example in self.examples])
        benign = (self.labels == 0) & (self.channels == channel) & np.isin(self.sources, BENIGN)
        found: dict[tuple[str, str], list[float]] = {}
        flagged: dict[str, tuple[float, float]] = {}
        quiet = (0.0, 0.0)
        for outer in folds if folds is not None else range(self.folds):
            out = benign & (self.fold % self.folds == outer)
            threshold = self.threshold(head, self.teaches & ~held & ~out)
            best = self._best(head, self.teaches & ~held & ~out)
            over = best > threshold
            for index in np.flatnonzero(held & (self.channels == channel)):
                example = self.examples[int(index)]
                found.setdefault((example.source, example.family), []).append(float(over[index]))
            for source in np.unique(self.sources[out]):
                mine = out & (self.sources == source)
                before = flagged.get(str(source), (0.0, 0.0))
                flagged[str(source)] = (before[0] + float(over[mine].sum()), before[1] + float(mine.sum()))
            silent = self.sources == "notinject_one"
            quiet = (quiet[0] + float((~over[silent]).sum()), quiet[1] + float(silent.sum()))
        return Judged(found, flagged, quiet)

    def threshold(self, head: Head, taught: np.ndarray) -> float:
        """The score that `TARGET_FPR` of the taught benign rows exceed when judged by models that never saw them."""
        benign = self._benign(head, taught)
        ranks = np.cumsum(benign) % max(self.inner, 2)
        seen: list[float] = []
        for part in range(self.inner):
            out = benign & (ranks == part)
            seen += list(self._best(head, taught & ~out)[out])
        return self.chosen(head, np.array(seen))

    def chosen(self, head: Head, benign: np.ndarray) -> float:
        """The threshold for these scores of benign rows."""
        return float(np.quantile(benign, 1 - TARGET_FPR[head]))

    def unseen(self, head: Head) -> tuple[np.ndarray, np.ndarray]:
        """(attacks, benign rows) that teach, scored fold by fold by models that had not seen them."""
        benign = self._benign(head, self.teaches)
        attacks = self.teaches & (self.labels == 1) & (self.channels == CHANNEL_OF[head])
        scored = np.zeros(len(self.examples))
        for part in range(self.folds):
            out = (self.fold % self.folds == part) & (benign | attacks)
            scored[out] = self._best(head, self.teaches & ~out)[out]
        return scored[attacks], scored[benign]

    def _benign(self, head: Head, taught: np.ndarray) -> np.ndarray:
        mine = taught & (self.labels == 0) & (self.channels == CHANNEL_OF[head])
        public = mine & np.isin(self.sources, BENIGN)
        chosen: np.ndarray = public if public.any() else mine  # without public rows our own stand in
        return chosen

    def _best(self, head: Head, taught: np.ndarray) -> np.ndarray:
        table = self.tables[head]
        return scores(table, fit(table, taught), len(self.examples))
