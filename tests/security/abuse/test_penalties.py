"""Who must wait, for how long, and that nobody can make the table grow without end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.kernel.errors import Refused
from andon.security.abuse.addresses import HOPS_MAX, Addresses
from andon.security.abuse.penalties import Penalties
from andon.security.abuse.settings import AbuseSettings

SETTINGS = AbuseSettings(offences=3, forgiving_s=30.0, penalty_s=1.0, penalty_max_s=8.0, subjects_max=100)


def test_a_few_mistakes_cost_nothing_and_many_cost_more_each_time() -> None:
    table = Penalties(SETTINGS)
    now = 1000.0
    for _ in range(3):
        table.offend("a", 1.0, now)
    assert table.wait_s("a", now) == 0.0
    waits = []
    for _ in range(6):
        table.offend("a", 1.0, now)
        waits.append(table.wait_s("a", now))
        now += waits[-1]
    assert waits == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    assert table.wait_s("b", now) == 0.0


def test_time_and_good_conduct_forgive() -> None:
    table = Penalties(SETTINGS)
    for _ in range(4):
        table.offend("a", 1.0, 0.0)
    table.sweep(29.0)
    assert len(table) == 1
    table.sweep(41.0)
    assert len(table) == 0
    for _ in range(3):
        table.offend("b", 1.0, 50.0)
    for _ in range(3):
        table.behave("b", 50.0)
    assert len(table) == 0


def test_nobody_is_counted_where_there_is_no_address_or_no_rule() -> None:
    table = Penalties(AbuseSettings(offences=0))
    table.offend("a", 100.0, 0.0)
    assert len(table) == 0
    table = Penalties(SETTINGS)
    table.offend("", 100.0, 0.0)
    assert len(table) == 0


@given(st.lists(st.tuples(st.integers(0, 400), st.floats(0, 5), st.booleans()), max_size=300))
def test_the_table_is_bounded_and_no_wait_exceeds_the_longest(steps: list[tuple[int, float, bool]]) -> None:
    table = Penalties(SETTINGS)
    now = 0.0
    for subject, passed, good in steps:
        now += passed
        (table.behave(str(subject), now) if good else table.offend(str(subject), 2.0, now))
        assert len(table) <= SETTINGS.subjects_max
        assert 0.0 <= table.wait_s(str(subject), now) <= SETTINGS.penalty_max_s


def forwarded(*hops: str) -> list[tuple[bytes, bytes]]:
    return [(b"x-forwarded-for", ", ".join(hops).encode())]


def test_what_a_stranger_says_of_its_address_is_not_believed() -> None:
    found = Addresses(trusted=("10.0.0.0/8",))
    assert found.client("203.0.113.7:1234", forwarded("198.51.100.1")) == "203.0.113.7"


def test_a_trusted_proxy_is_believed_up_to_the_first_stranger() -> None:
    found = Addresses(trusted=("10.0.0.0/8",))
    peer = "10.0.0.1:99"
    assert found.client(peer, forwarded("1.1.1.1", "203.0.113.9", "10.0.0.2")) == "203.0.113.9"
    assert found.client(peer, [*forwarded("1.1.1.1"), *forwarded("203.0.113.9")]) == "203.0.113.9"
    assert found.client(peer, forwarded("not an address")) == ""  # the proxy itself is never made to wait
    assert found.client(peer, forwarded("203.0.113.9", "x" * 5000)) == ""
    assert found.client(peer, forwarded(*["10.0.0.9"] * (HOPS_MAX * 3))) == ""
    assert found.client(peer, []) == ""


def test_one_host_cannot_be_many_by_its_ipv6_addresses() -> None:
    found = Addresses()
    assert found.client("2001:db8::1:443", []) == found.client("2001:db8::ffff:1", [])
    assert found.client("::ffff:203.0.113.7:5", []) == "203.0.113.7"
    assert found.client("", []) == ""


def test_who_is_exempt_is_nobody() -> None:
    found = Addresses(exempt=("203.0.113.0/24",))
    assert found.client("203.0.113.7:1", []) == ""


def test_a_network_that_is_none_is_refused() -> None:
    with pytest.raises(Refused, match="not a network"):
        Addresses(trusted=("10.0.0.0/33",))


@given(st.binary(max_size=200), st.text(max_size=60))
def test_no_header_and_no_peer_breaks_it(value: bytes, peer: str) -> None:
    Addresses(trusted=("0.0.0.0/0",)).client(peer, [(b"x-forwarded-for", value)])
    Addresses(trusted=("10.0.0.0/8",)).client("10.0.0.1:1", [(b"x-forwarded-for", value)])
