"""Saved views: a short file of titles, metrics and units becomes a dashboard like those that Andon ships.

A panel names a family (and, if wanted, what to group by, which labels to fix, a quantile) or gives PromQL as it is.
Pure; raises `Refused` that says which panel is wrong.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from andon.kernel.errors import Refused
from andon.observability.dashboards.expressions import mean, quantile, rate, series, total
from andon.observability.dashboards.lint import UNITS
from andon.observability.dashboards.model import TAG, Board, Panel, Query, Row
from andon.observability.dashboards.promql import NotPromQL, read_selectors

PREFIX = "andon-view-"
PANELS_MAX = 50
_LABEL = r"^[a-zA-Z_][a-zA-Z0-9_]*$"

Label = Annotated[str, Meta(pattern=_LABEL, max_length=64)]


class ViewPanel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One panel of a view."""

    title: Annotated[str, Meta(min_length=1, max_length=120, description="what it shows")]
    unit: Annotated[str, Meta(description="one of Grafana's units, such as reqps, s, bytes, percentunit")] = (
        "short"
    )
    description: Annotated[str, Meta(max_length=500, description="what it means; else the title")] = ""
    metric: Annotated[str, Meta(description="a family: *_total is read as a rate")] = ""
    quantile: Annotated[
        Annotated[float, Meta(gt=0, lt=1)] | None, Meta(description="of a histogram; without it, the mean")
    ] = None
    histogram: Annotated[bool, Meta(description="the family is a histogram")] = False
    by: Annotated[tuple[Label, ...], Meta(max_length=5, description="labels to group by")] = ()
    where: Annotated[dict[Label, str], Meta(description="labels with the value they must have")] = {}
    promql: Annotated[str, Meta(max_length=4000, description="an expression, instead of a family")] = ""


class View(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A saved view."""

    name: Annotated[str, Meta(pattern=r"^[a-z0-9]([a-z0-9-]{0,26}[a-z0-9])?$", description="fixes its uid")]
    title: Annotated[str, Meta(min_length=1, max_length=120, description="of the dashboard")]
    description: Annotated[str, Meta(max_length=500, description="what it answers")] = ""
    panels: Annotated[
        tuple[ViewPanel, ...], Meta(min_length=1, max_length=PANELS_MAX, description="in order")
    ]


def board_of(view: View) -> Board:
    """The board. Raises `Refused` for a panel with no or two sources, bad PromQL or an unknown unit."""
    panels = tuple(_panel(panel) for panel in view.panels)
    return Board(
        uid=f"{PREFIX}{view.name}",
        title=view.title,
        meaning=view.description or view.title,
        rows=(Row(view.title, panels),),
        tags=(TAG, "view"),
    )


def _panel(panel: ViewPanel) -> Panel:
    if bool(panel.metric) == bool(panel.promql):
        raise _wrong(panel, "needs a metric or promql, and not both")
    if panel.unit not in UNITS:
        raise _wrong(panel, f"has the unit {panel.unit!r}, which is none that is known here")
    expr = panel.promql or _expression(panel)
    try:
        read_selectors(expr)
    except NotPromQL as error:
        raise _wrong(panel, f"is no PromQL: {error}") from error
    legend = " ".join(f"{{{{{label}}}}}" for label in panel.by)
    return Panel(
        title=panel.title,
        meaning=panel.description or panel.title,
        unit=panel.unit,
        queries=(Query(expr, legend),),
    )


def _expression(panel: ViewPanel) -> str:
    by = ", ".join(panel.by)
    matchers = [f"{label}={_quoted(value)}" for label, value in panel.where.items()]
    if panel.quantile is not None:
        return quantile(panel.quantile, panel.metric, by, *matchers)
    if panel.histogram:
        return mean(panel.metric, by, *matchers)
    counts = panel.metric.endswith("_total")
    return total(rate(panel.metric, *matchers) if counts else series(panel.metric, *matchers), by)


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _wrong(panel: ViewPanel, what: str) -> Refused:
    return Refused("view_invalid", f"The panel '{panel.title}' {what}.", hint="See docs/dashboards.md.")
