"""The routes about the ledger's tables, as control and the observer both know them.

Imports no engine: control publishes and forwards these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from andon.app import views
from andon.web.routes import Route


class LedgerTable(views.View, frozen=True, kw_only=True):
    """One table."""

    name: str
    uri: str  # what Spark, Trino or DuckDB open
    log: str  # rows, facts or bodies
    version: int | None  # of Delta; null while it is not made
    files: int
    rows: int
    size_bytes: int
    problem: str = ""  # why it cannot be written now


class LedgerLog(views.View, frozen=True, kw_only=True):
    """One log on its way into the tables."""

    name: str
    segments: int  # in its folder, the open one included
    size_bytes: int
    sealed_segment: int  # the last one that is in every table
    sealed_position: int
    waiting: int  # closed segments that are not
    lag_s: float  # how long the oldest of them has been waiting


class LedgerDamage(views.View, frozen=True, kw_only=True):
    """One segment with damage; the rest of it is in the tables, and the segment stays in the log."""

    log: str
    segment: str
    at_ns: int
    rows: int  # that are missing
    places: int
    reasons: tuple[str, ...]  # of the first places


class LedgerRebuild(views.View, frozen=True, kw_only=True):
    """The latest rebuild that was asked for."""

    waiting: tuple[str, ...] = ()  # tables still to be made again, the running one first
    # By table that is done: rows that the log gave.
    rows: dict[str, int] = msgspec.field(default_factory=dict)
    problem: str = ""


class LedgerStatus(views.View, frozen=True, kw_only=True):
    """How the ledger's tables stand."""

    tables: tuple[LedgerTable, ...]
    logs: tuple[LedgerLog, ...]
    quarantined: tuple[LedgerDamage, ...]
    rebuild: LedgerRebuild


class RebuildRequest(views.Input, frozen=True, kw_only=True):
    """Which tables."""

    table: Annotated[
        str, msgspec.Meta(max_length=64, description="Name of a table, or all.", examples=["attempts"])
    ] = "all"


def sealing_routes(verbs: Any) -> Sequence[Route]:
    """`GET /v1/ledger` and `POST /v1/ledger/rebuild`."""
    return (
        Route(
            method="GET",
            path="/v1/ledger",
            name="getLedger",
            action="ledger.read",
            response=LedgerStatus,
            handler=verbs.status,
            summary="The ledger's tables and logs: sizes, versions, how far each is sealed, what is damaged",
        ),
        Route(
            method="POST",
            path="/v1/ledger/rebuild",
            name="rebuildLedger",
            action="ledger.rebuild",
            request=RebuildRequest,
            response=LedgerRebuild,
            handler=verbs.rebuild,
            summary="Make tables again from the log; GET /v1/ledger says how far it is",
        ),
    )
