"""The opcodes of pickle, protocols 0 to 5, and how to read their arguments from untrusted bytes.

Source of the table: PEP 307, PEP 3154, PEP 574 and the module `pickletools`. Reading never allocates more than is
there, and never decodes by a codec that the data names.
"""

from __future__ import annotations

import codecs
import mmap
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

Buffer = bytes | mmap.mmap

NAME_BYTES_MAX = 1 << 10  # of a module or an attribute
TEXT_BYTES_MAX = 1 << 12  # a string longer than this is no name and is not kept


class Malformed(Exception):
    """These bytes are no pickle from here on."""


class Blob:
    """Text or bytes whose value does not matter; `size` in bytes."""

    __slots__ = ("size",)

    def __init__(self, size: int) -> None:
        self.size = size


# How the argument is read: "" none, "1" "2" "4" "8" unsigned little-endian, "line", "lines" (two), "float",
# and a counted string of text ("t"), bytes ("b") or integer ("n") with the width of its count.
ARGUMENTS: Mapping[int, tuple[str, str]] = MappingProxyType(
    {
        ord("("): ("MARK", ""),
        ord("."): ("STOP", ""),
        ord("0"): ("POP", ""),
        ord("1"): ("POP_MARK", ""),
        ord("2"): ("DUP", ""),
        ord("F"): ("FLOAT", "line"),
        ord("I"): ("INT", "line"),
        ord("J"): ("BININT", "s4"),
        ord("K"): ("BININT1", "1"),
        ord("L"): ("LONG", "line"),
        ord("M"): ("BININT2", "2"),
        ord("N"): ("NONE", ""),
        ord("P"): ("PERSID", "line"),
        ord("Q"): ("BINPERSID", ""),
        ord("R"): ("REDUCE", ""),
        ord("S"): ("STRING", "line"),
        ord("T"): ("BINSTRING", "t4"),
        ord("U"): ("SHORT_BINSTRING", "t1"),
        ord("V"): ("UNICODE", "line"),
        ord("X"): ("BINUNICODE", "t4"),
        ord("a"): ("APPEND", ""),
        ord("b"): ("BUILD", ""),
        ord("c"): ("GLOBAL", "lines"),
        ord("d"): ("DICT", ""),
        ord("}"): ("EMPTY_DICT", ""),
        ord("e"): ("APPENDS", ""),
        ord("g"): ("GET", "line"),
        ord("h"): ("BINGET", "1"),
        ord("i"): ("INST", "lines"),
        ord("j"): ("LONG_BINGET", "4"),
        ord("l"): ("LIST", ""),
        ord("]"): ("EMPTY_LIST", ""),
        ord("o"): ("OBJ", ""),
        ord("p"): ("PUT", "line"),
        ord("q"): ("BINPUT", "1"),
        ord("r"): ("LONG_BINPUT", "4"),
        ord("s"): ("SETITEM", ""),
        ord("t"): ("TUPLE", ""),
        ord(")"): ("EMPTY_TUPLE", ""),
        ord("u"): ("SETITEMS", ""),
        ord("G"): ("BINFLOAT", "float"),
        0x80: ("PROTO", "1"),
        0x81: ("NEWOBJ", ""),
        0x82: ("EXT1", "1"),
        0x83: ("EXT2", "2"),
        0x84: ("EXT4", "4"),
        0x85: ("TUPLE1", ""),
        0x86: ("TUPLE2", ""),
        0x87: ("TUPLE3", ""),
        0x88: ("NEWTRUE", ""),
        0x89: ("NEWFALSE", ""),
        0x8A: ("LONG1", "n1"),
        0x8B: ("LONG4", "n4"),
        ord("B"): ("BINBYTES", "b4"),
        ord("C"): ("SHORT_BINBYTES", "b1"),
        0x8C: ("SHORT_BINUNICODE", "t1"),
        0x8D: ("BINUNICODE8", "t8"),
        0x8E: ("BINBYTES8", "b8"),
        0x8F: ("EMPTY_SET", ""),
        0x90: ("ADDITEMS", ""),
        0x91: ("FROZENSET", ""),
        0x92: ("NEWOBJ_EX", ""),
        0x93: ("STACK_GLOBAL", ""),
        0x94: ("MEMOIZE", ""),
        0x95: ("FRAME", "8"),
        0x96: ("BYTEARRAY8", "b8"),
        0x97: ("NEXT_BUFFER", ""),
        0x98: ("READONLY_BUFFER", ""),
    }
)


def read_argument(data: Buffer, at: int, form: str) -> tuple[Any, int]:
    """The argument and where the next opcode is; raises `Malformed` where the data ends or lies about a length."""
    if form in ("1", "2", "4", "8"):
        end = at + int(form)
        return int.from_bytes(_take(data, at, end), "little"), end
    if form == "s4":
        return int.from_bytes(_take(data, at, at + 4), "little", signed=True), at + 4
    if form == "float":
        _take(data, at, at + 8)
        return Blob(8), at + 8
    if form == "line":
        return _line(data, at)
    if form == "lines":
        first, at = _line(data, at)
        second, at = _line(data, at)
        return (_name(first), _name(second)), at
    return _counted(data, at, form)


def _take(data: Buffer, start: int, end: int) -> bytes:
    if end > len(data):
        raise Malformed("it ends inside an argument")
    return data[start:end]


def _line(data: Buffer, at: int) -> tuple[bytes, int]:
    end = data.find(b"\n", at)
    if end < 0:
        raise Malformed("a line does not end")
    return data[at:end], end + 1


def _name(line: bytes) -> str:
    if len(line) > NAME_BYTES_MAX:
        raise Malformed("a name is too long")
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed("a name is not UTF-8") from error


def _counted(data: Buffer, at: int, form: str) -> tuple[Any, int]:
    width = int(form[1])
    start = at + width
    size = int.from_bytes(_take(data, at, start), "little")
    end = start + size
    if end > len(data):
        raise Malformed(f"it announces {size} bytes that are not there")
    if form[0] == "n":
        return (int.from_bytes(data[start:end], "little", signed=True) if size <= 8 else Blob(size)), end
    if form[0] == "b" or size > TEXT_BYTES_MAX:
        return Blob(size), end
    try:
        return data[start:end].decode("utf-8", "surrogatepass"), end
    except UnicodeDecodeError:  # strings of Python 2 may be anything; none of these is a name on the list
        return Blob(size), end


def decoded_text(line: bytes, is_unicode: bool) -> Any:
    """The text of STRING (a Python 2 literal) or UNICODE (raw-unicode-escape), as an unpickler would see it."""
    if len(line) > TEXT_BYTES_MAX:
        return Blob(len(line))
    try:
        if is_unicode:
            return codecs.raw_unicode_escape_decode(line)[0]
        if len(line) >= 2 and line[:1] == line[-1:] and line[:1] in (b"'", b'"'):
            return codecs.escape_decode(line[1:-1])[0].decode("ascii", "replace")
    except (UnicodeDecodeError, ValueError) as error:
        raise Malformed("a text cannot be decoded") from error
    raise Malformed("a string has no quotes")
