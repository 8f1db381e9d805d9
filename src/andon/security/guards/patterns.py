"""Lists of words and regular expressions, as a detector: topics that are not spoken of, names that may not leave.

A match is looked for at every place, so that what is found never depends on where a look began; patterns are bounded in
width and in backtracking (`regex_safety`), so that no text makes them slow.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from hashlib import blake2b
from typing import Annotated, Final

import msgspec

from andon.kernel.errors import Refused
from andon.security.guards.model import Finding
from andon.security.guards.regex_safety import width_of

WORDS_MAX: Final = 5_000
_CONFUSABLE: Final = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u0501\u051b\u0461\u0261\u0251\u03bf"
    "\u03b1\u03b5\u03c1\u03bd\u03ba\u03c4\u03b9\u03c5\u03c9\u0410\u0412\u0415\u041a\u041c\u041d\u041e"
    "\u0420\u0421\u0422\u0423\u0425\u0406\u0408\u0405\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c"
    "\u039d\u039f\u03a1\u03a4\u03a5\u03a7\u0131\u2010\u2011\u2012\u2013\u2014\u2212\u2018\u2019",
    "aeopcyxijsdqwgaoaepvktiuwABEKMHOPCTYXIJSABEZHIKMNOPTYXi------''",
)


class PatternSettings(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True
):
    """Settings of the detectors `pattern` and `topics`."""

    patterns: Annotated[
        dict[str, str], msgspec.Meta(description="Regular expressions by the name of what they find.")
    ] = {}
    words: Annotated[
        dict[str, tuple[str, ...]],
        msgspec.Meta(description="Words and phrases by the name of what they stand for."),
    ] = {}
    case_sensitive: Annotated[bool, msgspec.Meta(description="Tell capital letters from small ones.")] = False
    fold: Annotated[
        bool,
        msgspec.Meta(description="Read letters that look alike, wide forms and ligatures as plain letters."),
    ] = True


class PatternDetector:
    """Finds what its lists name (`Detector`)."""

    def __init__(self, name: str, settings: PatternSettings) -> None:
        if not settings.patterns and not settings.words:
            raise Refused("guard_invalid", "The lists are empty: give patterns or words.")
        self.name = name
        self.version = blake2b(
            msgspec.json.encode(settings, order="deterministic"), digest_size=6
        ).hexdigest()
        self._fold = settings.fold
        flags = 0 if settings.case_sensitive else re.IGNORECASE
        self._rules: list[tuple[str, re.Pattern[str]]] = []
        widest = 1
        for entity, text in settings.patterns.items():
            widest = max(widest, width_of(text))
            self._rules.append((entity, re.compile(f"(?={_grouped(text)})", flags)))
        for entity, words in settings.words.items():
            pattern, width = _alternatives(words, flags, fold=settings.fold)
            widest = max(widest, width)
            self._rules.append((entity, pattern))
        self.reach = 2 * widest + 2

    def scan(self, text: str) -> Sequence[Finding]:
        """See `Detector`."""
        offsets: Sequence[int] | None = None
        if self._fold and not text.isascii():
            text, offsets = fold(text)
        found = []
        for entity, pattern in self._rules:
            for match in pattern.finditer(text):
                start, end = match.span(1)
                if end > start:
                    if offsets is not None:
                        start, end = offsets[start], offsets[end - 1] + 1
                    found.append(Finding(start, end, entity, 1.0))
        return found


def _grouped(text: str) -> str:
    """The pattern as the first group; its own groups keep what they say, for none is referred to."""
    return f"({text})"


def _alternatives(words: Sequence[str], flags: int, *, fold: bool) -> tuple[re.Pattern[str], int]:
    """One pattern for all words, whole ones only; blanks match any run of blanks up to eight."""
    if not words or len(words) > WORDS_MAX or any(not word.strip() for word in words):
        raise Refused("guard_invalid", f"A list has between 1 and {WORDS_MAX} words, none of them empty.")
    parts = []
    width = 1
    for word in sorted(set(words), key=len, reverse=True):
        said = fold_words(word) if fold else word
        terms = [re.escape(term) for term in said.split()]
        parts.append(r"\s{1,8}".join(terms))
        width = max(width, len(said) + 8 * len(terms))
    return re.compile(rf"(?<!\w)(?=((?:{'|'.join(parts)})(?!\w)))", flags), width


def fold(text: str) -> tuple[str, list[int]]:
    """Each character as the plain ones it looks like, and where each came from. For detection only.

    Source: Unicode NFKC (UAX 15) by character, accents dropped, and the confusables (UTS 39) of Latin letters among
    Cyrillic and Greek ones.
    """
    characters: list[str] = []
    offsets: list[int] = []
    for at, one in enumerate(text):
        if one < "\x80":
            plain = one
        else:
            decomposed = unicodedata.normalize("NFKD", one)
            plain = "".join(c for c in decomposed if not unicodedata.combining(c)).translate(_CONFUSABLE)
        characters.append(plain)
        offsets += [at] * len(plain)
    return "".join(characters), offsets


def fold_words(text: str) -> str:
    """A word of a list in the form in which texts are read."""
    return fold(text)[0]
