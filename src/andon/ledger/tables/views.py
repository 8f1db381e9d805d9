"""The views that a query sees, as SQL: what is sealed and what is not yet, then requests, facts and their versions.

`ledger.<table>` is one table's rows, sealed and unsealed, each once; only the engine sees it. The public views stand on
these and never change. A fact's versions: the same id twice is one fact, the first that came; of several about the
same subject and name the one that Andon learnt last stands; `<facts>_history` has them all, and
`<facts>_as_of(moment)` has what was known at a moment. Nothing here touches a connection.
"""

# ruff: noqa: S608  every name here comes from the schema of the tables; nothing of a caller gets into these texts

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa

from andon.ledger.tables.schema import TABLES, Table

HIDDEN = ("log", "position")  # of the rows: kept for the views' own use
_ABOUT = ("request", "reference", "response")  # how a fact names what it is about, best first

# What a fact is about is told by these besides its subject; others have subjects of their own. Two sales of one request
# are two events, so a KPI event stands for itself: it is taken back by one of the opposite value.
_NAMED = {"labels": "name", "feedback": "kind", "evaluations": "name"}
_OWN_SUBJECTS = {
    "kpi_events": "id",
    "spans": "trace_id, span_id",
    "prices": "book, provider, model, bucket, event_ns",
}
_FINAL = "final AND arm IS DISTINCT FROM 'shadow'"
# Orders facts by when they were learnt, then by place in their log; tells rows apart.
_LEARNT = 'at_ns::HUGEINT * 4294967296 + "position" % 4294967296 AS learnt'
_TYPES = {
    pa.string(): "VARCHAR",
    pa.int64(): "BIGINT",
    pa.float64(): "DOUBLE",
    pa.bool_(): "BOOLEAN",
    pa.binary(): "BLOB",
    pa.map_(pa.string(), pa.int64()): "MAP(VARCHAR, BIGINT)",
}

# What a guard said, as rows hold it (security/guards/model): a field that was left out had nothing to say.
_VERDICT = (
    '{"guard": "VARCHAR", "version": "VARCHAR", "place": "VARCHAR", "mode": "VARCHAR", "action": "VARCHAR", '
    '"threshold": "DOUBLE", "score": "DOUBLE", "entities": "MAP(VARCHAR, BIGINT)", "latency_us": "BIGINT", '
    '"scanned_bytes": "BIGINT", "failed": "VARCHAR"}'
)
_SAID = ", ".join(
    f"said.{name} AS {name}"
    for name in (
        "guard", "version", "place", "mode", "action", "threshold", "score", "entities", "latency_us",
        "scanned_bytes", "failed",
    )
)  # fmt: skip

FACTS = tuple(table for table in TABLES if table.log == "facts")
VIEWS = (
    "requests",
    "attempts",
    "open_intents",
    "guard_verdicts",
    *(name for table in FACTS for name in (table.name, f"{table.name}_history")),
    "bodies",
)
MACROS = tuple(f"{table.name}_as_of" for table in FACTS)


def columns_of(table: Table) -> tuple[str, ...]:
    """The columns that the views stand on: the rows' fields and where they came from."""
    return (*table.fields, *HIDDEN)


def create_relation(table: Table, name: str) -> str:
    """An empty relation in memory with a table's columns."""
    columns = ", ".join(f'"{name_}" {_TYPES[table.schema.field(name_).type]}' for name_ in columns_of(table))
    return f"CREATE TABLE tail.{name} ({columns})"


def read_files(uris: Sequence[str]) -> str:
    """The rows of Parquet files on a local disk. Files from before a column was added lack it."""
    listed = ", ".join(quoted(uri) for uri in uris)
    return f"read_parquet([{listed}], union_by_name=true, hive_partitioning=true, hive_types={{'day': DATE}})"


def source_view(table: Table, sealed: str, chunks: Iterable[str], condition: str) -> str:
    """`ledger.<table>`: a relation over files, empty without any, and the rows of chunks that meet the condition.

    The empty relation comes first and gives every column its type; a column that a file lacks is null.
    """
    names = ", ".join(f'"{name}"' for name in columns_of(table))
    parts = [f"SELECT * FROM tail.empty_{table.name}"]
    if sealed:
        parts.append(f"SELECT * FROM {sealed}")
    parts += [f"SELECT * FROM tail.{chunk} WHERE {condition}" for chunk in chunks]
    return (
        f"CREATE OR REPLACE VIEW ledger.{table.name} AS SELECT {names} FROM ("
        + " UNION ALL BY NAME ".join(parts)
        + ")"
    )


def public_views() -> Sequence[str]:
    """Statements that make every view and macro, in order."""
    return (*_row_views(), *(sql for table in FACTS for sql in _fact_views(table)))


