"""The report as a page: whole, self-contained, the same twice, and honest where nothing is known."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from andon.observability.quality.page import render

DAY_NS = 86_400 * 10**9
START_NS = 1_760_054_400 * 10**9
NONE = {"value": None, "low": None, "high": None, "count": 0}


class Tags(HTMLParser):
    """What is opened is closed."""

    void = frozenset({"meta", "br", "path", "use", "rect", "circle"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.void:
            assert self.open.pop() == tag


def chunk(
    day: int, chance: np.random.Generator, release: str = "credit@1", fall: float = 0.0
) -> dict[str, Any]:
    value = 0.86 + chance.normal(0, 0.006) - fall
    known = day < 26
    said = 0.86 + chance.normal(0, 0.004)
    measures = [
        {
            "metric": name,
            "realised": value + shift if known else None,
            "low": value + shift - 0.012 if known else None,
            "high": value + shift + 0.012 if known else None,
            "estimated": said + shift if day >= 6 else None,
            "band": 0.02 if day >= 6 else None,
            "missed": (abs(value - said) > 0.02) if known and day >= 6 else None,
        }
        for name, shift in (("accuracy", 0.0), ("precision", -0.03), ("recall", -0.08), ("roc_auc", 0.05))
    ]
    return {
        "release": release,
        "from_ns": START_NS + day * DAY_NS,
        "until_ns": START_NS + (day + 1) * DAY_NS,
        "rows": 2000,
        "labelled": 1900 if known else 300,
        "coverage": 0.95 if known else 0.15,
        "lag_p50_s": 50_000.0 + 2000 * chance.random(),
        "lag_p90_s": 140_000.0,
        "lowest": 0.8 if known else 0.13,
        "highest": 0.9 if known else 0.98,
        "measures": measures,
        "formulas": {"gap": 0.2},
        "slices": [
            {"column": "team", "value": team, "rows": 900, "labelled": 850, "realised": value + off,
             "low": value + off - 0.02, "high": value + off + 0.02}
            for team, off in (("north", 0.02), ("south", -0.05), ("<script>", 0.0))
        ],
        "confusion": {"true_positive": 700, "false_positive": 130, "true_negative": 950, "false_negative": 120},
        "curve": [[0.05 + 0.1 * n, abs(0.02 + 0.1 * n + chance.normal(0, 0.02)), 190] for n in range(10)],
        "alarms": ["labels"] if fall else [],
    }  # fmt: skip


def answers() -> dict[str, Any]:
    chance = np.random.default_rng(5)
    monitor = {
        "name": "credit", "endpoint": "credit", "metric": "accuracy", "chunk": "1d", "state": "alarm", "message": "",
        "until_ns": START_NS + 30 * DAY_NS, "since_ns": 1, "reasons": ["credit@2 by labels"],
        "releases": {
            "credit@1": {"rows": 40_000, "labelled": 38_000, "realised": 0.8612, "estimated": None, "band": None,
                         "estimateState": "on", "reason": ""},
            "credit@2": {"rows": 20_000, "labelled": 9_000, "realised": 0.8012, "estimated": 0.858, "band": 0.02,
                         "estimateState": "on", "reason": ""},
        },
    }  # fmt: skip
    trust = {"state": "on", "settled": 12, "misses": 0, "allowed": 1, "worst": 0.011, "reason": ""}
    report = {
        "leading": "accuracy",
        "threshold": 0.832,
        "references": [{"release": "", "origin": "credit@1, 2000 labels", "made_ns": START_NS}],
        "releases": [
            {"release": "credit@1", "trust": trust, "chunks": [chunk(day, chance) for day in range(20)]},
            {
                "release": "credit@2",
                "trust": {**trust, "state": "off", "misses": 3},
                "chunks": [
                    chunk(day, chance, "credit@2", 0.06 if day > 22 else 0.0) for day in range(14, 30)
                ],
            },
        ],
    }
    columns = [
        {"column": name, "verdict": verdict, "impact": impact, "impact_noise": 0.004}
        for name, verdict, impact in (
            ("income", "drift", 0.031),
            ("age", "drift", 0.002),
            ("debt", "stable", -0.001),
        )
    ]
    engagement = {
        "release": "credit@1", "exchanges": 40_000,
        "feedback": {"value": 0.1, "low": 0.09, "high": 0.11, "count": 40_000},
        "thumbs": {"value": 0.8, "low": 0.78, "high": 0.82, "count": 4000}, "rating": NONE, "regenerated": NONE,
    }  # fmt: skip
    return {
        "quality": {"monitor": monitor, "report": report},
        "drift": {"report": {"columns": columns, "drifted": ["income", "age"]}, "report_until_ns": START_NS},
        "engagement": {"items": [engagement]},
    }


def test_the_page_is_whole_and_fetches_nothing() -> None:
    page = render(answers())
    Tags().feed(page)
    for title in (
        "Over time",
        "Labels",
        "Figures",
        "Calibration",
        "Confusion",
        "Slices",
        "Drift by impact",
        "Feedback",
    ):
        assert f"<h2>{title}</h2>" in page
    assert not re.search(r"https?://(?!www\.w3\.org/)", page)
    assert "<script" not in page
    assert "prefers-color-scheme:dark" in page
    # Every colour of a plot is the page's own, so that it is read in the dark too.
    assert not re.search(r"(stroke|fill): #0[0-9]", page)
    names = re.findall(r'<[^>]* id="([^"]+)"', page)
    assert len(names) == len(set(names))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(names)


def test_the_same_report_is_the_same_page() -> None:
    assert render(answers()) == render(answers())


def test_where_nothing_is_known_it_says_so() -> None:
    told = answers()
    told["quality"]["report"], told["drift"], told["engagement"] = None, None, {"items": []}
    told["quality"]["monitor"]["releases"] = {}
    assert "No answer has been judged yet" in render(told)
