"""What a leaf says: a canonical header, and the hash of what it stands for.

A header names no person and holds no content: what happened, to whom and by whom is in the payload, which is encrypted
for its subject and kept beside the log. A leaf of a row commits to the row as it stands in the tables. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final, Literal

import msgspec

from andon.kernel.errors import Refused
from andon.security.audit.canonical import canonicalise, encode_row

VERSION: Final = 1

# A change of the control plane; a decision of the admin plane; a request of the data plane; a subject's key destroyed;
# the log's own key replaced; something that a source has lost.
Kind = Literal["journal", "access", "row", "shred", "key", "gap"]

_encode: Final = msgspec.json.Encoder(order="sorted").encode


class Leaf(msgspec.Struct, frozen=True):
    """An entry of the log, and the ciphertext that it commits to (empty: none, or kept elsewhere)."""

    entry: bytes
    payload: bytes
    source: str
    position: int


class Header(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """An entry, decoded."""

    v: int
    kind: Kind
    at: str  # nanoseconds since the epoch, UTC, in decimal: beyond what a JSON number carries
    source: str  # "journal/1", "access/control-9f2c…", "rows/9f2c…", "audit": where it was read
    position: int  # there; rises within a source
    hash: str = ""  # SHA-256 of the ciphertext or of the canonical row, hex
    id: str = ""  # of the request
    name: str = ""  # of a journal event, such as key.created
    key: str = ""  # which subject's key decrypts the payload
    data: dict[str, str | int] = {}  # of the log's own events; never anything about a person


_decode: Final = msgspec.json.Decoder(Header).decode


def make_entry(header: dict[str, Any]) -> bytes:
    """The canonical bytes of a header whose values are text and whole numbers."""
    return _encode(header)


def row_leaf(row: Mapping[str, Any], source: str, position: int) -> Leaf:
    """The leaf of one row of the ledger, given by column."""
    header = {
        "at": str(row["at_ns"]),
        "hash": sha256(encode_row(row)).hexdigest(),
        "id": row["id"],
        "kind": "row",
        "position": position,
        "source": source,
        "v": VERSION,
    }
    return Leaf(_encode(header), b"", source, position)


def sealed_leaf(header: dict[str, Any], payload: bytes, key: str) -> Leaf:
    """A leaf with a ciphertext; `header` lacks the hash, the key and the version."""
    entry = _encode({**header, "hash": sha256(payload).hexdigest(), "key": key, "v": VERSION})
    return Leaf(entry, payload, header["source"], header["position"])


def own_leaf(kind: Kind, at_ns: int, source: str, position: int, data: Mapping[str, str | int]) -> Leaf:
    """A leaf about the log itself: everything that it says is in the header."""
    header = {
        "at": str(at_ns),
        "data": dict(data),
        "kind": kind,
        "position": position,
        "source": source,
        "v": VERSION,
    }
    return Leaf(_encode(header), b"", source, position)


def read_header(entry: bytes) -> Header:
    """An entry, decoded. Raises `Refused` for one that is not in its one form."""
    try:
        header = _decode(entry)
        if canonicalise(msgspec.json.decode(entry)) == entry:
            return header
    except (msgspec.MsgspecError, ValueError):
        pass  # told below, without its content
    raise Refused("audit_form", "An entry of the log is not a canonical header.", hint="Compare with a copy.")


def read_place(entry: bytes) -> tuple[str, int]:
    """Source and position of an entry, for a writer that goes on from them. Raises `Refused`."""
    try:
        header = _decode(entry)
    except (msgspec.MsgspecError, ValueError) as error:
        raise Refused(
            "audit_form", "An entry of the log is not a header.", hint="Compare with a copy."
        ) from error
    return header.source, header.position
