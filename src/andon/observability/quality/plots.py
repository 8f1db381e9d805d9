"""Plots of the quality report as SVG that takes its colours from the page, so that it is read in light and in dark.

Drawn by matplotlib without a screen and without a date: the same report gives the same bytes. Nothing is fetched.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import dates
from matplotlib.figure import Figure

INK, FAINT, BAD = "#010101", "#020202", "#030303"
SERIES = ("#041111", "#042222", "#043333", "#044444", "#045555", "#046666")
# What the page replaces: colours that nothing is meant to be seen in.
_VARIABLES = {
    INK: "var(--ink)",
    FAINT: "var(--faint)",
    BAD: "var(--bad)",
    **{colour: f"var(--s{number})" for number, colour in enumerate(SERIES)},
}
_WIDTH, _ROW = 8.6, 0.34
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9.0,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}


def _open(height: float, rows: int = 1, salt: str = "") -> tuple[Figure, Any]:
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    figure.patch.set_alpha(0.0)
    axes = figure.subplots(rows, 1, sharex=rows > 1)
    for one in np.atleast_1d(axes):
        one.patch.set_alpha(0.0)
    return figure, axes


def _svg(figure: Figure, name: str, said: str) -> str:
    """The figure as an element of a page; `said` is read to those who cannot see it."""
    written = io.StringIO()
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure.savefig(written, format="svg", metadata={"Date": None})
    text = written.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, variable)
    text = re.sub(r'id="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'(href="|url\()#', rf"\1#{name}-", text)
    return re.sub(r'<svg ([^>]*?)height="[^"]*"', rf'<svg role="img" aria-label="{said}" \1', text, count=1)


def _times(chunks: Sequence[dict[str, Any]]) -> list[datetime]:
    return [datetime.fromtimestamp((one["from_ns"] + one["until_ns"]) / 2e9, UTC) for one in chunks]


def _dated(axes: Any) -> None:
    ticks: Any = dates  # carries no types
    locator = ticks.AutoDateLocator(minticks=3, maxticks=9)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ticks.ConciseDateFormatter(locator))


def measure_of(chunk: dict[str, Any], metric: str) -> dict[str, Any]:
    """One figure of a chunk; empty where it has none."""
    return next((one for one in chunk["measures"] if one["metric"] == metric), {})


def draw_course(report: dict[str, Any]) -> str:
    """The leading figure over time: what labels say with its interval, what scores said with its band."""
    metric = report["leading"]
    with mpl.rc_context(_STYLE):
        figure, axes = _open(3.4)
        for release, colour in zip(report["releases"], SERIES * 9, strict=False):
            _course(axes, release, metric, colour)
        if report["threshold"] is not None:
            axes.axhline(report["threshold"], color=BAD, linewidth=1.0, linestyle=(0, (4, 3)))
            # Beside the line and not in the legend: it belongs to no release.
            axes.text(
                1.0,
                report["threshold"],
                " alarms",
                color=BAD,
                va="center",
                transform=axes.get_yaxis_transform(),
            )
        axes.set_ylabel(metric)
        _dated(axes)
        handles, labels = axes.get_legend_handles_labels()
        if handles:
            figure.legend(handles, labels, loc="outside upper left", ncols=3)
        return _svg(figure, "course", f"{metric} over time, from labels and estimated")


def _course(axes: Any, release: dict[str, Any], metric: str, colour: str) -> None:
    name, chunks = release["release"], release["chunks"]
    known = [
        (at, one) for at, one in zip(_times(chunks), chunks, strict=True) if _has(one, metric, "realised")
    ]
    said = [
        (at, one) for at, one in zip(_times(chunks), chunks, strict=True) if _has(one, metric, "estimated")
    ]
    if said:
        at = [moment for moment, _ in said]
        value = np.asarray([measure_of(one, metric)["estimated"] for _, one in said])
        band = np.asarray([measure_of(one, metric)["band"] or 0.0 for _, one in said])
        axes.fill_between(at, value - band, value + band, color=colour, alpha=0.16, linewidth=0)
        off = "" if release["trust"]["state"] == "on" else ", not trusted"
        axes.plot(
            at, value, color=colour, linewidth=1.2, linestyle=(0, (2, 2)), label=f"{name} estimated{off}"
        )
    if known:
        at = [moment for moment, _ in known]
        found = [measure_of(one, metric) for _, one in known]
        value = np.asarray([one["realised"] for one in found])
        low = np.asarray([one["realised"] if one["low"] is None else one["low"] for one in found])
        high = np.asarray([one["realised"] if one["high"] is None else one["high"] for one in found])
        reach = np.maximum(np.stack([value - low, high - value]), 0.0)
        axes.errorbar(
            at,
            value,
            yerr=reach,
            color=colour,
            marker="o",
            markersize=3.5,
            linewidth=1.4,
            elinewidth=0.8,
            label=f"{name} from labels",
        )
        fallen = [place for place, (_, one) in enumerate(known) if one["alarms"]]
        if fallen:
            axes.plot(
                [at[place] for place in fallen],
                value[fallen],
                "o",
                color=BAD,
                markersize=7,
                markerfacecolor="none",
                markeredgewidth=1.6,
            )


def _has(chunk: dict[str, Any], metric: str, kind: str) -> bool:
    return measure_of(chunk, metric).get(kind) is not None


def draw_labels(report: dict[str, Any]) -> str:
    """Share of answers with a label, and how late labels are."""
    with mpl.rc_context(_STYLE):
        figure, (upper, lower) = _open(3.6, rows=2)
        for release, colour in zip(report["releases"], SERIES * 9, strict=False):
            chunks = release["chunks"]
            at = _times(chunks)
            upper.plot(
                at,
                [one["coverage"] * 100 for one in chunks],
                color=colour,
                marker="o",
                markersize=3,
                label=release["release"],
            )
            late = [
                (moment, one) for moment, one in zip(at, chunks, strict=True) if one["lag_p50_s"] is not None
            ]
            hours = [(one["lag_p50_s"] / 3600, one["lag_p90_s"] / 3600) for _, one in late]
            moments = [moment for moment, _ in late]
            lower.plot(moments, [half for half, _ in hours], color=colour, marker="o", markersize=3)
            lower.fill_between(
                moments,
                [half for half, _ in hours],
                [most for _, most in hours],
                color=colour,
                alpha=0.16,
                linewidth=0,
            )
        upper.set_ylim(-3, 103)
        upper.set_ylabel("labelled, %")
        lower.set_ylim(bottom=0)
        lower.set_ylabel("label after, hours")
        _dated(lower)
        handles, labels = upper.get_legend_handles_labels()
        if handles:
            figure.legend(handles, labels, loc="outside upper left", ncols=3)
        return _svg(figure, "labels", "share of answers with a label, and how late labels are")


def draw_calibration(report: dict[str, Any]) -> str:
    """Share of positives by score, all chunks together; empty where there are no scores."""
    with mpl.rc_context(_STYLE):
        figure, axes = _open(3.4)
        drawn = False
        axes.plot(
            [0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=(0, (1, 2)), label="honest probabilities"
        )
        for release, colour in zip(report["releases"], SERIES * 9, strict=False):
            points = [tuple(point) for chunk in release["chunks"] for point in chunk["curve"]]
            if not points:
                continue
            drawn = True
            score, share, rows = (np.asarray(part, dtype=float) for part in zip(*points, strict=True))
            place = np.minimum((np.clip(score, 0.0, 1.0) * 10).astype(int), 9)
            weight = np.bincount(place, rows, 10)
            full = weight > 0
            x = np.bincount(place, rows * score, 10)[full] / weight[full]
            y = np.bincount(place, rows * share, 10)[full] / weight[full]
            axes.plot(x, y, color=colour, marker="o", markersize=4, label=release["release"])
        axes.set_xlabel("score")
        axes.set_ylabel("share of positives")
        axes.set_aspect("equal", adjustable="box")
        axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
        return _svg(figure, "calibration", "share of positives by score") if drawn else ""


def draw_bars(
    name: str, said: str, rows: Sequence[tuple[str, float, float | None, float | None]], label: str
) -> str:
    """Values with their intervals, one line each, the first on top."""
    if not rows:
        return ""
    with mpl.rc_context(_STYLE):
        figure, axes = _open(0.7 + _ROW * len(rows))
        for place, (_, value, low, high) in enumerate(rows):
            if low is not None and high is not None:
                axes.plot([low, high], [place, place], color=SERIES[0], linewidth=2.0, alpha=0.5)
            axes.plot([value], [place], "o", color=SERIES[0], markersize=5)
        axes.set_yticks(range(len(rows)), [row[0] for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(label)
        return _svg(figure, name, said)
