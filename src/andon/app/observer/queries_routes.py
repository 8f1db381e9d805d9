"""Routes of the ledger's queries: SQL in, rows out; and the story of one request.

Imports no engine: control forwards these and publishes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Protocol

import msgspec
from msgspec import Meta

from andon.web.routes import Call, Raw, Route


class QueryRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One question."""

    sql: Annotated[str, Meta(description="one SELECT over the views of the ledger", min_length=1)]
    parameters: Annotated[
        list[Any] | dict[str, Any], Meta(description="values for ? in order, or for $name by name")
    ] = []
    seconds: Annotated[float, Meta(description="how long it may take", gt=0, le=110)] = 30.0
    rows: Annotated[int, Meta(description="rows at most", ge=1, le=1_000_000)] = 10_000
    format: Annotated[
        Literal["json", "csv", "parquet", "arrow"],
        Meta(description="json gives columns and rows; the others give the file itself"),
    ] = "json"


class QueryColumn(msgspec.Struct, frozen=True, kw_only=True):
    """One column of an answer."""

    name: str
    type: str  # Arrow's name of it


class QueryAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The rows."""

    columns: tuple[QueryColumn, ...]
    rows: Sequence[Sequence[Any]]
    truncated: bool  # there are more rows than were asked for
    elapsed_ms: float


class RequestPath(msgspec.Struct, frozen=True, kw_only=True):
    """Which request."""

    id: str


class RequestStory(msgspec.Struct, frozen=True, kw_only=True):
    """All that the ledger knows about one request; columns as in the views."""

    id: str
    attempts: Sequence[dict[str, Any]]
    open_intents: Sequence[dict[str, Any]]  # begun, and never ended
    facts: dict[str, Sequence[dict[str, Any]]]  # every version: labels, feedback, kpi_events, evaluations
    spans: Sequence[dict[str, Any]]  # of the callers' programs, by trace
    bodies: Sequence[dict[str, Any]]  # what was recorded, without the data


class RecordedBody(msgspec.Struct, frozen=True, kw_only=True):
    """One recorded input or output, opened."""

    attempt: int
    part: str  # input or output
    media_type: str | None
    size_bytes: int  # of the whole body
    truncated: bool
    text: str | None  # the body where it is text (UTF-8)
    base64: str | None  # the body where it is not
    problem: str = ""  # why there is neither: its key was destroyed, or it cannot be opened


class RecordedBodies(msgspec.Struct, frozen=True, kw_only=True):
    """What was recorded of one request."""

    id: str
    items: Sequence[RecordedBody]


class QueryVerbs(Protocol):
    """What stands behind the routes."""

    async def query(self, call: Call) -> QueryAnswer | Raw: ...
    async def story(self, call: Call) -> RequestStory: ...
    async def bodies(self, call: Call) -> RecordedBodies: ...


def queries_routes(verbs: QueryVerbs) -> Sequence[Route]:
    """The routes of this part."""
    return (
        Route(
            method="POST",
            path="/v1/queries",
            name="query",
            action="ledger.query",
            request=QueryRequest,
            response=QueryAnswer,
            handler=verbs.query,
            summary="Rows of the ledger by SQL, read-only; as a file with `format`",
            media_types=(
                "text/csv",
                "application/vnd.apache.parquet",
                "application/vnd.apache.arrow.stream",
            ),
        ),
        Route(
            method="GET",
            path="/v1/requests/{id}",
            name="getRequest",
            action="ledger.query",
            params=RequestPath,
            response=RequestStory,
            handler=verbs.story,
            summary="The whole story of one request",
        ),
        Route(
            method="GET",
            path="/v1/requests/{id}/bodies",
            name="getRequestBodies",
            action="ledger.bodies",
            params=RequestPath,
            response=RecordedBodies,
            handler=verbs.bodies,
            summary="What was recorded of one request, opened",
        ),
    )
