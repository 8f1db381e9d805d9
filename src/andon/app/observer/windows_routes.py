"""The routes of the live windows, as control and the observer both know them.

Imports no engine: control publishes and forwards these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from andon.app import views
from andon.ledger.summary import Reading
from andon.web.routes import Route


class WindowQuery(views.Input, frozen=True, kw_only=True):
    """Which window."""

    endpoint: Annotated[views.Filter, msgspec.Meta(description="Only of this endpoint.")] = ""
    release: Annotated[views.Filter, msgspec.Meta(description="Only of this release.")] = ""
    seconds: Annotated[
        int, msgspec.Meta(ge=1, le=86_400, description="Over the last so many seconds; slots make it longer.")
    ] = 60


class WindowPage(views.View, frozen=True, kw_only=True):
    """Readings of one span, by endpoint, release and arm."""

    seconds: int
    complete_since_ns: int  # rows from before may be missing: the observer had not seen them
    items: tuple[Reading, ...]


def windows_routes(verbs: Any) -> Sequence[Route]:
    """`GET /v1/windows`."""
    return (
        Route(
            method="GET",
            path="/v1/windows",
            name="getWindows",
            action="observe.read",
            query=WindowQuery,
            response=WindowPage,
            handler=verbs.windows,
            summary="Counts, rates and percentiles of the last seconds to hours, from memory",
        ),
    )


def top_route(verbs: Any) -> Route:
    """`GET /v1/top`, which control answers from the log where there is no observer."""
    return Route(
        method="GET",
        path="/v1/top",
        name="getTop",
        action="ledger.read",
        query=views.TopQuery,
        response=views.TopPage,
        handler=verbs.top,
        summary="What each endpoint and release is doing now",
    )
