"""A bounded memory of what was seen lately: two generations of a set, the older one dropped when the newer is full.

Remembers at least the last `capacity` things and at most twice as many; what it has forgotten is settled elsewhere.
"""

from __future__ import annotations


class RecentIds:
    """Ids of facts that are on disk, so that a sender who repeats itself is told so."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._young: set[str] = set()
        self._old: set[str] = set()

    def __contains__(self, id_: str) -> bool:
        return id_ in self._young or id_ in self._old

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def add(self, id_: str) -> None:
        """Remember an id; at the limit the older half is forgotten."""
        if len(self._young) >= self._capacity:
            self._old, self._young = self._young, set()
        self._young.add(id_)
