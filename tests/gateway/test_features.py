"""Feature times as clients and upstreams tell them: read, bounded, and never a reason to fail."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.gateway import features


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b'feature;desc="age";dur=1.2', {"age": 1200}),
        (b"feature.age;dur=1.2, compute;dur=9, feature.income;dur=0.0004", {"age": 1200, "income": 0}),
        (b'feature; dur=2 ;desc=age,feature;desc="age";dur=1', {"age": 3000}),
        (b'feature;desc="a\\"b,c;d";dur=1', {"other": 1000}),
        (b"feature.age", {}),
        (b"feature.age;dur=-1", {}),
        (b"feature.age;dur=1e9", {}),
        (b"feature.age;dur=nan", {}),
        (b"feature.age;dur=1;dur=2", {"age": 1000}),
        (b"features;dur=1", {}),
        (b"feature;dur=1", {"other": 1000}),
        (b'feature;desc="open', {}),
    ],
)
def test_server_timing(value: bytes, found: dict[str, int]):
    assert features.read_timing(value) == found


@pytest.mark.parametrize(
    ("value", "found", "unread"),
    [
        (b"age=1200,income=340", {"age": 1200, "income": 340}, 0),
        (b" age = 12 ,age=8", {"age": 20}, 0),
        (b"age,=1,income=x,tax=5", {"tax": 5}, 3),
        (b"", None, 1),
        (b"na me=5", {"other": 5}, 0),
        (b"x" * 65 + b"=5", {"other": 5}, 0),
    ],
)
def test_what_a_client_declares(value: bytes, found: dict[str, int] | None, unread: int):
    assert features.read_declared(value) == (found, unread)


def test_a_hundred_names_are_sixty_four_and_nothing_is_lost():
    found, _ = features.read_declared(b",".join(b"f%d=1" % number for number in range(100)))
    assert found is not None
    assert len(found) == features.FEATURES_MAX
    assert sum(found.values()) == 100
    more = features.add(found, {f"g{number}": 1 for number in range(100)})
    assert more is not None
    assert len(more) == features.FEATURES_MAX
    assert sum(more.values()) == 200


@given(st.binary(max_size=300))
def test_nothing_that_arrives_is_ever_raised_over(value: bytes):
    features.read_timing(value)
    features.read_timing(b"feature" + value)
    features.read_declared(value)
