"""Proof of chosen requests for somebody who has neither the log nor the ledger: one file, checked offline.

A bundle holds the rows as the tables have them, their entries and places, one proof for all of them together, the
signed checkpoint and what a witness cosigned. Sums are never taken from it: the check computes them from proved rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

import msgspec

from andon.kernel.errors import AndonError, Refused
from andon.security.audit import tiles
from andon.security.audit.canonical import canonicalise, encode_row, plain_row
from andon.security.audit.hashing import leaf_hash
from andon.security.audit.keys import Successor, present_key, read_keys
from andon.security.audit.leaves import Header, read_header
from andon.security.audit.notes import Vkey, read_checkpoint, read_note, read_vkey, signed_by
from andon.security.audit.proving import prove_consistency, prove_many
from andon.security.audit.sources import LogSource, Nodes, read_entries
from andon.security.audit.tiles import WIDTH
from andon.security.audit.verifying import are_included, is_consistent

FORMAT: Final = "andon-audit-bundle/1"
REQUESTS_MAX: Final = 100_000
BUNDLE_BYTES_MAX: Final = 2**30
# Numbers of a row that are no quantities: sums over them mean nothing.
_NO_QUANTITIES: Final = frozenset({"attempt", "status", "propensity", "score", "client_retry", "snapshot"})
_ID: Final = re.compile(rb'"id":"([^"\\]+)"')


class Proved(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One entry: where it stands, what it says, and the row that it commits to."""

    index: int
    entry: str
    row: dict[str, Any] | None = None  # None for entries that are not of rows


