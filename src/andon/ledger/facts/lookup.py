"""Requests older than memory, found in the tables: which of these ids the ledger knows, and since when.

One query for each sort of id, bounded; an engine that does not answer means that nothing is known about them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

import structlog

from andon.kernel.errors import AndonError
from andon.kernel.ids import time_ms
from andon.kernel.ports import Runner
from andon.ledger.facts.known import REFERENCE, REQUEST, RESPONSE, TRACE, Subject
from andon.ledger.queries import Bounds, Engine

BOUNDS = Bounds(seconds=5.0, memory_bytes=512 << 20, rows=100_000)

_SQL = """
SELECT {column} AS subject, max(at_ns) AS at_ns
FROM requests
WHERE {column} IN (SELECT unnest($subjects::VARCHAR[])) AND at_ns >= $since
GROUP BY 1
"""
SQL = {
    REQUEST: _SQL.format(column="id"),
    REFERENCE: _SQL.format(column="reference"),
    RESPONSE: _SQL.format(column="response_id"),
    TRACE: _SQL.format(column="substr(traceparent, 4, 32)"),
}

_logger = structlog.get_logger("andon.facts")


async def look_up(engine: Engine, runner: Runner, subjects: Sequence[Subject]) -> dict[Subject, int] | None:
    """When each of these was answered, those that are known; None where the engine could not say."""
    found: dict[Subject, int] = {}
    for sort, sql in SQL.items():
        wanted = sorted({value for kind, value in subjects if kind == sort})
        if not wanted:
            continue
        parameters = {"subjects": wanted, "since": _since_ns(wanted) if sort == REQUEST else 0}
        try:
            table = await runner.run(partial(engine.query, sql, parameters, BOUNDS))
        except (AndonError, NotImplementedError) as error:
            _logger.warning("requests_not_looked_up", sort=sort, count=len(wanted), error=str(error))
            return None
        columns = table.to_pydict()
        found.update(
            ((sort, value), at_ns) for value, at_ns in zip(columns["subject"], columns["at_ns"], strict=True)
        )
    return found


def _since_ns(ids: Iterable[str]) -> int:
    """No row of these requests is older: their ids say when they were made (UUIDv7). 0 where one is not such an id."""
    try:
        return min(time_ms(id_) for id_ in ids) * 1_000_000
    except ValueError:
        return 0
