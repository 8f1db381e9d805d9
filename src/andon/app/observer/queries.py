"""The part that answers queries: SQL over the ledger, and the story of one request.

Queries block, so they run in threads; a loop keeps the tail warm, so that a query need not read it all at once.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable
from typing import Any, TypeVar

import structlog

from andon.app.observer.part import ObserverGround, Part
from andon.app.observer.queries_routes import (
    QueryAnswer,
    QueryColumn,
    QueryRequest,
    RecordedBodies,
    RecordedBody,
    RequestStory,
    queries_routes,
)
from andon.kernel.errors import AndonError
from andon.ledger.queries import Bounds
from andon.ledger.tables import export, story
from andon.ledger.tables.engine import AT_ONCE_MAX, Answer, TableEngine
from andon.store.runner import ThreadRunner
from andon.web.routes import Call, Raw

WAITING_MAX = 64  # queries that are waiting; more are told to come back
REFRESH_S = 0.5
_BODIES = (
    "SELECT id, attempt, part, media_type, size_bytes, truncated, data, key FROM bodies WHERE id = ? "
    "ORDER BY attempt, part"
)
PATIENCE_S = 10.0  # after a failure, which is told once and not every half second

T = TypeVar("T")

_logger = structlog.get_logger("andon.observer.queries")


class Queries:
    """The verbs."""

    def __init__(self, ground: ObserverGround, engine: TableEngine) -> None:
        self._ground = ground
        self._engine = engine
        # Threads of their own: a slow question must not keep the feed from its log.
        self._runner = ThreadRunner(AT_ONCE_MAX, WAITING_MAX)

    async def query(self, call: Call) -> QueryAnswer | Raw:
        """Rows by SQL."""
        asked: QueryRequest = call.body
        return await self._run(lambda: self._answer(asked))

    def _answer(self, asked: QueryRequest) -> QueryAnswer | Raw:
        bounds = Bounds(seconds=asked.seconds, rows=asked.rows)
        answer = self._engine.answer(asked.sql, asked.parameters, bounds)
        return _as_json(answer) if asked.format == "json" else _as_file(answer, asked.format)

    async def story(self, call: Call) -> RequestStory:
        """Everything about one request."""
        found: dict[str, Any] = await self._run(lambda: story.tell(self._engine, call.path.id))
        return RequestStory(**found)

    async def bodies(self, call: Call) -> RecordedBodies:
        """What was recorded of one request, opened."""
        return await self._run(lambda: self._opened(call.path.id))

    def _opened(self, id_: str) -> RecordedBodies:
        found = self._engine.query(_BODIES, (id_,)).to_pylist()
        return RecordedBodies(id=id_, items=tuple(self._body(row) for row in found))

    def _body(self, row: dict[str, Any]) -> RecordedBody:
        data, problem = row["data"], ""
        if row["key"] is not None:
            try:
                data = self._ground.sealed.bodies.open(row["id"], row["attempt"], row["part"], data)
            except AndonError as error:
                data, problem = None, error.message
        text = None
        if data is not None:
            with contextlib.suppress(UnicodeDecodeError):  # then it is bytes, and shown as such
                text = bytes(data).decode()
        return RecordedBody(
            attempt=row["attempt"],
            part=row["part"],
            media_type=row["media_type"],
            size_bytes=row["size_bytes"],
            truncated=row["truncated"],
            text=text,
            base64=base64.b64encode(data).decode() if data is not None and text is None else None,
            problem=problem,
        )

    async def _run(self, work: Callable[[], T]) -> T:
        return await self._runner.run(work)

    def close(self) -> None:
        """Let no more questions in."""
        self._runner.close()

    async def keep_warm(self) -> None:
        """Read the tail as it grows, for ever."""
        while True:
            pause = REFRESH_S
            try:
                await self._ground.runner.run(self._engine.refresh)
            except AndonError as error:
                _logger.warning("tail_not_read", code=error.code, message=error.message)
                pause = PATIENCE_S
            await self._ground.clock.sleep(pause)


def _as_json(answer: Answer) -> QueryAnswer:
    return QueryAnswer(
        columns=tuple(QueryColumn(name=name, type=kind) for name, kind in export.columns(answer.table)),
        rows=export.rows(answer.table),
        truncated=answer.truncated,
        elapsed_ms=round(answer.elapsed_s * 1000, 3),
    )


def _as_file(answer: Answer, form: str) -> Raw:
    headers = {
        "content-type": export.MEDIA_TYPES[form],
        "content-disposition": f'attachment; filename="query.{form}"',
    }
    if answer.truncated:
        headers["x-andon-truncated"] = "true"
    return Raw(body=export.encode(answer.table, form), headers=headers)


def build_queries(ground: ObserverGround) -> Part:
    """The part on its ground."""
    engine = ground.engine
    if not isinstance(engine, TableEngine):
        raise TypeError(f"queries need the engine over tables, not {type(engine).__name__}")
    verbs = Queries(ground, engine)
    return Part(
        name="queries", routes=queries_routes(verbs), loops=(verbs.keep_warm,), closing=(verbs.close,)
    )
