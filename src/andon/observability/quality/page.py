"""The quality report as one page: everything known of a model's answers, readable without a network or a script.

Takes the API's own answers, draws by `plots`, and adds nothing that they do not say. Light or dark as the reader's
screen is.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

from andon.observability.quality.plots import (
    draw_bars,
    draw_calibration,
    draw_course,
    draw_labels,
)

_BARS_MAX = 20
_UNKNOWN = "-"
_STYLE = """
:root{--ink:#1c2330;--paper:#fff;--card:#f4f6f9;--faint:#c6ccd6;--soft:#5b6676;--bad:#c0392b;--good:#1e8449;
--s0:#2463c4;--s1:#b85c00;--s2:#0f8a6d;--s3:#8a3ab9;--s4:#b3316b;--s5:#5d6d00;color-scheme:light dark}
@media (prefers-color-scheme:dark){:root{--ink:#e4e9f1;--paper:#12161d;--card:#1b212b;--faint:#3a4352;
--soft:#9aa6b8;--bad:#ff7b6b;--good:#5fd38d;--s0:#7db0ff;--s1:#ffb066;--s2:#5fd9bb;--s3:#cf9bff;--s4:#ff8fbf;
--s5:#c5d65c}}
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:60rem;margin:0 auto;padding:2rem 1.25rem 4rem}h1{font-size:1.7rem;margin:0 0 .25rem}
h2{font-size:1.15rem;margin:2.5rem 0 .5rem}p{margin:.25rem 0 .75rem;color:var(--soft);max-width:46rem}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(15rem,1fr));gap:.75rem;margin:1.25rem 0}
.card{background:var(--card);border-radius:.5rem;padding:.9rem 1rem}.card b{display:block;font-size:1.6rem;
font-variant-numeric:tabular-nums}.card span{color:var(--soft);display:block;font-size:.9rem}
.state{display:inline-block;padding:.1rem .6rem;border-radius:1rem;border:1px solid currentColor;font-size:.9rem}
.alarm{color:var(--bad)}.good{color:var(--good)}.waiting{color:var(--soft)}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.35rem .75rem .35rem 0;border-bottom:1px solid var(--faint);vertical-align:top}
th{font-weight:600;color:var(--soft);font-size:.85rem}svg{width:100%;height:auto;display:block}
svg text{font-family:inherit!important}footer{margin-top:3rem;color:var(--soft);font-size:.85rem}
"""


def render(told: dict[str, Any]) -> str:
    """The page of {"quality": …, "drift": … or None, "engagement": …}, each as the API answers it."""
    monitor, report = told["quality"]["monitor"], told["quality"]["report"]
    parts = [_head(monitor, report)]
    if report is None or not any(release["chunks"] for release in report["releases"]):
        parts.append("<p>No answer has been judged yet.</p>")
    else:
        parts += [
            _section("Over time", _over_time(report), draw_course(report)),
            _section("Labels", _on_labels(report), draw_labels(report)),
            _figures(report),
            _section(
                "Calibration",
                "Of the answers with a score, how many turned out positive. On the dotted line scores are what they "
                "seem to be.",
                draw_calibration(report),
            ),
            _confusion(report),
            _slices(report),
        ]
    parts += [_drift(told["drift"]), _feedback(told["engagement"])]
    body = "\n".join(part for part in parts if part)
    title = f"Quality of {escape(monitor['endpoint'])}"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{_STYLE}</style></head>\n<body><main>\n{body}\n</main></body></html>\n"
    )


def _section(title: str, words: str, content: str) -> str:
    return f"<section><h2>{title}</h2><p>{words}</p>{content}</section>" if content else ""


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(one)}</th>" for one in headings)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _moment(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M UTC") if at_ns else "never"


def _number(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:.4g}"


def _range(low: float | None, high: float | None) -> str:
    return _UNKNOWN if low is None or high is None else f"{low:.4g} to {high:.4g}"


def _head(monitor: dict[str, Any], report: dict[str, Any] | None) -> str:
    state = monitor["state"]
    words = "; ".join(monitor["reasons"]) or monitor["message"] or "as good as the reference"
    cards = "".join(_card(monitor["metric"], name, release) for name, release in monitor["releases"].items())
    made = (
        "; ".join(
            f"measured from {escape(one['origin'])}, made {_moment(one['made_ns'])}"
            for one in report["references"]
            if not one["release"]
        )
        if report
        else ""
    )
    return (
        f"<h1>Quality of {escape(monitor['endpoint'])}</h1>"
        f'<p><span class="state {state}">{state}</span> {escape(words)}. Judged every {escape(monitor["chunk"])}, '
        f"until {_moment(monitor['until_ns'])}{'; ' + made if made else ''}.</p>"
        f'<div class="cards">{cards}</div>'
    )


def _card(metric: str, name: str, release: dict[str, Any]) -> str:
    estimate = "no estimate"
    if release["estimated"] is not None:
        band = "" if release["band"] is None else f" ± {release['band']:.2g}"
        estimate = f"estimated now {release['estimated']:.4g}{band}"
    elif release["estimateState"] == "off":
        estimate = f"estimate off: {release['reason']}"
    share = release["labelled"] / release["rows"] if release["rows"] else 0.0
    return (
        f'<div class="card"><span>{escape(name)}, {escape(metric)} from labels</span>'
        f"<b>{_number(release['realised'])}</b><span>{escape(estimate)}</span>"
        f"<span>{release['labelled']} labels of {release['rows']} answers ({share:.0%})</span></div>"
    )


def _over_time(report: dict[str, Any]) -> str:
    course = (
        f"The figure {escape(report['leading'])}, from labels with its 95 % interval, and what the scores alone said "
        "before with the band in which it was to lie. A ring is an alarm."
    )
    words = [course]
    for release in report["releases"]:
        trust = release["trust"]
        if trust["settled"]:
            worst = "" if trust["worst"] is None else f", at worst {trust['worst']:.3g} away"
            words.append(
                f"{escape(release['release'])}: {trust['misses']} of {trust['settled']} estimates missed their band"
                f"{worst}; the estimate is {trust['state']}."
            )
    return " ".join(words)


def _on_labels(report: dict[str, Any]) -> str:
    bounds = []
    for release in report["releases"]:
        last = release["chunks"][-1] if release["chunks"] else None
        if last is not None and last["lowest"] is not None and last["coverage"] < 1:
            bounds.append(
                f"Whatever the missing labels say, the accuracy of {escape(release['release'])} in its newest period "
                f"lies between {last['lowest']:.3g} and {last['highest']:.3g}."
            )
    return " ".join(
        ["Share of answers that have a label, and the median and 90th percentile of their delay.", *bounds]
    )


def _last(release: dict[str, Any]) -> dict[str, Any] | None:
    return next((one for one in reversed(release["chunks"]) if one["labelled"]), None)


def _figures(report: dict[str, Any]) -> str:
    rows = []
    for release in report["releases"]:
        chunk = _last(release)
        if chunk is None:
            continue
        for one in chunk["measures"]:
            said = _UNKNOWN
            if one["estimated"] is not None:
                said = _number(one["estimated"]) + ("" if one["band"] is None else f" ± {one['band']:.2g}")
            missed = {None: _UNKNOWN, True: "missed", False: "held"}[one["missed"]]
            rows.append(
                [
                    release["release"],
                    one["metric"],
                    _number(one["realised"]),
                    _range(one["low"], one["high"]),
                    said,
                    missed,
                ]
            )
        rows += [
            [release["release"], name, _number(value), _UNKNOWN, _UNKNOWN, _UNKNOWN]
            for name, value in chunk["formulas"].items()
        ]
    content = _table(("Release", "Figure", "From labels", "95 %", "Estimated", "Band"), rows) if rows else ""
    return _section("Figures", "Of each release's newest period that has labels.", content)


def _confusion(report: dict[str, Any]) -> str:
    names = ("true_positive", "false_positive", "true_negative", "false_negative")
    rows = []
    for release in report["releases"]:
        totals = [sum(chunk["confusion"].get(name, 0) for chunk in release["chunks"]) for name in names]
        if sum(totals):
            rows.append([release["release"], *(f"{total:,} ({total / sum(totals):.1%})" for total in totals)])
    headings = ("Release", "Hit", "False alarm", "Right refusal", "Miss")
    return _section("Confusion", "All labelled answers shown here.", _table(headings, rows) if rows else "")


def _slices(report: dict[str, Any]) -> str:
    bars = []
    for release in report["releases"]:
        chunk = _last(release)
        for one in chunk["slices"] if chunk else ():
            if one["realised"] is not None:
                name = f"{release['release']}  {one['column']}={one['value'] or 'none'}  n={one['labelled']}"
                bars.append((name, one["realised"], one["low"], one["high"]))
    # The worst first, or what is largest where less is better: either way what needs a look.
    worse_low = report["leading"] not in ("log_loss", "brier", "ece", "mae", "rmse", "mape", "cost")
    bars.sort(key=lambda bar: bar[1] if worse_low else -bar[1])
    words = "The parts of each release's newest period with labels, the worst first, with 95 % intervals."
    return _section(
        "Slices",
        words,
        draw_bars("slices", "the leading figure by slice", bars[:_BARS_MAX], report["leading"]),
    )


def _drift(told: dict[str, Any] | None) -> str:
    if told is None or told["report"] is None:
        return ""
    report = told["report"]
    bars = [
        (
            f"{one['column']}  {one['verdict']}",
            one["impact"],
            one["impact"] - (one["impact_noise"] or 0.0),
            one["impact"] + (one["impact_noise"] or 0.0),
        )
        for one in report["columns"]
        if one["impact"] is not None
    ]
    words = (
        f"What moved in the period until {_moment(told['report_until_ns'])}, by how much it raises the expected "
        f"errors; {len(report['drifted'])} of {len(report['columns'])} columns drifted. Drift alone is no fall."
    )
    content = draw_bars("drift", "drift by impact", bars[:_BARS_MAX], "change of the mean expected error")
    if not content:
        content = _table(
            ("Column", "Verdict"), [[one["column"], one["verdict"]] for one in report["columns"][:_BARS_MAX]]
        )
    return _section("Drift by impact", words, content)


def _feedback(told: dict[str, Any]) -> str:
    def share(one: dict[str, Any]) -> str:
        if one["value"] is None:
            return _UNKNOWN
        return f"{one['value']:.1%} ({one['low']:.1%} to {one['high']:.1%}, n={one['count']})"

    def rating(one: dict[str, Any]) -> str:
        return _UNKNOWN if one["value"] is None else f"{one['value']:.2f} (n={one['count']})"

    rows = [
        [
            item["release"],
            f"{item['exchanges']:,}",
            share(item["feedback"]),
            share(item["thumbs"]),
            rating(item["rating"]),
            share(item["regenerated"]),
        ]
        for item in told["items"]
    ]
    headings = ("Release", "Answers", "With feedback", "Thumbs up", "Rating", "Regenerated")
    return (
        _section("Feedback", "What people did with the answers.", _table(headings, rows) if rows else "")
        + "<footer>Made by Andon from its ledger.</footer>"
    )
