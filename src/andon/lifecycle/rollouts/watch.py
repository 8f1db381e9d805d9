"""The watch over one rollout at one gateway: its evidence, its counts, and whether the cord has been pulled.

Made by `stage.py` when a rollout first appears in a snapshot and kept while it stays there, whatever its generation.
In memory only; it never sends, writes or routes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from andon.kernel.snapshot import RolloutEntry
from andon.lifecycle.rollouts.gates import Bets, Gate, crosses, open_gate

_PAIRS_MAX = 64  # outcomes of one arm waiting for one of the other; beyond, the oldest is dropped unjudged
_GOOD_MAX = 32  # good outcomes of the stable arm that may wait to be taken in, whatever room the gates have
_NOTHING: tuple[Gate, ...] = ()  # no gate has crossed
_UNITS_MAX = 32_768  # units remembered in each of two generations


class Units:
    """Units already counted. At the bound the older half is forgotten: a unit may then count a second time.

    The alternative, counting nobody new, would blind the gate of a long rollout; a repeat after 32,768 others is close
    to an independent draw.
    """

    def __init__(self) -> None:
        self._new: set[int] = set()
        self._old: set[int] = set()

    def first(self, unit: str) -> bool:
        """Whether the unit is seen for the first time; remembers it."""
        mark = hash(unit)
        if mark in self._new or mark in self._old:
            return False
        if len(self._new) >= _UNITS_MAX:
            self._old, self._new = self._new, set()
        self._new.add(mark)
        return True


class Placed:
    """The bets on one request, carried by its exchange from `admit` to `settle`."""

    __slots__ = ("bets", "canary", "gates", "share")

    def __init__(self, gates: tuple[Gate, ...], canary: bool, share: float, bets: list[Bets]) -> None:
        self.gates = gates
        self.canary = canary
        self.share = share
        self.bets = bets


class Watch:
    """One rollout as this gateway has seen it.

    Nine requests in ten are stable and end well, and one such outcome by itself moves nothing. So stable requests share
    one slip of bets while no gate has changed them, and good outcomes on it are only collected, up to what the gates
    have room for; whatever else happens takes them in first. The evidence is the same as one by one.
    """

    def __init__(self, entry: RolloutEntry) -> None:
        self.entry = entry
        self._gates: tuple[Gate, ...] = tuple(open_gate(gate) for gate in entry.gates)
        self._slip: Placed | None = None  # what a stable request is handed while its bets are in force
        self._good: list[float] = []  # latencies in seconds of good outcomes on the slip, not taken in yet
        self._room = 0  # how many of them may wait
        self._share = -1.0
        self.units = Units()
        self.cut = False
        self.cut_overrules = -1  # what `overrules` was at the cut
        self.canary_requests = 0
        self.stable_requests = 0
        self.step_canary_requests = 0
        self.awaited_canary = 0  # admitted by chance, not settled
        self.awaited_stable = 0
        self.first_canary_at: float | None = None
        self.reported_at = -1.0
        self._copies: deque[tuple[bool, float | None]] = deque(maxlen=_PAIRS_MAX)
        self._copied: deque[tuple[bool, float | None]] = deque(maxlen=_PAIRS_MAX)

    @property
    def gates(self) -> tuple[Gate, ...]:
        """The gates with everything that has been observed taken in."""
        self._take_in()
        self._slip = None  # reading a gate may move its bets
        return self._gates

    def continue_with(self, entry: RolloutEntry) -> None:
        """Take over a newer entry of the same rollout. Only a person's overruling lifts a cut; then the gates that
        had breached begin again from evidence 1, or they would cut at once."""
        if entry.generation != self.entry.generation:
            self.step_canary_requests = 0
        if self.cut and entry.overrules > self.cut_overrules:
            self.cut = False
            self._gates = tuple(open_gate(gate.entry) if gate.breached else gate for gate in self.gates)
            self._slip = None
        self.entry = entry

    def lag(self, share: float) -> float:
        """The fraction of the awaited canary requests that its share does not explain: a slow canary's answers."""
        if share >= 1.0 or not self.awaited_canary:
            return 0.0
        explained = self.awaited_stable * share / (1.0 - share)
        return max(0.0, 1.0 - explained / self.awaited_canary)

    def place(self, canary: bool, share: float) -> Placed:
        """The bets of all gates for a request being admitted by chance."""
        if canary:
            self.awaited_canary += 1
        else:
            self.awaited_stable += 1
            if self._slip is not None and share == self._share:
                return self._slip
        if share != self._share:
            self._take_in()  # bets at another share are other bets
            self._slip, self._share = None, share
        gates = self._gates
        placed = Placed(gates, canary, share, [gate.place(canary, share) for gate in gates])
        if not canary:
            self._slip = placed
            self._measure()
        return placed

    def settle(self, placed: Placed, observed: bool, failed: bool, latency_s: float | None) -> Sequence[Gate]:
        """Settle bets with an outcome, or give them back; the gates that crossed with it, each told once."""
        canary, share = placed.canary, placed.share
        if canary:
            self.awaited_canary -= 1
        else:
            self.awaited_stable -= 1
            if (
                placed is self._slip
                and observed
                and not failed
                and latency_s is not None
                and len(self._good) < self._room
            ):
                self._good.append(latency_s)
                return _NOTHING
        self._take_in()
        crossed = []
        for gate, bets in zip(placed.gates, placed.bets, strict=True):
            if not observed:
                gate.withdraw(bets, canary)
                continue
            gate.observe(bets, canary, failed, latency_s)
            if gate.log_value >= gate.bar and not gate.breached and crosses(gate, self.lag(share)):
                gate.breached = True
                crossed.append(gate)
        self._measure()
        # A gate that a person's overruling has replaced meanwhile may settle its bets, but stops nobody any more.
        return crossed if placed.gates is self._gates else [gate for gate in crossed if gate in self._gates]

    def _take_in(self) -> None:
        """Show the gates the good outcomes that wait."""
        slip, good = self._slip, self._good
        if slip is not None and good:
            for gate, bets in zip(slip.gates, slip.bets, strict=True):
                gate.hold(bets, good)
            self._room -= len(good)
            good.clear()

    def _measure(self) -> None:
        """How many outcomes may wait from now on; a slip whose bets have been replaced is handed out no more."""
        slip = self._slip
        if slip is None:
            return
        room = _GOOD_MAX
        for gate, bets in zip(slip.gates, slip.bets, strict=True):
            room = min(room, gate.room(bets))
        if room < 0:
            self._slip = None
        self._room = room

    def pair(self, canary: bool, failed: bool, latency_s: float | None) -> list[Gate]:
        """Take in the outcome of a copied request or of its copy, in pairs, so that lost copies teach nothing.

        A pair is a block of one observation of each arm (Turner, Ly, Grünwald 2021, section 2), as if each had had an
        even chance.
        """
        (self._copies if canary else self._copied).append((failed, latency_s))
        crossed: list[Gate] = []
        while self._copies and self._copied:
            for arm, (bad, latency) in ((False, self._copied.popleft()), (True, self._copies.popleft())):
                crossed += self.settle(self.place(arm, 0.5), True, bad, latency)
        return crossed
