"""Saved views: a few lines become a board that keeps every rule; what is wrong is named."""

from __future__ import annotations

import pytest

pytest.importorskip("grafana_foundation_sdk")

from andon.kernel.errors import Refused
from andon.observability.dashboards.grafana import render
from andon.observability.dashboards.lint import lint
from andon.observability.dashboards.views import View, ViewPanel, board_of


def view(*panels: ViewPanel) -> View:
    return View(name="credit", title="Credit", panels=panels)


def test_families_become_rates_quantiles_means_and_values() -> None:
    board = board_of(
        view(
            ViewPanel(
                title="Requests", metric="andon_requests_total", by=("release",), where={"endpoint": 'a"b'}
            ),
            ViewPanel(title="P95", metric="andon_overhead_seconds", quantile=0.95, unit="s"),
            ViewPanel(title="Mean", metric="andon_overhead_seconds", histogram=True, unit="s"),
            ViewPanel(title="GPUs", metric="andon_gpus"),
        )
    )
    assert board.uid == "andon-view-credit"
    scope = 'job=~"$job", instance=~"$instance"'
    assert [panel.queries[0].expr for panel in board.panels] == [
        f'sum by (release) (rate(andon_requests_total{{{scope}, endpoint="a\\"b"}}[$__rate_interval]))',
        "histogram_quantile(0.95, sum by (le) (rate(andon_overhead_seconds_bucket"
        f"{{{scope}}}[$__rate_interval])))",
        f"sum(rate(andon_overhead_seconds_sum{{{scope}}}[$__rate_interval])) / "
        f"sum(rate(andon_overhead_seconds_count{{{scope}}}[$__rate_interval]))",
        f"sum(andon_gpus{{{scope}}})",
    ]
    assert board.panels[0].queries[0].legend == "{{release}}"
    assert lint(render(board)) == ()


@pytest.mark.parametrize(
    ("panel", "said"),
    [
        (ViewPanel(title="A"), "needs a metric or promql"),
        (ViewPanel(title="A", metric="x", promql="x"), "needs a metric or promql"),
        (ViewPanel(title="A", metric="x", unit="furlong"), "'furlong'"),
        (ViewPanel(title="A", promql="sum(x"), "is no PromQL"),
        (ViewPanel(title="A", metric="x y"), "is no PromQL"),
    ],
)
def test_what_is_wrong_with_a_panel_is_named(panel: ViewPanel, said: str) -> None:
    with pytest.raises(Refused) as refused:
        board_of(view(panel))
    assert refused.value.code == "view_invalid"
    assert "'A'" in refused.value.message
    assert said in refused.value.message
