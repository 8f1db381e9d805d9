"""What an indicator counts: which rows are events, and which events are bad.

Made once from a spec; read by the queries and by the live tallies, so that both count by the same words. Pure.
The order of blame for availability: the release (provider_error), then the client that left (499), then what was
refused with 4xx before dispatch, then other 4xx, then every other failure.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from operator import attrgetter
from typing import Any

import msgspec

from andon.kernel.units import duration_s
from andon.observability.objectives.model import (
    AvailabilitySpec,
    CostSpec,
    GuardSpec,
    IndicatorSpec,
    LatencySpec,
    ObjectiveSpec,
    QualitySpec,
    RawSpec,
    Slice,
)
from andon.observability.objectives.predicates import (
    FALSE,
    TRUE,
    All,
    Expression,
    Leaf,
    Not,
    Some,
    Test,
    expression_of,
    test_of,
)

CANCELLED = 499
LATENCY_COLUMNS = {"firstByte": "first_byte_us"}  # the others are `<name>_us`
NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")


class Counting(msgspec.Struct, frozen=True, kw_only=True):
    """What is counted: rows for which `over` and `event` hold; bad those for which `bad` holds."""

    over: Expression
    event: Expression
    bad: Expression
    by: tuple[str, ...] = ()
    quality: QualitySpec | None = None  # then `bad` is said by facts and `event` is a request that has one


class Compiled(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The same as functions of a row."""

    is_event: Test  # `over` and `event` hold
    is_bad: Test
    slice_of: Callable[[Any], Slice]


def counting_of(spec: ObjectiveSpec) -> Counting:
    """What an objective counts. Raises ValueError for a duration that is none."""
    over = All(
        tuple(
            Leaf(column, "eq", value) if isinstance(value, str) else Leaf(column, "in", tuple(value))
            for column, value in sorted(spec.over.items())
        )
    )
    event, bad = _indicator(spec.indicator)
    return Counting(over=over, event=event, bad=bad, by=tuple(spec.by), quality=spec.indicator.quality)


def compile_counting(counting: Counting) -> Compiled:
    """Functions of a row (anything with the columns as attributes)."""
    if not counting.by:
        slice_of: Callable[[Any], Slice] = lambda row: ()  # noqa: E731  # one of three ways to say the same
    elif len(counting.by) == 1:
        get = attrgetter(counting.by[0])
        slice_of = lambda row: (get(row),)  # noqa: E731  # one of three ways to say the same
    else:
        slice_of = attrgetter(*counting.by)
    return Compiled(
        is_event=test_of(All((counting.over, counting.event))),
        is_bad=test_of(counting.bad),
        slice_of=slice_of,
    )


def _indicator(indicator: IndicatorSpec) -> tuple[Expression, Expression]:
    if indicator.availability is not None:
        return _availability(indicator.availability)
    if indicator.latency is not None:
        return _latency(indicator.latency)
    if indicator.cost is not None:
        return _cost(indicator.cost)
    if indicator.guard is not None:
        return _guard(indicator.guard)
    if indicator.raw is not None:
        return _raw(indicator.raw)
    return TRUE, FALSE  # quality: facts say which requests are events, and which of them are bad


def _availability(spec: AvailabilitySpec) -> tuple[Expression, Expression]:
    blamed = Leaf("provider_error", "eq", True)
    gone = Leaf("status", "eq", CANCELLED)
    is_4xx = All((Leaf("status", "ge", 400), Leaf("status", "lt", 500)))
    refused = All((Leaf("refused_by", "present"), is_4xx))
    failed = Leaf("status", "ge", 500)
    classes: list[tuple[Expression, str]] = [
        (blamed, "bad"),
        (gone, spec.cancelled),
        (refused, spec.refusals),
        (is_4xx, spec.client_errors),
        (failed, "bad" if spec.blame == "service" else "exclude"),
    ]
    return _by_class(classes)


def _by_class(classes: list[tuple[Expression, str]]) -> tuple[Expression, Expression]:
    """Event and bad, where the first class that holds decides; a row in no class is a good event."""
    bad: list[Expression] = []
    excluded: list[Expression] = []
    before: list[Expression] = []
    for holds, policy in classes:
        here = All((*(Not(one) for one in before), holds))
        if policy == "bad":
            bad.append(here)
        elif policy == "exclude":
            excluded.append(here)
        before.append(holds)
    return Not(Some(tuple(excluded))), Some(tuple(bad))


def _latency(spec: LatencySpec) -> tuple[Expression, Expression]:
    column = LATENCY_COLUMNS.get(spec.of, f"{spec.of}_us")
    slow = Leaf(column, "gt", round(duration_s(spec.above) * 1e6))
    failed = Some((Leaf("provider_error", "eq", True), Leaf("status", "ge", 400)))
    event, bad = _known(column, slow, spec.unknown)
    if spec.failures == "exclude":
        return All((Not(failed), event)), bad
    if spec.failures == "bad":
        return Some((failed, event)), Some((failed, bad))
    return event, bad


def _cost(spec: CostSpec) -> tuple[Expression, Expression]:
    event, bad = _known("cost_micros", Leaf("cost_micros", "gt", spec.above_micros), spec.unknown)
    if spec.currency:
        here = Some((Leaf("currency", "eq", spec.currency), Leaf("cost_micros", "null")))
        event = All((here, event))
    return event, bad


def _known(column: str, bad: Expression, unknown: str) -> tuple[Expression, Expression]:
    if unknown == "ignore":
        return Leaf(column, "present"), bad
    return TRUE, Some((bad, Leaf(column, "null"))) if unknown == "bad" else bad


def _guard(spec: GuardSpec) -> tuple[Expression, Expression]:
    return TRUE, Some((Leaf("refused_by", "in", spec.stages), Leaf("error_code", "in", spec.codes)))


def _raw(spec: RawSpec) -> tuple[Expression, Expression]:
    if spec.good is not None:
        return expression_of(spec.total), Not(expression_of(spec.good))
    return expression_of(spec.total), FALSE if spec.bad is None else expression_of(spec.bad)


def judge(spec: QualitySpec, prediction: str | None, value: float | None, text: str | None) -> bool | None:
    """Whether a fact says that the answer was wrong; None where that is unknown and unknown is ignored.

    Without `below` a text label must equal the prediction; a numeric one the number that the prediction spells.
    """
    wrong: bool | None
    if spec.below is not None:
        wrong = None if value is None else value < spec.below
    elif prediction is None:
        wrong = None
    elif text is not None:
        wrong = text != prediction
    elif value is not None:
        wrong = not NUMBER.fullmatch(prediction) or float(prediction) != value
    else:
        wrong = None
    if wrong is None and spec.unknown != "ignore":
        return spec.unknown == "bad"
    return wrong
