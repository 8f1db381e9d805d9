"""Names of people, places, firms and the like: an averaged perceptron over tokens, left to right.

Its weights are a file beside this one, made by `tools/train_pii.py`; the SHA-256 of that file is its version. Pure; one
pass over the tokens, each with a bounded number of features.
Source: M. Collins, Discriminative Training Methods for Hidden Markov Models, EMNLP 2002 (averaged perceptron).
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from andon.kernel.errors import Refused
from andon.security.guards.model import Finding
from andon.security.guards.pii.features import Token, features, is_candidate, tokenise

WEIGHTS: Final = Path(__file__).with_name("tagger.weights")
SCALE: Final = 32.0  # stored weights are whole numbers of 1/SCALE
OUTSIDE: Final = "O"


class Weights(msgspec.Struct, frozen=True):
    """What training found: tags, and for each feature the weight of each tag that it speaks of."""

    tags: tuple[str, ...]
    features: dict[str, dict[int, int]]


def load_weights(path: Path = WEIGHTS, digest: str = "") -> tuple[Weights, str]:
    """The weights and their version; raises Refused if the file is not there, damaged, or not the one expected."""
    try:
        data = path.read_bytes()
        version = hashlib.sha256(data).hexdigest()
        weights = msgspec.msgpack.decode(zlib.decompress(data), type=Weights)
    except (OSError, zlib.error, msgspec.MsgspecError) as error:
        raise Refused(
            "guard_weights_damaged",
            f"The weights of the detector of names cannot be read: {type(error).__name__}.",
            hint="Install Andon again, or train them: python -m tools.train_pii.",
        ) from error
    if digest and version != digest:
        raise Refused(
            "guard_weights_damaged",
            "The weights of the detector of names are not the ones that belong to this version.",
            hint="Install Andon again.",
        )
    return weights, version[:12]


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
