"""Packages and versions, read from lock files, requirements and environments of model folders. Pure but for reading.

Reads what pip's own files say and resolves nothing: a line without an exact version is a package whose version is open.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import yaml

from andon.security.admission.mlmodel import read_plain_yaml

FILE_BYTES_MAX = 32 << 20
PACKAGES_MAX = 20_000
_LINE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(\[[^\]]*\])?\s*(.*)")
_EXACT = re.compile(r"={2,3}\s*([A-Za-z0-9.!+_-]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


class Package(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One package as some file names it."""

    name: str  # normalised (PEP 503)
    version: str = ""  # empty = not pinned
    source: str = ""  # the file
    line: int = 0
    hashes: tuple[str, ...] = ()  # SHA-256, hex

    @property
    def purl(self) -> str:
        """Its package URL (ECMA-427)."""
        return f"pkg:pypi/{self.name}" + (f"@{self.version.replace('+', '%2B')}" if self.version else "")


def normalise(name: str) -> str:
    """A package's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_requirements(text: str, source: str) -> list[Package]:
    """The packages of a requirements or lock file, with the line on which each is named."""
    found: list[Package] = []
    joined, first = "", 0
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.split(" #")[0].strip()
        if not joined:
            first = number
        joined += " " + line.removesuffix("\\").strip()
        if line.endswith("\\"):
            continue
        package = _package(joined.strip(), source, first)
        joined = ""
        if package is not None and len(found) < PACKAGES_MAX:
            found.append(package)
    return found


def _package(line: str, source: str, number: int) -> Package | None:
    if not line or line[0] in "#-":
        return None
    matched = _LINE.fullmatch(line.split(";", maxsplit=1)[0].split("--hash", maxsplit=1)[0].strip())
    if matched is None or matched[3].startswith(("/", ":", "+")):
        return None
    exact = _EXACT.match(matched[3].strip())
    return Package(
        name=normalise(matched[1]),
        version=exact[1] if exact else "",
        source=source,
        line=number,
        hashes=tuple(_HASH.findall(line)),
    )


def packages_of_model(folder: Path) -> list[Package]:
    """What the files of an MLflow folder say that it needs: requirements.txt, else conda.yaml."""
    requirements, conda = folder / "requirements.txt", folder / "conda.yaml"
    if _is_readable(requirements):
        return read_requirements(requirements.read_text("utf-8", "replace"), "requirements.txt")
    if not _is_readable(conda):
        return []
    try:
        document: Any = read_plain_yaml(conda.read_text("utf-8", "replace"))
    except (yaml.YAMLError, ValueError, RecursionError):
        return []
    lines: list[str] = []
    for item in (document.get("dependencies") or ()) if isinstance(document, dict) else ():
        if isinstance(item, dict) and isinstance(item.get("pip"), list):
            lines += [one for one in item["pip"] if isinstance(one, str)]
    return read_requirements("\n".join(lines), "conda.yaml")


def _is_readable(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and path.stat().st_size <= FILE_BYTES_MAX
