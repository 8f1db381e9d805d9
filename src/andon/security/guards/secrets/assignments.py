"""Secrets without a form of their own: values that are called password, secret, token or key, and look drawn by chance.

Pure. A value is weighed by the entropy of its letters, by how much it resembles words, and by what else is common and
harmless: identifiers, digests, paths, versions, placeholders, code. In doubt it is not one: a guard that cries at every
`token = get_token()` is switched off within a day.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

from andon.security.guards.model import Finding

_NAME: Final = (
    r"(?:[A-Za-z0-9]{1,40}[_.-]?)?(?:password|passwd|passphrase|pwd|secret|api[_-]?key|apikey|access[_-]?key|auth[_-]?token|"
    r"access[_-]?token|secret[_-]?key|private[_-]?key|client[_-]?secret|token|credentials?|encryption[_-]?key|signing[_-]?key)"
    r"(?:[_-]?(?:value|id|string|base64|prod|live|dev))?"
)
_ASSIGNED: Final = re.compile(
    rf"(?i)(?<![A-Za-z0-9])({_NAME})[\"'`\]]{{0,2}}\s{{0,3}}(?::=|=>|[:=])\s{{0,3}}(?:(?P<quote>[\"'`])(?P<quoted>[^\"'`\n]{{6,200}})"
    r"(?P=quote)|(?P<bare>[^\s\"'`,;(){}<>\[\]]{8,200}))"
)
_SAID: Final = re.compile(
    r"(?i)\b(?:password|passphrase|passcode|secret key|api key|pin)\s+(?:is|was|to|of)\s*:?\s+"
    r"[\"'`]?([^\s\"'`,;]{6,100})"
)
# Without one of these neither of the two can match. Signs beyond ASCII may be letters by another name: then both try.
_NAMED: Final = ("pass", "pwd", "secret", "key", "token", "credential")
_HEX: Final = re.compile(r"[0-9a-fA-F]+")
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_WORDY: Final = re.compile(r"[A-Za-z]{4,}")
_CODE: Final = re.compile(
    r"[\w.]+\(|^\$|\$\{|^<|^%|^\{|^\[|->|::|^self\.|^os\.|^env[.:\[]|^file:|^secret:|^vault:|^aws-sm:|^/|^\./|^https?:"
)
_PLACEHOLDER: Final = re.compile(
    r"(?i)example|sample|placeholder|changeme|change_me|change-me|your[_-]|my[_-]|xxx|\*\*\*|\.\.\.|dummy|fake|redacted|"
    r"insert|todo|none|null|true|false|undefined|required|optional|string|<|>|lorem|foobar|test[_-]?(?:key|token|secret)?$"
)
_VOWELS: Final = frozenset("aeiouAEIOU")
ENTROPY_BITS_MIN: Final = 3.0  # for each character, by its own letters
LONG: Final = 16


def find(text: str) -> Iterator[Finding]:
    """Values that are named as secrets and look like some."""
    lower = text.lower()
    named = not text.isascii() or any(word in lower for word in _NAMED)
    if named and (":" in text or "=" in text):
        yield from _assigned(text)
    if named or "pin" in lower:
        yield from _said(text)


def _assigned(text: str) -> Iterator[Finding]:
    for match in _ASSIGNED.finditer(text):
        quoted = match["quoted"] is not None
        group = "quoted" if quoted else "bare"
        score = weigh(match[1], match[group], quoted=quoted)
        if score > 0:
            yield Finding(match.start(group), match.end(group), "assigned_secret", score)


def _said(text: str) -> Iterator[Finding]:
    for match in _SAID.finditer(text):
        value = match[1].rstrip(".!?)")
        if _drawn(value) and not _harmless(value):
            yield Finding(match.start(1), match.start(1) + len(value), "assigned_secret", 0.8)


def weigh(name: str, value: str, *, quoted: bool) -> float:
    """How likely an assigned value is a secret: 0 for what is surely none."""
    if _harmless(value):
        return 0.0
    lower = name.lower()
    if "pass" in lower or "pwd" in lower:
        return 0.85 if _drawn(value) or (quoted and _mixed(value) >= 3) else 0.0
    if len(value) < LONG or not _drawn(value):
        return 0.0
    if _UUID.fullmatch(value) or (
        _HEX.fullmatch(value) and len(value) in (40, 64) and "secret" not in lower and "key" not in lower
    ):
        return 0.0  # an identifier or a digest, most of the time
    return 0.85


def entropy_bits(text: str) -> float:
    """Shannon's entropy of the letters' own frequencies, for each character."""
    counts = Counter(text).values()
    return -sum(count / len(text) * math.log2(count / len(text)) for count in counts)


def _drawn(value: str) -> bool:
    """Whether a value looks drawn by chance rather than written: entropy, several kinds of letters, few words in it."""
    if entropy_bits(value) < ENTROPY_BITS_MIN - (0.5 if len(value) < 12 else 0.0):
        return False
    if _mixed(value) < 2:
        return False
    words = sum(len(word) for word in _WORDY.findall(value) if _pronounceable(word))
    return words < 0.6 * len(value)


def _mixed(value: str) -> int:
    """How many of small letters, capitals, digits and signs occur."""
    return sum(
        (
            any(character.islower() for character in value),
            any(character.isupper() for character in value),
            any(character.isdigit() for character in value),
            any(not character.isalnum() for character in value),
        )
    )


def _pronounceable(word: str) -> bool:
    """Whether letters alternate as in words: a share of vowels, no long run of consonants, one case."""
    if not (word.islower() or word.isupper() or word[1:].islower()):
        return False
    share = sum(letter in _VOWELS for letter in word) / len(word)
    return 0.2 <= share <= 0.65 and not re.search(r"(?i)[bcdfghjklmnpqrstvwxz]{5}", word)


def _harmless(value: str) -> bool:
    return bool(_CODE.search(value) or _PLACEHOLDER.search(value)) or value.isdigit()
