"""Evidence that a canary is worse, one request at a time: tests that may be looked at after every request for ever.

Stands under `gates.py`, which turns the numbers into verdicts, and is fed by `stage.py`. Pure arithmetic on the
standard library: it must never read a clock, draw a number or know what a release is. Derivation and figures:
docs/decisions/0005-sequential-gates.md.
"""

from __future__ import annotations

from math import exp, log

import msgspec

# Odds ratios betted on, canary to stable, and the weight of each; the first component is the plug-in estimate.
_ODDS = (2.5, 6.0, 15.0, 50.0, 1000.0)
_WEIGHTS = (0.5, 0.1, 0.1, 0.12, 0.1, 0.08)
_HELD_MAX = 32  # stable observations that may wait to be multiplied in; a canary observation never waits
_MOVED = 0.1  # relative change of an estimate that is worth new bets
_CEILING = 0.98  # no bet is a certainty: one good answer of a "dead" canary must not end the argument
_FLOOR = 1e-4
# The log factors of one observation, by component: (canary good, canary bad, stable good, stable bad).
Table = tuple[tuple[float, float, float, float], ...]
_STEPS = 50  # bisections: 1 / 2^50 of the unit interval


def nearest_null(bet_canary: float, bet_stable: float, share: float, margin: float) -> tuple[float, float]:
    """The point (q_c, q_s), q_c = q_s + margin, that loses least against the bets: a convex problem in one number.

    Minimises share·KL(p_c‖q_c) + (1-share)·KL(p_s‖q_s); margin 0 has the closed form. Needs p_c >= p_s + margin.
    """
    if margin == 0.0:
        pooled = share * bet_canary + (1.0 - share) * bet_stable
        return pooled, pooled
    low, high = bet_stable, bet_canary - margin
    for _ in range(_STEPS):
        middle = 0.5 * (low + high)
        moved = middle + margin
        slope = share * (moved - bet_canary) / (moved * (1.0 - moved)) + (1.0 - share) * (
            middle - bet_stable
        ) / (middle * (1.0 - middle))
        if slope > 0.0:
            high = middle
        else:
            low = middle
    return low + margin, low


def factors(
    bet_canary: float, bet_stable: float, share: float, margin: float
) -> tuple[float, float, float, float]:
    """What one observation multiplies the evidence by: (canary good, canary bad, stable good, stable bad).

    Along the boundary of the null the expectation is linear in the base rate, so its largest value is at an end; the
    factors are divided by it where rounding has left it above 1.
    """
    if bet_canary <= bet_stable + margin or not 0.0 < share < 1.0:
        return 1.0, 1.0, 1.0, 1.0
    null_canary, null_stable = nearest_null(bet_canary, bet_stable, share, margin)
    canary_good, canary_bad = (1.0 - bet_canary) / (1.0 - null_canary), bet_canary / null_canary
    stable_good, stable_bad = (1.0 - bet_stable) / (1.0 - null_stable), bet_stable / null_stable
    rest = 1.0 - share
    at_low = share * (margin * canary_bad + (1.0 - margin) * canary_good) + rest * stable_good
    at_high = share * canary_bad + rest * ((1.0 - margin) * stable_bad + margin * stable_good)
    worst = max(1.0, at_low, at_high)
    return canary_good / worst, canary_bad / worst, stable_good / worst, stable_bad / worst


