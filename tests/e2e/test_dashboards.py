"""Every panel of every dashboard on a live factory: no GPU is needed, and each shows something."""

from __future__ import annotations

import shutil

import pytest

pytest.importorskip("grafana_foundation_sdk")

from benchmarks.dashboards import measure


@pytest.mark.slow
@pytest.mark.prometheus
@pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="Prometheus (Debian: prometheus) is not installed"
)
def test_every_panel_shows_data() -> None:
    shown = measure(20.0, devices=False)
    assert [(one.board, one.panel, one.empty) for one in shown if one.empty] == []
    assert len(shown) > 100
