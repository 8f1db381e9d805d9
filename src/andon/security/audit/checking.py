"""The check of a whole log by an outsider: every entry, every hash, every signature, and what a witness has seen.

Needs public keys and what a log publishes, nothing of its owner. Goes through the log once in bounded memory, and tells
everything that is wrong rather than the first thing. Never writes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from andon.kernel.errors import AndonError
from andon.security.audit import tiles
from andon.security.audit.hashing import EMPTY_ROOT, HASH_BYTES, leaf_hash, node_hash, root_of
from andon.security.audit.keys import present_key, read_keys
from andon.security.audit.leaves import Header, read_header
from andon.security.audit.notes import (
    Checkpoint,
    Note,
    Vkey,
    cosigned_at,
    read_checkpoint,
    read_note,
    signed_by,
)
from andon.security.audit.sources import FolderSource, LogSource, read_entries, read_payloads
from andon.security.audit.tiles import HEIGHT, WIDTH

FAULTS_MAX: Final = 100


class Witnessed(msgspec.Struct, frozen=True, kw_only=True):
    """What one witness has last cosigned."""

    name: str
    size: int
    at_s: int


class Findings(msgspec.Struct, kw_only=True):
    """What a check has found. Sound means: no faults."""

    origin: str = ""
    size: int = 0
    root: str = ""
    kinds: dict[str, int] = {}
    sources: dict[str, int] = {}  # the last position of each
    gaps: int = 0  # that the log itself tells of
    witnesses: list[Witnessed] = []
    faults: list[str] = []

    def fault(self, what: str) -> None:
        """Something is wrong."""
        if len(self.faults) < FAULTS_MAX:
            self.faults.append(what)


class Watch(msgspec.Struct, frozen=True):
    """A witness: its key, and the note that it keeps."""

    vkey: Vkey
    note: Note


class _Edge:
    """Roots of a growing list, by its perfect subtrees."""

    def __init__(self) -> None:
        self._peaks: list[tuple[int, bytes]] = []  # (height, hash), highest first

    def add(self, hash_: bytes) -> None:
        height = 0
        while self._peaks and self._peaks[-1][0] == height:
            hash_, height = node_hash(self._peaks.pop()[1], hash_), height + 1
        self._peaks.append((height, hash_))

    def root(self) -> bytes:
        found: bytes | None = None
        for _, peak in reversed(self._peaks):
            found = peak if found is None else node_hash(peak, found)
        return EMPTY_ROOT if found is None else found


def check_log(source: LogSource, trusted: Vkey, watches: Sequence[Watch] = ()) -> Findings:
    """Everything that can be found out about a log. Raises only `Transient`, where it cannot be read at all."""
    findings = Findings(kinds={}, sources={}, witnesses=[], faults=[])
    checkpoint = _checkpoint(source, trusted, findings)
    seen = [(watch, read_seen(watch, trusted, findings)) for watch in watches]
    if checkpoint is None:
        return findings
    findings.origin, findings.size, findings.root = checkpoint.origin, checkpoint.size, checkpoint.root.hex()
    marks: dict[int, bytes] = {}
    sizes = {one.size for _, one in seen if one is not None and one.size <= checkpoint.size}
    try:
        root = _walk(source, checkpoint.size, findings, sizes, marks)
    except AndonError as error:
        if error.code == "audit_log_unreadable":
            raise
        findings.fault(error.message)
        return findings
    if root != checkpoint.root:
        findings.fault("the entries do not give the root that the checkpoint states")
    for watch, one in seen:
        if one is None:
            continue
        if one.origin != checkpoint.origin:
            findings.fault(f"witness {watch.vkey.name} has seen another log, {one.origin}")
        elif one.size > checkpoint.size:
            findings.fault(
                f"the log was cut: witness {watch.vkey.name} has seen {one.size} entries, it has {checkpoint.size}"
            )
        elif marks.get(one.size) != one.root:
            findings.fault(
                f"the log was rewritten: it is not what witness {watch.vkey.name} has seen at {one.size}"
            )
    return findings


def _checkpoint(source: LogSource, trusted: Vkey, findings: Findings) -> Checkpoint | None:
    try:
        raw = source.read(tiles.CHECKPOINT)
        if raw is None:
            findings.fault("there is no checkpoint")
            return None
        present = present_key(trusted, read_keys(source.read(tiles.KEYS) or b""))
        note = read_note(raw.decode())
        checkpoint = read_checkpoint(note.text)
    except UnicodeDecodeError:
        findings.fault("the checkpoint is not text")
        return None
    except AndonError as error:
        if error.code == "audit_log_unreadable":
            raise
        findings.fault(error.message)
        return None
    if not signed_by(note, present) or checkpoint.origin != trusted.name:
        findings.fault("the checkpoint is not signed by the log's key")
        return None
    return checkpoint


def read_seen(watch: Watch, trusted: Vkey, findings: Findings) -> Checkpoint | None:
    """What a witness vouches for; None, with a fault, where its note is not its own."""
    at_s = cosigned_at(watch.note, watch.vkey)
    if at_s is None:
        findings.fault(f"witness {watch.vkey.name} has not signed what is shown as its own")
        return None
    try:
        checkpoint = read_checkpoint(watch.note.text)
    except AndonError as error:
        findings.fault(error.message)
        return None
    findings.witnesses.append(Witnessed(name=watch.vkey.name, size=checkpoint.size, at_s=at_s))
    return checkpoint


def _walk(
    source: LogSource, size: int, findings: Findings, sizes: set[int], marks: dict[int, bytes]
) -> bytes:
    """The root over all entries; fills in the roots at `sizes` on the way, and checks each tile."""
    edge, above = _Edge(), _Tiles(source, size, findings)
    marks[0] = EMPTY_ROOT
    for number in range(-(-size // WIDTH)):
        entries = read_entries(source, number, size)
        hashes = [leaf_hash(entry) for entry in entries]
        above.check(0, number, hashes)
        _check_earlier(source, number, entries, findings)
        payloads = read_payloads(source.folder, number, size) if isinstance(source, FolderSource) else None
        for at, entry in enumerate(entries):
            edge.add(hashes[at])
            place = number * WIDTH + at
            if place + 1 in sizes:
                marks[place + 1] = edge.root()
            _check_entry(place, entry, findings, None if payloads is None else payloads.pop(at, b""))
        if payloads:
            findings.fault(f"payload/{tiles.place(number)} holds what no entry speaks of")
    return edge.root()


class _Tiles:
    """Compares each tile with the hashes that belong into it, upwards; partial ones that are left over too."""

    def __init__(self, source: LogSource, size: int, findings: Findings) -> None:
        self._source = source
        self._size = size
        self._findings = findings
        self._rising: list[list[bytes]] = []  # full tiles' roots, by level, waiting to fill one above

    def check(self, level: int, number: int, hashes: Sequence[bytes]) -> None:
        width = len(hashes)
        path = tiles.tile_path(level, number, width)
        whole = b"".join(hashes)
        found = self._source.read(path)
        if found is None and width < WIDTH:
            found = (self._source.read(tiles.tile_path(level, number)) or b"")[: HASH_BYTES * width]
        if found != whole:
            self._findings.fault(f"{path} is not what the entries give")
        for earlier, data in _leftovers(self._source, tiles.tile_path(level, number)):
            if earlier <= width and data != whole[: HASH_BYTES * earlier]:
                self._findings.fault(
                    f"{tiles.tile_path(level, number, earlier)} is not what the entries give"
                )
        if width == WIDTH:
            self._rise(level + 1, number, root_of(hashes))
        if (number * WIDTH + width) == self._size >> (HEIGHT * level) and len(self._rising) > level:
            rest = self._rising[level]
            if rest:
                above = (self._size >> (HEIGHT * (level + 1))) // WIDTH
                self.check(level + 1, above, rest)

    def _rise(self, level: int, number: int, root: bytes) -> None:
        if len(self._rising) < level:
            self._rising.append([])
        waiting = self._rising[level - 1]
        waiting.append(root)
        if len(waiting) == WIDTH:
            self._rising[level - 1] = []
            self.check(level, number // WIDTH, waiting)


def _leftovers(source: LogSource, path: str) -> Iterator[tuple[int, bytes]]:
    """Earlier partial tiles are still read by somebody: they must be true as well. Only a folder can list them."""
    if not isinstance(source, FolderSource):
        return
    folder: Path = source.folder / (path + ".p")
    for one in sorted(folder.glob("*")) if folder.is_dir() else ():
        if one.name.isdecimal():
            with contextlib.suppress(FileNotFoundError):  # the log grows, and this one is needed no more
                yield int(one.name), one.read_bytes()


def _check_earlier(source: LogSource, number: int, entries: Sequence[bytes], findings: Findings) -> None:
    for width, data in _leftovers(source, tiles.entries_path(number)):
        if width <= len(entries) and data != tiles.pack_entries(entries[:width]):
            findings.fault(f"{tiles.entries_path(number, width)} is not what the log holds")


def _check_entry(place: int, entry: bytes, findings: Findings, payload: bytes | None) -> None:
    try:
        header = read_header(entry)
    except AndonError:
        findings.fault(f"entry {place} is not a canonical header")
        return
    findings.kinds[header.kind] = findings.kinds.get(header.kind, 0) + 1
    findings.gaps += header.kind == "gap"
    last = findings.sources.get(header.source, -1)
    if header.position <= last:
        findings.fault(f"entry {place} is of {header.source} {header.position}, which comes after {last}")
    findings.sources[header.source] = max(last, header.position)
    if payload is None:
        return
    if is_sealed(header):
        if sha256(payload).hexdigest() != header.hash:
            findings.fault(f"the payload of entry {place} is missing or not what was logged")
    elif payload:
        findings.fault(f"entry {place} has a payload that it does not speak of")


def is_sealed(header: Header) -> bool:
    """Whether the entry commits to a ciphertext that is kept beside the log."""
    return header.kind in ("journal", "access")
