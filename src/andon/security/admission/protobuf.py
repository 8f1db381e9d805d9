"""The wire format of protocol buffers, read field by field from untrusted bytes, without any schema.

Source: protobuf.dev/programming-guides/encoding. Lengths are checked before anything is taken.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from andon.security.admission.budget import Budget
from andon.security.admission.opcodes import Buffer

_VARINT_BYTES_MAX = 10
_WIDTHS = {1: 8, 5: 4}


class Unreadable(Exception):
    """These bytes are no message."""


class Field(msgspec.Struct, gc=False):
    """One field: its number, and its value or where its bytes are."""

    number: int
    value: int = 0
    start: int = -1  # of a field with a length; -1 = it is a number
    end: int = -1


def fields_of(data: Buffer, start: int, end: int, budget: Budget) -> Iterator[Field]:
    """The fields between two places; raises `Unreadable` or `Exhausted`."""
    at = start
    while at < end:
        budget.operate()
        key, at = _varint(data, at, end)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise Unreadable("a field has the number 0")
        if wire == 0:
            value, at = _varint(data, at, end)
            yield Field(number, value)
        elif wire == 2:
            size, at = _varint(data, at, end)
            if size > end - at:
                raise Unreadable("a field is longer than what holds it")
            yield Field(number, 0, at, at + size)
            at += size
        elif wire in _WIDTHS:
            at += _WIDTHS[wire]
            if at > end:
                raise Unreadable("a number is cut off")
            yield Field(number)
        else:
            raise Unreadable(f"wire type {wire}")


def text_of(data: Buffer, field: Field, limit: int = 4096) -> str:
    """A field's bytes as text; raises `Unreadable` if it is longer than `limit` or no UTF-8."""
    if field.start < 0 or field.end - field.start > limit:
        raise Unreadable("a text is none, or is too long")
    try:
        return data[field.start : field.end].decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unreadable("a text is not UTF-8") from error


def _varint(data: Buffer, at: int, end: int) -> tuple[int, int]:
    value = 0
    for place in range(_VARINT_BYTES_MAX):
        if at >= end:
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at
    raise Unreadable("a number does not end")
