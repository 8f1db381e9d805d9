"""The kind `Objective`, and the rules that no schema can say.

Listed by `app`; read by the factory file reader, `plan`, the API and the reference. Pure; imports no engine.
"""

from __future__ import annotations

from typing import Any

from andon.control.kinds import Kind, Problem, World
from andon.kernel.units import duration_s
from andon.observability.objectives.model import (
    COLUMNS,
    FLAG_COLUMNS,
    NUMBER_COLUMNS,
    Condition,
    IndicatorSpec,
    ObjectiveSpec,
    Predicate,
)
from andon.observability.objectives.windows import ABSOLUTE_S_MAX, FINE_S, PERIOD_DAYS_MAX, period_s
from andon.store.model import Record

_KINDS = "availability, latency, quality, cost, guard or raw"


def check_objective(spec: Any, record: Record, world: World) -> list[Problem]:
    """References that do not exist, and settings that cannot be enforced."""
    assert isinstance(spec, ObjectiveSpec)
    found = _slice(spec, world) + _indicator(spec.indicator)
    try:
        period_s(spec)
    except ValueError as error:
        return [*found, Problem(path="spec.period", message=f"{error}.")]
    return found + _windows(spec)


def _slice(spec: ObjectiveSpec, world: World) -> list[Problem]:
    named = spec.over.get("endpoint", ())
    found = [
        Problem(path="spec.over.endpoint", message=f"There is no endpoint '{name}'.")
        for name in ((named,) if isinstance(named, str) else named)
        if ("Endpoint", name) not in world
    ]
    for column, value in spec.over.items():
        if not value:
            found.append(Problem(path=f"spec.over.{column}", message="Nothing equals an empty value."))
    if len(set(spec.by)) != len(spec.by):
        found.append(Problem(path="spec.by", message="A column is there twice."))
    return found


def _indicator(indicator: IndicatorSpec) -> list[Problem]:
    at = "spec.indicator"
    if not indicator.kind:
        return [Problem(path=at, message=f"Give exactly one of {_KINDS}.")]
    if indicator.latency is not None:
        return _duration(f"{at}.latency.above", indicator.latency.above, 0.0, 86_400.0)
    if indicator.guard is not None and not (indicator.guard.stages or indicator.guard.codes):
        return [Problem(path=f"{at}.guard", message="Say which: `stages` or `codes`.")]
    if indicator.raw is not None:
        raw = indicator.raw
        found = []
        if (raw.bad is None) == (raw.good is None):
            found.append(Problem(path=f"{at}.raw", message="Give either `bad` or `good`."))
        for name, predicate in (("bad", raw.bad), ("good", raw.good), ("total", raw.total)):
            found += _predicate(f"{at}.raw.{name}", predicate or Predicate())
        return found
    return []


def _predicate(at: str, predicate: Predicate) -> list[Problem]:
    found = []
    for group in ("all", "any"):
        for number, condition in enumerate(getattr(predicate, group)):
            message = fault_of(condition)
            if message:
                found.append(Problem(path=f"{at}.{group}[{number}]", message=message))
    return found


def fault_of(condition: Condition) -> str:
    """What is wrong with a condition; empty if nothing is."""
    column, value = condition.column, condition.value
    if column not in COLUMNS:
        return f"There is no column '{column}' to compare; there are {', '.join(sorted(COLUMNS))}."
    if condition.op in ("null", "present"):
        return "" if value is None else f"`{condition.op}` takes no value."
    if value is None:
        return f"`{condition.op}` needs a value."
    if (condition.op == "in") != isinstance(value, tuple):
        return "`in` takes a list, the others one value."
    wanted: tuple[type, ...] = (str,)
    if column in NUMBER_COLUMNS:
        wanted = (int, float)
    elif column in FLAG_COLUMNS:
        wanted = (bool,)
        if condition.op not in ("eq", "ne"):
            return f"{column} is true or false: compare it with `eq`."
    for one in value if isinstance(value, tuple) else (value,):
        if not isinstance(one, wanted) or (isinstance(one, bool) and bool not in wanted):
            return f"{column} cannot be compared with {one!r}."
    return ""


def _windows(spec: ObjectiveSpec) -> list[Problem]:
    found = []
    alerting, at = spec.alerting, "spec.alerting"
    longest = max(period_s(spec), 3600)
    for number, window in enumerate(alerting.windows):
        here = f"{at}.windows[{number}]"
        found += _duration(f"{here}.long", window.long, 60, longest)
        if window.short:
            found += _duration(f"{here}.short", window.short, FINE_S, longest)
        if window.after:
            found += _duration(f"{here}.after", window.after, 0, 86_400)
        ratio = window.burn * (1 - spec.objective)
        if ratio > 1:
            hint = f"The largest that can be is {1 / (1 - spec.objective):.4g}."
            message = f"A burn rate of {window.burn:g} can never be reached: it asks for {ratio:.0%} errors."
            found.append(Problem(path=f"{here}.burn", message=message, hint=hint))
    if alerting.absolute is not None:
        found += _duration(f"{at}.absolute.window", alerting.absolute.window, FINE_S, ABSOLUTE_S_MAX)
    return found


def _duration(path: str, text: str, least_s: float, most_s: float) -> list[Problem]:
    try:
        seconds = duration_s(text)
    except ValueError as error:
        return [Problem(path=path, message=f"{error}.")]
    if not least_s <= seconds <= most_s or seconds <= 0:
        return [Problem(path=path, message=f"'{text}' is not between {least_s:g} s and {most_s:g} s.")]
    return []


OBJECTIVE_KIND = Kind(
    name="Objective",
    plural="objectives",
    short=("slo",),
    spec=ObjectiveSpec,
    summary=f"What a service promises, counted over the ledger, and its budget of at most {PERIOD_DAYS_MAX} days.",
    check=check_objective,
    columns=(
        ("OBJECTIVE", "spec.objective"),
        ("PERIOD", "spec.period"),
        ("STATE", "status.state"),
        ("BUDGET LEFT", "status.budgetRemaining"),
        ("FIRING", "status.firing"),
    ),
)
