"""What a query may be: one SELECT (or EXPLAIN, DESCRIBE, SHOW) over the views; no files, network or settings.

DuckDB's own parser gives the tree, and what the tree names is held against lists of what is allowed: tables are the
views and the query's own names, table functions a short list, and scalar functions everything but a list of those that
reach outside or take memory that the engine does not count. The connection is locked besides: this is the first wall.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterator
from typing import Any

import duckdb
import msgspec

from andon.kernel.errors import Refused
from andon.kernel.redaction import calm

SQL_CHARS_MAX = 100_000
DEPTH_MAX = 400
TEXT_CHARS_MAX = 100_000  # that one call may make

HINT = "SELECT from the views only; andon query 'SHOW TABLES' lists them."

_EXPLAIN = re.compile(r"(?:\s|--[^\n]*\n|/\*.*?\*/)*explain\s+(?:analyze\s+)?", re.I | re.S)
# A word `at` outside of strings, quoted names and comments, which are matched first and left as they are.
_AT = re.compile(
    r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|/\*.*?\*/|\$(\w*)\$.*?\$\1\$|\b(at)\b(?!\s+time\b|\s*\()""",
    re.I | re.S,
)
_SERIALIZE = "SELECT json_serialize_sql(?::VARCHAR)"

TABLE_FUNCTIONS = frozenset(
    (
        "range",
        "generate_series",
        "unnest",
        "json_each",
        "json_tree",
        "regexp_split_to_table",
        "pg_timezone_names",
    )
)
# What these give depends on the process, changes it, waits, or runs text as SQL.
_FORBIDDEN_FUNCTIONS = frozenset(
    (
        "getenv",
        "current_setting",
        "set_config",
        "getvariable",
        "current_query",
        "current_connection_id",
        "current_query_id",
        "current_transaction_id",
        "txid_current",
        "nextval",
        "currval",
        "setval",
        "setseed",
        "sleep_ms",
        "pg_sleep",
        "write_log",
        "stats",
        "vector_type",
        "json_serialize_plan",
        "json_execute_serialized_sql",
        "json_deserialize_sql",
        "which_secret",
        "invoke",
        "to_aggregate_state",
        "finalize",
        "combine",
        "cast_to_type",
    )
)
# These can make a value far larger than what went in, outside the memory that DuckDB counts.
_SWELLING_FUNCTIONS = frozenset(("repeat", "lpad", "rpad", "list_resize", "array_resize", "bitstring", "bar"))
_GROWTH_MAX = (
    8  # characters and references that may stand for each thing replaced; one call cannot be interrupted
)
_REFERENCE = re.compile(r"\\\d")
_WIDE_FORMAT = re.compile(r"\d{4,}|\*|\{[^}]*\{")
_SHOWN = frozenset(('"tables"', "tables"))


class Statement(msgspec.Struct, frozen=True):
    """A query that may run."""

    sql: str
    named: frozenset[str]  # its parameters, by name or number


def admit(connection: Any, sql: str, views: Collection[str], macros: Collection[str]) -> Statement:
    """The statement, if it may run. Raises `Refused` (`query_invalid`, `query_forbidden`)."""
    if len(sql) > SQL_CHARS_MAX:
        raise Refused(
            "query_invalid",
            f"The query has {len(sql)} characters; {SQL_CHARS_MAX} are the most.",
            hint="Pass long lists as parameters.",
            param="sql",
        )
    sql, statements = _parse(connection, sql)
    if len(statements) != 1:
        raise _forbidden("A query is one statement." if statements else "The query is empty.")
    statement = statements[0]
    kind = str(statement.type).rpartition(".")[2]
    body = sql
    if kind == "EXPLAIN":
        body = _EXPLAIN.sub("", sql, count=1)
    elif kind != "SELECT":
        raise _forbidden(f"{kind} is not a question: nothing can be changed, read or set from here.")
    tree = _tree(connection, body)
    _check(tree, {name.lower() for name in views}, {name.lower() for name in macros} | TABLE_FUNCTIONS)
    return Statement(sql, frozenset(str(name) for name in statement.named_parameters))


def _parse(connection: Any, sql: str) -> tuple[str, list[Any]]:
    try:
        return sql, list(connection.extract_statements(sql))
    except duckdb.Error as error:
        # `at` is a column of every view and a reserved word of DuckDB.
        mended = _AT.sub(lambda match: f'"{match[2]}"' if match[2] else match[0], sql)
        if mended != sql:
            with contextlib.suppress(duckdb.Error):  # the first error points at what was written
                return mended, list(connection.extract_statements(mended))
        raise invalid(error) from error


def _tree(connection: Any, sql: str) -> dict[str, Any]:
    try:
        answers = connection.execute(_SERIALIZE, [sql]).fetchall()
    except duckdb.Error as error:
        raise invalid(error) from error
    tree: dict[str, Any] = msgspec.json.decode(answers[0][0])
    if tree.get("error"):
        raise _forbidden("Only a SELECT can be asked, and this cannot be read as one.")
    return tree


