"""Where things lie in a log's folder: the layout of C2SP tlog-tiles, and what is kept beside it.

`checkpoint` · `tile/<level>/<N>` with 256 hashes each · `tile/entries/<N>` with 256 entries each · `payload/<N>` with
the ciphertexts of those entries that have any. The last ones are partial, `….p/<width>`. Pure: names and bytes only.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from typing import Final

from andon.kernel.errors import Refused

WIDTH: Final = 256  # hashes in a full tile
HEIGHT: Final = 8  # levels of the tree in a tile
ENTRY_BYTES_MAX: Final = 0xFFFF
CHECKPOINT: Final = "checkpoint"
KEYS: Final = "keys"
ENTRIES: Final = "entries"
PAYLOAD: Final = "payload"

_PLACE = re.compile(r"(?:x\d{3}/)*\d{3}(?:\.p/(?:[1-9]\d?|1\d\d|2[0-4]\d|25[0-5]))?")
_TILE = re.compile(r"tile/(?:[0-9]|[1-5][0-9]|6[0-3]|entries)/" + _PLACE.pattern)
_HEAD = struct.Struct(">HI")


def place(number: int, width: int = WIDTH) -> str:
    """`x001/x234/067`, with `.p/<width>` where it is partial."""
    groups = [f"{number % 1000:03d}"]
    while number := number // 1000:
        groups.append(f"x{number % 1000:03d}")
    path = "/".join(reversed(groups))
    return path if width == WIDTH else f"{path}.p/{width}"


def tile_path(level: int, number: int, width: int = WIDTH) -> str:
    """A tile of hashes."""
    return f"tile/{level}/{place(number, width)}"


def entries_path(number: int, width: int = WIDTH) -> str:
    """A bundle of entries."""
    return f"tile/{ENTRIES}/{place(number, width)}"


def payload_path(number: int, width: int = WIDTH) -> str:
    """The ciphertexts of a bundle."""
    return f"{PAYLOAD}/{place(number, width)}"


def is_public(path: str) -> bool:
    """Whether a path is of the log's public layout; anything else is never served."""
    return path in (CHECKPOINT, KEYS) or _TILE.fullmatch(path) is not None


def width_at(size: int, level: int, number: int) -> int:
    """How many hashes tile `number` of a level has in a tree of `size` leaves; 0 where it is not there yet."""
    return max(0, min(WIDTH, (size >> (HEIGHT * level)) - number * WIDTH))


def pack_entries(entries: Sequence[bytes]) -> bytes:
    """A bundle: each entry behind its length, big-endian, 16 bits."""
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def unpack_entries(data: bytes) -> list[bytes]:
    """The entries of a bundle. Raises `Refused` if it does not end where an entry ends."""
    entries, at, end = [], 0, len(data)
    while at < end:
        stop = at + 2 + int.from_bytes(data[at : at + 2], "big")
        if stop > end:
            raise _damaged("a bundle of entries")
        entries.append(data[at + 2 : stop])
        at = stop
    return entries


def pack_payloads(payloads: Mapping[int, bytes]) -> bytes:
    """Ciphertexts by their place in the bundle."""
    return b"".join(_HEAD.pack(at, len(data)) + data for at, data in sorted(payloads.items()))


def unpack_payloads(data: bytes) -> dict[int, bytes]:
    """Ciphertexts by their place in the bundle. Raises `Refused` for bytes that are not that."""
    payloads: dict[int, bytes] = {}
    at, end, last = 0, len(data), -1
    while at < end:
        if at + _HEAD.size > end:
            raise _damaged("payloads")
        index, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        if not last < index < WIDTH or at + length > end:
            raise _damaged("payloads")
        payloads[index], last = data[at : at + length], index
        at += length
    return payloads


def _damaged(what: str) -> Refused:
    return Refused("audit_form", f"A file should hold {what} and does not.", hint="Compare it with a copy.")
