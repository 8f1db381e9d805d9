"""What detectors said of texts that came before, so that a system prompt or an earlier turn is looked at once.

Holds digests, places and names, never a text. Every caller has a memory of its own, for how fast an answer comes must
not tell whether somebody else has sent the same text. Bounded: of two generations the older is forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

from andon.security.guards.model import Detector, Finding

WEIGHT_MAX: Final = 8_192  # texts and findings of one generation, each a few hundred bytes
FINDINGS_MAX: Final = 64  # of one text and detector; what has more is looked at again


class Said(NamedTuple):
    """What one detector said of one text."""

    findings: tuple[Finding, ...]
    top: float  # the highest score; -1 where nothing was found


Known = dict[Detector, Said]


class Memory:
    """What is remembered of whole texts."""

    def __init__(self, weight_max: int = WEIGHT_MAX) -> None:
        self._weight_max = weight_max
        self._new: dict[bytes, Known] = {}
        self._old: dict[bytes, Known] = {}
        self._weight = 0

    def __len__(self) -> int:
        """How many texts are remembered."""
        return len(self._new) + len([key for key in self._old if key not in self._new])

    def recall(self, mark: bytes) -> Known | None:
        """What was said of a text, by detector; None where it is not known."""
        known = self._new.get(mark)
        if known is None and self._old:
            known = self._old.get(mark)
            if known is not None:
                self._put(mark, known)
        return known

    def keep(self, mark: bytes, known: Known) -> None:
        """Remember what detectors said of a text, beside what is known of it from others."""
        before = self.recall(mark)
        self._put(mark, known if before is None else {**before, **known})

    def clear(self) -> None:
        """Forget everything."""
        self._new, self._old, self._weight = {}, {}, 0

    def _put(self, mark: bytes, known: Known) -> None:
        if self._weight >= self._weight_max:
            self._old, self._new, self._weight = self._new, {}, 0
        self._new[mark] = known
        self._weight += 1 + sum([len(said.findings) for said in known.values()])


def owner_of(subject: str) -> bytes:
    """What marks of one caller begin with."""
    name = subject.encode("utf-8", "surrogatepass")
    return b"%d:%b" % (len(name), name)


def mark_of(owner: bytes, text: str, *, escaped: bool) -> bytes:
    """What stands for a text of a caller (BLAKE2b, RFC 7693, 256 bits: nobody can find two texts with one)."""
    return blake2b(
        b"%b%d%b" % (owner, escaped, text.encode("utf-8", "surrogatepass")), digest_size=32
    ).digest()


def said(findings: Sequence[Finding]) -> Said:
    """Findings as they are remembered."""
    found = tuple(findings)
    return Said(found, max([finding.score for finding in found], default=-1.0))
