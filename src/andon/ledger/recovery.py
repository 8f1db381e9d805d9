"""Recovery: what a writer does before its first row. Settles segments that an earlier process left open.

A torn tail is kept aside in `<name>.torn`, then cut; nothing before it is ever changed. The segment is then sealed:
a new process begins a new segment, so no file is written by two processes.
"""

from __future__ import annotations

import msgspec

from andon.kernel.ports import Disk
from andon.ledger import segment
from andon.ledger.scan import Damage, Hole, read_header, scan
from andon.ledger.seals import Seal

# Row numbers jump by this after an unclean end. A reader may have seen rows that a power loss then took back; no
# number is given twice, so such a reader can go on from its position and miss nothing.
LEAP_ROWS = 2**20


class Recovered(msgspec.Struct, frozen=True, kw_only=True):
    """Where to go on, and what was found."""

    next_segment: int
    next_row: int
    after_row: int  # the last row that is durably there
    settled: int  # segments left open by an earlier process
    torn_bytes: int  # cut from tails and kept in `.torn` files
    damages: tuple[Damage, ...]


def segments_of(disk: Disk, folder: str) -> list[str]:
    """Names of all segments, in the order of writing."""
    return [name for name in disk.list(folder) if segment.parse_name(name)]


def join(folder: str, name: str) -> str:
    """A path below the disk's root."""
    return f"{folder}/{name}" if folder else name


def read_seal(disk: Disk, path: str) -> Seal | None:
    """The seal of a segment, None while it may still grow."""
    try:
        return segment.decode_seal(disk.read(path + segment.SEAL_SUFFIX))
    except FileNotFoundError:
        return None


def write_seal(disk: Disk, path: str, seal: Seal) -> None:
    """Close a segment for ever. Raises OSError."""
    disk.replace(path + segment.SEAL_SUFFIX, msgspec.json.encode(seal))


def recover(disk: Disk, folder: str, now_ns: int) -> Recovered:
    """Settle every open segment. Raises OSError if the disk cannot be written at all: better not to start."""
    names = segments_of(disk, folder)
    next_segment, after_row, next_row, settled, torn = 1, 0, 1, 0, 0
    damages: list[Damage] = []
    for name in names:
        path = join(folder, name)
        number, first_row = segment.parse_name(name) or (0, 0)
        seal = read_seal(disk, path)
        leap = 0
        if seal is None:
            seal, found, cut = _settle(disk, path, after_row, now_ns)
            damages += found
            settled, torn, leap = settled + 1, torn + cut, LEAP_ROWS
        next_segment = max(next_segment, number + 1)
        after_row = max(after_row, seal.last_row)
        next_row = max(next_row, max(first_row, seal.last_row + 1) + leap)
    return Recovered(
        next_segment=next_segment,
        next_row=next_row,
        after_row=after_row,
        settled=settled,
        torn_bytes=torn,
        damages=tuple(damages),
    )


def _settle(disk: Disk, path: str, after_row: int, now_ns: int) -> tuple[Seal, list[Damage], int]:
    number, first_row = segment.parse_name(path.rsplit("/", 1)[-1]) or (0, 0)
    header = read_header(disk, path)
    size = disk.size(path)
    end = start = header[1] if header else 0
    last_row, rows, damages = after_row, 0, []
    for item in scan(disk, path, start):
        if isinstance(item, Hole):
            if not item.at_end:
                damages.append(_damage(path, item, "bytes that are not a frame"))
            continue
        end, last_row, rows = item.end, item.first_row + item.rows - 1, rows + item.rows
    if size > end:
        disk.replace(path + segment.TORN_SUFFIX, disk.read(path, end))
        disk.truncate(path, end)
    else:
        disk.sync(path)  # what was read may still be in memory only
    seal = Seal(
        segment=number, first_row=first_row, last_row=last_row, rows=rows, size_bytes=end, sealed_ns=now_ns
    )
    write_seal(disk, path, seal)
    return seal, damages, size - end


def _damage(path: str, hole: Hole, reason: str) -> Damage:
    return Damage(segment=path, offset=hole.offset, size_bytes=hole.end - hole.offset, rows=0, reason=reason)
