"""Live counts of good and bad events per slice: two rings of slots, exact for any window that ends at a slot.

Fine slots of 5 s reach back 6 h, coarse slots of 5 min over the whole period. A window [from, to) ends at a fine slot's
boundary; one that begins within the fine ring begins at a fine boundary, an older one at a coarse boundary
(`align_ns`), so at most 5 min earlier than asked. Counts of such a window equal a query's over the same instants.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from andon.observability.objectives.model import Slice
from andon.observability.objectives.windows import FINE_S

NS = 1_000_000_000
FINE_NS = FINE_S * NS
COARSE_NS = 300 * NS
FINE_REACH_S = 6 * 3600
AHEAD_NS = 60 * NS  # rows further in the future than this are counted aside: their clock is wrong
OTHER = "(other)"

_FINE_SLOTS = FINE_REACH_S * NS // FINE_NS + COARSE_NS // FINE_NS + AHEAD_NS // FINE_NS
_SPARE_SLOTS = 2


def align_ns(from_ns: int, to_ns: int) -> tuple[int, int]:
    """The window that is really counted: the end at the last fine boundary, the beginning as the module says."""
    to_ns -= to_ns % FINE_NS
    size = FINE_NS if to_ns - from_ns <= FINE_REACH_S * NS else COARSE_NS
    return from_ns - from_ns % size, to_ns


class Slot(NamedTuple):
    """What a query counted in one slot of one slice."""

    key: Slice
    slot: int
    total: int
    bad: int


class Ring:
    """Counts of the newest slots of one size. A slot is its number since the epoch."""

    __slots__ = ("_counts", "_slots", "head", "size_ns")

    def __init__(self, size_ns: int, slots: int, head: int) -> None:
        self.size_ns = size_ns
        self.head = head  # the newest slot that has a place
        self._slots = slots
        self._counts = np.zeros((2, slots), dtype=np.int64)

    def advance(self, head: int) -> None:
        """Make room up to slot `head`, forgetting the oldest."""
        step = head - self.head
        if step <= 0:
            return
        if step >= self._slots:
            self._counts[:] = 0
        else:
            begin = (self.head + 1) % self._slots
            end = begin + step
            self._counts[:, begin : min(end, self._slots)] = 0
            if end > self._slots:
                self._counts[:, : end - self._slots] = 0
        self.head = head

    def add(self, slot: int, total: int, bad: int) -> bool:
        """Count in a slot; False if the ring no longer, or not yet, has it."""
        if not self.head - self._slots < slot <= self.head:
            return False
        place = slot % self._slots
        self._counts[0, place] += total
        self._counts[1, place] += bad
        return True

    def clear(self, before: int) -> None:
        """Forget every slot below `before`."""
        begin = max(before, self.head - self._slots + 1)
        places = np.arange(begin, self.head + 1) % self._slots
        kept = self._counts[:, places]
        self._counts[:] = 0
        self._counts[:, places] = kept

    def sums(self, begin: int, end: int) -> tuple[int, int]:
        """Total and bad over the slots [begin, end) that the ring has."""
        begin, end = max(begin, self.head - self._slots + 1), min(end, self.head + 1)
        if begin >= end:
            return 0, 0
        first, count = begin % self._slots, end - begin
        total = self._counts[:, first : first + count].sum(axis=1)
        if first + count > self._slots:
            total = total + self._counts[:, : first + count - self._slots].sum(axis=1)
        return int(total[0]), int(total[1])


class SliceTally:
    """The two rings of one slice, and its counters since the process began."""

    __slots__ = ("bad_total", "coarse", "events_total", "fine")

    def __init__(self, now_ns: int, period_s: int) -> None:
        ahead = now_ns + AHEAD_NS
        coarse = -(-(period_s + 2 * 86_400) * NS // COARSE_NS) + _SPARE_SLOTS
        self.fine = Ring(FINE_NS, _FINE_SLOTS + _SPARE_SLOTS, ahead // FINE_NS)
        self.coarse = Ring(COARSE_NS, coarse, ahead // COARSE_NS)
        self.events_total = 0  # never falls: a corrected label is not counted again
        self.bad_total = 0

    def advance(self, now_ns: int) -> None:
        """Let time pass."""
        self.fine.advance((now_ns + AHEAD_NS) // FINE_NS)
        self.coarse.advance((now_ns + AHEAD_NS) // COARSE_NS)

    def add(self, at_ns: int, total: int, bad: int) -> bool:
        """Count events at one instant; negative numbers take back. False if no ring reaches there."""
        self.fine.add(at_ns // FINE_NS, total, bad)
        return self.coarse.add(at_ns // COARSE_NS, total, bad)

    def window(self, from_ns: int, to_ns: int) -> tuple[int, int]:
        """Total and bad in [from, to), both as `align_ns` gives them."""
        edge = to_ns - FINE_REACH_S * NS
        if from_ns >= edge:
            return self.fine.sums(from_ns // FINE_NS, to_ns // FINE_NS)
        middle = to_ns - to_ns % COARSE_NS
        older = self.coarse.sums(from_ns // COARSE_NS, middle // COARSE_NS)
        newer = self.fine.sums(middle // FINE_NS, to_ns // FINE_NS)
        return older[0] + newer[0], older[1] + newer[1]


class Tally:
    """Every slice of one objective."""

    def __init__(self, by: int, slices_max: int, period_s: int, now_ns: int) -> None:
        self._by = by
        self._slices_max = slices_max
        self._period_s = period_s
        self.now_ns = now_ns
        self.slices: dict[Slice, SliceTally] = {}
        self.misplaced = 0  # events too old for the rings or too far in the future
        self.folded = 0  # events of slices beyond the bound, counted under OTHER
        if not by:
            self.slices[()] = SliceTally(now_ns, period_s)

    def advance(self, now_ns: int) -> None:
        """Let time pass; time never goes back."""
        self.now_ns = max(self.now_ns, now_ns)
        for tally in self.slices.values():
            tally.advance(self.now_ns)

    def name_of(self, key: Slice) -> Slice:
        """The slice under which this one is counted."""
        if key in self.slices or len(self.slices) < self._slices_max:
            return key
        return (OTHER,) * self._by

    def slice(self, key: Slice) -> SliceTally:
        """The slice's tally, made where there is room, else that of OTHER."""
        found = self.slices.get(key)
        if found is None:
            name = self.name_of(key)
            self.folded += name != key
            found = self.slices.get(name)
            if found is None:
                found = self.slices[name] = SliceTally(self.now_ns, self._period_s)
        return found

    def add(self, key: Slice, at_ns: int, total: int, bad: int) -> None:
        """Count new events, or take them back with negative numbers."""
        tally = self.slice(key)
        if not tally.add(at_ns, total, bad):
            self.misplaced += abs(total)
        if total > 0:
            tally.events_total += total
            tally.bad_total += bad

    def fill(self, before_ns: int, fine: Iterable[Slot], coarse: Iterable[Slot]) -> None:
        """Put what a query counted before `before_ns` (a fine boundary) in place of what the rings have there.

        The coarse slot that `before_ns` lies in is the query's part plus what the fine ring has counted since.
        """
        edge = before_ns // COARSE_NS
        for tally in self.slices.values():
            tally.fine.clear(before_ns // FINE_NS)
        for one in fine:
            self.slice(one.key).fine.add(one.slot, one.total, one.bad)
        for tally in self.slices.values():
            tally.coarse.clear(edge + 1)
            since = tally.fine.sums(before_ns // FINE_NS, (edge + 1) * (COARSE_NS // FINE_NS))
            tally.coarse.add(edge, *since)
        for one in coarse:
            self.slice(one.key).coarse.add(one.slot, one.total, one.bad)

    def empty(self) -> None:
        """Forget all counts; counters stay."""
        for tally in self.slices.values():
            tally.fine.clear(tally.fine.head + 1)
            tally.coarse.clear(tally.coarse.head + 1)
