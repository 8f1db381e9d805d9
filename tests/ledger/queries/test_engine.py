"""Sealed and unsealed rows as one: each once, at once, whatever is being sealed meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path

import duckdb
import pytest

from andon.kernel.clock import SystemClock
from andon.ledger.facts.model import Label
from andon.ledger.folder import open_log
from andon.ledger.queries import Bounds
from andon.ledger.row import describe
from andon.ledger.settings import LogSettings
from andon.ledger.tables.engine import is_truncated, open_engine
from tests.ledger.queries.rig import BASE_NS, SECOND_NS, Background, Rig, intent, outcome

COUNT = "SELECT count(*) AS rows, count(DISTINCT id) AS ids FROM attempts"


def test_an_empty_home_answers_with_nothing(rig: Rig) -> None:
    assert rig.value("SELECT count(*) FROM requests") == 0
    assert rig.value("SELECT count(*) FROM labels") == 0


def test_a_row_is_seen_unsealed_and_sealed_and_once(rig: Rig) -> None:
    rig.write("rows", [row for n in range(20) for row in (intent(n), outcome(n))])
    assert rig.ask(COUNT) == [{"rows": 20, "ids": 20}]
    rig.seal()
    assert rig.ask(COUNT) == [{"rows": 20, "ids": 20}]
    assert rig.value("SELECT count(*) FROM open_intents") == 0
    rig.write("rows", [outcome(n) for n in range(20, 30)])
    assert rig.ask(COUNT) == [{"rows": 30, "ids": 30}]


def test_an_outcome_is_seen_as_soon_as_it_is_durable(rig: Rig) -> None:
    async def main() -> None:
        async with open_log(rig.world.folder("rows"), SystemClock(), "gw") as log:
            for number in range(5):
                log.append(outcome(number))
                await log.committed()
                assert await asyncio.to_thread(rig.value, "SELECT count(*) FROM requests") == number + 1

    asyncio.run(main())


def test_an_engine_that_begins_later_reads_only_what_is_not_sealed(rig: Rig) -> None:
    rig.write("rows", [outcome(n) for n in range(100)], segment_bytes=2000)
    rig.seal()
    rig.write("rows", [outcome(n) for n in range(100, 110)])
    folders = [rig.world.folder(log) for log in ("rows", "facts", "bodies")]
    later = open_engine(*folders, rig.world.url)
    assert later.query(COUNT).to_pylist() == [{"rows": 110, "ids": 110}]
    later.close()


@pytest.mark.slow
def test_no_row_is_missing_or_twice_while_a_sealer_runs(rig: Rig) -> None:
    """Rows are numbered, so any answer must be a whole beginning of them, and never shorter than the one before."""
    settings = LogSettings(segment_bytes=6000)
    seen: list[int] = []

    async def main() -> None:
        number = 0
        async with open_log(rig.world.folder("rows"), SystemClock(), "gw", settings) as log:
            for _ in range(120):
                for _ in range(25):
                    log.append(outcome(number, duration_us=number))
                    number += 1
                await log.committed()
                (row,) = await asyncio.to_thread(
                    rig.ask,
                    "SELECT count(*) AS rows, count(DISTINCT duration_us) AS ids, max(duration_us) AS last "
                    "FROM attempts",
                )
                assert (row["rows"], row["ids"], row["last"]) == (number, number, number - 1)
                seen.append(row["rows"])

    def turn() -> None:
        rig.world.sealer.turn()
        rig.forget()

    with Background(turn):
        asyncio.run(main())
    assert seen == sorted(seen)
    assert rig.world.sealer.counters.commits > 10
    rig.seal()
    assert rig.ask(COUNT) == [{"rows": 3000, "ids": 3000}]


def test_readers_at_once_see_whole_beginnings_while_a_sealer_runs(rig: Rig) -> None:
    rig.write("rows", [outcome(n) for n in range(2000)], segment_bytes=20_000)

    def turn() -> None:
        rig.world.sealer.turn()
        rig.forget()

    async def main() -> None:
        answers = await asyncio.gather(*(asyncio.to_thread(rig.ask, COUNT) for _ in range(40)))
        assert {(row["rows"], row["ids"]) for (row,) in answers} == {(2000, 2000)}

    with Background(turn):
        asyncio.run(main())


def test_every_field_of_a_row_is_a_column_of_attempts(rig: Rig) -> None:
    columns = {row["column_name"]: row["column_type"] for row in rig.ask("DESCRIBE attempts")}
    assert {column.name for column in describe() if column.row == "outcome"} <= set(columns)
    assert (columns["at"], columns["ok"], columns["duration_ms"]) == ("TIMESTAMP", "BOOLEAN", "DOUBLE")


def test_requests_are_final_outcomes_and_no_shadows(rig: Rig) -> None:
    rig.write(
        "rows",
        [
            outcome(1, final=False, status=500),
            outcome(1, attempt=1),
            outcome(1, arm="shadow"),
            outcome(2, status=404),
        ],
    )
    assert rig.ask("SELECT id, attempt, ok FROM requests ORDER BY id") == [
        {"id": "r-1", "attempt": 1, "ok": True},
        {"id": "r-2", "attempt": 0, "ok": False},
    ]
    assert rig.value("SELECT count(*) FROM attempts") == 4


def test_an_intent_is_open_until_its_outcome_comes_in_whatever_segment(rig: Rig) -> None:
    rig.write("rows", [intent(1), intent(2)])
    assert rig.value("SELECT count(*) FROM open_intents") == 2
    rig.seal()
    rig.write("rows", [outcome(1)])
    assert [row["id"] for row in rig.ask("SELECT id FROM open_intents")] == ["r-2"]
    rig.seal()
    assert [row["id"] for row in rig.ask("SELECT id FROM open_intents")] == ["r-2"]


def test_at_is_a_column_although_it_is_a_word_of_sql(rig: Rig) -> None:
    rig.write("rows", [outcome(n) for n in range(10)])
    (row,) = rig.ask(
        "SELECT max(at) AS last, 'at' AS word FROM requests WHERE at > '2020-01-01' /* at */ -- at"
    )
    assert (row["last"].timestamp() > 0, row["word"]) == (True, "at")
    assert (
        rig.value("SELECT count(*) FROM requests r WHERE r.at >= make_timestamp(0) AND at IS NOT NULL") == 10
    )


def test_parameters_are_bound_by_place_and_by_name(rig: Rig) -> None:
    rig.write("rows", [outcome(n) for n in range(10)])
    assert rig.value("SELECT count(*) FROM requests WHERE id = ?", ["r-3"]) == 1
    named = rig.engine.query(
        "SELECT count(*) AS n FROM requests WHERE at_ns < $until", {"until": BASE_NS + 3 * SECOND_NS}
    )
    assert named.to_pylist() == [{"n": 3}]


def test_an_answer_that_was_cut_says_so(rig: Rig) -> None:
    rig.write("rows", [outcome(n) for n in range(10)])
    whole, cut = (
        rig.engine.answer("SELECT id FROM requests"),
        rig.engine.answer("SELECT * FROM range(100000)"),
    )
    assert (whole.truncated, cut.truncated) == (False, False)
    short = rig.engine.query("SELECT id FROM requests", bounds=Bounds(rows=4))
    assert (short.num_rows, is_truncated(short)) == (4, True)


def test_the_files_open_in_a_duckdb_that_knows_nothing_of_andon(rig: Rig, tmp_path: Path) -> None:
    rig.write("rows", [outcome(n) for n in range(50)], segment_bytes=2000)
    rig.write("facts", [Label("l-1", request="r-1", value=1.0)])
    rig.seal()
    files = rig.world.tables.file_uris("attempts")
    with duckdb.connect() as fresh:
        found = fresh.execute(
            "SELECT count(*), count(DISTINCT id), min(day) FROM read_parquet(?, hive_partitioning = true)",
            [files],
        ).fetchall()
    assert found[0][:2] == (50, 50)
    assert str(found[0][2]) == "2025-10-09"
