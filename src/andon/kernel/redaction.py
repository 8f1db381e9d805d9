"""What must never be shown: values that are known to be secret, and texts that look like one.

Used where text leaves: operational logs, refusals, checks of factory files. Pure but for the values that a process has
learnt, which are held in memory only. It is the last net, not the rule: the rule is that secrets are not put into text.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections import Counter, OrderedDict
from typing import Any, Final
from urllib.parse import quote

HIDDEN: Final = "[hidden]"
VALUES_MAX: Final = 2_000  # spellings remembered; beyond, the one learnt longest ago is forgotten
LENGTH_MIN: Final = 8  # shorter values would hide ordinary words
_DEPTH_MAX: Final = 8

# Forms that are secrets by their own account. Sources: the vendors' documentation of their prefixes.
_SHAPES: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
    r"|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_[A-Za-z0-9_]{20,}"
    r"|\bxox[abeoprs]-[A-Za-z0-9-]{10,}"
    r"|\bsk-[A-Za-z0-9_-]{16,}|\bsk_(?:live|test)_[A-Za-z0-9]{16,}"
    r"|\bAIza[A-Za-z0-9_-]{30,}|\bglpat-[A-Za-z0-9_-]{16,}|\bhf_[A-Za-z0-9]{20,}|\bhvs\.[A-Za-z0-9_-]{16,}"
    r"|\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]*"
    r"|\bandon_[a-z0-9]{6,}_[A-Za-z0-9_-]{16,}"
    r"|\b[Bb]earer [A-Za-z0-9._~+/=-]{12,}|\b[Bb]asic [A-Za-z0-9+/=]{12,}"
    r"|hooks\.slack\.com/services/[A-Za-z0-9/]+"
    r"|(?<=://)[^/\s:@]*:[^/\s:@]+(?=@)"
)
_NAMES: Final = re.compile(r"(?i)(passw|secret|token|api_?-?key|credential|authorization|private_?key)")
_ONE_WORD: Final = re.compile(r"[!-~]{12,}")
_PLAIN_WORDS: Final = re.compile(r"[a-z]+([ ._/-][a-z]+)*")
_RUN: Final = re.compile(r"[A-Za-z0-9_+/=]{16,}")
_ENTROPY_MIN: Final = 3.0  # bits a letter; English words have about 2.5 to 3 within so few letters


def looks_secret(text: str, name: str = "") -> bool:
    """Whether a text is a secret by its form, or by standing in a field whose `name` says so and being no word."""
    if _SHAPES.search(text):
        return True
    if not _NAMES.search(name) or not _ONE_WORD.fullmatch(text) or _PLAIN_WORDS.fullmatch(text):
        return False
    return entropy(text) >= _ENTROPY_MIN


def calm(text: str) -> str:
    """A text of somebody's own as it may be said back to him: without what is, or might well be, a secret.

    Besides known forms, runs of 16 and more letters and figures that read as chance: that is how keys look, and hardly
    a name. A password of plain words passes: nobody could tell it from a name.
    """
    return _RUN.sub(lambda found: HIDDEN if _is_chance(found[0]) else found[0], _SHAPES.sub(HIDDEN, text))


def _is_chance(run: str) -> bool:
    figures = sum(letter.isdigit() for letter in run)
    return figures >= 2 and len(run) - figures >= 2 and entropy(run) >= _ENTROPY_MIN


def entropy(text: str) -> float:
    """Shannon's entropy of the letters' own frequencies, in bits a letter."""
    counts = Counter(text).values()
    return -sum(count / len(text) * math.log2(count / len(text)) for count in counts) if text else 0.0


class KnownSecrets:
    """The secret values that this process has held, in every spelling in which they could be written down."""

    def __init__(self) -> None:
        self._spellings: OrderedDict[str, None] = OrderedDict()
        self._found: re.Pattern[str] | None = None

    def learn(self, value: str) -> None:
        """Remember a value; too short ones are not, because they would hide ordinary words."""
        value = value.strip()
        if len(value) < LENGTH_MIN or value in self._spellings:
            return
        raw = value.encode()
        written = (
            value,
            quote(value, safe=""),
            quote(value),
            json.dumps(value)[1:-1],
            raw.hex(),
            base64.b64encode(raw).decode().rstrip("="),
            base64.urlsafe_b64encode(raw).decode().rstrip("="),
        )
        for spelling in written:
            self._spellings[spelling] = None
            self._spellings.move_to_end(spelling)
        while len(self._spellings) > VALUES_MAX:
            self._spellings.popitem(last=False)
        longest_first = sorted(self._spellings, key=len, reverse=True)
        self._found = re.compile("|".join(map(re.escape, longest_first)))

    def redact(self, text: str) -> str:
        """A text without any of them, and without what looks like one."""
        if self._found is not None:
            text = self._found.sub(HIDDEN, text)
        return _SHAPES.sub(HIDDEN, text)

    def clean(self, value: Any, depth: int = 0) -> Any:
        """A value of plain types with every text in it redacted; what is too deep is hidden as a whole."""
        if isinstance(value, str):
            return self.redact(value)
        if isinstance(value, bytes):
            return self.redact(value.decode("utf-8", "replace"))
        if value is None or isinstance(value, bool | int | float):
            return value
        if depth >= _DEPTH_MAX:
            return HIDDEN
        if isinstance(value, dict):
            return {self.redact(str(key)): self.clean(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.clean(item, depth + 1) for item in value]
        return self.redact(str(value))
