"""Checks of proofs and of signatures: what an auditor's tool rests on.

Pure, and apart from the writer: it takes hashes, proofs and public keys, never a folder or a secret. Each function says
no by returning False, whatever it is given.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Iterator, Sequence

from andon.security.audit.hashing import HASH_BYTES, node_hash, split


def inclusion_root(index: int, size: int, leaf: bytes, proof: Sequence[bytes]) -> bytes | None:
    """The root that a proof leads to (RFC 9162 §2.1.3.2); None if it cannot be a proof for that place."""
    if not 0 <= index < size or not _sound(proof) or len(leaf) != HASH_BYTES:
        return None
    first, last, root = index, size - 1, leaf
    for piece in proof:
        if last == 0:
            return None
        if first & 1 or first == last:
            root = node_hash(piece, root)
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            root = node_hash(root, piece)
        first, last = first >> 1, last >> 1
    return root if last == 0 else None


def is_included(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether the leaf stands at that place of the tree with that root."""
    return inclusion_root(index, size, leaf, proof) == root


def is_consistent(old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> bool:
    """Whether the tree of `new` leaves begins with the one of `old` (RFC 9162 §2.1.4.2)."""
    if not 0 <= old <= new or not _sound(proof):
        return False
    if old == new:
        return not proof and old_root == new_root
    if old == 0:
        return not proof
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    if not path:
        return False
    first, last = old - 1, new - 1
    while first & 1:
        first, last = first >> 1, last >> 1
    was = now = path[0]
    for piece in path[1:]:
        if last == 0:
            return False
        if first & 1 or first == last:
            was, now = node_hash(piece, was), node_hash(piece, now)
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            now = node_hash(now, piece)
        first, last = first >> 1, last >> 1
    return last == 0 and was == old_root and now == new_root


def are_included(leaves: Sequence[tuple[int, bytes]], size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether all leaves, each (place, hash) and rising, stand in the tree; no hash of the proof may be left over."""
    indices = [index for index, _ in leaves]
    rising = all(one < other for one, other in itertools.pairwise(indices))
    if not leaves or not rising or not 0 <= indices[0] <= indices[-1] < size or not _sound(proof):
        return False
    hashes = iter(proof)
    found = _range(leaves, indices, 0, size, hashes)
    return found == root and next(hashes, None) is None


def _range(
    leaves: Sequence[tuple[int, bytes]], indices: Sequence[int], begin: int, end: int, hashes: Iterator[bytes]
) -> bytes | None:
    """The root over [begin, end); recursion is as deep as the tree is high."""
    at = bisect_left(indices, begin)
    if at == len(indices) or indices[at] >= end:
        return next(hashes, None)
    if end - begin == 1:
        return leaves[at][1]
    middle = begin + split(end - begin)
    left = _range(leaves, indices, begin, middle, hashes)
    right = _range(leaves, indices, middle, end, hashes)
    return None if left is None or right is None else node_hash(left, right)


def _sound(proof: Sequence[bytes]) -> bool:
    return all(len(piece) == HASH_BYTES for piece in proof)
