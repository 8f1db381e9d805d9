"""Looks for canaries in everything that a factory has written or said, however it is spelled or packed.

Files are read as they are and, where they are gzip, zstd or Parquet, as what is in them; every value of a Parquet file
is looked at. Spellings: as it is, hexadecimal in both cases, base64 at each of its three alignments.
"""

from __future__ import annotations

import base64
import bz2
import contextlib
import gzip
import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

FILE_BYTES_MAX = 512 * 2**20
_ZSTD = b"\x28\xb5\x2f\xfd"


@dataclass(frozen=True)
class Leak:
    """One canary that was found where it must not be."""

    canary: str
    place: str
    spelling: str


def spellings(canary: str) -> dict[str, bytes]:
    """How a canary may be written down."""
    raw = canary.encode()
    found = {
        "plain": raw,
        "hex": raw.hex().encode(),
        "HEX": raw.hex().upper().encode(),
        "reversed": raw[::-1],
    }
    for shift in range(3):
        # What precedes it in a longer base64 text moves its letters; the first and last few depend on neighbours.
        text = base64.b64encode(b"\0" * shift + raw).rstrip(b"=")
        found[f"base64+{shift}"] = text[4 if shift else 0 : -2]
    return found


class Search:
    """Knows every canary, and where each may be by nature."""

    def __init__(self, canaries: Mapping[str, str], allowed: Mapping[str, Sequence[str]]) -> None:
        self._spelled = {name: (value, spellings(value)) for name, value in canaries.items()}
        self._allowed = allowed
        self.planted = len(canaries)
        self.leaks: list[Leak] = []
        self.looked_bytes = 0
        self.places = 0

    def look(self, place: str, data: bytes, depth: int = 0) -> None:
        """Look at one text and at what is packed in it."""
        self.places += 1
        self.looked_bytes += len(data)
        for name, (_, spelled) in self._spelled.items():
            if any(part in place for part in self._allowed.get(name, ())):
                continue
            for spelling, text in spelled.items():
                if text in data:
                    self.leaks.append(Leak(name, place, spelling))
        if depth < 3:
            for what, inner in unpacked(data):
                self.look(f"{place} > {what}", inner, depth + 1)

    def folder(self, root: Path) -> None:
        """Every file below a folder, and its name."""
        for path in sorted(root.rglob("*")):
            self.look(f"name of {path.relative_to(root)}", str(path.relative_to(root)).encode())
            if not path.is_file() or path.is_symlink():
                continue
            with contextlib.suppress(FileNotFoundError):  # a segment may be sealed and go while we look
                assert path.stat().st_size <= FILE_BYTES_MAX, path
                self.look(f"file {path.relative_to(root)}", path.read_bytes())


def unpacked(data: bytes) -> Iterator[tuple[str, bytes]]:
    """What is packed in some bytes, by their first ones."""
    try:
        if data[:2] == b"\x1f\x8b":
            yield "gzip", gzip.decompress(data)
        elif data[:3] == b"BZh":
            yield "bzip2", bz2.decompress(data)
        elif data[:4] == _ZSTD:
            yield "zstd", pa.input_stream(io.BytesIO(data), compression="zstd").read()
        elif data[:4] == b"PAR1" and data[-4:] == b"PAR1":
            yield "parquet", rows_of(data)
        elif data[:2] in (b"x\x9c", b"x\x01", b"x\xda"):
            yield "zlib", zlib.decompress(data)
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        yield "broken", str(error).encode()


def rows_of(data: bytes) -> bytes:
    """Every value of a Parquet file, texts and bytes as they are."""
    table = pq.read_table(io.BytesIO(data))
    values = (value for column in table.columns for value in column.to_pylist())
    return b"\n".join(value if isinstance(value, bytes) else str(value).encode() for value in values)
