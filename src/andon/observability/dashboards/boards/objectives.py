"""The board of objectives: what is promised, what is left of the budgets, how fast they burn, who is told.

All figures are the board's own readings, counted event by event; nothing is averaged twice.
"""

from __future__ import annotations

from andon.observability.dashboards.expressions import highest, rate, series, share, total
from andon.observability.dashboards.model import Board, Filter, Panel, Query, Row

_OBJECTIVE = 'objective=~"$objective"'
_NAME = "{{objective}} {{endpoint}} {{release}} {{team}}"
_LEFT = ((-1000, "red"), (0, "orange"), (0.25, "green"))

_BUDGETS = Row(
    "Budgets",
    (
        Panel(
            title="Budget left",
            meaning="Share of the period's error budget; negative when overspent. Least first.",
            unit="percentunit",
            shape="bars",
            width=8,
            height=8,
            least=-1,
            most=1,
            steps=_LEFT,
            queries=(Query(f"sort({series('andon_objective_budget_remaining_ratio', _OBJECTIVE)})", _NAME),),
        ),
        Panel(
            title="Budget left over time",
            meaning="A slope is a burn; a step up is a bad event that left the period.",
            unit="percentunit",
            width=16,
            height=8,
            queries=(Query(series("andon_objective_budget_remaining_ratio", _OBJECTIVE), _NAME),),
        ),
        Panel(
            title="Attained",
            meaning="Share of good events in the period, counted event by event.",
            unit="percentunit",
            most=1,
            queries=(Query(series("andon_objective_attained_ratio", _OBJECTIVE), _NAME),),
        ),
        Panel(
            title="Promised",
            meaning="Share of good events that each objective promises.",
            unit="percentunit",
            most=1,
            queries=(Query(series("andon_objective_target", _OBJECTIVE), "{{objective}}"),),
        ),
        Panel(
            title="Firing",
            meaning="1 where a window fires, with its evidence and its guards: the exact verdict.",
            unit="short",
            queries=(
                Query(
                    highest(series("andon_objective_firing", _OBJECTIVE), "objective, severity"),
                    "{{objective}} {{severity}}",
                ),
            ),
        ),
    ),
)

_BURN = Row(
    "Burn",
    (
        Panel(
            title="Burn rate by window",
            meaning="Error ratio over error budget: at 1 the budget lasts exactly the period. The worst slice.",
            unit="short",
            width=12,
            queries=(
                Query(
                    highest(series("andon_objective_burn_rate", _OBJECTIVE), "objective, window"),
                    "{{objective}} {{window}}",
                ),
            ),
        ),
        Panel(
            title="Share of bad events",
            meaning="Of the events within the interval, by the counters that recording rules use.",
            unit="percentunit",
            width=12,
            least=0,
            queries=(
                Query(
                    share(
                        rate("andon_objective_bad_total", _OBJECTIVE),
                        rate("andon_objective_events_total", _OBJECTIVE),
                        "objective",
                    ),
                    "{{objective}}",
                ),
            ),
        ),
        Panel(
            title="Events",
            meaning="Events a second of each objective: a ratio of few events says little.",
            unit="cps",
            width=12,
            queries=(
                Query(total(rate("andon_objective_events_total", _OBJECTIVE), "objective"), "{{objective}}"),
            ),
        ),
        Panel(
            title="Bad events",
            meaning="Bad events a second of each objective.",
            unit="cps",
            width=12,
            queries=(
                Query(total(rate("andon_objective_bad_total", _OBJECTIVE), "objective"), "{{objective}}"),
            ),
        ),
    ),
)

_ALERTS = Row(
    "Alerts",
    (
        Panel(
            title="Alerts that fire",
            meaning="By rule and severity; 0 while a rule is quiet.",
            unit="short",
            width=12,
            queries=(
                Query(
                    total(series("andon_alerts", 'state="firing"'), "alertname, severity"),
                    "{{alertname}} {{severity}}",
                ),
            ),
        ),
        Panel(
            title="Alerts that may fire soon",
            meaning="True, but not yet for as long as the rule asks.",
            unit="short",
            width=12,
            queries=(
                Query(
                    total(series("andon_alerts", 'state="pending"'), "alertname, severity"),
                    "{{alertname}} {{severity}}",
                ),
            ),
        ),
        Panel(
            title="Notifications",
            meaning="Notifications a second that arrived, and attempts that did not.",
            unit="cps",
            queries=(
                Query(total(rate("andon_alert_notifications_total"), "receiver"), "{{receiver}}"),
                Query(
                    total(rate("andon_alert_notifications_failed_total"), "receiver"), "failed {{receiver}}"
                ),
            ),
        ),
        Panel(
            title="Time looking at rules",
            meaning="Mean time of one look at one rule.",
            unit="s",
            queries=(
                Query(
                    f"{total(rate('andon_alert_evaluation_seconds_total'))} / "
                    f"({total(rate('andon_alert_evaluations_total'))} > 0)"
                ),
            ),
        ),
        Panel(
            title="Who evaluates alerts",
            meaning="1 for the observer that evaluates; if it is 0 everywhere, nobody would be told of anything.",
            unit="short",
            queries=(Query(series("andon_alerts_evaluating"), "{{instance}}"),),
        ),
    ),
)

OBJECTIVES = Board(
    uid="andon-objectives",
    title="Andon / Objectives",
    meaning="What is promised, what is left of the budgets, how fast they burn, whether somebody is told.",
    filters=(Filter("objective", "andon_objective_target", "objective"),),
    rows=(_BUDGETS, _BURN, _ALERTS),
    since="now-6h",
)
