"""Trains the tagger of names: `python -m tools.train_pii --data presidio_synth_v2_dev.json.gz`.

Data: the synthetic sentences of presidio-research (MIT) and texts of `tools/pii_texts.py`. The same data and seed give
the same weights, byte for byte. `benchmarks/guard_pii.py` trains by the same functions on parts of the data.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import sys
import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from andon.security.guards.pii.features import Token, features, is_candidate, tokenise
from andon.security.guards.pii.tagger import OUTSIDE
from andon.security.guards.pii.weights import SCALE, WEIGHTS, Weights
from tools.pii_texts import Maker, Sample

SEED = 20261123
ROUNDS = 8
GENERATED = 4000
FEWEST = 2  # how often a feature must have been of use to be kept
# What is found by its form and needs no tagger.
BY_FORM = frozenset(
    "CREDIT_CARD EMAIL_ADDRESS DOMAIN_NAME IP_ADDRESS IBAN_CODE US_SSN US_DRIVER_LICENSE".split()
)

Example = tuple[list[Token], list[str]]


def read_samples(path: Path) -> list[Sample]:
    """The sentences of presidio-research's form."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [
            Sample(
                item["full_text"],
                [
                    (span["start_position"], span["end_position"], span["entity_type"])
                    for span in item["spans"]
                ],
                str(item["template_id"]),
            )
            for item in json.load(file)
        ]


def examples(samples: Iterable[Sample]) -> list[Example]:
    """Tokens with the tag that each should have."""
    found = []
    for sample in samples:
        tokens = tokenise(sample.text)
        found.append((tokens, _gold(tokens, sample.spans)))
    return found


def _gold(tokens: Sequence[Token], spans: Sequence[tuple[int, int, str]]) -> list[str]:
    tags = [OUTSIDE] * len(tokens)
    for start, end, entity in spans:
        inside = [at for at, token in enumerate(tokens) if token.start < end and token.end > start]
        if entity not in BY_FORM:
            for at in inside:
                tags[at] = ("B-" if at == inside[0] else "I-") + entity
    return tags


def train(material: Sequence[Example], rounds: int = ROUNDS, seed: int = SEED) -> Weights:
    """An averaged perceptron, trained on its own earlier decisions as it will run."""
    tags = sorted({tag for _, gold in material for tag in gold} | {OUTSIDE})
    number = {tag: at for at, tag in enumerate(tags)}
    weights: dict[str, dict[int, float]] = defaultdict(dict)
    totals: dict[tuple[str, int], float] = defaultdict(float)
    stamps: dict[tuple[str, int], int] = defaultdict(int)
    uses: dict[str, int] = defaultdict(int)
    order, chance, step = list(range(len(material))), random.Random(seed), 0  # noqa: S311 - an order, no secret

    def update(name: str, tag: int, by: float) -> None:
        key = (name, tag)
        row = weights[name]
        totals[key] += (step - stamps[key]) * row.get(tag, 0.0)
        stamps[key] = step
        row[tag] = row.get(tag, 0.0) + by

    for _ in range(rounds):
        chance.shuffle(order)
        for at_text in order:
            tokens, gold = material[at_text]
            before = before_that = OUTSIDE
            for at in range(len(tokens)):
                tag = OUTSIDE
                if is_candidate(tokens, at, before):
                    step += 1
                    found = features(tokens, at, before, before_that)
                    tag = tags[_guess(weights, found, len(tags))]
                    if tag != gold[at]:
                        for name in found:
                            update(name, number[gold[at]], 1.0)
                            update(name, number[tag], -1.0)
                            uses[name] += 1
                before_that, before = before, tag
    averaged: dict[str, dict[int, int]] = {}
    for name in sorted(weights):
        row = {}
        for place, value in sorted(weights[name].items()):
            total = totals[name, place] + (step - stamps[name, place]) * value
            whole = round(total / max(step, 1) * SCALE)
            if whole and uses[name] >= FEWEST:
                row[place] = whole
        if row:
            averaged[name] = row
    return Weights(tags=tuple(tags), features=averaged)


def _guess(weights: dict[str, dict[int, float]], found: Sequence[str], count: int) -> int:
    scores = [0.0] * count
    for name in found:
        row = weights.get(name)
        if row:
            for tag, value in row.items():
                scores[tag] += value
    return scores.index(max(scores))


def material_of(samples: Sequence[Sample], generated: int = GENERATED, seed: int = SEED) -> list[Example]:
    """What is trained on: the samples, and texts of our own."""
    return examples([*samples, *Maker(seed).samples(generated)])


def pack(weights: Weights) -> bytes:
    """The weights as their file holds them."""
    return zlib.compress(msgspec.msgpack.encode(weights), 9)


def main() -> None:
    """Train and write the file."""
    parser = argparse.ArgumentParser(description="Trains the tagger of names.")
    parser.add_argument("--data", type=Path, required=True, help="presidio_synth_v2_dev.json.gz")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    options = parser.parse_args()
    weights = train(material_of(read_samples(options.data)))
    options.out.write_bytes(pack(weights))
    print(f"{len(weights.features)} features, {options.out.stat().st_size} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
