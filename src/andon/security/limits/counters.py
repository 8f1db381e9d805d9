"""Counters in the memory of one gateway: made on first use, bounded, kept over changes of the snapshot.

With several gateways each one grants the whole limit; a store that shares counters implements the same port.
It must never forget a counter that is in use or in debt.
"""

from __future__ import annotations

from collections.abc import Sequence

from andon.kernel.errors import AndonError, Transient
from andon.security.limits import rules
from andon.security.limits.model import Counter, Rule

COUNTERS_MAX = 100_000
SWEEP_PERIOD_S = 1.0


class LocalCounters:
    """The `CounterStore` of a gateway that counts for itself."""

    def __init__(self, counters_max: int = COUNTERS_MAX) -> None:
        self._counters: dict[tuple[str, str], Counter] = {}
        self._counters_max = counters_max
        self._sweep_at = float("-inf")
        self.generation = 0  # grows when counters are forgotten: references to idle ones are then stale
        self.full = 0  # requests refused because there was no room for another counter

    def __len__(self) -> int:
        return len(self._counters)

    def adopt(self, rules: Sequence[Rule], now: float) -> None:
        """Counters of limits that stay keep what they have counted, under the new ceilings; others are dropped."""
        by_name = {rule.name: rule for rule in rules}
        kept = {}
        for key, counter in self._counters.items():
            rule = by_name.get(key[0])
            if rule is not None and rule.scope == counter.rule.scope and rule.subject in ("", key[1]):
                _move(counter, rule, now)
                kept[key] = counter
        self._counters = kept
        self.generation += 1

    def find(self, rule: Rule, subject: str, now: float) -> Counter | AndonError:
        """The counter of a subject; Transient when all of them are in use."""
        counter = self._counters.get((rule.name, subject))
        if counter is None:
            if len(self._counters) >= self._counters_max:
                self._sweep(now)
            if len(self._counters) >= self._counters_max:
                self.full += 1
                return Transient(
                    "limits_full",
                    "The gateway counts as many callers as it can.",
                    retry_after_s=SWEEP_PERIOD_S,
                    hint="Try again shortly.",
                )
            counter = self._counters[(rule.name, subject)] = Counter(rule, subject)
        return counter

    # Counting here is the rules and nothing else.
    reserve = staticmethod(rules.reserve)
    settle = staticmethod(rules.settle)
    cancel = staticmethod(rules.cancel)

    def all(self) -> tuple[Counter, ...]:
        """Every counter, for invariants and for people."""
        return tuple(self._counters.values())

    def _sweep(self, now: float) -> None:
        """Forget idle counters; at most once a period, because it looks at all of them (some 20 ms)."""
        if now < self._sweep_at:
            return
        self._sweep_at = now + SWEEP_PERIOD_S
        self._counters = {
            key: counter for key, counter in self._counters.items() if not rules.idle(counter, now)
        }
        self.generation += 1


def _move(counter: Counter, rule: Rule, now: float) -> None:
    """Restate debts, which are kept in seconds of the old rate, in seconds of the new one."""
    old = counter.rule
    counter.request_paid_at = _restate(counter.request_paid_at, old.request_s, rule.request_s, now)
    counter.token_paid_at = _restate(counter.token_paid_at, old.token_s, rule.token_s, now)
    counter.rule = rule


def _restate(paid_at: float, old_s: float, new_s: float, now: float) -> float:
    """A debt of n units stays one of n units; where nothing was counted before, there is none."""
    return now + (paid_at - now) * new_s / old_s if paid_at > now and old_s else now
