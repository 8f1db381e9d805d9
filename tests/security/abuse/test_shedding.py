"""How much is taken on at one time, and who goes first when it is too much."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from andon.security.abuse.settings import AbuseSettings
from andon.security.abuse.shedding import Shedder

SETTINGS = AbuseSettings(in_flight_max=100, in_flight_min=5, reserve=0.2)


def test_the_lowest_priority_is_refused_first_and_the_highest_last() -> None:
    shedder = Shedder(SETTINGS)
    shedder.adopt([0, 5, 9])
    refused_at = {}
    for shedder.in_flight in range(101):
        for priority in (0, 5, 9):
            if shedder.refuses(priority):
                refused_at.setdefault(priority, shedder.in_flight)
    assert refused_at == {0: 80, 5: 90, 9: 100}


def test_one_priority_alone_has_all_places() -> None:
    shedder = Shedder(SETTINGS)
    shedder.adopt([3, 3])
    shedder.in_flight = 99
    assert not shedder.refuses(3)
    assert shedder.least == 100


@given(
    st.lists(st.tuples(st.floats(0, 5), st.integers(0, 150)), max_size=60),
    st.lists(st.integers(-3, 9), max_size=6),
)
def test_never_the_highest_before_the_lowest_whatever_the_lag(
    looks: list[tuple[float, int]], priorities: list[int]
) -> None:
    shedder = Shedder(SETTINGS)
    shedder.adopt(priorities)
    for lag_s, shedder.in_flight in looks:
        shedder.observe(lag_s)
        assert SETTINGS.in_flight_min <= shedder.bound <= SETTINGS.in_flight_max
        refused = [shedder.refuses(priority) for priority in sorted(set(priorities))]
        assert refused == sorted(refused, reverse=True)
        # The shortcut of the stage looks at `least` only: below it nobody may be refused.
        assert shedder.in_flight >= shedder.least or not any(refused)


def test_a_late_loop_lowers_the_bound_to_what_it_bears_and_a_quiet_one_raises_it_again() -> None:
    shedder = Shedder(SETTINGS)
    shedder.in_flight = 60
    for _ in range(20):  # a loop that is late in proportion to what is in flight, and well at 20
        shedder.in_flight = min(60, int(shedder.bound))
        shedder.observe(SETTINGS.lag_s * shedder.in_flight / 20)
    assert 10 <= shedder.bound <= 40
    shedder.in_flight = 3
    for _ in range(60):
        shedder.observe(0.0)
    assert shedder.bound == SETTINGS.in_flight_max
