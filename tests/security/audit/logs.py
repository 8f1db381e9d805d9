"""Logs to try with: made by the real writer in a real folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from andon.kernel.random import SeededRandom, SystemRandom
from andon.ledger.disk import FileDisk
from andon.security.audit.keys import SigningKey, load_signing_key
from andon.security.audit.leaves import Leaf, row_leaf, sealed_leaf
from andon.security.audit.notes import Vkey
from andon.security.audit.subjects import Subjects, bound_to
from andon.security.audit.writer import LogWriter
from andon.security.secrets.keyring import FileKeys

AT_NS = 1_700_000_000_000_000_000


def rows(first: int, count: int) -> list[Leaf]:
    """Leaves of rows at rising positions."""
    return [
        row_leaf({"id": f"r-{at}", "at_ns": AT_NS + at, "status": 200, "score": at / 7}, "rows/a", at)
        for at in range(first, first + count)
    ]


def events(subjects: Subjects, first: int, count: int, subject: str = "user:ann") -> list[Leaf]:
    """Leaves of journal events about one person."""
    made = []
    for at in range(first, first + count):
        key, payload = subjects.seal(subject, b'{"event":%d}' % at, bound_to("journal/1", at))
        header = {
            "kind": "journal",
            "at": str(AT_NS + at),
            "source": "journal/1",
            "position": at,
            "name": "key.created",
        }
        made.append(sealed_leaf(header, payload, key))
    return made


def wrapper_of(folder: Path) -> FileKeys:
    return FileKeys(folder.parent / "kek", SeededRandom(3))


def subjects_of(folder: Path) -> Subjects:
    return Subjects(FileDisk(folder), SystemRandom(), wrapper_of(folder))


def signing_key(folder: Path, seed: int = 1) -> SigningKey:
    folder.mkdir(parents=True, exist_ok=True)
    return load_signing_key(folder, FileDisk(folder), SeededRandom(seed), "factory")


def open_writer(folder: Path) -> LogWriter:
    signing = signing_key(folder)
    return LogWriter(FileDisk(folder), signing)


def make_log(folder: Path, batches: Iterable[int] = (3, 300, 40)) -> Vkey:
    """A log of mixed leaves with a checkpoint after each batch; its public key."""
    writer = open_writer(folder)
    subjects = subjects_of(folder)
    at = 1
    for count in batches:
        writer.append([*events(subjects, at, min(2, count)), *rows(at, max(0, count - 2))])
        writer.checkpoint()
        at += count
    return writer.signing.vkey
