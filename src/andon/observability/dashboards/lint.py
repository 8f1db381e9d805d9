"""Checks dashboards as Grafana's dashboard-linter does, and that they import with no edits.

The rules for Prometheus of grafana/dashboard-linter, written anew from its documentation (docs/index.md and
docs/rules/): the original is a Go program. `board-identity`, `no-inputs` and `no-angular` are this product's own.
Works on Grafana's JSON, so that it can judge boards that others made. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from andon.observability.dashboards.model import UID_MAX
from andon.observability.dashboards.promql import NotPromQL, Selector, read_selectors

Document = Mapping[str, Any]

TEMPLATED: Final = ("${datasource}", "$datasource", "${prometheus_datasource}", "$prometheus_datasource")
SOURCE_NAMES: Final = ("datasource", "prometheus_datasource")
SOURCE_LABELS: Final = ("Data source", "Prometheus data source")
RATES: Final = frozenset({"rate", "irate", "increase", "delta", "idelta", "deriv"})
COUNTING: Final = frozenset({"rate", "irate", "increase"})
INTERVALS: Final = ("$__rate_interval", "${__rate_interval}")
TOLD: Final = frozenset(
    {"stat", "gauge", "bargauge", "table", "timeseries", "heatmap", "singlestat", "graph"}
)
MEASURED: Final = frozenset({"stat", "gauge", "bargauge", "table", "timeseries", "singlestat", "graph"})
REMOVED: Final = frozenset(
    {"graph", "singlestat", "table-old", "grafana-piechart-panel", "grafana-worldmap-panel"}
)
SCHEMA_MIN: Final = 36
# Those of Grafana's units (packages/grafana-data/src/valueFormats/categories.ts) that figures of a service have.
UNITS: Final = frozenset(
    """none string short sishort percent percentunit humidity dB hex sci locale pixel
    bytes decbytes bits decbits kbytes mbytes gbytes tbytes binBps Bps binbps bps KiBs MiBs GiBs
    cps ops reqps rps wps iops eps mps recps rowsps opm rpm wpm epm cpm opsps
    s ms µs ns m h d dtdurations dtdurationms dthms dtdhms timeticks clockms clocks
    dateTimeAsIso dateTimeFromNow
    watt kwatt megwatt watth kwatth joule ev amp volt celsius fahrenheit kelvin
    hertz rotrpm rothz rotkhz rotmhz rotghz
    currencyUSD currencyEUR currencyGBP currencyCHF currencyJPY
    bool bool_yes_no bool_on_off""".split()
)
_LABEL_QUERY: Final = re.compile(r"([a-z_]+)\((.+)\)")
_LABEL_FUNCTIONS: Final = ("label_names", "label_values", "metrics", "query_result")


class Finding(msgspec.Struct, frozen=True):
    """One breach of one rule."""

    rule: str
    board: str
    place: str  # panel and query, or the variable; empty for the board itself
    message: str

    def __str__(self) -> str:
        place = f" / {self.place}" if self.place else ""
        return f"{self.rule}: {self.board}{place}: {self.message}"


Said = Iterator[tuple[str, str]]  # place and message


def lint(document: Document) -> tuple[Finding, ...]:
    """Every finding in one dashboard, by rule."""
    title = str(document.get("title", ""))
    return tuple(
        Finding(rule, title, place, message)
        for rule, check in RULES.items()
        for place, message in check(document)
    )


def panels_of(document: Document) -> Iterator[Document]:
    """Every panel, those inside collapsed rows too; rows themselves are none."""
    for panel in _documents(document.get("panels")):
        if panel.get("type") == "row":
            yield from _documents(panel.get("panels"))
        else:
            yield panel


def targets_of(document: Document) -> Iterator[tuple[str, str]]:
    """Place and expression of every query."""
    for panel in panels_of(document):
        for target in _documents(panel.get("targets")):
            yield (
                f"{panel.get('title') or '(untitled)'} {target.get('refId', '')}".strip(),
                str(target.get("expr", "")),
            )


def _variables(document: Document) -> Sequence[Document]:
    return _documents(_part(document, "templating").get("list"))


def _documents(value: object) -> list[Document]:
    """The mappings of a list; boards that others made may hold anything."""
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def _part(document: Document, name: str) -> Document:
    value = document.get(name)
    return value if isinstance(value, Mapping) else {}


def _template_datasource(document: Document) -> Said:
    sources = [one for one in _variables(document) if one.get("type") == "datasource"]
    if not sources:
        yield "", "it has no variable for the data source"
    for one in sources:
        if one.get("query") != "prometheus":
            yield str(one.get("name")), f"its data source is {one.get('query')!r}, not prometheus"
        elif one.get("name") not in SOURCE_NAMES:
            yield str(one.get("name")), f"should be named {' or '.join(SOURCE_NAMES)}"
        elif one.get("label") not in SOURCE_LABELS:
            yield str(one.get("name")), f"should be labelled {' or '.join(SOURCE_LABELS)}"


def _template_of(name: str) -> Callable[[Document], Said]:
    def check(document: Document) -> Said:
        one = next((one for one in _variables(document) if one.get("name") == name), None)
        if one is None:
            yield name, "there is no such variable"
            return
        if one.get("type") != "query":
            yield name, f"should be a query, and is {one.get('type')!r}"
        if _part(one, "datasource").get("uid") not in TEMPLATED:
            yield name, "should use the data source of the variable"
        if str(one.get("label", "")).lower() != name:
            yield name, f"should be labelled {name}"
        if not one.get("multi"):
            yield name, "should allow several values"
        if one.get("allValue") != ".+":
            yield name, "should have the allValue .+"

    return check


def _template_label_promql(document: Document) -> Said:
    for one in _variables(document):
        if one.get("type") != "query":
            continue
        query = one.get("query")
        text = str(query.get("query", "")) if isinstance(query, Mapping) else str(query)
        match = _LABEL_QUERY.fullmatch(text)
        if match is None:
            yield str(one.get("name")), f"{text!r} is no query for labels"
        elif match.group(1) not in _LABEL_FUNCTIONS:
            yield str(one.get("name")), f"there is no function {match.group(1)}"
        else:
            try:
                read_selectors(_without_label(match.group(1), match.group(2)))
            except NotPromQL as error:
                yield str(one.get("name")), str(error)


def _without_label(function: str, inner: str) -> str:
    """`label_values(selector, label)` has a label at its end, which is no PromQL."""
    return inner.rpartition(",")[0] or inner if function == "label_values" else inner


def _template_on_time_change_reload(document: Document) -> Said:
    for one in _variables(document):
        if one.get("type") == "query" and one.get("refresh") != 2:
            yield str(one.get("name")), "should be read again when the time range changes (refresh 2)"


def _panel_datasource(document: Document) -> Said:
    for panel in panels_of(document):
        if str(panel.get("type")) not in TOLD:
            continue
        for where in (panel, *_documents(panel.get("targets"))):
            source = where.get("datasource")
            uid = source.get("uid") if isinstance(source, Mapping) else source
            if uid not in TEMPLATED:
                yield str(panel.get("title")), f"uses the data source {uid!r}, not the variable"


def _panel_title_description(document: Document) -> Said:
    for panel in panels_of(document):
        if str(panel.get("type")) in TOLD:
            for part in ("title", "description"):
                if not panel.get(part):
                    yield str(panel.get("title") or panel.get("id")), f"has no {part}"


def _panel_units(document: Document) -> Said:
    for panel in panels_of(document):
        if str(panel.get("type")) not in MEASURED:
            continue
        defaults = _part(_part(panel, "fieldConfig"), "defaults")
        reduced = _part(_part(panel, "options"), "reduceOptions")
        if defaults.get("mappings") or (panel.get("type") == "stat" and reduced.get("fields")):
            continue  # shows words, not figures
        if str(defaults.get("unit")) not in UNITS:
            yield str(panel.get("title")), f"has the unit {defaults.get('unit')!r}"


def _panel_no_targets(document: Document) -> Said:
    for panel in panels_of(document):
        if str(panel.get("type")) in TOLD and not panel.get("targets"):
            yield str(panel.get("title")), "has no query"


def _target_promql(document: Document) -> Said:
    for place, expr in targets_of(document):
        try:
            read_selectors(expr)
        except NotPromQL as error:
            yield place, str(error)


def _selectors(document: Document) -> Iterator[tuple[str, Selector]]:
    for place, expr in targets_of(document):
        try:
            found = read_selectors(expr)
        except NotPromQL:
            continue  # told by another rule
        for selector in found:
            yield place, selector


def _target_rate_interval(document: Document) -> Said:
    for place, selector in _selectors(document):
        if selector.function in RATES and selector.range and selector.range not in INTERVALS:
            yield place, f"{selector.function}({selector.name}[{selector.range}]) should use $__rate_interval"


def _target_matcher(label: str) -> Callable[[Document], Said]:
    allowed = {
        (label, "=~", f"${label}"),
        (label, "=~", f"${{{label}}}"),
        (label, "=~", f"${{{label}:regex}}"),
    }

    def check(document: Document) -> Said:
        for place, selector in _selectors(document):
            if allowed.isdisjoint(selector.matchers):
                yield place, f'{selector.name} has no matcher {label}=~"${label}"'

    return check


def _target_counter_agg(document: Document) -> Said:
    for place, selector in _selectors(document):
        if selector.name.endswith("_total") and not (selector.range and selector.function in COUNTING):
            yield place, f"the counter {selector.name} is not read by rate, irate or increase"


def _uneditable(document: Document) -> Said:
    if document.get("editable", True):
        yield "", "should not be editable: what is changed by hand is lost with the next version"


def _board_identity(document: Document) -> Said:
    uid = document.get("uid")
    if not isinstance(uid, str) or not 0 < len(uid) <= UID_MAX:
        yield "", f"its uid {uid!r} should have 1 to {UID_MAX} characters"
    if document.get("id") is not None:
        yield "", "its id should be null: it belongs to one Grafana"
    version = document.get("schemaVersion")
    if not isinstance(version, int) or version < SCHEMA_MIN:
        yield "", f"its schema version {document.get('schemaVersion')} is too old"
    ids = [str(panel.get("id")) for panel in _documents(document.get("panels"))]
    if len(set(ids)) != len(ids):
        yield "", "two panels have one id"


def _no_inputs(document: Document) -> Said:
    for name in ("__inputs", "__requires", "__elements"):
        if name in document:
            yield "", f"{name} asks whoever imports it to edit"


def _no_angular(document: Document) -> Said:
    for panel in panels_of(document):
        if str(panel.get("type")) in REMOVED:
            yield str(panel.get("title")), f"is a {panel.get('type')}, which Grafana has removed"


RULES: Final[Mapping[str, Callable[[Document], Said]]] = {
    "template-datasource-rule": _template_datasource,
    "template-job-rule": _template_of("job"),
    "template-instance-rule": _template_of("instance"),
    "template-label-promql-rule": _template_label_promql,
    "template-on-time-change-reload-rule": _template_on_time_change_reload,
    "panel-datasource-rule": _panel_datasource,
    "panel-title-description-rule": _panel_title_description,
    "panel-units-rule": _panel_units,
    "panel-no-targets-rule": _panel_no_targets,
    "target-promql-rule": _target_promql,
    "target-rate-interval-rule": _target_rate_interval,
    "target-job-rule": _target_matcher("job"),
    "target-instance-rule": _target_matcher("instance"),
    "target-counter-agg-rule": _target_counter_agg,
    "uneditable-dashboard": _uneditable,
    "board-identity": _board_identity,
    "no-inputs": _no_inputs,
    "no-angular": _no_angular,
}
