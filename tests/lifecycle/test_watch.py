"""A watch collects good stable outcomes; what it then knows is what it would know from each of them alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from andon.kernel.snapshot import GateEntry, RolloutEntry
from andon.lifecycle.rollouts.gates import Gate, crosses, open_gate
from andon.lifecycle.rollouts.watch import Placed, Watch

GATES = (
    GateEntry(name="errors", metric="errorRate", alpha=0.01, margin=0.0),
    GateEntry(name="slow", metric="latency", alpha=0.01, margin=1.25),
    GateEntry(name="fewer", metric="errorRate", alpha=0.01, margin=0.02, direction="decrease"),
)


class Punctual(Watch):
    """No answer is late: lateness is not what is compared here."""

    def lag(self, share: float) -> float:
        return 0.0


class OneByOne:
    """The same gates, each outcome shown to each of them at once."""

    def __init__(self) -> None:
        self.gates: list[Gate] = [open_gate(entry) for entry in GATES]
        self.crossed: list[str] = []

    def settle(self, placed: list, canary: bool, observed: bool, failed: bool, latency_s: float) -> None:
        for gate, bets in zip(self.gates, placed, strict=True):
            if not observed:
                gate.withdraw(bets, canary)
                continue
            gate.observe(bets, canary, failed, None if failed else latency_s)
            if gate.log_value >= gate.bar and not gate.breached and crosses(gate, 0.0):
                gate.breached = True
                self.crossed.append(gate.entry.name)


steps = st.lists(
    st.tuples(
        st.booleans(),  # canary
        st.sampled_from([True, True, True, True, False]),  # observed
        st.sampled_from([False, False, False, False, True]),  # failed
        st.floats(0.001, 0.2),
        st.integers(0, 3),  # how many others are admitted before this one is settled
        st.integers(0, 40),  # how many good stable requests follow, one by one
    ),
    max_size=60,
)


@given(steps, st.booleans())
def test_collected_outcomes_are_the_same_evidence_as_single_ones(outcomes: list, reads: bool) -> None:
    watch = Punctual(RolloutEntry(id="r", generation=1, stable="m@1", canary="m@2", gates=GATES))
    single = OneByOne()
    crossed: list[str] = []
    waiting: list[tuple[Placed, list, tuple[bool, bool, bool, float]]] = []

    def admit(outcome: tuple[bool, bool, bool, float]) -> None:
        canary = outcome[0]
        bets = [gate.place(canary, 0.1) for gate in single.gates]
        waiting.append((watch.place(canary, 0.1), bets, outcome))

    def settle() -> None:
        placed, bets, (canary, observed, failed, latency_s) = waiting.pop(0)
        gates = watch.settle(placed, observed, failed, None if failed else latency_s)
        crossed.extend(gate.entry.name for gate in gates)
        single.settle(bets, canary, observed, failed, latency_s)

    for canary, observed, failed, latency_s, ahead, quiet in outcomes:
        admit((canary, observed, failed, latency_s))
        if len(waiting) > ahead:
            settle()
        for place in range(quiet):
            admit((False, True, False, 0.01 + 0.001 * (place % 7)))
            settle()
        if reads:
            for one, other in zip(watch.gates, single.gates, strict=True):
                assert one.counts() == other.counts()
                assert one.values() == other.values()
        assert crossed == single.crossed
    while waiting:
        settle()
    for one, other in zip(watch.gates, single.gates, strict=True):
        assert one.counts() == other.counts()
        assert one.values() == other.values()
        assert abs(one.discounted(0.0) - other.discounted(0.0)) < 1e-9
        assert abs(one.discounted(0.5) - other.discounted(0.5)) < 1e-9
    assert crossed == single.crossed