def _moment(name: str, of: str) -> str:
    return f'make_timestamp("{of}" // 1000) AS "{name}"'


def _row_views() -> Sequence[str]:
    attempt = (
        f'* EXCLUDE (log, "position"), {_moment("at", "at_ns")}, duration_us / 1000.0 AS duration_ms, '
        "status BETWEEN 200 AND 399 AS ok"
    )
    # An intent whose outcome came in a later segment is sealed as open; the outcome is looked for once more.
    ended = "(SELECT id, attempt FROM ledger.attempts)"
    return (
        f"CREATE VIEW attempts AS SELECT {attempt} FROM ledger.attempts",
        "CREATE VIEW requests AS SELECT * FROM attempts WHERE final AND arm IS DISTINCT FROM 'shadow'",
        (
            f'CREATE VIEW open_intents AS SELECT * EXCLUDE (log, "position"), {_moment("at", "at_ns")} '
            f"FROM ledger.open_intents i ANTI JOIN {ended} o ON i.id = o.id AND i.attempt = o.attempt"
        ),
        (
            'CREATE VIEW guard_verdicts AS SELECT id, attempt, at_ns, "at", endpoint, release, "key", team, principal, '
            f"data_class, status, error_code, {_SAID} FROM (SELECT *, "
            f"unnest(from_json(verdicts, '[{_VERDICT}]')) AS said FROM attempts WHERE verdicts IS NOT NULL)"
        ),
        f'CREATE VIEW bodies AS SELECT * EXCLUDE (log, "position"), {_moment("at", "at_ns")} FROM ledger.bodies',
    )


def _fact_views(table: Table) -> Sequence[str]:
    name = table.name
    moments = f"{_moment('at', 'at_ns')}, {_moment('event', 'event_ns')}"
    about = _about(name) if _is_about(table) else f" FROM ledger.{name} f"
    shown = 'EXCLUDE (log, "position", learnt)'
    if _is_about(table):
        shown = f'EXCLUDE (log, "position", learnt, about), {_verified(name)}'
    return (
        f"CREATE VIEW ledger.known_{name} AS SELECT f.*, {moments}, {_LEARNT}{about}",
        f"CREATE VIEW {name}_history AS SELECT * {shown} FROM ledger.known_{name}",
        f"CREATE VIEW {name} AS {_latest(table, shown, '')}",
        f"CREATE MACRO {name}_as_of(moment) AS TABLE "
        + _latest(table, shown, " WHERE at_ns <= epoch_ns(moment::TIMESTAMP)"),
    )


def _is_about(table: Table) -> bool:
    return all(name in table.fields for name in _ABOUT)


def _about(name: str) -> str:
    """The request that a fact says it is about: by its id, else by its business key or the id inside its answer.

    Of several requests with one business key the latest is meant; only keys that facts name are looked at.
    """

    def lookup(key: str, fact: str) -> str:
        return (
            f"(SELECT {key}, arg_max(id, at_ns) AS found FROM ledger.attempts WHERE {_FINAL} "
            f"AND {key} IN (SELECT {fact} FROM ledger.{name} WHERE request IS NULL) GROUP BY {key})"
        )

    return (
        f", coalesce(f.request, r.found, s.found) AS about FROM ledger.{name} f "
        f"LEFT JOIN {lookup('reference', 'reference')} r ON f.request IS NULL AND f.reference = r.reference "
        f"LEFT JOIN {lookup('response_id', 'response')} s ON f.request IS NULL AND f.response = s.response_id"
    )


def _verified(name: str) -> str:
    """`request_id`: null where the ledger does not know the request. Only ids that facts name are looked for."""
    return (
        f"CASE WHEN request IS NULL THEN about WHEN request IN (SELECT id FROM ledger.attempts WHERE {_FINAL} "
        f"AND id IN (SELECT request FROM ledger.{name})) THEN request END AS request_id"
    )


def _latest(table: Table, shown: str, condition: str) -> str:
    """Of each fact the first with its id, and of those about one thing the one learnt last.

    By aggregates over few columns and semi-joins: half the work of window functions over whole rows.
    """
    known, name = f"ledger.known_{table.name}", _NAMED.get(table.name)
    # What names no request stands for itself.
    subject = _OWN_SUBJECTS.get(table.name) or f"coalesce(about, reference, response, id), {name}"
    return (
        f"WITH firsts AS (SELECT min(learnt) AS v FROM {known}{condition} GROUP BY id), "
        f"lasts AS (SELECT max(learnt) AS v FROM {known} WHERE learnt IN (SELECT v FROM firsts) "
        f"GROUP BY {subject}) "
        f"SELECT * {shown} FROM {known} WHERE learnt IN (SELECT v FROM lasts)"
    )


def quoted(text: str) -> str:
    """A string of SQL."""
    return "'" + text.replace("'", "''") + "'"
