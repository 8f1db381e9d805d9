"""Boards in Grafana's format, through its typed builder: JSON that imports with no edits.

The data source is a variable, every panel and target names it; uid fixed, id null, no `__inputs`, no panel type that
Grafana has removed. Needs the extra `dashboards`. Schema version 39: read by Grafana 10 to 12.
"""

from __future__ import annotations

import json
from typing import Any, Final

from grafana_foundation_sdk.builders import bargauge, common, dashboard, heatmap, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as words
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    VariableOption,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat, QueryEditorMode

from andon.observability.dashboards.model import TAG, Board, Filter, Panel, Query

SCHEMA_VERSION: Final = 39
SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
EVERYTHING: Final = '{__name__=~"andon_.+"}'
_NOISE: Final = (
    "id",
    "auto",
    "auto_min",
    "auto_count",
)  # of a variable; only other types have a use for them
_MIN_STEP: Final = "15s"


def render(board: Board) -> dict[str, Any]:
    """The dashboard as Grafana's JSON model."""
    made = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.meaning)
        .tags(list(board.tags))
        .time(board.since, "now")
        .refresh("30s")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .readonly()
        .link(_siblings())
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(_variable("job", "job", f"label_values({EVERYTHING}, job)", ".+"))
        .with_variable(
            _variable("instance", "instance", _values("instance", EVERYTHING[1:-1] + ', job=~"$job"'), ".+")
        )
    )
    for one in board.filters:
        made = made.with_variable(_filter(one))
    for row in board.rows:
        made = made.with_row(dashboard.Row(row.title))
        for panel in row.panels:
            made = made.with_panel(_panel(panel))
    plain: dict[str, Any] = json.loads(json.dumps(made.build(), cls=JSONEncoder))
    return _finished(plain)


def encode(document: dict[str, Any]) -> bytes:
    """As it is written to a file: indented, keys sorted, so that two versions compare line by line."""
    return (json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _finished(plain: dict[str, Any]) -> dict[str, Any]:
    plain |= {"id": None, "schemaVersion": SCHEMA_VERSION, "version": 1}
    for variable in plain["templating"]["list"]:
        for name in _NOISE:
            variable.pop(name, None)
    for number, panel in enumerate(plain["panels"], 1):
        panel["id"] = number
    return plain


def _siblings() -> Any:
    return (
        dashboard.DashboardLink("Andon")
        .type(DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .as_dropdown(True)
        .keep_time(True)
        .include_vars(True)
    )


def _values(label: str, matchers: str) -> str:
    return f"label_values({{{matchers}}}, {label})"


def _variable(name: str, title: str, query: str, everything: str) -> Any:
    return (
        dashboard.QueryVariable(name)
        .label(title)
        .datasource(SOURCE)
        .query(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(everything)
        .current(VariableOption(selected=True, text=["All"], value=["$__all"]))
    )


def _filter(one: Filter) -> Any:
    # `.*`, not `.+`: a series without the label, such as one of a refused request, belongs to "All".
    named = f'__name__=~"{one.family}", ' if "|" in one.family else ""
    family = "" if named else one.family
    selector = f'{family}{{{named}job=~"$job", instance=~"$instance"}}'
    return _variable(one.label, one.title, f"label_values({selector}, {one.label})", ".*")


def _panel(panel: Panel) -> Any:
    made = {"lines": _lines, "figure": _figure, "bars": _bars, "heat": _heat}[panel.shape](panel)
    made = made.title(panel.title).description(panel.meaning).datasource(SOURCE).unit(panel.unit)
    made = made.span(panel.width).height(panel.height)
    if panel.least is not None:
        made = made.min(panel.least)
    if panel.most is not None:
        made = made.max(panel.most)
    if panel.steps:
        steps = [
            Threshold(value=None if place == 0 else value, color=colour)
            for place, (value, colour) in enumerate(panel.steps)
        ]
        made = made.thresholds(dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
    for number, query in enumerate(panel.queries):
        made = made.with_target(_target(query, chr(ord("A") + number), is_heat=panel.shape == "heat"))
    return made


def _target(query: Query, name: str, *, is_heat: bool) -> Any:
    made = prometheus.Dataquery().expr(query.expr).ref_id(name).datasource(SOURCE).range()
    made = made.editor_mode(QueryEditorMode.CODE).legend_format(query.legend or "__auto")
    return made.format(PromQueryFormat.HEATMAP if is_heat else PromQueryFormat.TIME_SERIES)


def _lines(panel: Panel) -> Any:
    legend = (
        common.VizLegendOptions()
        .display_mode(words.LegendDisplayMode.TABLE)
        .placement(words.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs(["mean", "max", "lastNotNull"])
    )
    made = (
        timeseries.Panel()
        .legend(legend)
        .tooltip(
            common.VizTooltipOptions().mode(words.TooltipDisplayMode.MULTI).sort(words.SortOrder.DESCENDING)
        )
        .line_width(1)
        .fill_opacity(30 if panel.stacked else 8)
        .show_points(words.VisibilityMode.NEVER)
        .interval(_MIN_STEP)
    )
    if panel.stacked:
        made = made.stacking(common.StackingConfig().mode(words.StackingMode.NORMAL).group("A"))
    return made


def _reduced() -> Any:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)


def _figure(panel: Panel) -> Any:
    return (
        stat.Panel()
        .reduce_options(_reduced())
        .graph_mode(words.BigValueGraphMode.AREA)
        .color_mode(words.BigValueColorMode.VALUE if panel.steps else words.BigValueColorMode.NONE)
        .interval(_MIN_STEP)
    )


def _bars(panel: Panel) -> Any:
    return (
        bargauge.Panel()
        .reduce_options(_reduced())
        .orientation(words.VizOrientation.HORIZONTAL)
        .display_mode(words.BarGaugeDisplayMode.BASIC)
        .interval(_MIN_STEP)
    )


def _heat(panel: Panel) -> Any:
    axis = heatmap.YAxisConfig().unit(panel.unit)
    return heatmap.Panel().calculate(False).y_axis(axis).show_legend().interval(_MIN_STEP)
