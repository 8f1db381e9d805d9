"""Entries with what they stand for, in order, from a log's own folder: what exports are made from.

Payloads are decrypted with the keys that are left; one whose key was destroyed comes as None. Never writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from andon.kernel.errors import Refused
from andon.security.audit import tiles
from andon.security.audit.hashing import leaf_hash
from andon.security.audit.leaves import Header, read_header
from andon.security.audit.notes import Checkpoint, Note, read_checkpoint, read_note
from andon.security.audit.sources import FolderSource, read_entries, read_payloads
from andon.security.audit.subjects import Opener, bound_to
from andon.security.audit.tiles import WIDTH


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """One entry, with its content where there is any and it can be read."""

    index: int
    header: Header
    fingerprint: str  # RFC 6962 hash of the entry, hex
    content: dict[str, Any] | None = None
    erased: bool = False  # its subject's key was destroyed


def read_head(folder: Path) -> tuple[Note, Checkpoint]:
    """The log's checkpoint. Raises `Refused` where there is none."""
    raw = FolderSource(folder).read(tiles.CHECKPOINT)
    if raw is None:
        raise Refused("audit_log_missing", f"There is no log in {folder}.", hint="Has its observer run?")
    note = read_note(raw.decode(errors="replace"))
    return note, read_checkpoint(note.text)


def read_log(folder: Path, opener: Opener | None, since_ns: int = 0) -> Iterator[Told]:
    """Every entry not older than `since_ns`. Raises `Refused` for what is damaged."""
    source, size = FolderSource(folder), read_head(folder)[1].size
    for number in range(-(-size // WIDTH)):
        payloads = read_payloads(folder, number, size)
        for at, entry in enumerate(read_entries(source, number, size)):
            header = read_header(entry)
            if int(header.at) < since_ns:
                continue
            content, erased = None, False
            if header.key and opener is not None:
                payload = payloads.get(at, b"")
                if sha256(payload).hexdigest() != header.hash:
                    raise Refused(
                        "audit_payload_damaged",
                        f"The payload of entry {number * WIDTH + at} is not what was logged.",
                        hint="andon audit verify",
                    )
                opened = opener.open(header.key, payload, bound_to(header.source, header.position))
                erased = opened is None
                content = None if opened is None else msgspec.json.decode(opened)
            yield Told(
                index=number * WIDTH + at,
                header=header,
                fingerprint=leaf_hash(entry).hex(),
                content=content,
                erased=erased,
            )
