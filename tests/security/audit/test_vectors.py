"""The tree gives the published answers, proofs hold, and nothing that was altered does."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from andon.security.audit.hashing import leaf_hash, root_of
from andon.security.audit.proving import prove_consistency, prove_inclusion, prove_many
from andon.security.audit.verifying import are_included, is_consistent, is_included
from tests.security.audit.trees import EMPTY_ROOT, SOME, flipped, nodes_of, vectors


def test_every_published_answer_is_given() -> None:
    passed = vectors()
    assert len(passed) > 150
    assert all(passed)


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
        assert not are_included(leaves, size, flipped(proof, 0), root)
