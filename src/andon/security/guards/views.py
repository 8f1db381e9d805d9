"""Texts as detectors see them: escapes of JSON read, invisible characters out of the way, each with its way back.

Detection only: what is delivered is the text itself. A view's offsets say where each of its characters stands in the
text, so that what is found in the view can be changed in the text. Pure.
Source: Unicode 16 (general category Cf, tags block U+E0000); RFC 8259 §7 for escapes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

# Bidirectional controls, zero-width and other format characters, variation selectors, controls but blanks.
INVISIBLE: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U0001bca0-\U0001bca3"
    "\U000e0000-\U000e007f\U000e0100-\U000e01ef]"
)
_ESCAPE: Final = re.compile(r'\\(?:u[0-9a-fA-F]{4}|["\\/bfnrt])')
_SHORT: Final = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_TAGS: Final = 0xE0000
# Where the halves of surrogate pairs begin, first and second, and where they end.
_HIGH, _LOW, _END = chr(0xD800), chr(0xDC00), chr(0xDFFF)
ESCAPE_MAX: Final = 12  # characters of the longest escape: a surrogate pair


class View(NamedTuple):
    """A text and where its characters come from; offsets of None: from the same place."""

    text: str
    offsets: Sequence[int] | None  # one more than there are characters: the last is the end

    def place(self, at: int) -> int:
        """Where in the text a place of the view is."""
        return at if self.offsets is None else self.offsets[at]

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The part of the text that a part of the view came from, without what is invisible behind it."""
        if self.offsets is None:
            return start, end
        if end <= start:
            return self.offsets[start], self.offsets[start]
        return self.offsets[start], self.ends(end - 1)

    def ends(self, at: int) -> int:
        """Where the character that the view has at `at` ends in the text."""
        return at + 1 if self.offsets is None else self.offsets[at + 1]


def plain(text: str, *, escaped: bool) -> View:
    """The text with escapes of JSON read, if it is JSON inside a text. An escape that is not whole stays as it is."""
    if not escaped or "\\" not in text:
        return View(text, None)
    characters: list[str] = []
    offsets: list[int] = []
    at = 0
    for match in _ESCAPE.finditer(text):
        start, end = match.span()
        if start < at:
            continue
        characters += text[at:start]
        offsets += range(at, start)
        characters.append(_read(match.group()))
        offsets.append(start)
        at = end
    characters += text[at:]
    offsets += range(at, len(text) + 1)
    return _joined(characters, offsets)


def _read(escape: str) -> str:
    return (
        bytes.fromhex(escape[2:]).decode("utf-16-be", "surrogatepass")
        if escape[1] == "u"
        else _SHORT[escape[1]]
    )


def _joined(characters: list[str], offsets: list[int]) -> View:
    """Halves of surrogate pairs put together; a half alone stays, as no character of any word."""
    text = "".join(characters)
    if not any(_HIGH <= one <= _END for one in text):
        return View(text, offsets)
    whole: list[str] = []
    places: list[int] = []
    at = 0
    while at < len(text):
        pair = text[at : at + 2]
        is_pair = len(pair) == 2 and _HIGH <= pair[0] < _LOW <= pair[1] <= _END
        places.append(offsets[at])
        whole.append(pair.encode("utf-16", "surrogatepass").decode("utf-16") if is_pair else pair[0])
        at += 2 if is_pair else 1
    places.append(offsets[len(text)])
    return View("".join(whole), places)


def clean(view: View) -> View:
    """Without invisible characters; letters written as tags are read as the letters that they stand for."""
    text = view.text
    if text.isascii() and text.isprintable():
        return view
    if INVISIBLE.search(text) is None:
        return view
    characters: list[str] = []
    offsets: list[int] = []
    for at, one in enumerate(text):
        if INVISIBLE.match(one) is None:
            characters.append(one)
        elif _TAGS + 0x20 <= ord(one) <= _TAGS + 0x7E:
            characters.append(chr(ord(one) - _TAGS))
        else:
            continue
        offsets.append(view.place(at))
    offsets.append(view.place(len(text)))
    return View("".join(characters), offsets)


def escape(text: str) -> str:
    """A text as it stands inside a string of JSON."""
    return json.dumps(text, ensure_ascii=False)[1:-1]
