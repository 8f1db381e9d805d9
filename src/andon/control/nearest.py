"""The nearest valid word to one that is wrong: what every "did you mean" of the control plane says.

Pure; `snake_case`, `kebab-case` and `camelCase` spellings of one word are equal here.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate most like `word`, or None if nothing is like it (ratio of Ratcliff and Obershelp < 0.6)."""
    plain = {_plain(candidate): candidate for candidate in sorted(candidates, reverse=True)}
    # A word of a hostile length would make the comparison quadratic; nothing valid is as long.
    found = difflib.get_close_matches(_plain(word[:64]), plain, n=1, cutoff=0.6)
    return plain[found[0]] if found else None


def _plain(word: str) -> str:
    return word.replace("_", "").replace("-", "").lower()