class EvidenceState(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a test knows, to be written down and taken up again.

    Resuming from an old state is honest: what happened in between is merely not betted on. Starting again from 1 is
    honest too but spends alpha a second time, so the chance of a false stop is at most alpha for every start.
    """

    logs: tuple[float, ...]
    canary: tuple[int, int]  # good, bad
    stable: tuple[int, int]
    peak: float


class Evidence:
    """One sequential test of "the canary's bad outcomes are not more frequent than the stable arm's, plus margin".

    A request goes to the canary with known probability w, to the stable arm otherwise; then its outcome y
    (bad or not) is seen. Before it, from the past alone, bets p_c > p_s are fixed for the two arms, and q_c
    = q_s + margin is the point of the null hypothesis nearest to them (the reverse information projection).
    The evidence is multiplied by p_arm(y) / q_arm(y). With margin 0 the nearest point is q_c = q_s = w·p_c
    + (1-w)·p_s. The pairs (arm, y) that the null allows, theta_c <= theta_s + margin, form a convex set, so
    the expected factor is at most 1 for every one of them, whatever the base rate and however it drifts
    from request to request: nothing needs to be estimated right for the test to be honest, only for it to
    be quick. The product is a supermartingale; by Ville (1939) it ever reaches 1/alpha with probability at
    most alpha. Sources: Turner, Ly, Grünwald, "Generic E-variables for exact sequential k-sample tests"
    (2021); Grünwald, de Heide, Koolen, "Safe testing" (2019).

    Bets are placed when a request is admitted and settled when its outcome is known, so the product does not depend on
    the order in which answers come back.
    """

    __slots__ = (
        "_awaited",
        "_awaited_now",
        "_bad_c",
        "_bad_s",
        "_bets",
        "_good_c",
        "_good_s",
        "_held",
        "_logs",
        "_prior",
        "_reserve",
        "_share",
        "_table",
        "canary_bad",
        "canary_n",
        "log_value",
        "margin",
        "peak",
        "stable_bad",
        "stable_n",
    )

    def __init__(self, margin: float = 0.0, prior: tuple[float, float] = (0.3, 6.0)) -> None:
        """`prior` is what is believed of the stable arm before it is seen: (bad, all), as if observed."""
        self.margin = margin
        self._prior = prior
        self._share = 0.0
        self._logs = [0.0] * len(_WEIGHTS)
        self._bad_c = self._good_c = self._bad_s = self._good_s = (
            0  # settled at the bets in force, not multiplied in
        )
        self._held = 0
        self._bets = (-1.0, -1.0)
        self._table: Table = ()
        self._awaited = 0  # canary requests whose bets are placed and not settled
        self._awaited_now = 0  # those of them at the bets in force
        self._reserve = [0.0] * len(_WEIGHTS)  # what the others would multiply by if they all ended well
        self.canary_n = self.canary_bad = 0
        self.stable_n = self.stable_bad = 0
        self.log_value = 0.0  # natural logarithm of the evidence, after the last canary observation
        self.peak = 0.0  # its highest value so far

    def place(self, canary: bool, share: float) -> Table:
        """The bets for a request being admitted, which had the chance `share`, in (0, 1), of the canary."""
        if share != self._share:
            self._multiply()
            self._share = share
            self._bet(again=True)
        if canary:
            self._awaited += 1
            self._awaited_now += 1
        return self._table

    def withdraw(self, table: Table, canary: bool) -> None:
        """Give bets back: the request ended without an observation."""
        if not canary:
            return
        self._awaited -= 1
        if table is self._table:
            self._awaited_now -= 1
        elif self._awaited > self._awaited_now:
            self._reserve = [value - row[0] for value, row in zip(self._reserve, table, strict=True)]
        else:
            self._reserve = [0.0] * len(_WEIGHTS)  # also sheds what rounding has left

    def observe(self, table: Table, canary: bool, bad: bool) -> None:
        """Settle the bets of one request.

        Stable observations are multiplied in with the next canary one, or when 32 wait: looking less often than
        allowed is allowed.
        """
        if canary:
            self.withdraw(table, canary)
        if table is not self._table:
            self._settle_old(table, canary, bad)
            return
        if canary:
            if bad:
                self._bad_c += 1
            else:
                self._good_c += 1
        else:
            if bad:
                self._bad_s += 1
            else:
                self._good_s += 1
            self._held += 1
            if self._held < _HELD_MAX:
                return
        self._multiply()

    def room(self, table: Table) -> int:
        """How many stable observations may wait for `hold`; -1 if there are other bets by now."""
        return _HELD_MAX - 1 - self._held if table is self._table else -1

    def hold(self, good: int, bad: int) -> None:
        """Settle stable observations at the bets in force, within `room`: as that many calls of `observe` would."""
        self._good_s += good
        self._bad_s += bad
        self._held += good + bad

    def discounted(self, fraction: float) -> float:
        """The log evidence if this fraction of the canary's awaited requests were to end well.

        A slow canary's good answers come late, the stable arm's do not; without this the wait itself would be taken
        for evidence. Never more than `log_value`, so the bound on false stops is kept.
        """
        if fraction <= 0.0 or not self._awaited:
            return self.log_value
        now = self._awaited_now
        return _mixed(
            [
                value + fraction * (part + now * row[0])
                for value, part, row in zip(self._logs, self._reserve, self._table, strict=True)
            ]
        )

    def state(self) -> EvidenceState:
        """A copy to write down."""
        self._multiply()
        return EvidenceState(
            logs=tuple(self._logs),
            canary=(self.canary_n - self.canary_bad, self.canary_bad),
            stable=(self.stable_n - self.stable_bad, self.stable_bad),
            peak=self.peak,
        )

    def resume(self, state: EvidenceState) -> None:
        """Go on from a written state; requests on their way when it was written are not betted on."""
        self._logs = list(state.logs)
        self.canary_n, self.canary_bad = sum(state.canary), state.canary[1]
        self.stable_n, self.stable_bad = sum(state.stable), state.stable[1]
        self.peak = state.peak
        self.log_value = _mixed(self._logs)
        self._share = 0.0

    def _settle_old(self, table: Table, canary: bool, bad: bool) -> None:
        """Settle bets that have been replaced since the request was admitted."""
        place = (0 if canary else 2) + bad
        self._logs = [value + row[place] for value, row in zip(self._logs, table, strict=True)]
        if canary:
            self.canary_n += 1
            self.canary_bad += bad
        else:
            self.stable_n += 1
            self.stable_bad += bad
        self._multiply()
        self._look()

    def _multiply(self) -> None:
        """Multiply what waits into the evidence, then place the next bets."""
        good_c, bad_c, good_s, bad_s = self._good_c, self._bad_c, self._good_s, self._bad_s
        if not (good_c or bad_c or good_s or bad_s):
            return
        self._logs = [
            value + good_c * row[0] + bad_c * row[1] + good_s * row[2] + bad_s * row[3]
            for value, row in zip(self._logs, self._table, strict=True)
        ]
        self.canary_n += good_c + bad_c
        self.canary_bad += bad_c
        self.stable_n += good_s + bad_s
        self.stable_bad += bad_s
        self._good_c = self._bad_c = self._good_s = self._bad_s = self._held = 0
        self._look()

    def _look(self) -> None:
        self.log_value = value = _mixed(self._logs)
        if value > self.peak:
            self.peak = value
        self._bet()

    def _bet(self, again: bool = False) -> None:
        """New bets, if the estimates have moved enough to be worth it. Uses the past only."""
        stable = (self.stable_bad + self._prior[0]) / (self.stable_n + self._prior[1])
        stable = min(max(stable, _FLOOR), _CEILING)
        least = min(stable + self.margin, _CEILING)
        canary = min(max((self.canary_bad + 0.5) / (self.canary_n + 1.0), least), _CEILING)
        old_canary, old_stable = self._bets
        if (
            not again
            and abs(stable - old_stable) <= _MOVED * min(stable, 1.0 - stable)
            and abs(canary - old_canary) <= _MOVED * min(canary, 1.0 - canary)
        ):
            return
        self._bets = (canary, stable)
        base = least / (1.0 - least)
        bets = [canary, *(min(odds * base / (1.0 + odds * base), _CEILING) for odds in _ODDS)]
        now, self._awaited_now = self._awaited_now, 0
        if now:
            self._reserve = [
                value + now * row[0] for value, row in zip(self._reserve, self._table, strict=True)
            ]
        self._table = tuple(_logs(factors(bet, stable, self._share, self.margin)) for bet in bets)


def _logs(row: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    return log(row[0]), log(row[1]), log(row[2]), log(row[3])


def _mixed(logs: list[float]) -> float:
    """The logarithm of the weighted mean of the components, without overflow."""
    top = max(logs)
    total = 0.0
    for value, weight in zip(logs, _WEIGHTS, strict=True):
        total += weight * exp(value - top)
    return top + log(total)
