"""What a back-test tells: pages, delays, misses and advice, in the words of the API. Pure.

The command line prints the same fields, whether the observer or the verb itself made them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from andon.observability.alerts.backtest import WEEK_S, History, Marked, advise, compare, replay
from andon.observability.alerts.rules import NS, Rule

SHOWN = 500  # pages that are told one by one


def report_of(
    rule: Rule, history: History, incidents: Sequence[Marked], pages_per_week: float
) -> dict[str, Any]:
    """The report of a rule on a history, in the fields of `BacktestReport`."""
    played = replay(rule, history)
    since_ns = int(history.times_ns[0]) if len(history.times_ns) else 0
    until_ns = int(history.times_ns[-1]) if len(history.times_ns) else 0
    weeks = ((until_ns - since_ns) / NS + history.step_s) / WEEK_S
    marked = [one for one in incidents if one.starts_ns <= until_ns and one.ends_ns >= since_ns]
    outcome = compare(played.pages, marked, until_ns)
    advice = advise(rule, history, marked, pages_per_week, weeks)
    notes = list(history.notes)
    if len(marked) < len(incidents):
        notes.append(f"{len(incidents) - len(marked)} incidents lie outside this history.")
    if played.cut:
        notes.append("The rule changes so often that only the beginning was played; it flaps.")
    if not history.tracks:
        notes.append("History has nothing that this rule is about.")
    notes.append(f"Delays are exact to {history.step_s:g} s.")
    return {
        "since_ns": since_ns,
        "until_ns": until_ns,
        "step_s": history.step_s,
        "series": len(history.tracks),
        "points": len(history.times_ns),
        "pages": len(played.pages),
        "pages_per_week": len(played.pages) / weeks if weeks else 0.0,
        "repeats": played.repeats,
        "firing_share": played.share,
        "shown": tuple(
            {
                "at_ns": page.at_ns,
                "labels": page.labels,
                "value": page.value,
                "lasted_s": None if page.ended_ns is None else (page.ended_ns - page.at_ns) / NS,
                "alerts": page.alerts,
                "incident": belongs or "",
                "why": page.why,
            }
            for page, belongs in zip(played.pages[:SHOWN], outcome.belongs, strict=False)
        ),
        "left_out": max(0, len(played.pages) - SHOWN),
        "incidents": tuple(
            {"name": one.name, "starts_ns": one.starts_ns, "ends_ns": one.ends_ns, "delay_s": delay}
            for one, delay in zip(marked, outcome.delays_s, strict=True)
        ),
        "detected": outcome.detected,
        "missed": len(marked) - outcome.detected,
        "false_pages": sum(one is None for one in outcome.belongs) if incidents else None,
        "median_delay_s": outcome.median_delay_s,
        "advice": None
        if advice is None
        else {
            "threshold": advice.threshold,
            "pages_per_week": advice.pages_per_week,
            "detected": advice.detected,
            "delay_s": advice.delay_s,
        },
        "notes": tuple(notes),
    }
