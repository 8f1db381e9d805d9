"""The bytes of a segment: its name, header, frames of rows, and seal. Pure; no disk is touched here.

A segment is `<segment>-<first row>.log`: a header, then frames, each of which holds the rows of one commit. Rows are
numbered from 1 through all segments of a folder, so one integer is a position, a repeated frame is recognised and a
missing one is counted. `<name>.sealed` beside a segment says that it will never change again.
"""

from __future__ import annotations

import re
import struct
import zlib

import msgspec

from andon.ledger.seals import Header, NamedHeader, Seal

FORMAT_VERSION = 1
FRAME_BYTES_MAX = 2**27  # above the log's bound on pending rows; a longer length is a broken head
PREAMBLE_BYTES = 29  # what stands before the rows in a frame: its head and the array's head

# 0xF5 occurs in no UTF-8 text, so no string in a row can look like the start of a frame.
FRAME_MARK = b"\xf5ROW"
_FILE_MARK = b"ANDONLOG"
_FRAME = struct.Struct("<4sIIIQ")  # mark, CRC-32 of all that follows, payload bytes, rows, first row
_CHECK = struct.Struct("<I")
_ARRAY = struct.Struct(">BI")  # MessagePack array 32: the rows then decode in one call
_HEAD = struct.Struct("<8sII")  # mark, CRC-32 and length of the encoded `Header`
_NAME = re.compile(r"(\d{8})-(\d{20})\.log")

FRAME_HEAD_BYTES = _FRAME.size
HEADER_BYTES_MAX = 512
SEAL_SUFFIX = ".sealed"
TORN_SUFFIX = ".torn"


class FrameHead(msgspec.Struct, frozen=True):
    """The head of a frame, not yet checked against its payload."""

    check: int
    size_bytes: int
    rows: int
    first_row: int


def name_segment(segment: int, first_row: int) -> str:
    """File name; names sort in the order of writing."""
    return f"{segment:08d}-{first_row:020d}.log"


def parse_name(name: str) -> tuple[int, int] | None:
    """(segment, first row) of a segment's file name; None for any other file."""
    match = _NAME.fullmatch(name)
    return (int(match[1]), int(match[2])) if match else None


def encode_header(header: Header) -> bytes:
    """The first bytes of a segment."""
    payload = msgspec.msgpack.encode(header)
    return _HEAD.pack(_FILE_MARK, zlib.crc32(payload), len(payload)) + payload


def decode_header(data: bytes) -> tuple[Header, int] | None:
    """The header and where frames begin; None if the bytes are not a whole and intact header."""
    if len(data) < _HEAD.size:
        return None
    mark, check, length = _HEAD.unpack_from(data)
    payload = data[_HEAD.size : _HEAD.size + length]
    if mark != _FILE_MARK or len(payload) != length or zlib.crc32(payload) != check:
        return None
    end = _HEAD.size + length
    try:
        return msgspec.msgpack.decode(payload, type=Header), end
    except msgspec.MsgspecError:
        pass  # perhaps an older form of it
    try:
        return msgspec.convert(
            msgspec.msgpack.decode(payload, type=NamedHeader), Header, from_attributes=True
        ), end
    except msgspec.MsgspecError:
        return None


def start_frame() -> bytearray:
    """A buffer to encode rows into, with room for what stands before them."""
    return bytearray(PREAMBLE_BYTES)


def finish_frame(frame: bytearray, first_row: int, rows: int) -> None:
    """Fill in the head once all rows are in the buffer."""
    _ARRAY.pack_into(frame, FRAME_HEAD_BYTES, 0xDD, rows)
    _FRAME.pack_into(frame, 0, FRAME_MARK, 0, len(frame) - FRAME_HEAD_BYTES, rows, first_row)
    with memoryview(frame) as view:
        _CHECK.pack_into(frame, 4, zlib.crc32(view[8:]))


def read_head(data: bytes) -> FrameHead | None:
    """The head of the frame that `data` begins with; None if there cannot be one."""
    if len(data) < FRAME_HEAD_BYTES:
        return None
    mark, check, size, rows, first_row = _FRAME.unpack_from(data)
    if mark != FRAME_MARK or not 5 <= size <= FRAME_BYTES_MAX:
        return None
    return FrameHead(check, size, rows, first_row)


def is_intact(head: FrameHead, frame: bytes) -> bool:
    """Whether head and payload are as they were written."""
    if len(frame) != FRAME_HEAD_BYTES + head.size_bytes:
        return False
    with memoryview(frame) as view:
        return zlib.crc32(view[8:]) == head.check


def decode_seal(data: bytes) -> Seal | None:
    """The seal, or None if it is not whole: the segment is then scanned again."""
    try:
        return msgspec.json.decode(data, type=Seal)
    except msgspec.MsgspecError:
        return None
