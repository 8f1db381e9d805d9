"""The hashes of a Merkle tree (RFC 6962 §2.1, RFC 9162 §2.1.1): leaves, nodes, and the root of a list.

Pure. Shared by whoever writes the log and whoever checks it; it is all that the two have in common.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()

NodeAt = Callable[
    [int, int], bytes
]  # (height, index): the root of leaves index * 2^height and on, 2^height of them


def leaf_hash(entry: bytes) -> bytes:
    """SHA-256(0x00 || entry)."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return sha256(b"\x01" + left + right).digest()


def split(size: int) -> int:
    """The largest power of two below `size`, which is at least 2: how many leaves stand on the left."""
    return 1 << ((size - 1).bit_length() - 1)


def root_of(hashes: Sequence[bytes]) -> bytes:
    """The root over leaf hashes; that of no leaf is the hash of nothing."""
    if not hashes:
        return EMPTY_ROOT
    level = list(hashes)
    while len(level) > 1:
        paired = [node_hash(level[at], level[at + 1]) for at in range(0, len(level) - 1, 2)]
        # An odd one out goes up as it is: that is the same tree as the recursive definition's.
        level = paired if len(level) % 2 == 0 else [*paired, level[-1]]
    return level[0]


def range_hash(node_at: NodeAt, begin: int, end: int) -> bytes:
    """The root over leaves [begin, end), where it is a subtree of an RFC 6962 tree: begin is a multiple of its span."""
    size = end - begin
    if size & (size - 1) == 0:
        height = size.bit_length() - 1
        return node_at(height, begin >> height)
    middle = begin + split(size)
    return node_hash(range_hash(node_at, begin, middle), range_hash(node_at, middle, end))


def tree_root(node_at: NodeAt, size: int) -> bytes:
    """The root of the first `size` leaves."""
    return range_hash(node_at, 0, size) if size else EMPTY_ROOT
