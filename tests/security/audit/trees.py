"""Known answers of RFC 6962 trees, as Certificate Transparency's own tests publish them, and trees to try with."""

from __future__ import annotations

from collections.abc import Sequence

from andon.security.audit.hashing import NodeAt, leaf_hash, node_hash, root_of, tree_root
from andon.security.audit.proving import prove_consistency, prove_inclusion
from andon.security.audit.verifying import is_consistent, is_included

LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    bytes.fromhex(text)
    for text in (
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    )
]
EMPTY_ROOT = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
EMPTY_LEAF = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
LEAF_L123456 = "395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56"
NODE_N123_N456 = "aa217fe888e47007fa15edab33c2b492a722cb106c64667fc2b044444de66bbb"

# (place of the leaf, size of the tree, proof)
INCLUSION = [
    (0, 1, ()),
    (
        0,
        8,
        (
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ),
    ),
    (
        5,
        8,
        (
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ),
    ),
    (2, 3, ("fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",)),
    (
        1,
        5,
        (
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ),
    ),
]
# (earlier size, later size, proof)
CONSISTENCY = [
    (1, 1, ()),
    (1, 8, INCLUSION[1][2]),
    (
        6,
        8,
        (
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ),
    ),
    (
        2,
        5,
        (
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ),
    ),
    (
        6,
        7,
        (
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ),
    ),
]


def nodes_of(entries: Sequence[bytes]) -> NodeAt:
    """Nodes of a tree that is all in memory."""
    hashes = [leaf_hash(entry) for entry in entries]

    def node_at(height: int, index: int) -> bytes:
        begin = index << height
        assert begin + (1 << height) <= len(hashes)
        return root_of(hashes[begin : begin + (1 << height)])

    return node_at


SOME = bytes.fromhex("abacaba000000000000000000000000000000000000000000060061e00123456")
Inclusion = tuple[int, int, bytes, Sequence[bytes], bytes]
Consistency = tuple[int, int, Sequence[bytes], bytes, bytes]


def wrong_inclusions(index: int, size: int, leaf: bytes, pieces: list[bytes], root: bytes) -> list[Inclusion]:
    """What transparency-dev's published vectors alter in a proof of inclusion."""
    wrong: list[Inclusion] = [
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
        *((index, size, leaf, flipped(pieces, at), root) for at in range(len(pieces))),
    ]
    if pieces:
        wrong.append((index, size, leaf, pieces[:-1], root))
    if len(pieces) > 1:
        wrong.append((index, size, leaf, [pieces[0], SOME, *pieces[1:]], root))
    return wrong


def wrong_consistencies(old: int, new: int, pieces: list[bytes], was: bytes, now: bytes) -> list[Consistency]:
    """What transparency-dev's published vectors alter in a proof of consistency."""
    if not pieces:
        return []
    return [
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
        *((old, new, flipped(pieces, at), was, now) for at in range(len(pieces))),
    ]


# (earlier size, later size, their roots, proof, whether it holds)
EDGES: list[tuple[int, int, bytes, bytes, list[bytes], bool]] = [
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
]


def flipped(pieces: list[bytes], at: int) -> list[bytes]:
    """The same proof with one bit changed."""
    changed = bytes([pieces[at][0] ^ 8]) + pieces[at][1:]
    return [*pieces[:at], changed, *pieces[at + 1 :]]


def vectors() -> list[bool]:
    """Every known answer, each as whether it is given."""
    node_at = nodes_of(LEAVES)
    passed = [
        root_of([]).hex() == EMPTY_ROOT,
        leaf_hash(b"").hex() == EMPTY_LEAF,
        leaf_hash(b"L123456").hex() == LEAF_L123456,
        node_hash(b"N123", b"N456").hex() == NODE_N123_N456,
        *(tree_root(node_at, size) == ROOTS[size - 1] for size in range(1, 9)),
        *(is_consistent(old, new, proof, was, now) is holds for old, new, was, now, proof, holds in EDGES),
    ]
    for index, size, proof in INCLUSION:
        pieces = [bytes.fromhex(piece) for piece in proof]
        right = (index, size, leaf_hash(LEAVES[index]), pieces, ROOTS[size - 1])
        passed += [prove_inclusion(node_at, index, size) == pieces, is_included(*right)]
        passed += [not is_included(*wrong) for wrong in wrong_inclusions(*right)]
    for old, new, proof in CONSISTENCY:
        pieces = [bytes.fromhex(piece) for piece in proof]
        grown = (old, new, pieces, ROOTS[old - 1], ROOTS[new - 1])
        passed += [prove_consistency(node_at, old, new) == pieces, is_consistent(*grown)]
        passed += [not is_consistent(*wrong) for wrong in wrong_consistencies(*grown)]
    return passed
