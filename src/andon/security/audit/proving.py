"""Proofs made from the nodes of a tree: one leaf is in it, many are, it has grown out of an earlier one.

Pure but for `node_at`, which looks nodes up. The formulas are those of RFC 9162 §2.1.3.1 and §2.1.4.1; the proof of
many leaves is theirs without every hash that can be computed. Checked by `verifying`, which shares no code with this.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from andon.security.audit.hashing import NodeAt, range_hash, split


def prove_inclusion(node_at: NodeAt, index: int, size: int) -> list[bytes]:
    """The hashes beside the path from leaf `index` to the root of `size` leaves, lowest first."""
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    proof: list[bytes] = []
    begin, end = 0, size
    while end - begin > 1:
        middle = begin + split(end - begin)
        if index < middle:
            proof.append(range_hash(node_at, middle, end))
            end = middle
        else:
            proof.append(range_hash(node_at, begin, middle))
            begin = middle
    return proof[::-1]


def prove_consistency(node_at: NodeAt, old: int, new: int) -> list[bytes]:
    """That the tree of `old` leaves is the beginning of the one of `new`; empty where there is nothing to show."""
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {new} cannot have grown out of one of {old}")
    if old in (0, new):
        return []
    proof: list[bytes] = []
    begin, end, whole = 0, new, True
    while end != old:
        middle = begin + split(end - begin)
        if old <= middle:
            proof.append(range_hash(node_at, middle, end))
            end = middle
        else:
            proof.append(range_hash(node_at, begin, middle))
            begin, whole = middle, False
    if not whole:
        proof.append(range_hash(node_at, begin, end))
    return proof[::-1]


def prove_many(node_at: NodeAt, indices: Sequence[int], size: int) -> list[bytes]:
    """The hashes that, with those of the leaves at `indices` (rising), give the root; from left to right."""
    proof: list[bytes] = []
    stack = [(0, size)]
    while stack:
        begin, end = stack.pop()
        at = bisect_left(indices, begin)
        if at == len(indices) or indices[at] >= end:
            proof.append(range_hash(node_at, begin, end))
        elif end - begin > 1:
            middle = begin + split(end - begin)
            stack += [(middle, end), (begin, middle)]
    return proof
