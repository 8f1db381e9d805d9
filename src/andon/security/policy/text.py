"""Cedar text cut into its policies, with the line on which each begins: what messages and explanations point at.

Pure, and knows no more of Cedar than where a policy ends: at a semicolon outside strings and comments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import resources

import msgspec

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\n]*|;', re.DOTALL)
_SPACE = re.compile(r"(?:\s+|//[^\n]*)*")
_ID = re.compile(r'@id\s*\(\s*"((?:[^"\\]|\\.)*)"\s*\)')


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """One policy as it was written."""

    id: str  # of its annotation; empty where there is none
    text: str
    line: int  # 1 = the first of the text


def statements(text: str) -> Iterator[Statement]:
    """Every policy of a text, in order; what comes after the last semicolon too, where it is more than space."""
    begin, line, counted = 0, 1, 0
    for found in _TOKEN.finditer(text):
        if found.group() != ";":
            continue
        piece, begin, end = text[begin : found.end()], found.end(), begin
        start = end + _lead(piece)
        line, counted = line + text.count("\n", counted, start), start
        yield _statement(piece[_lead(piece) :], line)
    rest = text[begin:]
    lead = _lead(rest)
    if rest[lead:]:
        yield _statement(rest[lead:], line + text.count("\n", counted, begin + lead))


def built_in() -> str:
    """The policies that every factory has."""
    return resources.files(__package__ or "").joinpath("roles.cedar").read_text(encoding="utf-8")


def _lead(text: str) -> int:
    found = _SPACE.match(text)
    return found.end() if found is not None else 0


def _statement(text: str, line: int) -> Statement:
    found = _ID.search(text)
    return Statement(id=found.group(1) if found is not None else "", text=text.rstrip(), line=line)
