"""Identifiers ordered in time (UUID version 7, RFC 9562 §5.7), so that look-ups by id prune by time.

Made once at ingress or in a verb, then carried; nothing below makes its own.
"""

from __future__ import annotations

from andon.kernel.clock import Clock
from andon.kernel.random import Random


class Ids:
    """Makes UUIDv7 identifiers, strictly increasing within one process.

    The 12 bits after the version are a counter within the millisecond (RFC 9562 §6.2 method 1).
    """

    def __init__(self, clock: Clock, random: Random) -> None:
        self._now_ns = clock.now_ns
        self._bits = random.bits
        self._last = 0

    def next(self) -> str:
        """A new id in the canonical 36-character form."""
        stamp = (self._now_ns() // 1_000_000) << 12
        if stamp <= self._last:
            stamp = self._last + 1
        self._last = stamp
        high = ((stamp >> 12) << 16) | 0x7000 | (stamp & 0xFFF)
        text = f"{high:016x}{0x8000000000000000 | self._bits(62):016x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def time_ms(id_: str) -> int:
    """Milliseconds since the epoch at which a UUIDv7 was made."""
    return int(id_[:8] + id_[9:13], 16)
