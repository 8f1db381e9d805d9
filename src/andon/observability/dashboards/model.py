"""What a dashboard is, before any tool's format: rows of panels, each with queries in PromQL, a unit and a meaning.

Pure data. Expressions may use `$job`, `$instance`, `$__rate_interval` and the names of the board's filters.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Shape = Literal["lines", "figure", "bars", "heat"]

WIDTH = 24  # columns of a row
UID_MAX = 40
TAG = "andon"


class Query(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One expression and how its series are called, such as `{{endpoint}}`."""

    expr: Annotated[str, Meta(min_length=1, max_length=4000, description="PromQL")]
    legend: Annotated[
        str, Meta(max_length=200, description="name of a series, with {{label}} for labels")
    ] = ""


class Panel(msgspec.Struct, frozen=True, kw_only=True):
    """One picture. `steps` colour a figure: (from this value on, colour), the first from minus infinity."""

    title: str
    meaning: str
    unit: str
    queries: tuple[Query, ...]
    shape: Shape = "lines"
    width: int = 8
    height: int = 7
    stacked: bool = False
    least: float | None = None
    most: float | None = None
    steps: tuple[tuple[float, str], ...] = ()


class Row(msgspec.Struct, frozen=True):
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


class Filter(msgspec.Struct, frozen=True):
    """A choice at the head of the board: the values that `label` has on `family`, or on one of `a|b`."""

    label: str
    family: str
    title: str


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """One dashboard. `uid` is fixed: links and permissions survive every new version."""

    uid: str
    title: str
    meaning: str
    rows: tuple[Row, ...]
    filters: tuple[Filter, ...] = ()
    tags: tuple[str, ...] = (TAG,)
    since: str = "now-1h"

    @property
    def panels(self) -> tuple[Panel, ...]:
        """Every panel, in order."""
        return tuple(panel for row in self.rows for panel in row.panels)
