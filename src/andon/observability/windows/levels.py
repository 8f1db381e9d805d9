"""Slots of time at three lengths, and which of them make up a span. Pure.

A span begins within 1.4 % of its length (at least 10 s) of where it was asked to: short ones are read from short
slots, and what lies in their middle from the longest slots that fit, so that a day is read from 300 slots, not 8640.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from andon.ledger.summary import Subject, Tally

SECOND = 10**9


@dataclass
class Level:
    """Slots of one length: subjects by slot number, as many slots as the span holds and one more."""

    slot_ns: int
    span_ns: int
    slots: dict[int, dict[Subject, Tally]] = field(default_factory=dict)

    def add(self, subject: Subject, at_ns: int, tally: Tally, newest_ns: int) -> bool:
        """Count what happened at a time; False if that is older than the level remembers."""
        number, newest = at_ns // self.slot_ns, newest_ns // self.slot_ns
        if number < newest - self.span_ns // self.slot_ns:
            return False
        slot = self.slots.get(number)
        if slot is None:
            slot = self._open(number, newest)
        held = slot.get(subject)
        if held is None:
            held = slot[subject] = Tally()
        held.merge(tally)
        if number < newest:
            held.pack()
        return True

    def _open(self, number: int, newest: int) -> dict[Subject, Tally]:
        for past in [known for known in self.slots if known < newest - self.span_ns // self.slot_ns]:
            del self.slots[past]
        # Whatever was written into so far is done with, but for rows that come late.
        for known, subjects in self.slots.items():
            if newest - 2 <= known < newest:
                for tally in subjects.values():
                    tally.pack()
        slot = self.slots[number] = {}
        return slot


def make_levels() -> tuple[Level, ...]:
    """From fine to coarse; each length is a multiple of the one before."""
    return (
        Level(slot_ns=10 * SECOND, span_ns=3600 * SECOND),
        Level(slot_ns=60 * SECOND, span_ns=6 * 3600 * SECOND),
        Level(slot_ns=300 * SECOND, span_ns=24 * 3600 * SECOND),
    )


def span_of(levels: tuple[Level, ...], seconds: float, now_ns: int) -> tuple[int, int, Level]:
    """(since, until, finest level): whole slots that cover the last `seconds`, the running one included."""
    wanted_ns = int(seconds * SECOND)
    level = next((one for one in levels if wanted_ns <= one.span_ns), levels[-1])
    wanted_ns = min(wanted_ns, level.span_ns)
    since = (now_ns - wanted_ns) // level.slot_ns * level.slot_ns
    return since, now_ns, level


def slots_of(
    levels: tuple[Level, ...], finest: Level, since_ns: int, now_ns: int
) -> Iterator[dict[Subject, Tally]]:
    """The slots from `since` (on an edge of the finest level) to the running one, as few as there can be."""
    usable = levels[levels.index(finest) :]
    at = since_ns
    while at <= now_ns:
        level = next(
            one
            for one in reversed(usable)
            if one is finest or (at % one.slot_ns == 0 and at + one.slot_ns <= now_ns)
        )
        slot = level.slots.get(at // level.slot_ns)
        if slot:
            yield slot
        at += level.slot_ns
