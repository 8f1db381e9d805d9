"""The digest of a model's files: what says that the bytes served are the bytes that were approved.

Computed by people (`andon` prints it), by tests and by the replica before anything of the model is opened.
It follows no link out of the folder and never changes a file.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path

import msgspec

from andon.kernel.errors import Permanent

FILES_MAX = 10_000
FREE_BYTES_MIN = 256 * 2**20  # left on the disk by a copy
_PIECE_BYTES = 1 << 20
# Written by tools beside the model, not part of it; a signature cannot be part of what it signs.
_NOT_CONTENT = frozenset({"__pycache__", ".git", ".DS_Store", "model.sig"})


class TakenFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file as it was copied."""

    name: str  # POSIX path inside the model; of a model that is one file, the file's name
    size: int
    sha256: str  # hex


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """A private copy: nobody else writes to it, so that what was hashed is what is scanned, and what is loaded."""

    path: Path  # what to open
    digest: str  # as `digest_of` the copy
    files: tuple[TakenFile, ...]


def take(source: Path, into: Path) -> Taken:
    """Copy a model into the new folder `into`, readable by its owner only, hashing what is written.

    Whoever changes the source meanwhile gets a digest that is not the admitted one. Raises `Permanent` as `digest_of`
    does, and where a file is no plain file; OSError where it cannot be read or written.
    """
    if not source.is_dir():
        into.mkdir(mode=0o700, parents=True)
        if not source.exists():
            digest_of(source)
        _check_room([source], into)
        taken = _copy(source, into / source.name, source.name)
        return Taken(path=into / source.name, digest=f"sha256:{taken.sha256}", files=(taken,))
    files = _files(source)
    into.mkdir(mode=0o700, parents=True)
    _check_room([path for _, path in files], into)
    copied = tuple(_copy(path, into / name, name) for name, path in files)
    whole = hashlib.sha256()
    for one in copied:
        whole.update(f"{one.name}\0{one.size}\0{one.sha256}\n".encode())
    return Taken(path=into, digest=f"sha256:{whole.hexdigest()}", files=copied)


def _check_room(sources: Sequence[Path], into: Path) -> None:
    """Raises `Permanent` where a copy would leave too little room: ledger and audit log share the disk with it.

    By the size that files state: a sparse one is written out whole.
    """
    wanted = sum(path.stat().st_size for path in sources)
    free = shutil.disk_usage(into).free
    if wanted > free - FREE_BYTES_MIN:
        raise Permanent(
            "model_unreadable",
            f"The model has {wanted} bytes, and the disk of {into} only {free}.",
            hint=f"Make room: {FREE_BYTES_MIN} bytes beyond the model's stay free for the factory itself.",
        )


def _copy(source: Path, target: Path, name: str) -> TakenFile:
    """Copy and hash in one pass over one descriptor. A pipe or device is refused instead of waited for."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    one, size = hashlib.sha256(), 0
    descriptor = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Permanent(
                "model_unreadable", f"{source} is no plain file.", hint="A model is made of plain files."
            )
        with target.open("xb") as copy:
            while piece := file.read(_PIECE_BYTES):
                one.update(piece)
                copy.write(piece)
                size += len(piece)
    target.chmod(0o400)
    return TakenFile(name=name, size=size, sha256=one.hexdigest())


def digest_of(source: Path) -> str:
    """`sha256:<hex>` of a file's bytes, or of a folder.

    A folder's digest is the SHA-256 over its files in the order of their POSIX paths (code points), each as
    `<path>\\0<size>\\0<hex of its SHA-256>\\n`. Raises `Permanent` if the source is missing or links outwards.
    """
    if source.is_file():
        return f"sha256:{_file_digest(source)}"
    if not source.is_dir():
        raise Permanent(
            "model_missing",
            f"There is no model at {source}.",
            hint="Check spec.source; relative paths start at the factory file's folder.",
        )
    files = _files(source)
    whole = hashlib.sha256()
    for name, path in files:
        whole.update(f"{name}\0{path.stat().st_size}\0{_file_digest(path)}\n".encode())
    return f"sha256:{whole.hexdigest()}"


def verify(source: Path, expected: str) -> str:
    """The digest of the source; raises `Permanent` if one is expected and it differs."""
    actual = digest_of(source)
    expect(source, actual, expected)
    return actual


def expect(source: Path, actual: str, expected: str) -> None:
    """Raises `Permanent` if a digest is expected and the actual one is another."""
    if expected and actual != expected:
        raise Permanent(
            "digest_mismatch",
            f"The model at {source} has digest {actual}, but {expected} is declared or was admitted.",
            hint="Somebody changed the files: restore them, or declare a new version with the new digest.",
        )


def _files(folder: Path) -> list[tuple[str, Path]]:
    root = folder.resolve()
    found: list[tuple[str, Path]] = []
    for path in folder.rglob("*"):
        relative = path.relative_to(folder)
        if _NOT_CONTENT.intersection(relative.parts) or path.is_dir():
            continue
        if not path.resolve().is_relative_to(root):
            raise Permanent(
                "model_link",
                f"{path} links out of the model's folder.",
                hint="Copy the file into the folder, so that the digest covers what is served.",
            )
        found.append((relative.as_posix(), path))
        if len(found) > FILES_MAX:
            raise Permanent(
                "model_too_many_files",
                f"{folder} holds more than {FILES_MAX} files.",
                hint="Point spec.source at the model itself, not at a folder of many things.",
            )
    return sorted(found)


def _file_digest(path: Path) -> str:
    one = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            one.update(piece)
    return one.hexdigest()
