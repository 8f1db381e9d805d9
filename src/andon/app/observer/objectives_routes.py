"""The routes of objectives and what they give; read by control too, so no engine is imported here.

Views only: what stands behind them is in `objectives`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from andon.app import views
from andon.web.routes import Named, Route


class ObjectivePath(views.Input, frozen=True, kw_only=True):
    """Which objective."""

    name: Annotated[str, msgspec.Meta(description="Name of the Objective.", max_length=253)]


class ObjectiveQuery(views.Input, frozen=True, kw_only=True):
    """What to tell about it."""

    contributors: Annotated[
        bool, msgspec.Meta(description="Also ask the ledger who takes the budget; takes a query.")
    ] = False


class ObjectiveWindow(views.View, frozen=True, kw_only=True):
    """One pair of alerting windows of one slice."""

    severity: str
    window: str
    short: str
    word: str  # fires, quiet, no data or too few
    why: str
    burn: float | None  # null without events
    short_burn: float | None
    threshold: float
    events: int
    bad: int
    chance: float | None  # of so many bad events if the objective were just met
    reachable: bool  # whether the factor that period and budget give could fire
    note: str


class ObjectiveSlice(views.View, frozen=True, kw_only=True):
    """One budget."""

    slice: dict[str, str]
    state: str
    firing: str
    since_ns: int
    events: int
    bad: int
    attained: float | None
    budget_remaining: float
    exhaustion_s: float | None
    burns: dict[str, float | None]
    windows: tuple[ObjectiveWindow, ...]


class ObjectiveView(views.View, frozen=True, kw_only=True):
    """One objective with its budgets, those with least left first."""

    name: str
    description: str
    indicator: str
    objective: float
    period: str
    state: str  # ok, burning, exhausted, no data, or filling while history is read
    firing: str
    frozen: bool
    history: bool
    at_ns: int
    slices: tuple[ObjectiveSlice, ...]


class ObjectivePage(views.View, frozen=True, kw_only=True):
    """Every objective."""

    items: tuple[ObjectiveView, ...]


class ObjectiveContribution(views.View, frozen=True, kw_only=True):
    """How much one value of a column has taken of the budget."""

    column: str
    value: str | None
    bad: int
    total: int
    share: float


class ObjectiveDetail(views.View, frozen=True, kw_only=True):
    """One objective, and who takes its budget."""

    objective: ObjectiveView
    contributors: tuple[ObjectiveContribution, ...] = ()


def objectives_routes(verbs: Any) -> Sequence[Route]:
    """`GET /v1/objectives` and `GET /v1/objectives/{name}`."""
    return (
        Route(
            method="GET",
            path="/v1/objectives",
            name="listObjectives",
            action="observe.read",
            response=ObjectivePage,
            handler=verbs.list,
            summary="Every objective: attained, budget left, burn rates, what fires",
        ),
        Route(
            method="GET",
            path="/v1/objectives/{name}",
            name="getObjective",
            action="observe.read",
            params=ObjectivePath,
            resource=Named("Objective"),
            query=ObjectiveQuery,
            response=ObjectiveDetail,
            handler=verbs.show,
            summary="One objective: its windows, whether they can fire, and who takes the budget",
        ),
    )
