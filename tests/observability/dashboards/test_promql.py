"""The reader of PromQL: what it finds, what it refuses, and that promtool agrees on both."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from andon.observability.dashboards.promql import NotPromQL, Selector, read_selectors

PROMTOOL = shutil.which("promtool")
VALID = (
    "up",
    "1 + 2 * -3",
    '{__name__=~"andon_.+", job!="x"}',
    "sum(rate(x_total[5m]))",
    "sum without (a, b) (x) / on (c) group_left (d) y",
    "sum(x) by (le)",
    "topk(5, sum by (a) (rate(x_total{a='b'}[1h30m] offset 5m)))",
    "histogram_quantile(0.9, sum by (le) (rate(x_bucket[5m])))",
    'label_replace(sum(x) == 0, "a", "b", "", "")',
    "max_over_time(sum(x)[1h:5m])",
    "x > bool 1 or y unless z and w",
    "x @ end() - x offset -1w",
    "time() - max by (a) (x)",
    "quantile_over_time(0.5, x[5m])",
    "a:b:c ^ 2 # the end",
    "vector(1)",
)
INVALID = (
    "",
    "sum(",
    "sum(x))",
    "x[5m]",
    "rate(x)",
    "sum(x[5m])",
    "nothing(x)",
    "x{a}",
    "x{a=b}",
    "{}",
    "x y",
    "x +",
    "sum by (a (x)",
    "x[5 minutes]",
    "rate(x[5m][5m])",
    "x offset",
    "?",
)


@pytest.mark.parametrize("text", VALID)
def test_what_is_promql_is_read(text: str) -> None:
    read_selectors(text)


@pytest.mark.parametrize("text", INVALID)
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(NotPromQL):
        read_selectors(text)


@pytest.mark.prometheus
@pytest.mark.skipif(PROMTOOL is None, reason="promtool (Debian: prometheus) is not installed")
@pytest.mark.parametrize(("texts", "accepts"), [(VALID, True), (INVALID, False)])
def test_promtool_says_the_same(tmp_path: Path, texts: tuple[str, ...], accepts: bool) -> None:
    for number, text in enumerate(texts):
        if not text or text == "x[5m]":
            continue  # a rule has an expression; and a range, valid to ask for, is no value of a panel
        file = tmp_path / f"{number}.yaml"
        file.write_text(
            yaml.safe_dump({"groups": [{"name": "g", "rules": [{"record": "r:r", "expr": text}]}]})
        )
        done = subprocess.run([str(PROMTOOL), "check", "rules", str(file)], capture_output=True, check=False)
        assert (done.returncode == 0) == accepts, text


def test_selectors_know_their_range_and_function() -> None:
    text = 'sum(rate(a_total{job=~"$job"}[$__rate_interval])) / scalar(max(b)) + c'
    assert read_selectors(text) == (
        Selector("a_total", (("job", "=~", "$job"),), "$__rate_interval", "rate"),
        Selector("b", (), "", "scalar"),
        Selector("c", (), "", ""),
    )


@given(st.text(alphabet='abx(){}[]=~"!,+-*/<> 15m$_by', max_size=40))
def test_nothing_but_its_own_refusal_is_raised(text: str) -> None:
    with contextlib.suppress(NotPromQL):
        read_selectors(text)
