"""The digest of a model's files: what says that the bytes served are the bytes that were approved.

Computed by people (`andon` prints it), by tests and by the replica before anything of the model is opened.
It follows no link out of the folder and never changes a file.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from andon.kernel.errors import Permanent

FILES_MAX = 10_000
_PIECE_BYTES = 1 << 20
_NOT_CONTENT = frozenset(
    {"__pycache__", ".git", ".DS_Store"}
)  # written by tools beside the model, not part of it


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
    if expected and actual != expected:
        raise Permanent(
            "digest_mismatch",
            f"The model at {source} has digest {actual}, but {expected} is declared.",
            hint="Somebody changed the files: restore them, or declare a new version with the new digest.",
        )
    return actual


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
