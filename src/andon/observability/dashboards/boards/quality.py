"""The board of quality: how good answers are, by labels and before them; how late labels are; what drifts.

Figures of the latest look at each monitor; reports with noise floors are in `andon drift`.
"""

from __future__ import annotations

from andon.observability.dashboards.boards.service import BY_RELEASE
from andon.observability.dashboards.expressions import (
    ENDPOINT,
    RELEASE,
    highest,
    mean,
    quantile,
    rate,
    series,
    top,
    total,
)
from andon.observability.dashboards.model import Board, Filter, Panel, Query, Row

_MONITOR = 'monitor=~"$monitor"'

_QUALITY = Row(
    "Quality of answers",
    (
        Panel(
            title="Realised and estimated",
            meaning="Each figure by labels, and by scores before labels where the estimate is still trusted.",
            unit="percentunit",
            width=16,
            queries=(
                Query(
                    series("andon_quality", _MONITOR, RELEASE, 'metric!~"mae|rmse|mse|cost"'),
                    "{{monitor}} {{release}} {{metric}} {{kind}}",
                ),
            ),
        ),
        Panel(
            title="Quality alarm",
            meaning="1 where a monitor's leading figure has fallen by more than chance and its tolerance explain.",
            unit="short",
            shape="bars",
            least=0,
            most=1,
            steps=((0, "green"), (1, "red")),
            queries=(Query(highest(series("andon_quality_alarm", _MONITOR), "monitor"), "{{monitor}}"),),
        ),
        Panel(
            title="Estimate less truth",
            meaning="How far estimates were off once labels came.",
            unit="percentunit",
            queries=(
                Query(
                    series("andon_quality_estimate_error", _MONITOR, RELEASE),
                    "{{monitor}} {{release}} {{metric}}",
                ),
            ),
        ),
        Panel(
            title="Label coverage of the newest chunk",
            meaning="Share of the chunk's answers that have a label: figures of few labels say little.",
            unit="percentunit",
            least=0,
            most=1,
            queries=(
                Query(
                    series("andon_quality_label_coverage_ratio", _MONITOR, RELEASE), "{{monitor}} {{release}}"
                ),
            ),
        ),
        Panel(
            title="Label lag of the newest chunk",
            meaning="From the answer to its label, by quantile.",
            unit="s",
            queries=(
                Query(
                    series("andon_quality_label_lag_seconds", _MONITOR, RELEASE),
                    "{{monitor}} {{release}} {{quantile}}",
                ),
            ),
        ),
    ),
)

_LABELS = Row(
    "Labels",
    (
        Panel(
            title="Label coverage",
            meaning="Share of the requests served of late that have a label.",
            unit="percentunit",
            least=0,
            most=1,
            queries=(Query(series("andon_label_coverage_ratio", ENDPOINT), "{{endpoint}}"),),
        ),
        Panel(
            title="Label lag",
            meaning="Time from an answer to its label.",
            unit="s",
            queries=(
                Query(quantile(0.5, "andon_label_lag_seconds"), "P50"),
                Query(quantile(0.95, "andon_label_lag_seconds"), "P95"),
                Query(mean("andon_label_lag_seconds"), "mean"),
            ),
        ),
        Panel(
            title="Labels and judgements",
            meaning="Labels, evaluations and feedback a second.",
            unit="cps",
            queries=(
                Query(
                    total(rate("andon_facts_total", 'kind=~"label|evaluation|feedback"'), "kind"), "{{kind}}"
                ),
            ),
        ),
        Panel(
            title="About unknown requests",
            meaning="Facts a second whose request was not known when they came: kept aside, joined when it comes.",
            unit="cps",
            width=12,
            queries=(
                Query(total(rate("andon_facts_unknown_total")), "unknown on arrival"),
                Query(total(rate("andon_facts_joined_late_total")), "joined later"),
            ),
        ),
        Panel(
            title="Labels that wait",
            meaning="Labels whose request has not come, as far as they are remembered in memory.",
            unit="short",
            width=12,
            queries=(Query(total(series("andon_facts_waiting"))),),
        ),
    ),
)

_DRIFT = Row(
    "Drift",
    (
        Panel(
            title="Drift alarm",
            meaning="1 where the last period of a monitor was drift, within its one budget of false alarms.",
            unit="short",
            shape="bars",
            most=1,
            least=0,
            steps=((0, "green"), (1, "red")),
            queries=(Query(highest(series("andon_drift_alarm", _MONITOR), "monitor"), "{{monitor}}"),),
        ),
        Panel(
            title="Largest distances",
            meaning="Distance of a column to its reference by each statistic; the noise floor is in andon drift.",
            unit="short",
            width=16,
            queries=(
                Query(
                    top(series("andon_drift_distance", _MONITOR), 20), "{{monitor}} {{column}} {{statistic}}"
                ),
            ),
        ),
    ),
)

QUALITY = Board(
    uid="andon-quality",
    title="Andon / Quality",
    meaning="How good answers are, how complete and how late labels are, what drifts, and whether that is an alarm.",
    filters=(*BY_RELEASE, Filter("monitor", "andon_drift_alarm|andon_quality_alarm", "monitor")),
    rows=(_QUALITY, _LABELS, _DRIFT),
    since="now-24h",
)
