"""A rule tried on history: the same pages as second by second, delays, misses, advice; and on NAB where it is there."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andon.observability.alerts.backtest import History, Marked, Track, compare, replay
from andon.observability.alerts.model import AlertSpec, When, WindowWhen
from andon.observability.alerts.report import report_of
from andon.observability.alerts.rules import NS, Evaluation, Observation, compile_rule
from andon.observability.alerts.series import history_of, moment_ns, read_incidents, read_series
from tests.observability.alerts.test_book import T0, Desk

NAB = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "incidents" / "nab"


def rule(above: float = 0.5, **fields: object):  # type: ignore[no-untyped-def]  # a test's own
    when = When(window=WindowWhen(metric="errorRate", above=above, over="10s"))
    return compile_rule("errors", AlertSpec(when=when, **fields))  # type: ignore[arg-type]  # tests name loosely


def history(*tracks: list[float], step_s: int = 10, above: float = 0.5) -> History:
    times = T0 + np.arange(len(tracks[0]), dtype=np.int64) * step_s * NS
    return History(
        times_ns=times,
        tracks=tuple(
            Track(labels={"endpoint": f"e{at}"}, values=np.asarray(track, dtype=float))
            for at, track in enumerate(tracks)
        ),
        step_s=step_s,
        metric="errorRate",
        above=above,
    )


@settings(max_examples=60, deadline=None)
@given(
    runs=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=1, max_size=12),
    for_s=st.sampled_from([0, 30, 120]),
    keep_s=st.sampled_from([0, 60]),
)
def test_playing_changes_only_is_playing_every_second(
    runs: list[tuple[int, int]], for_s: int, keep_s: int
) -> None:
    track = [value for quiet, loud in runs for value in [0.0] * quiet + [1.0] * loud]
    fields = {"for_": f"{for_s}s", "keep_firing_for": f"{keep_s}s"}
    played = replay(rule(**fields), history(track))
    desk = Desk(errors=fields)
    for at, value in enumerate(track):
        seen = (Observation(labels={"endpoint": "e0"}, value=value),) if value > 0.5 else ()
        desk.at(at * 10, errors=Evaluation(seen=seen))
    pages = [at for at, note in desk.told if note.reason == "new"]
    assert [(page.at_ns - T0) // NS for page in played.pages] == pages


def test_a_report_tells_pages_delays_misses_and_false_ones() -> None:
    week = [0.0] * (7 * 8640)
    week[1000:1100] = [0.9] * 100
    week[30_000:30_060] = [0.6] * 60
    week[50_000:50_001] = [0.7]
    marked = [
        Marked(starts_ns=T0 + 9_950 * NS, ends_ns=T0 + 11_000 * NS, name="outage"),
        Marked(starts_ns=T0 + 500_000 * NS, ends_ns=T0 + 500_300 * NS, name="missed"),
    ]
    found = report_of(rule(), history(week), marked, pages_per_week=1.0)
    assert found["pages"] == 2  # the third lasted less than groupWait
    assert found["pages_per_week"] == pytest.approx(2, rel=1e-3)
    assert (found["detected"], found["missed"], found["false_pages"]) == (1, 1, 1)
    assert found["incidents"][0]["delay_s"] == pytest.approx(80, abs=10)
    assert found["shown"][0]["lasted_s"] == pytest.approx(970, abs=20)
    assert found["advice"]["pages_per_week"] == pytest.approx(1, rel=1e-3)
    assert 0.6 <= found["advice"]["threshold"] < 0.9
    assert found["advice"]["detected"] == 1


def test_too_few_events_follow_the_missing_policy() -> None:
    track = [1.0, 1.0, *[float("nan")] * 600, 0.0]
    assert len(replay(rule(), history(track)).pages) == 0
    kept = history(track)
    kept = History(**{**{name: getattr(kept, name) for name in kept.__struct_fields__}, "missing": "keep"})
    assert len(replay(rule(), kept).pages) == 1


def test_a_page_that_goes_on_into_an_incident_belongs_to_it() -> None:
    played = replay(rule(), history([1.0] * 1000))
    outcome = compare(
        played.pages, [Marked(starts_ns=T0 + 5000 * NS, ends_ns=T0 + 6000 * NS)], T0 + 10**4 * NS
    )
    assert outcome.delays_s == (0.0,)


def test_csv_is_read_and_its_faults_are_placed() -> None:
    times, values = read_series(["timestamp,value", "2026-01-01 00:00:00,1.5", "1767225900,2"])
    assert times == [moment_ns("2026-01-01T00:00:00Z"), moment_ns("2026-01-01T00:05:00+00:00")]
    assert values == [1.5, 2.0]
    (one,) = read_incidents(["start,end,name", "2026-01-01,2026-01-02,fire"])
    assert one.name == "fire"
    with pytest.raises(ValueError, match="line 2"):
        read_series(["2026-01-01,1", "2026-01-01,x"])
    with pytest.raises(ValueError, match="ends before"):
        read_incidents(["2026-01-02,2026-01-01"])


@pytest.mark.skipif(
    not NAB.is_dir(), reason="needs the shared NAB series, which are not part of the repository"
)
def test_on_a_marked_series_advice_pages_within_the_incident() -> None:
    name = "realAWSCloudwatch/rds_cpu_utilization_cc0c53.csv"
    with gzip.open(NAB / f"{name}.gz", "rt") as file:
        times, values = read_series(file)
    windows = json.loads((NAB / "combined_windows.json").read_text())[name]
    marked = [Marked(starts_ns=moment_ns(begin), ends_ns=moment_ns(end)) for begin, end in windows]
    when = When(window=WindowWhen(metric="errorRate", above=1.0, over="5m"))
    wanted = compile_rule("cpu", AlertSpec(when=when, group_wait="0s"))
    found = report_of(wanted, history_of(wanted, times, values), marked, pages_per_week=1.0)
    assert found["points"] == len(times) == 4032
    assert found["advice"] is not None
    assert found["advice"]["pages_per_week"] <= 1.0
    assert found["advice"]["detected"] >= 1
