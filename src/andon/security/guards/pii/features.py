"""What the tagger sees of a token: its form, its neighbours, the lists that it is in, the line that it stands on.

Pure, and the same at training and at run time. A token that could not begin or continue a name by its form alone is not
looked at, which is most of any text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from andon.security.guards.pii.words import LISTS

_TOKEN: Final = re.compile(r"[^\W_]+(?:['\u2019][^\W\d_]+)?|[^\w\s]|_|\n")
# As the interpreter does it: compiled code knows a `lower` of its own, to which a Greek sigma never ends a word.
_lower: Final[Callable[[str], str]] = str.lower
# Small words that stand inside names: without them "Anna van der Berg" would end after "Anna".
PARTICLES: Final = frozenset(
    "van von der den de del della di da dos das du la le el al bin ibn ben y e und and of the zu ter ten op af".split()
)
_ENDS: Final = frozenset(".!?\n:")
_NONE: Final[tuple[str, ...]] = ()
_LISTED: Final = {
    word: tuple([name for name, words in LISTS.items() if word in words])
    for listed in LISTS.values()
    for word in listed
}


class Token(NamedTuple):
    """One word, number or sign."""

    start: int
    end: int
    text: str
    lower: str
    shape: str
    lists: tuple[str, ...]


def tokenise(text: str) -> list[Token]:
    """All tokens in order; a line break is one."""
    known: dict[str, tuple[str, str, tuple[str, ...]]] = {}  # most words of a text come again
    found = []
    for match in _TOKEN.finditer(text):
        said = match.group()
        start, end = match.span()
        form = known.get(said)
        if form is None:
            lower = _lower(said)
            form = known[said] = lower, _shape(said), _LISTED.get(lower, _NONE)
        found.append(Token(start, end, said, form[0], form[1], form[2]))
    return found


def _shape(text: str) -> str:
    first = text[0]
    if first.isdigit():
        return f"d{min(len(text), 7)}" if text.isdigit() else "dx"
    if not first.isalpha():
        return text if text in ".,:;'\"()-/#?!>@&\n" else "s"
    if first.isupper():
        if len(text) == 1:
            return "X"
        return "XX" if text.isupper() else "Xx" if text[1:].islower() else "XxX"
    return "x" if text.islower() else "xX"


def is_candidate(tokens: Sequence[Token], at: int, before: str) -> bool:
    """Whether a token can be part of a name or number; `before` is the tag of the token before it."""
    token = tokens[at]
    shape = token.shape
    if shape[0] in "dX" or shape == "xX" or token.lists:
        return True
    if before != "O":
        return True  # a name goes on until the tagger ends it
    return token.lower in PARTICLES and at + 1 < len(tokens) and tokens[at + 1].shape[0] == "X"


def features(tokens: Sequence[Token], at: int, before: str, before_that: str) -> list[str]:
    """Names of everything that holds of a token, with the tags of the two before it."""
    token = tokens[at]
    count = len(tokens)
    one = tokens[at - 1] if at else None
    two = tokens[at - 2] if at > 1 else None
    three = tokens[at - 3] if at > 2 else None
    next_one = tokens[at + 1] if at + 1 < count else None
    next_two = tokens[at + 2] if at + 2 < count else None
    lower, shape = token.lower, token.shape
    left, left_two = one.lower if one else "^", two.lower if two else "^"
    right, right_two = next_one.lower if next_one else "$", next_two.lower if next_two else "$"
    left_shape, right_shape = one.shape if one else "^", next_one.shape if next_one else "$"
    is_first = one is None or one.text in _ENDS
    found = [
        "",
        f"w={lower}",
        f"s={shape}",
        f"p3={lower[:3]}",
        f"e3={lower[-3:]}",
        f"e2={lower[-2:]}",
        f"t={before}",
        f"tt={before_that},{before}",
        f"ts={before},{shape}",
        f"l={left}",
        f"ll={left_two},{left}",
        f"lll={three.lower if three else '^'},{left_two}",
        f"r={right}",
        f"rr={right},{right_two}",
        f"ls={left_shape},{shape}",
        f"rs={shape},{right_shape}",
        f"lrs={left_shape},{shape},{right_shape}",
        f"lw={left},{shape}",
        f"rw={shape},{right}",
        f"f={is_first},{shape}",
        f"rrs={shape},{right_shape},{next_two.shape if next_two else '$'}",
        f"lls={two.shape if two else '^'},{left_shape},{shape}",
    ]
    found += [f"g={name}" for name in token.lists]
    found += [f"gf={name},{is_first}" for name in token.lists]
    if next_one:
        found += [f"gr={name},{shape}" for name in next_one.lists]
    if next_two:
        found += [f"grr={name},{shape}" for name in next_two.lists]
    if one:
        found += [f"gl={name},{shape}" for name in one.lists]
    if two:
        found += [f"gll={name},{shape}" for name in two.lists]
    if not lower.isascii():
        found.append("accents")
    return found
