"""What a segment says at its beginning, and what is written beside it at its end.

Types alone, never compiled: a compiled struct loses its options, and with them the form that is on disk.
"""

from __future__ import annotations

import msgspec


class Header(msgspec.Struct, frozen=True, array_like=True):
    """What a segment says about itself. Fields are only appended."""

    format_version: int
    schema_version: int
    segment: int
    first_row: int  # number of the first row here
    after_row: int  # number of the last row before; the two differ by more than one only after an unclean end
    created_ns: int
    gateway: str


class Seal(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a segment, written when nothing will be appended any more."""

    segment: int
    first_row: int
    last_row: int  # the last one durably written, here or (if this segment holds none) before
    rows: int
    size_bytes: int
    sealed_ns: int


class NamedHeader(msgspec.Struct, frozen=True):
    """The header as compiled gateways wrote it before 0.2: with the names of its fields."""

    format_version: int
    schema_version: int
    segment: int
    first_row: int
    after_row: int
    created_ns: int
    gateway: str
