"""Hostile SQL: nothing of the machine is read, written, set or waited for, whatever is asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from andon.kernel.errors import Refused
from tests.ledger.queries.rig import Rig, outcome

FORBIDDEN = [
    # Not a question.
    "COPY requests TO 'out.csv'",
    "COPY (SELECT 1) TO '/dev/shm/x.parquet' (FORMAT parquet)",
    "EXPORT DATABASE 'there'",
    "IMPORT DATABASE 'there'",
    "ATTACH 'other.db'",
    "ATTACH ':memory:' AS other",
    "DETACH memory",
    "USE memory",
    "INSTALL httpfs",
    "LOAD httpfs",
    "FORCE INSTALL httpfs FROM 'http://127.0.0.1'",
    "PRAGMA version",
    "PRAGMA database_list",
    "PRAGMA enable_profiling",
    "CALL pragma_version()",
    "CALL enable_logging()",
    "SET memory_limit = '100GB'",
    "SET enable_external_access = true",
    "SET VARIABLE x = 1",
    "RESET memory_limit",
    "CREATE TABLE t (x INT)",
    "CREATE TABLE t AS SELECT * FROM requests",
    "CREATE TEMP VIEW v AS SELECT 1",
    "CREATE OR REPLACE VIEW requests AS SELECT 1",
    "CREATE MACRO m(x) AS x",
    "CREATE SECRET s (TYPE s3)",
    "DROP VIEW requests",
    "DROP SCHEMA tail CASCADE",
    "DELETE FROM tail.attempts_1",
    "INSERT INTO tail.attempts_1 SELECT * FROM tail.attempts_1",
    "UPDATE requests SET id = 'x'",
    "ALTER VIEW requests RENAME TO r",
    "TRUNCATE tail.attempts_1",
    "VACUUM",
    "ANALYZE",
    "CHECKPOINT",
    "BEGIN",
    "COMMIT",
    "PREPARE q AS SELECT 1",
    "EXECUTE q",
    "DEALLOCATE q",
    "PIVOT requests ON endpoint",
    "EXPLAIN COPY requests TO 'x'",
    "EXPLAIN ANALYZE COPY requests TO 'out.csv'",
    "EXPLAIN ANALYZE DELETE FROM tail.attempts_1",
    "EXPLAIN EXPLAIN SELECT 1",
    "/* a */ EXPLAIN /* b */ ANALYZE DROP VIEW requests",
    # More than one.
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP VIEW requests",
    "",
    ";",
    "-- nothing",
    # Files and the network.
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_csv_auto('/etc/passwd')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_blob('/etc/*')",
    "SELECT * FROM read_json('/etc/passwd')",
    "SELECT * FROM read_parquet('tables/attempts/*/*.parquet')",
    "SELECT * FROM parquet_metadata('x.parquet')",
    "SELECT * FROM parquet_scan('x.parquet')",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM sniff_csv('/etc/passwd')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM 'x.parquet'",
    'SELECT * FROM "/etc/passwd"',
    "SELECT * FROM 'http://127.0.0.1/x.csv'",
    "SELECT * FROM read_csv('http://169.254.169.254/latest')",
    "FROM read_text('/etc/passwd')",
    "SELECT (SELECT content FROM read_text('/etc/passwd'))",
    "SELECT 1 WHERE EXISTS (SELECT * FROM glob('/*'))",
    "WITH x AS (SELECT * FROM read_text('/etc/passwd')) SELECT * FROM x",
    "WITH RECURSIVE x AS (SELECT 1 UNION ALL SELECT * FROM glob('/*')) SELECT * FROM x",
    "SELECT * FROM requests, LATERAL (SELECT * FROM read_text(id))",
    "SELECT * FROM (VALUES (1)) v, glob('/*')",
    "SELECT 1 UNION ALL SELECT * FROM glob('/*')",
    "SELECT * FROM requests ORDER BY (SELECT count(*) FROM glob('/*'))",
    "SELECT * FROM requests LIMIT (SELECT count(*) FROM glob('/*'))",
    "SUMMARIZE (SELECT * FROM read_text('/etc/passwd'))",
    "DESCRIBE SELECT * FROM read_text('/etc/passwd')",
    "EXPLAIN SELECT * FROM read_text('/etc/passwd')",
    # The engine's own matters.
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM duckdb_views()",
    "SELECT * FROM duckdb_extensions()",
    "SELECT * FROM pragma_database_size()",
    "SELECT * FROM pragma_storage_info('requests')",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM sqlite_master",
    "SELECT * FROM pg_catalog.pg_tables",
    "SELECT * FROM tail.attempts_1",
    "SELECT * FROM ledger.attempts",
    "SELECT * FROM memory.main.requests",
    "SELECT * FROM temp.x",
    "SHOW ALL TABLES",
    "SHOW DATABASES",
    "DESCRIBE ledger.attempts",
    "SELECT * FROM query('DROP VIEW requests')",
    "SELECT * FROM query_table('requests')",
    "SELECT * FROM json_execute_serialized_sql('{}')",
    "SELECT * FROM seq_scan('x')",
    "SELECT * FROM python_arrow_scan()",
    "SELECT * FROM arrow_scan(1, 2, 3)",
    "SELECT * FROM pandas_scan(1)",
    "SELECT * FROM checkpoint()",
    "SELECT * FROM which_secret('s3://x', 's3')",
    # What reaches out of the row.
    "SELECT getenv('HOME')",
    "SELECT GetEnv('HOME')",
    "SELECT main.getenv('HOME')",
    "SELECT current_setting('memory_limit')",
    "SELECT current_setting('s3_secret_access_key')",
    "SELECT getvariable('x')",
    "SELECT set_config('threads', '8', false)",
    "SELECT nextval('s')",
    "SELECT setseed(0.5)",
    "SELECT sleep_ms(100000)",
    "SELECT pg_sleep(100)",
    "SELECT write_log('x')",
    "SELECT id FROM requests WHERE sleep_ms(1) IS NULL",
    "SELECT count(*) FILTER (WHERE getenv('HOME') = 'x') FROM requests",
    "SELECT sum(1) OVER (PARTITION BY getenv('HOME')) FROM requests",
    "SELECT list_transform([1], lambda x: getenv('HOME'))",
    "SELECT CASE WHEN true THEN getenv('HOME') END",
    "SELECT json_serialize_plan('SELECT 1')",
    # What swells.
    "SELECT repeat('x', 2000000000)",
    "SELECT lpad('x', 2000000000, 'y')",
    "SELECT rpad('x', 2000000000, 'y')",
    "SELECT list_resize([1], 2000000000)",
    "SELECT format('{:>2000000000}', 'x')",
    "SELECT printf('%2000000000d', 1)",
    "SELECT printf('%*d', 2000000000, 1)",
    "SELECT replace(a, 'x', a) FROM (SELECT string_agg('x', '') AS a FROM range(200000))",
    "SELECT replace(id, 'r', 'rrrrrrrrrrrr') FROM requests",
    "SELECT regexp_replace(id, '.', id, 'g') FROM requests",
    "SELECT regexp_replace(id, '.', '\\0\\0\\0\\0\\0\\0\\0\\0\\0', 'g') FROM requests",
    "SELECT range(2000000000)",
    "SELECT unnest(generate_series(1, 2000000000))",
]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """One request, for questions that change nothing."""
    made = Rig(tmp_path_factory.mktemp("house"))
    made.write("rows", [outcome(1, features={"age": 3})])
    yield made
    made.engine.close()


@pytest.mark.parametrize("sql", FORBIDDEN)
def test_what_is_no_question_about_the_views_is_refused(house: Rig, sql: str) -> None:
    with pytest.raises(Refused) as refusal:
        house.ask(sql, seconds=5)
    assert refusal.value.code in ("query_forbidden", "query_invalid")
    assert "root:" not in str(refusal.value)
    assert house.value("SELECT count(*) FROM requests") == 1


ALLOWED = [
    "SELECT count(*) FROM requests",
    "FROM requests SELECT id LIMIT 1",
    "FROM requests",
    "SELECT * FROM main.requests",
    "SELECT * FROM Requests",
    "WITH a AS (SELECT id FROM requests), b AS (SELECT * FROM a) SELECT count(*) FROM b JOIN a USING (id)",
    "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 5) SELECT sum(n) FROM t",
    "SELECT * FROM (SELECT 1) LIMIT 1",
    "VALUES (1), (2)",
    "SELECT * FROM range(3) r(x), unnest([1, 2]) u(y)",
    "SELECT unnest(map_keys(features)) FROM requests",
    "SELECT time_bucket(INTERVAL 1 MINUTE, at) AS m, count(*) FROM requests GROUP BY ALL ORDER BY ALL",
    "SELECT quantile_cont(duration_us, [0.5, 0.99]) FROM requests",
    "SELECT release, count(*) FILTER (WHERE NOT ok) FROM requests GROUP BY ROLLUP (release)",
    "SELECT row_number() OVER (PARTITION BY release ORDER BY at_ns) FROM requests QUALIFY true",
    "SELECT replace(release, 'credit', 'c'), replace(release, '@', ' at '), replace(id, 'r-', '') FROM requests",
    "SELECT regexp_replace(release, '@(.+)$', ' v\\1') FROM requests",
    "SELECT printf('%.2f', 1.5), format('{:.2f}', 1.5), strftime(at, '%Y') FROM requests",
    "SELECT * FROM labels_as_of(TIMESTAMP '2026-01-01')",
    "SELECT * FROM labels l LEFT JOIN requests r ON l.request_id = r.id",
    "SELECT json_extract('{\"a\": 1}', '$.a')",
    "DESCRIBE requests",
    "DESCRIBE SELECT id FROM requests",
    "SHOW TABLES",
    "SUMMARIZE requests",
    "EXPLAIN SELECT * FROM requests",
    "EXPLAIN ANALYZE SELECT count(*) FROM requests",
    "SELECT now() - INTERVAL 1 DAY, current_date, current_timestamp",
    "SELECT 1;",
]


@pytest.mark.parametrize("sql", ALLOWED)
def test_questions_are_answered(house: Rig, sql: str) -> None:
    house.ask(sql)


def test_mistakes_are_told_in_duckdbs_words_with_the_place(rig: Rig) -> None:
    for sql, words in {
        "SELEC 1": "line 1, column 1",
        "SELECT id\nFROM requests\nWHERE nope = 1": 'column "nope" not found',
        "SELECT 'x'::INT": "Could not convert",
        "SELECT * FROM requests WHERE id = ?": "takes 1 parameters",
    }.items():
        with pytest.raises(Refused) as refusal:
            rig.ask(sql)
        assert refusal.value.code == "query_invalid"
        assert words in refusal.value.message


def test_nothing_was_written_anywhere(rig: Rig, tmp_path: Path) -> None:
    rig.write("rows", [outcome(1)])
    rig.seal()
    rig.value("SELECT count(*) FROM requests")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    for sql in (*FORBIDDEN[:20], *ALLOWED):
        try:
            rig.ask(sql)
        except Refused:  # most of them are meant to be
            continue
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert not Path("out.csv").exists()


def test_the_second_wall_stands_without_the_first(rig: Rig) -> None:
    """Even SQL that is not looked at cannot read outside the tables, attach, load or set."""
    rig.value("SELECT 1")
    merged = rig.engine._merged
    assert merged is not None
    for sql in (
        "SELECT * FROM read_text('/etc/passwd')",
        "COPY (SELECT 1) TO '/dev/shm/andon-test'",
        "ATTACH '/dev/shm/andon-test.db'",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET allowed_directories = ['/']",
    ):
        with pytest.raises(Exception, match=r"(?i)disabled|locked|not allowed|cannot"):
            merged.connection.cursor().execute(sql)
