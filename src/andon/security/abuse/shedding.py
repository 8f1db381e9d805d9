"""How many requests the gateway takes on at one time, and who is refused first when that is not enough.

Pure: what was measured is handed in. The bound follows the lag of the event loop as a gradient (after Netflix's
concurrency-limits, Gradient2): a loop that is late has more to do than it can, whatever the reason. Priorities share
the bound in order, so the highest is never refused where a lower one would be let in.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from andon.security.abuse.settings import AbuseSettings

GRADIENT_MIN: Final = 0.5  # at most halved by one look
SMOOTHING: Final = 0.3  # of a change of the bound


class Shedder:
    """The bound of one gateway."""

    def __init__(self, settings: AbuseSettings) -> None:
        self._settings = settings
        self.bound = float(settings.in_flight_max)
        self.in_flight = 0
        self.shed = 0
        self.lag_s = 0.0
        self._ranks: dict[int, float] = {0: 1.0}
        self.least = self.bound  # places that even the lowest priority may fill

    def adopt(self, priorities: Iterable[int]) -> None:
        """The priorities that there are: each may fill its share of the places, the highest all of them."""
        ordered = sorted(set(priorities)) or [0]
        steps = len(ordered) - 1
        reserve = self._settings.reserve if steps else 0.0
        self._ranks = {
            priority: 1.0 - reserve * (steps - rank) / max(steps, 1) for rank, priority in enumerate(ordered)
        }
        self._settle_least()

    def refuses(self, priority: int) -> bool:
        """Whether a request of this priority must not be taken on now."""
        share = self._ranks.get(priority)
        if share is None:  # of a snapshot that is gone
            share = min(self._ranks.values())
        return self.in_flight >= self.bound * share

    def observe(self, lag_s: float) -> None:
        """The event loop was late by so much: lower the bound, or let it grow again."""
        settings = self._settings
        self.lag_s = lag_s
        gradient = max(GRADIENT_MIN, min(1.0, settings.lag_s / lag_s)) if lag_s > 0.0 else 1.0
        # What is in flight bounds from above what can have caused the lag: begin there, not at an idle maximum.
        base = self.bound if gradient == 1.0 else min(self.bound, max(float(self.in_flight), 1.0))
        wanted = base * gradient + math.sqrt(base)
        bound = self.bound + (wanted - self.bound) * SMOOTHING
        self.bound = min(float(settings.in_flight_max), max(float(settings.in_flight_min), bound))
        self._settle_least()

    def _settle_least(self) -> None:
        self.least = self.bound * min(self._ranks.values())