class Bundle(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Everything that a check needs besides public keys."""

    format: str
    checkpoint: str  # a signed note
    keys: tuple[Successor, ...]  # statements from the first key to the one that signed
    leaves: tuple[Proved, ...]
    proof: tuple[str, ...]  # hashes as hex, from left to right
    cosigned: str = ""  # a witness's note, of this or an earlier checkpoint
    consistency: tuple[str, ...] = ()  # from that one to this


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """What a sound bundle proves."""

    origin: str
    size: int
    entries: int
    requests: int
    sums: dict[str, int | float]
    witnessed_size: int | None = (
        None  # entries that a witness vouches for; what lies beyond it rests on the log alone
    )
    witnessed: int = 0  # of the entries proved


def find_entries(source: LogSource, size: int, ids: Iterable[str]) -> list[tuple[int, bytes]]:
    """(place, entry) of everything in the log about these requests, by place; reads each bundle once."""
    wanted = {id_.encode() for id_ in ids}
    found = []
    for number in range(-(-size // WIDTH)):
        for at, entry in enumerate(read_entries(source, number, size), number * WIDTH):
            match = _ID.search(entry)
            if match is not None and match[1] in wanted:
                found.append((at, entry))
    return found


def make_bundle(source: LogSource, rows: Sequence[Mapping[str, Any]], cosigned: str = "") -> Bundle:
    """A bundle for rows of the ledger, each given by column. Raises `Refused` for one that is not in the log."""
    if not 0 < len(rows) <= REQUESTS_MAX:
        raise Refused(
            "audit_too_many",
            f"A bundle proves 1 to {REQUESTS_MAX} requests; {len(rows)} were found.",
            hint="Narrow it.",
        )
    note, size = _head(source)
    by_hash = {sha256(encode_row(row)).hexdigest(): row for row in rows}
    leaves: dict[int, Proved] = {}
    missing = set(by_hash)
    for at, entry in find_entries(source, size, {str(row["id"]) for row in rows}):
        header = read_header(entry)
        if header.kind == "row" and header.hash in by_hash:
            leaves[at] = Proved(index=at, entry=entry.decode(), row=plain_row(by_hash[header.hash]))
            missing.discard(header.hash)
    if missing:
        raise Refused(
            "audit_row_unproved",
            f"{len(missing)} of {len(by_hash)} rows are not in the log as they stand in the tables, "
            f"such as {by_hash[next(iter(missing))]['id']}.",
            hint="A row of the last seconds is sealed in a moment; any other was altered, or is older than the log.",
        )
    return _bundle(source, note, size, [leaves[at] for at in sorted(leaves)], cosigned)


def prove_entries(source: LogSource, ids: Sequence[str], cosigned: str = "") -> Bundle:
    """A bundle for everything in the log about some ids, without what the entries commit to. Raises `Refused`."""
    note, size = _head(source)
    found = find_entries(source, size, ids)
    if not found:
        raise Refused(
            "audit_id_unknown",
            f"The log has no entry about {ids[0]}.",
            hint="It is sealed a second after it happened.",
        )
    return _bundle(
        source, note, size, [Proved(index=at, entry=entry.decode()) for at, entry in found], cosigned
    )


def encode_bundle(bundle: Bundle) -> bytes:
    """As it is handed over: one JSON document."""
    return msgspec.json.encode(bundle)


def read_bundle(data: bytes) -> Bundle:
    """A bundle from a file. Raises `Refused`."""
    try:
        bundle = msgspec.json.decode(data, type=Bundle)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Refused(
            "audit_form", "This is not a bundle of proofs.", hint="andon audit prove makes one."
        ) from error
    if bundle.format != FORMAT or not bundle.leaves or len(bundle.leaves) > REQUESTS_MAX:
        raise Refused(
            "audit_form", "This is not a bundle that this version knows.", hint="Use a newer andon."
        )
    return bundle


def check_bundle(
    bundle: Bundle, trusted: Vkey, witness: Vkey | None = None
) -> tuple[Statement | None, list[str]]:
    """What the bundle proves to a holder of the public keys, and what is wrong with it; one of both is empty."""
    faults: list[str] = []
    try:
        note = read_note(bundle.checkpoint)
        checkpoint = read_checkpoint(note.text)
        if not signed_by(note, present_key(trusted, bundle.keys)) or checkpoint.origin != trusted.name:
            faults.append("the checkpoint is not signed by the log's key")
        proof = _hashes(bundle.proof)
    except (AndonError, ValueError) as error:
        return None, [str(error)]
    places = [(one.index, leaf_hash(one.entry.encode())) for one in bundle.leaves]
    if not are_included(places, checkpoint.size, proof, checkpoint.root):
        faults.append("the entries are not in the log at the places that are stated")
    rows = _check_rows(bundle.leaves, faults)
    seen = _check_witness(bundle, checkpoint.size, checkpoint.root, witness, faults)
    if faults:
        return None, faults
    return Statement(
        origin=checkpoint.origin,
        size=checkpoint.size,
        entries=len(bundle.leaves),
        requests=len(rows),
        sums=sum_rows(rows),
        witnessed_size=seen,
        witnessed=0 if seen is None else sum(one.index < seen for one in bundle.leaves),
    ), []


def sum_rows(rows: Sequence[Mapping[str, Any]]) -> dict[str, int | float]:
    """Sums of every column that holds quantities, by name; `requests` counts. Unknown is not zero: it is left out."""
    sums: dict[str, int | float] = {"requests": len(rows)}
    for row in rows:
        for name, value in row.items():
            if isinstance(value, int | float) and not isinstance(value, bool) and name not in _NO_QUANTITIES:
                sums[name] = sums.get(name, 0) + value
    return dict(sorted(sums.items()))


def _bundle(source: LogSource, note: str, size: int, leaves: Sequence[Proved], cosigned: str) -> Bundle:
    nodes = Nodes(source, size)
    consistency: Sequence[bytes] = ()
    if cosigned:
        seen = read_checkpoint(read_note(cosigned).text)
        if seen.size > size:
            raise Refused(
                "audit_rolled_back",
                "The witness has seen more entries than the log has.",
                hint="andon audit verify",
            )
        consistency = prove_consistency(nodes, seen.size, size)
    proof = prove_many(nodes, [one.index for one in leaves], size)
    return Bundle(
        format=FORMAT,
        checkpoint=note,
        keys=read_keys(source.read(tiles.KEYS) or b""),
        leaves=tuple(leaves),
        proof=tuple(piece.hex() for piece in proof),
        cosigned=cosigned,
        consistency=tuple(piece.hex() for piece in consistency),
    )


def _head(source: LogSource) -> tuple[str, int]:
    raw = source.read(tiles.CHECKPOINT)
    if raw is None:
        raise Refused("audit_log_missing", "The log has no checkpoint.", hint="Give its folder or address.")
    note = raw.decode(errors="replace")
    return note, read_checkpoint(read_note(note).text).size


def _check_rows(leaves: Sequence[Proved], faults: list[str]) -> list[dict[str, Any]]:
    rows, places, hashes = [], set[tuple[str, int]](), set[str]()
    for one in leaves:
        try:
            header: Header = read_header(one.entry.encode())
            place = (header.source, header.position)
            if place in places:
                faults.append(f"entry {one.index} is of a row that is here already")
            places.add(place)
            if one.row is None:
                continue
            if header.hash in hashes:
                faults.append(f"the row of entry {one.index} is here twice")
            hashes.add(header.hash)
            fits = header.kind == "row" and sha256(canonicalise(one.row)).hexdigest() == header.hash
            if not fits or one.row.get("id") != header.id:
                faults.append(f"the row of entry {one.index} is not the one that was logged")
            rows.append(one.row)
        except (AndonError, ValueError):
            faults.append(f"entry {one.index} is not one")
    return rows


def _check_witness(
    bundle: Bundle, size: int, root: bytes, witness: Vkey | None, faults: list[str]
) -> int | None:
    if witness is None:
        return None
    if not bundle.cosigned:
        faults.append("no witness vouches for it")
        return None
    try:
        note = read_note(bundle.cosigned)
        seen = read_checkpoint(note.text)
        pieces = _hashes(bundle.consistency)
    except (AndonError, ValueError) as error:
        faults.append(str(error))
        return None
    if not signed_by(note, witness):
        faults.append("what is shown as the witness's is not signed by it")
    elif not any(signed_by(note, read_vkey(key.vkey)) for key in bundle.keys):
        faults.append("what the witness has seen was not signed by the log")
    elif seen.origin != bundle.checkpoint.partition("\n")[0]:
        faults.append("the witness has seen another log")
    elif not is_consistent(seen.size, size, pieces, seen.root, root):
        faults.append("the log is not what the witness has seen")
    return seen.size


def _hashes(texts: Sequence[str]) -> list[bytes]:
    """Hashes from hex. Raises ValueError for any other way of writing the same."""
    found = [bytes.fromhex(text) for text in texts]
    if any(piece.hex() != text for piece, text in zip(found, texts, strict=True)):
        raise ValueError("a hash is not in lower-case hex")
    return found
