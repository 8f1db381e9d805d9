"""Data classes: how far a piece of data may go. Shared by keys, endpoints, data sets, features, guards and rows.

Pure. What is made of several pieces has the class of the highest; nothing ever lowers a class by being combined.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, Literal

Label = Literal["public", "internal", "confidential", "restricted"]

LABELS: Final[tuple[Label, ...]] = ("public", "internal", "confidential", "restricted")
RANKS: Final[Mapping[str, int]] = MappingProxyType({label: rank for rank, label in enumerate(LABELS)})


def rank(label: str) -> int:
    """0 for public to 3 for restricted; raises KeyError for what is no label."""
    return RANKS[label]


def highest(labels: Iterable[Label]) -> Label:
    """The class of what was made from all of these; public where there is none."""
    found: Label = "public"
    for label in labels:
        if RANKS[label] > RANKS[found]:
            found = label
    return found
