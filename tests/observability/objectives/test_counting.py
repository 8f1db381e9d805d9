"""Predicates and classes of blame: the same two-valued answer from SQL and from the function of a row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andon.ledger.row import Outcome
from andon.observability.objectives.counting import compile_counting, counting_of, judge
from andon.observability.objectives.model import (
    AvailabilitySpec,
    IndicatorSpec,
    ObjectiveSpec,
    QualitySpec,
)
from andon.observability.objectives.predicates import All, Expression, Leaf, Not, Some, sql_of
from andon.observability.objectives.predicates import test_of as function_of

STATUS = st.sampled_from([200, 404, 429, 499, 500, 503])
TEXTS = st.sampled_from(["a", "b", "it's", None])

leaves = st.one_of(
    st.builds(
        Leaf,
        st.just("status"),
        st.sampled_from(["eq", "ne", "lt", "le", "gt", "ge"]),
        st.integers(199, 504),
    ),
    st.builds(Leaf, st.just("team"), st.sampled_from(["eq", "ne"]), st.sampled_from(["a", "it's"])),
    st.builds(
        Leaf, st.just("team"), st.just("in"), st.lists(st.sampled_from(["a", "b"]), max_size=2).map(tuple)
    ),
    st.builds(Leaf, st.sampled_from(["team", "duration_us"]), st.sampled_from(["null", "present"])),
    st.builds(Leaf, st.just("duration_us"), st.sampled_from(["gt", "ne"]), st.integers(0, 3)),
    st.builds(Leaf, st.just("provider_error"), st.just("eq"), st.booleans()),
)
expressions: st.SearchStrategy[Expression] = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda parts: All(tuple(parts))),
        st.lists(inner, max_size=3).map(lambda parts: Some(tuple(parts))),
        st.builds(Not, inner),
    ),
    max_leaves=8,
)
rows = st.builds(
    Outcome,
    id=st.just("r"),
    status=STATUS,
    team=TEXTS,
    duration_us=st.one_of(st.none(), st.integers(0, 3)),
    provider_error=st.booleans(),
)


@pytest.fixture(scope="module")
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        yield opened


@settings(deadline=None)
@given(expression=expressions, row=rows)
def test_sql_and_function_agree_on_every_row(
    database: duckdb.DuckDBPyConnection, expression: Expression, row: Outcome
) -> None:
    parameters: list[Any] = []
    sql = sql_of(expression, parameters)
    given_row = {
        "status": row.status,
        "team": row.team,
        "duration_us": row.duration_us,
        "provider_error": row.provider_error,
    }
    columns = (
        "?::BIGINT AS status, ?::VARCHAR AS team, ?::BIGINT AS duration_us, ?::BOOLEAN AS provider_error"
    )
    answer = database.execute(
        f"SELECT {sql} FROM (SELECT {columns})",  # the text under test
        [*parameters, *given_row.values()],
    ).fetchone()
    assert answer == (function_of(expression)(row),)


def test_a_column_outside_of_the_list_never_becomes_sql() -> None:
    with pytest.raises(ValueError, match="not a column"):
        sql_of(Leaf("1; DROP TABLE requests", "null"), [])


def verdicts(spec: AvailabilitySpec, row: Outcome) -> str:
    indicator = IndicatorSpec(availability=spec)
    compiled = compile_counting(counting_of(ObjectiveSpec(indicator=indicator, objective=0.9)))
    return ("bad" if compiled.is_bad(row) else "good") if compiled.is_event(row) else "excluded"


@pytest.mark.parametrize(
    ("row", "word"),
    [
        ({"status": 200}, "good"),
        ({"status": 502, "provider_error": True}, "bad"),
        ({"status": 200, "provider_error": True}, "bad"),
        ({"status": 429, "provider_error": True}, "bad"),
        ({"status": 503}, "bad"),
        ({"status": 503, "refused_by": "limits"}, "bad"),
        ({"status": 499}, "excluded"),
        ({"status": 404}, "excluded"),
        ({"status": 429, "refused_by": "limits"}, "excluded"),
    ],
)
def test_who_is_to_blame_by_default(row: dict[str, Any], word: str) -> None:
    assert verdicts(AvailabilitySpec(), Outcome(id="r", **row)) == word


def test_refusals_can_count_as_bad_and_our_own_failures_be_left_out() -> None:
    refused = Outcome(id="r", status=429, refused_by="limits")
    assert verdicts(AvailabilitySpec(refusals="bad"), refused) == "bad"
    assert verdicts(AvailabilitySpec(client_errors="bad"), refused) == "excluded"
    assert verdicts(AvailabilitySpec(blame="provider"), Outcome(id="r", status=503)) == "excluded"


@pytest.mark.parametrize(
    ("prediction", "value", "text", "wrong"),
    [
        ("cat", None, "cat", False),
        ("cat", None, "dog", True),
        ("1", 1.0, None, False),
        ("1.0", 1.0, None, False),
        ("1_0", 10.0, None, True),
        ("cat", 1.0, None, True),
        (None, 1.0, None, None),
        ("1", None, None, None),
    ],
)
def test_a_label_is_compared_as_what_it_is(
    prediction: str | None, value: float | None, text: str | None, wrong: bool | None
) -> None:
    assert judge(QualitySpec(), prediction, value, text) is wrong
    if wrong is None:
        assert judge(QualitySpec(unknown="bad"), prediction, value, text) is True