def _check(tree: dict[str, Any], views: set[str], functions: set[str]) -> None:
    in_from = {id(node["function"]) for node in _nodes(tree) if node.get("type") == "TABLE_FUNCTION"}
    own = {name.lower() for node in _nodes(tree) for name in _defined(node)}
    for node in _nodes(tree):
        kind = node.get("type")
        if kind == "BASE_TABLE":
            _check_table(node, views, own)
        elif kind == "SHOW_REF":
            _check_shown(node, views)
        elif kind == "TABLE_FUNCTION":
            name = _name(node.get("function", {}))
            if name not in functions:
                raise _forbidden(f"The table function {name} is not available.")
        elif "function_name" in node and id(node) not in in_from:
            _check_function(node)


def _check_table(node: dict[str, Any], views: set[str], own: set[str]) -> None:
    path = [str(part).lower() for part in node.get("qualified_name", {}).get("path", [])]
    name = path[-1] if path else str(node.get("table_name", "")).lower()
    if path[:-1] not in ([], ["main"]) or name not in (views if path[:-1] else views | own):
        raise _forbidden(f"There is no view called {'.'.join(path) or name}.")


def _check_shown(node: dict[str, Any], views: set[str]) -> None:
    if node.get("query") is not None:
        return  # what it describes is a query of its own, checked with the rest
    name = str(node.get("table_name", "")).lower()
    if name not in _SHOWN and name.strip('"') not in views:
        raise _forbidden(f"There is no view called {name}.")


def _check_function(node: dict[str, Any]) -> None:
    name = _name(node)
    if name in _FORBIDDEN_FUNCTIONS or name.startswith(
        ("pragma_", "duckdb_", "read_", "parquet_", "__internal")
    ):
        raise _forbidden(f"The function {name} is not available.")
    if name in _SWELLING_FUNCTIONS:
        raise _forbidden(f"The function {name} is not available: what it makes is not counted as memory.")
    if name in ("format", "printf"):
        literal = _literal(node, 0)
        if literal is None or _WIDE_FORMAT.search(literal):
            raise _forbidden(f"{name} takes a constant format without large widths.")
    if name in ("replace", "regexp_replace") and not _is_modest(name, _literal(node, 1), _literal(node, 2)):
        raise _forbidden(
            f"{name} takes a constant of at most {_GROWTH_MAX} characters, or no longer than what it replaces."
        )
    if name in ("range", "generate_series"):
        raise _forbidden(f"{name} makes rows in FROM, and no lists.")


def _literal(node: dict[str, Any], place: int) -> str | None:
    """The constant that is an argument of a function; None if it is anything else."""
    arguments = node.get("arguments") or []
    given = arguments[place].get("expression", {}) if place < len(arguments) else {}
    text = given.get("literal", {}).get("text") if isinstance(given, dict) else None
    return None if text is None else str(text)


def _is_modest(name: str, what: str | None, by: str | None) -> bool:
    """Whether replacing can make a value only a little larger: each call of it runs to its end, whatever it takes."""
    if by is None:
        return False
    growth = len(_REFERENCE.sub("x", by)) if name == "regexp_replace" else len(by)
    return growth <= _GROWTH_MAX or (name == "replace" and what is not None and growth <= len(what))


def _name(node: dict[str, Any]) -> str:
    path = node.get("qualified_name", {}).get("path") or [node.get("function_name", "")]
    return str(path[-1]).lower()


def _defined(node: dict[str, Any]) -> Iterator[str]:
    """Names of common table expressions that a node defines."""
    ctes = node.get("cte_map")
    if isinstance(ctes, dict):
        for entry in ctes.get("map", ()):
            yield str(entry.get("key", ""))
    if node.get("type") == "RECURSIVE_CTE_NODE":
        yield str(node.get("cte_name", ""))


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object of the tree, outer ones first. Raises `Refused` where it is too deep."""
    open_: list[tuple[Any, int]] = [(tree, 0)]
    while open_:
        node, depth = open_.pop()
        if depth > DEPTH_MAX:
            raise _forbidden("The query is nested too deeply.")
        if isinstance(node, dict):
            yield node
            open_.extend((value, depth + 1) for value in node.values() if isinstance(value, dict | list))
        elif isinstance(node, list):
            open_.extend((value, depth + 1) for value in node if isinstance(value, dict | list))


def _forbidden(message: str) -> Refused:
    return Refused("query_forbidden", message, hint=HINT, param="sql")


def invalid(error: Exception) -> Refused:
    """DuckDB's own words, with the line and column where it points."""
    text = str(error)
    words, _, place = text.partition("\n\nLINE ")
    message = " ".join(words.split())
    if place:
        line, _, rest = place.partition(":")
        lines = rest.splitlines()
        column = lines[1].find("^") - len(f"LINE {line}:") if len(lines) > 1 else -1
        shown = lines[0].strip() if lines else ""
        message += f" (line {line}" + (f", column {column}" if column > 0 else "") + f": {shown[:120]})"
    return Refused(
        "query_invalid",
        calm(message),
        hint="Correct the query; DESCRIBE <view> lists its columns.",
        param="sql",
    )
