"""Names of people, places, firms and the like: an averaged perceptron over tokens, left to right.

Pure; one pass over the tokens, each with a bounded number of features; the weights come from `weights`.
Source: M. Collins, Discriminative Training Methods for Hidden Markov Models, EMNLP 2002 (averaged perceptron).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from andon.security.guards.model import Finding
from andon.security.guards.pii.features import Token, features, is_candidate, tokenise
from andon.security.guards.pii.weights import SCALE, Weights

OUTSIDE: Final = "O"


class Tagger:
    """Finds names by what training has seen of their form and surroundings."""

    def __init__(self, weights: Weights) -> None:
        self._tags = weights.tags
        self._weights: Mapping[str, tuple[tuple[int, float], ...]] = {
            name: tuple((tag, value / SCALE) for tag, value in row.items())
            for name, row in weights.features.items()
        }
        self._outside = weights.tags.index(OUTSIDE)

    def find(self, text: str) -> list[Finding]:
        """Everything that is tagged, as spans."""
        tokens = tokenise(text)
        return spans(tokens, self.tag(tokens))

    def tag(self, tokens: Sequence[Token]) -> list[str]:
        """One tag for each token: O, or B- and I- with an entity."""
        tags: list[str] = []
        before = before_that = OUTSIDE
        for at in range(len(tokens)):
            tag = OUTSIDE
            if is_candidate(tokens, at, before):
                tag = self._best(features(tokens, at, before, before_that))
                if tag[0] == "I" and before[2:] != tag[2:]:
                    tag = "B" + tag[1:]
            tags.append(tag)
            before_that, before = before, tag
        return tags

    def _best(self, found: Sequence[str]) -> str:
        scores = [0.0] * len(self._tags)
        weights = self._weights
        for name in found:
            row = weights.get(name)
            if row is not None:
                for tag, value in row:
                    scores[tag] += value
        return self._tags[scores.index(max(scores))]


def spans(tokens: Sequence[Token], tags: Sequence[str]) -> list[Finding]:
    """Tags of tokens as findings; what is tagged at its ends only by a sign is cut to its words."""
    found: list[Finding] = []
    start = end = -1
    entity = ""
    for token, tag in zip(tokens, tags, strict=True):
        if tag[0] == "I" and entity == tag[2:]:
            end = token.end
            continue
        if entity:
            found.append(Finding(start, end, entity, 0.8))
        entity = ""
        if tag != OUTSIDE:
            start, end, entity = token.start, token.end, tag[2:]
    if entity:
        found.append(Finding(start, end, entity, 0.8))
    return found
