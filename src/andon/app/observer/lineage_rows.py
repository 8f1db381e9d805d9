"""What the ledger says about lineage: which release answered when, how often, and which answers these are.

Blocking; one bounded query each. An answer is a final attempt that was answered, or whose client left while it was.
"""

# ruff: noqa: S608  nothing of a caller gets into these texts: values are bound

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from andon.app.observer.lineage_routes import AffectedAnswer, AnswersPage, ServedAnswers
from andon.ledger.queries import Bounds, Engine
from andon.security.lineage.emission import InferenceWindow
from andon.security.lineage.model import release_id

SECONDS: Final = 60.0
_ANSWERED: Final = (
    "(status BETWEEN 200 AND 399 OR status = 499) AND release IS NOT NULL AND endpoint IS NOT NULL"
)
_RANK: Final = "list_position(['public', 'internal', 'confidential', 'restricted'], data_class)"
_LABEL: Final = f"coalesce(arg_max(data_class, {_RANK}), '')"
_ID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}")


def read_served(engine: Engine, releases: Sequence[str], since_ns: int, until_ns: int) -> list[ServedAnswers]:
    """How many answers each release gave."""
    if not releases:
        return []
    sql = (
        "SELECT endpoint, release, count(*) AS answers, min(at_ns) AS first_ns, max(at_ns) AS last_ns "
        f"FROM requests WHERE {_ANSWERED} AND {_within(releases)} GROUP BY endpoint, release "
        "ORDER BY endpoint, release"
    )
    return [ServedAnswers(**row) for row in _rows(engine, sql, [since_ns, until_ns, *releases], 100_000)]


def read_windows(
    engine: Engine, releases: Sequence[str] | None, since_ns: int, until_ns: int, limit: int
) -> list[InferenceWindow]:
    """Hours of answers, newest first; of every release where `releases` is None."""
    if releases is not None and not releases:
        return []
    within = _within(releases) if releases is not None else "at_ns >= ? AND at_ns <= ?"
    sql = (
        "SELECT endpoint, release, strftime(date_trunc('hour', \"at\"), '%Y-%m-%dT%H') AS hour, "
        f"count(*) AS answers, min(at_ns) AS first_ns, max(at_ns) AS last_ns, {_LABEL} AS label "
        f"FROM requests WHERE {_ANSWERED} AND {within} GROUP BY ALL "
        "ORDER BY hour DESC, endpoint, release"
    )
    return [
        InferenceWindow(**row) for row in _rows(engine, sql, [since_ns, until_ns, *(releases or ())], limit)
    ]


def read_answers(
    engine: Engine, releases: Sequence[str], between: tuple[int, int], after: str, limit: int
) -> AnswersPage:
    """One page of answers, by id (ids are ordered by time)."""
    if not releases:
        return AnswersPage(items=(), next="")
    sql = (
        "SELECT id, at_ns, endpoint, release "
        f"FROM requests WHERE {_ANSWERED} AND {_within(releases)} AND id > ? ORDER BY id LIMIT ?"
    )
    rows = _rows(engine, sql, [*between, *releases, after, limit], limit)
    items = tuple(AffectedAnswer(**row) for row in rows)
    return AnswersPage(items=items, next=items[-1].id if len(items) == limit else "")


def release_of(engine: Engine, id_: str) -> str:
    """The node of the release that answered a request; empty where the text is no request's id."""
    if not _ID.fullmatch(id_):
        return ""
    rows = _rows(
        engine, "SELECT endpoint, release FROM requests WHERE id = ? AND release IS NOT NULL", [id_], 1
    )
    return release_id(rows[0]["endpoint"], rows[0]["release"]) if rows else ""


def _within(releases: Sequence[str]) -> str:
    return f"at_ns >= ? AND at_ns <= ? AND release IN ({', '.join('?' * len(releases))})"


def _rows(engine: Engine, sql: str, parameters: Sequence[Any], limit: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = engine.query(
        sql, parameters, Bounds(seconds=SECONDS, rows=limit)
    ).to_pylist()
    return found
