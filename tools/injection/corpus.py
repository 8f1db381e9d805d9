"""Examples to learn from and to be examined on: rows of the public sets and texts of our own, read into features once.

Which rows may teach is decided here. NotInject and Tensor Trust never do: the first measures over-defence, the second
carries no licence. Their rows are examined only.
"""

from __future__ import annotations

import gzip
import json
import random
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from andon.security.guards.injection.features import of_segments, of_window, segments, windows
from tools.injection.attacks import direct, planted
from tools.injection.documents import documents, plant
from tools.injection.requests import requests

SEED = 20
OWN = "own"  # the source of texts made by this workshop
CONTENT_KINDS = frozenset({"agent", "override", "foreign"})  # planted, and an attack wherever they stand
EXAMINED_ONLY = frozenset({"tensortrust_hijacking", "notinject_one"})
DOCUMENTS = frozenset(
    {"PINT_documents", "PINT_hard_negatives"}
)  # benign rows that are what documents are like
FOLDS = 5


class Example(NamedTuple):
    """One text as features: rows of the input head and of the context head, with their labels (None: unknown)."""

    source: str
    family: str  # the attack type, without the position where it was planted
    channel: str  # direct or indirect
    label: int
    teaches: bool
    fold: int
    windows: tuple[frozenset[str], ...]
    parts: tuple[frozenset[str], ...]
    part_labels: tuple[int | None, ...]
    window_labels: tuple[int | None, ...]  # None: unknown, or not for the input head


def read(path: Path | None, scale: float = 1.0) -> list[Example]:
    """The public rows under `path` (a folder with unified.jsonl.gz and bipia/), then our own; `scale` for tests."""
    chance = random.Random(SEED)  # noqa: S311  # texts, not secrets
    examples = list(_public(path)) if path else []
    counts = {name: int(scale * count) for name, count in COUNTS.items()}
    for kind, text in direct(chance, counts["attacks"]):
        examples.append(_example((OWN, kind, "direct", 1), text))
    for kind, text in requests(chance, counts["requests"]):
        examples.append(_example((OWN, kind, "direct", 0), text))
    for kind, text in documents(chance, counts["documents"]):
        examples.append(_example((OWN, kind, "indirect", 0), text))
    for kind, instruction, text in plant(chance, planted(chance, counts["planted"])):
        examples.append(_example((OWN, kind, "indirect", 1), text, instruction))
    return examples


COUNTS = {"attacks": 3000, "requests": 5400, "documents": 1600, "planted": 2400}


def _public(path: Path) -> Iterable[Example]:
    strings = sorted(
        {
            text
            for name in ("text", "code")
            for texts in json.loads((path / "bipia" / f"{name}_attack_train.json").read_text()).values()
            for text in texts
        },
        key=len,
        reverse=True,
    )
    with gzip.open(path / "unified.jsonl.gz", "rt") as file:
        for line in file:
            row = json.loads(line)
            inner = ""
            if row["label"] and row["source"].startswith("bipia"):
                inner = next((text for text in strings if text in row["text"]), "")
            yield _example(
                (row["source"], _family(row["attack_type"]), row["channel"], row["label"]), row["text"], inner
            )


def _family(attack_type: str) -> str:
    parts = attack_type.split(":")
    return ":".join(parts[:2]) if parts[0] == "indirect" else attack_type


def _example(about: tuple[str, str, str, int], text: str, planted_text: str = "") -> Example:
    source, family, channel, label = about
    found = segments(text)
    ranges = windows(found)
    at = text.find(planted_text) if planted_text else -1
    parts: list[frozenset[str]] = []
    labels: list[int | None] = []
    for low, high in ranges if channel == "indirect" or family in DOCUMENTS else ():
        for segment, features in zip(found[low:high], of_segments(found[low:high]), strict=True):
            if not features:
                continue
            parts.append(frozenset(features))
            inside = at >= 0 and segment.start < at + len(planted_text) and segment.end > at
            if label and at < 0:
                labels.append(None)
            else:
                labels.append(None if inside and segment.kind == "code" else int(inside))
    teaches = source not in EXAMINED_ONLY and not family.startswith("NotInject")
    told: int | None = label
    if channel == "indirect" and label and not (family in CONTENT_KINDS or source == "cyberseceval_pi"):
        told = None  # a plain task is an attack in a document only
    whole = [frozenset(of_window(found[low:high])) for low, high in ranges]
    window_labels = [told] * len(whole)
    fold = zlib.crc32(text.encode()) % FOLDS
    return Example(
        source,
        family,
        channel,
        label,
        teaches,
        fold,
        tuple(whole),
        tuple(parts),
        tuple(labels),
        tuple(window_labels),
    )
