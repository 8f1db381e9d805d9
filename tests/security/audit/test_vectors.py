"""The tree gives the published answers, proofs hold, and nothing that was altered does."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andon.security.audit.hashing import leaf_hash, node_hash, root_of, tree_root
from andon.security.audit.proving import prove_consistency, prove_inclusion, prove_many
from andon.security.audit.verifying import are_included, is_consistent, is_included
from tests.security.audit.trees import (
    CONSISTENCY,
    EMPTY_LEAF,
    EMPTY_ROOT,
    INCLUSION,
    LEAF_L123456,
    LEAVES,
    NODE_N123_N456,
    ROOTS,
    nodes_of,
)

SOME = bytes.fromhex("abacaba000000000000000000000000000000000000000000060061e00123456")


def test_hashes_of_nothing_of_a_leaf_and_of_a_node() -> None:
    assert root_of([]).hex() == EMPTY_ROOT
    assert leaf_hash(b"").hex() == EMPTY_LEAF
    assert leaf_hash(b"L123456").hex() == LEAF_L123456
    assert node_hash(b"N123", b"N456").hex() == NODE_N123_N456


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_of_the_tree_of_certificate_transparency(size: int) -> None:
    assert root_of([leaf_hash(entry) for entry in LEAVES[:size]]) == ROOTS[size - 1]
    assert tree_root(nodes_of(LEAVES), size) == ROOTS[size - 1]


@pytest.mark.parametrize(("index", "size", "proof"), INCLUSION)
def test_inclusion_as_published(index: int, size: int, proof: tuple[str, ...]) -> None:
    pieces = [bytes.fromhex(piece) for piece in proof]
    assert prove_inclusion(nodes_of(LEAVES), index, size) == pieces
    leaf, root = leaf_hash(LEAVES[index]), ROOTS[size - 1]
    assert is_included(index, size, leaf, pieces, root)
    wrong = [
        (index - 1, size, leaf, pieces, root),
        (index + 1, size, leaf, pieces, root),
        (index ^ 2, size, leaf, pieces, root),
        (index, size * 2, leaf, pieces, root),
        (index, size // 2, leaf, pieces, root),
        (index, size, b"WrongLeaf", pieces, root),
        (index, size, leaf, pieces, bytes.fromhex(EMPTY_ROOT)),
        (index, size, leaf, pieces, SOME),
        (index, size, leaf, [*pieces, b""], root),
        (index, size, leaf, [*pieces, root], root),
        (index, size, leaf, [b"", *pieces], root),
        (index, size, leaf, [root, *pieces], root),
        *((index, size, leaf, _flipped(pieces, at), root) for at in range(len(pieces))),
    ]
    if pieces:
        wrong.append((index, size, leaf, pieces[:-1], root))
    assert not any(is_included(*one) for one in wrong)


@pytest.mark.parametrize(("old", "new", "proof"), CONSISTENCY)
def test_consistency_as_published(old: int, new: int, proof: tuple[str, ...]) -> None:
    pieces = [bytes.fromhex(piece) for piece in proof]
    assert prove_consistency(nodes_of(LEAVES), old, new) == pieces
    was, now = ROOTS[old - 1], ROOTS[new - 1]
    assert is_consistent(old, new, pieces, was, now)
    if not pieces:
        return
    wrong = [
        (old - 1, new, pieces, was, now),
        (old + 1, new, pieces, was, now),
        (old ^ 2, new, pieces, was, now),
        (old, new * 2, pieces, was, now),
        (old, new // 2, pieces, was, now),
        (old, new, pieces, b"WrongRoot", now),
        (old, new, pieces, was, b"WrongRoot"),
        (old, new, pieces, now, was),
        (old, new, [], was, now),
        (old, new, [*pieces, b""], was, now),
        (old, new, [*pieces, was], was, now),
        (old, new, [*pieces, now], was, now),
        (old, new, [b"", *pieces], was, now),
        (old, new, [was, *pieces], was, now),
        (old, new, [now, *pieces], was, now),
        (old, new, [pieces[0], *pieces], was, now),
        (old, new, pieces[:-1], was, now),
        *((old, new, _flipped(pieces, at), was, now) for at in range(len(pieces))),
    ]
    assert not any(is_consistent(*one) for one in wrong)


@pytest.mark.parametrize(
    ("old", "new", "was", "now", "proof", "holds"),
    [
        (0, 0, b"1", b"2", [], False),
        (1, 1, b"1", b"2", [], False),
        (0, 0, b"1", b"1", [], True),
        (0, 1, b"1", b"2", [], True),
        (1, 1, b"2", b"2", [], True),
        (1, 0, b"1", b"2", [], False),
        (2, 1, b"1", b"2", [], False),
        (1, 2, b"1", b"2", [], False),
        (0, 0, SOME, SOME, [SOME], False),
        (0, 1, SOME, SOME, [SOME], False),
        (1, 1, SOME, SOME, [SOME], False),
    ],
)
def test_consistency_at_the_edges(
    old: int, new: int, was: bytes, now: bytes, proof: list[bytes], holds: bool
) -> None:
    assert is_consistent(old, new, proof, was, now) is holds


def test_a_tree_without_leaves_includes_nothing() -> None:
    for index, size in ((0, 0), (0, 1), (1, 0), (2, 1)):
        assert not is_included(index, size, SOME, [], b"")
        assert not is_included(index, size, b"", [], bytes.fromhex(EMPTY_ROOT))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 70), st.data())
def test_every_leaf_and_every_earlier_tree_can_be_proved(size: int, data: st.DataObject) -> None:
    entries = [bytes([at]) for at in range(size)]
    node_at, root = nodes_of(entries), root_of([leaf_hash(entry) for entry in entries])
    index = data.draw(st.integers(0, size - 1))
    assert is_included(index, size, leaf_hash(entries[index]), prove_inclusion(node_at, index, size), root)
    old = data.draw(st.integers(0, size))
    was = root_of([leaf_hash(entry) for entry in entries[:old]])
    assert is_consistent(old, size, prove_consistency(node_at, old, size), was, root)
    many = sorted(data.draw(st.sets(st.integers(0, size - 1), min_size=1)))
    leaves = [(at, leaf_hash(entries[at])) for at in many]
    proof = prove_many(node_at, many, size)
    assert are_included(leaves, size, proof, root)
    assert not are_included(leaves, size, [*proof, SOME], root)
    assert not are_included([(at, SOME) for at in many], size, proof, root)
    if proof:
        assert not are_included(leaves, size, proof[:-1], root)
        assert not are_included(leaves, size, _flipped(proof, 0), root)


def _flipped(pieces: list[bytes], at: int) -> list[bytes]:
    changed = bytes([pieces[at][0] ^ 8]) + pieces[at][1:]
    return [*pieces[:at], changed, *pieces[at + 1 :]]
