"""Folds a text to the form in which the injection detector reads it, so that disguises change nothing.

Compatibility forms, accents, look-alike letters, invisible characters, spaced letters and letters written as digits are
brought back to plain words; hidden encodings are decoded. Bounded: every step is linear in the text. Never used to
change what is delivered to a model.
"""

# ruff: noqa: E501, RUF001  # words of many languages and templates, one a line
from __future__ import annotations

import base64
import binascii
import codecs
import re
import unicodedata

_LOOKALIKES = str.maketrans(
    "авекмнорстухіјѕԁԛԝһɡɑαβεηικνορτυχωɩɴʀʟ",
    "abekmhopctyxijsdqwhgaabenikvoptuxwinrl",
)
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff]"
)
_TAGS = re.compile("[\U000e0020-\U000e007e]{4,}")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_SPACED = re.compile(r"(?<!\w)(?:\w[ ._\-*]){3,48}\w(?!\w)")
_DIGITS_AS_LETTERS = str.maketrans("013457@$!", "oieastasi")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{20,4096}={0,2}")
_HEX = re.compile(r"(?:[0-9a-fA-F]{2}[ :]?){12,2048}")
_PERCENT = re.compile(r"(?:%[0-9a-fA-F]{2}){6,512}")
DECODED_MAX = 4  # hidden texts of one text that are read; the rest stay what they look like
_LATIN = re.compile(r"[a-z]")


def fold(text: str) -> str:
    """Lower case, compatibility forms and accents folded, invisible characters gone; look-alikes within Latin words."""
    if text.isascii():
        return _join_spaced(_CONTROL.sub(" ", text).lower())
    text = _CONTROL.sub(" ", _INVISIBLE.sub("", text))
    text = unicodedata.normalize("NFKD", text)
    text = "".join([sign for sign in text if not unicodedata.combining(sign)]).casefold()
    text = text.replace("’", "'").replace("‘", "'").replace("“", '"').replace("”", '"')
    if not text.isascii() and _LATIN.search(text):
        text = " ".join(_unmask(word) for word in text.split(" "))
    return _join_spaced(text)


def _unmask(word: str) -> str:
    """A word that mixes Latin with look-alikes, as if it were all Latin."""
    return word.translate(_LOOKALIKES) if not word.isascii() and _LATIN.search(word) else word


def _join_spaced(text: str) -> str:
    """`i g n o r e` and `i-g-n-o-r-e` as one word."""
    return _SPACED.sub(_joined, text)


def _joined(found: re.Match[str]) -> str:
    letters = re.sub(r"[ ._\-*]", "", found.group())
    return letters if len(set(letters)) > 2 else found.group()  # `x x x x` is noise, not a word


def plain(word: str) -> str:
    """A word whose digits stand for letters, spelled with letters: `1gn0r3` is `ignore`."""
    return word.translate(_DIGITS_AS_LETTERS)


def turn(word: str) -> tuple[str, str]:
    """The word by rot13 and the word from its end."""
    return codecs.encode(word, "rot13"), word[::-1]


def hidden(text: str) -> list[tuple[int, int, str]]:
    """(start, end, what it says) of encoded passages that decode to readable text: base64, hex, percent, tag letters."""
    found: list[tuple[int, int, str]] = []
    for pattern, decode in ((_BASE64, _base64), (_HEX, _hex), (_PERCENT, _percent), (_TAGS, _tags)):
        for passage in pattern.finditer(text):
            said = decode(passage.group())
            if said is not None:
                found.append((passage.start(), passage.end(), said))
                if len(found) == DECODED_MAX:
                    return found
    return found


def _readable(raw: bytes) -> str | None:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return None  # not a text: then it hides none
    letters = sum(sign.isalpha() or sign == " " for sign in text)
    return text if len(text) >= 8 and letters >= 0.85 * len(text) and " " in text.strip() else None


def _base64(passage: str) -> str | None:
    raw = passage.rstrip("=").replace("-", "+").replace("_", "/")
    raw = raw[: len(raw) - (len(raw) % 4 == 1)]
    try:
        return _readable(base64.b64decode(raw + "=" * (-len(raw) % 4), validate=True))
    except binascii.Error:
        return None  # only looks like base64


def _hex(passage: str) -> str | None:
    digits = re.sub(r"[ :]", "", passage)
    return _readable(bytes.fromhex(digits[: len(digits) // 2 * 2]))


def _percent(passage: str) -> str | None:
    return _readable(bytes.fromhex(passage.replace("%", "")))


def _tags(passage: str) -> str | None:
    return "".join(chr(ord(sign) - 0xE0000) for sign in passage)
