"""A query has only so much time, memory and rows, and says so; others go on."""

from __future__ import annotations

import asyncio

import pytest

from andon.kernel.errors import Refused, Transient
from andon.ledger.queries import Bounds
from andon.ledger.tables import engine
from tests.ledger.queries.rig import Rig, outcome

LONG = "SELECT sum(hash(a.i + b.j)) FROM range(1000000000) a(i), range(1000) b(j)"
HUNGRY = (
    "SELECT count(*) FROM (SELECT DISTINCT hash(i) FROM range(30000000) t(i))",
    "SELECT list(i) FROM range(100000000) t(i)",
    "SELECT string_agg(i::VARCHAR) FROM range(100000000) t(i)",
    "SELECT i FROM range(100000000) t(i) ORDER BY hash(i)",
    "WITH RECURSIVE t(s) AS (SELECT 'xxxxxxxx' UNION ALL SELECT s || s FROM t WHERE length(s) < 4000000000) "
    "SELECT max(length(s)) FROM t",
)


def test_a_query_that_takes_too_long_is_stopped(rig: Rig) -> None:
    with pytest.raises(Refused, match=r"stopped after 0.3 s") as refusal:
        rig.ask(LONG, seconds=0.3)
    assert (refusal.value.code, refusal.value.status) == ("query_timeout", 408)
    assert rig.value("SELECT 1") == 1


@pytest.mark.parametrize("sql", HUNGRY)
def test_a_query_that_would_take_all_memory_is_stopped(rig: Rig, sql: str) -> None:
    rig.write("rows", [outcome(1)])
    with pytest.raises(Refused) as refusal:
        rig.ask(sql, memory_bytes=100 * 2**20, seconds=60)
    assert refusal.value.code in ("query_memory", "query_invalid")
    assert "100 MiB" in refusal.value.message or refusal.value.code == "query_invalid"
    assert rig.value("SELECT count(*) FROM requests") == 1


def test_rows_beyond_the_bound_are_not_made(rig: Rig) -> None:
    answer = rig.engine.answer("SELECT i FROM range(10000000000) t(i)", bounds=Bounds(rows=10, seconds=20))
    assert (answer.table.num_rows, answer.truncated) == (10, True)


def test_more_queries_than_may_run_at_once_wait_and_then_give_up(rig: Rig) -> None:
    async def main() -> None:
        long = [
            asyncio.create_task(asyncio.to_thread(rig.ask, LONG, seconds=3.0))
            for _ in range(engine.AT_ONCE_MAX)
        ]
        while rig.engine._places._value:  # until all places are taken
            await asyncio.sleep(0)
        with pytest.raises(Transient, match="queries are running") as busy:
            await asyncio.to_thread(rig.ask, "SELECT 1", seconds=0.05)
        assert busy.value.code == "query_busy"
        assert await asyncio.to_thread(rig.ask, "SELECT 1 AS x", seconds=60.0) == [{"x": 1}]
        for ended in await asyncio.gather(*long, return_exceptions=True):
            assert isinstance(ended, Refused)

    asyncio.run(main())


def test_a_query_that_was_stopped_takes_nothing_from_the_next(rig: Rig) -> None:
    rig.write("rows", [outcome(n) for n in range(1000)])
    for _ in range(3):
        with pytest.raises(Refused):
            rig.ask(HUNGRY[0], memory_bytes=60 * 2**20, seconds=30)
    assert rig.value("SELECT count(*) FROM (SELECT DISTINCT id FROM requests)") == 1000
