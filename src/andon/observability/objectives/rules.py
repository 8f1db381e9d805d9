"""Recording and alerting rules for Prometheus in Sloth's names, over the counters of objectives.

The public dashboards for Sloth (grafana.com 14348) work on them unchanged. Unlike Sloth's default, the period's ratio
is weighed by events (increase of bad over increase of all), not an average of five-minute ratios. PromQL has no exact
binomial tail: an alert asks for the normal approximation of it, z standard deviations above what the budget allows,
and for three bad events. Pure: a spec in, plain values out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

from andon.observability.objectives.model import ObjectiveSpec
from andon.observability.objectives.windows import DAY_S, Window, period_s, span, windows_of

EVENTS_TOTAL = "andon_objective_events_total"
BAD_TOTAL = "andon_objective_bad_total"
MODE = "andon"
LEAST_BAD = 3
BASE_S = 300  # the window of the current burn rate


def rules_of(objectives: Mapping[str, ObjectiveSpec], version: str) -> dict[str, Any]:
    """A rule file for every objective, as plain values for YAML."""
    groups: list[dict[str, Any]] = []
    for name, spec in sorted(objectives.items()):
        windows = windows_of(spec)
        identity = identity_of(name, spec)
        groups.append(
            {
                "name": f"sloth-slo-sli-recordings-{identity['sloth_id']}",
                "rules": _recordings(name, spec, windows, identity),
            }
        )
        groups.append(
            {
                "name": f"sloth-slo-meta-recordings-{identity['sloth_id']}",
                "rules": _meta(spec, identity, version),
            }
        )
        alerts = _alerts(name, spec, windows, identity)
        if alerts:
            groups.append({"name": f"sloth-slo-alerts-{identity['sloth_id']}", "rules": alerts})
    return {"groups": groups}


def identity_of(name: str, spec: ObjectiveSpec) -> dict[str, str]:
    """The labels by which Sloth's dashboards know an objective."""
    endpoint = spec.over.get("endpoint", "")
    service = spec.service or (endpoint if isinstance(endpoint, str) else "") or "andon"
    return {"sloth_id": f"{service}-{name}", "sloth_service": service, "sloth_slo": name}


def _recordings(
    name: str, spec: ObjectiveSpec, windows: Sequence[Window], identity: dict[str, str]
) -> list[dict[str, Any]]:
    lengths = {BASE_S, *(window.long_s for window in windows), *(window.short_s for window in windows)}
    rules = [
        {
            "record": f"slo:sli_error:ratio_rate{span(seconds)}",
            "expr": _ratio(name, spec, seconds),
            "labels": {**identity, "sloth_window": span(seconds)},
        }
        for seconds in sorted(lengths)
    ]
    period = period_s(spec)
    if period not in lengths:
        rules.append(
            {
                "record": f"slo:sli_error:ratio_rate{span(period)}",
                "expr": _ratio(name, spec, period),
                "labels": {**identity, "sloth_window": span(period)},
            }
        )
    return rules


def _ratio(name: str, spec: ObjectiveSpec, seconds: int) -> str:
    bad, events = (_rate(metric, name, spec, seconds) for metric in (BAD_TOTAL, EVENTS_TOTAL))
    return f"({bad})\n/\n({events} > 0)\n"


def _rate(metric: str, name: str, spec: ObjectiveSpec, seconds: int, function: str = "rate") -> str:
    by = f" by ({', '.join(spec.by)})" if spec.by else ""
    return f'sum{by}({function}({metric}{{objective="{name}"}}[{span(seconds)}]))'


def _meta(spec: ObjectiveSpec, identity: dict[str, str], version: str) -> list[dict[str, Any]]:
    selected = "{" + ", ".join(f'{label}="{value}"' for label, value in identity.items()) + "}"
    period = period_s(spec)

    def over_budget(record: str) -> str:
        return (
            f"{record}{selected}\n/ on(sloth_id, sloth_slo, sloth_service) group_left\n"
            f"slo:error_budget:ratio{selected}\n"
        )

    info = {
        **identity,
        "sloth_mode": MODE,
        "sloth_objective": f"{spec.objective * 100:.10g}",
        "sloth_spec": "andon/v1",
        "sloth_version": version,
    }
    stated = (
        ("slo:objective:ratio", f"vector({spec.objective!r})", identity),
        ("slo:error_budget:ratio", f"vector(1-{spec.objective!r})", identity),
        ("slo:time_period:days", f"vector({period / DAY_S:.10g})", identity),
        ("slo:current_burn_rate:ratio", over_budget(f"slo:sli_error:ratio_rate{span(BASE_S)}"), identity),
        ("slo:period_burn_rate:ratio", over_budget(f"slo:sli_error:ratio_rate{span(period)}"), identity),
        ("slo:period_error_budget_remaining:ratio", f"1 - slo:period_burn_rate:ratio{selected}", identity),
        ("sloth_slo_info", "vector(1)", info),
    )
    return [{"record": record, "expr": expr, "labels": labels} for record, expr, labels in stated]


def _alerts(
    name: str, spec: ObjectiveSpec, windows: Sequence[Window], identity: dict[str, str]
) -> list[dict[str, Any]]:
    selected = "{" + ", ".join(f'{label}="{value}"' for label, value in identity.items()) + "}"
    found = []
    for severity in ("page", "ticket"):
        pairs = [window for window in windows if window.severity == severity]
        if not pairs:
            continue
        on = f"on({', '.join(spec.by)})"
        parts = [
            f"(\n    (slo:sli_error:ratio_rate{span(pair.short_s)}{selected} > {pair.ratio:.12g})\n"
            f"    and ignoring (sloth_window)\n"
            f"    (slo:sli_error:ratio_rate{span(pair.long_s)}{selected} > {pair.ratio:.12g})\n"
            f"    and {on}\n    ({_evidence(name, spec, pair)})\n)\n"
            for pair in pairs
        ]
        found.append(
            {
                "alert": "AndonObjectiveBurns",
                "expr": "or ignoring (sloth_window)\n".join(parts),
                "labels": {"objective": name, "sloth_severity": severity},
                "annotations": {
                    "summary": spec.description or f"Objective {name} burns its error budget too fast.",
                    "title": f"({severity}) {{{{$labels.sloth_service}}}} {{{{$labels.sloth_slo}}}} SLO error "
                    "budget burn rate is too fast.",
                },
            }
        )
    return found


def _evidence(name: str, spec: ObjectiveSpec, pair: Window) -> str:
    """Bad events beyond what the budget allows by z standard deviations, and at least three."""
    budget = 1.0 - spec.objective
    z = NormalDist().inv_cdf(1.0 - pair.significance)
    bad, events = (_rate(metric, name, spec, pair.long_s, "increase") for metric in (BAD_TOTAL, EVENTS_TOTAL))
    variance = budget * spec.objective
    least = LEAST_BAD  # increases are extrapolated, so counts are compared half-way
    return (
        f"{bad} > {least - 0.5} and {bad} > {budget:.12g} * {events} + {z:.6g} * sqrt({variance:.12g} * {events}) "
        f"and {events} > {spec.minimum_events - 0.5}"
    )
