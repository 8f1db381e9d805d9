"""What people write about an objective: over which rows, what is bad, how much of it is allowed, when to be told.

Read by control (schemas, `plan`) and by the observer. Frozen; imports no engine. Every number that a person may leave
out has a default that is stated here and nowhere else.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

D = msgspec.Meta

Slice = tuple[str | None, ...]  # values of the `by` columns, in their order

# Columns of a row that a slice may be cut by: names and fixed vocabularies, never free text of a client.
SliceColumn = Literal[
    "endpoint",
    "release",
    "arm",
    "team",
    "key",
    "operation",
    "dialect",
    "model",
    "target",
    "gateway",
    "error_code",
    "refused_by",
    "finish_reason",
    "prediction",
    "currency",
    "usage_source",
]
TEXT_COLUMNS = frozenset(SliceColumn.__args__)  # type: ignore[attr-defined]  # what a Literal was made of
NUMBER_COLUMNS = frozenset(
    "status duration_us overhead_us queue_us upstream_us first_byte_us feature_us guard_us connect_us tls_us "
    "input_tokens output_tokens request_bytes response_bytes cost_micros score attempt".split()
)
FLAG_COLUMNS = frozenset(("provider_error", "stream", "pinned"))
COLUMNS = TEXT_COLUMNS | NUMBER_COLUMNS | FLAG_COLUMNS

Policy = Literal["exclude", "good", "bad"]
Unknown = Literal["ignore", "good", "bad"]
BY_MAX = 3
SLICES_MAX = 200


class Written(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True
):
    """A part of a factory file: unknown fields are refused, names are camelCase."""


class Condition(Written, frozen=True, kw_only=True):
    """One comparison of a column. Null compares false, whatever the comparison."""

    column: Annotated[str, D(description="A column of the ledger, as in `andon query 'DESCRIBE requests'`.")]
    op: Annotated[
        Literal["eq", "ne", "lt", "le", "gt", "ge", "in", "null", "present"], D(description="The comparison.")
    ] = "eq"
    value: Annotated[
        str | bool | int | float | tuple[str | int | float, ...] | None,
        D(description="What it is compared with; a list for `in`, nothing for `null` and `present`."),
    ] = None


class Predicate(Written, frozen=True, kw_only=True):
    """Holds where all of `all` hold and, if `any` is given, at least one of `any`."""

    all: Annotated[tuple[Condition, ...], D(description="Each must hold.", max_length=20)] = ()
    any: Annotated[tuple[Condition, ...], D(description="One must hold.", max_length=20)] = ()


class AvailabilitySpec(Written, frozen=True, kw_only=True):
    """Bad is what the service is to blame for."""

    blame: Annotated[
        Literal["service", "provider"],
        D(
            description="service: every failure that is not the client's, ours included; provider: only those that "
            "the release is to blame for, others are excluded."
        ),
    ] = "service"
    client_errors: Annotated[Policy, D(description="Answers 4xx that are the client's own fault.")] = (
        "exclude"
    )
    cancelled: Annotated[Policy, D(description="Clients that left before their answer (499).")] = "exclude"
    refusals: Annotated[Policy, D(description="Refused with 4xx before dispatch: keys, limits, guards.")] = (
        "exclude"
    )


class LatencySpec(Written, frozen=True, kw_only=True):
    """Bad is what took longer than a time."""

    of: Annotated[
        Literal["duration", "overhead", "queue", "upstream", "firstByte", "feature", "guard", "connect"],
        D(description="Which time."),
    ] = "duration"
    above: Annotated[str, D(description="Longer than this is bad, such as 800ms.")]
    failures: Annotated[
        Literal["exclude", "bad", "measured"],
        D(description="Answers that are not a success; measured: judged by their time as any other."),
    ] = "exclude"
    unknown: Annotated[Unknown, D(description="A row that does not know this time.")] = "ignore"


class QualitySpec(Written, frozen=True, kw_only=True):
    """Bad is what a later fact says was wrong; the event is a request with such a fact."""

    source: Annotated[
        Literal["label", "feedback", "evaluation"], D(description="Which kind of fact is the judge.")
    ] = "label"
    name: Annotated[str, D(description="Name of the label or evaluation, kind of the feedback.")] = "label"
    below: Annotated[
        float | None,
        D(description="A value below this is bad; without it, a label that is not the prediction is bad."),
    ] = None
    counted_at: Annotated[
        Literal["known", "request"],
        D(
            description="On which time an event lies: when the fact became known (late labels can still page) or when "
            "the request was answered."
        ),
    ] = "known"
    unknown: Annotated[Unknown, D(description="A fact without a value, a row without a prediction.")] = (
        "ignore"
    )


class CostSpec(Written, frozen=True, kw_only=True):
    """Bad is what cost more than a limit."""

    above_micros: Annotated[int, D(description="Millionths of the currency.", ge=0)]
    currency: Annotated[str, D(description="Only rows in this currency; empty = any.")] = ""
    unknown: Annotated[Unknown, D(description="A row without a cost.")] = "ignore"


class GuardSpec(Written, frozen=True, kw_only=True):
    """Bad is what a guard or limit refused."""

    stages: Annotated[tuple[str, ...], D(description="Stages of the chain: guard, limits, validate, …")] = ()
    codes: Annotated[tuple[str, ...], D(description="Error codes.")] = ()


class RawSpec(Written, frozen=True, kw_only=True):
    """Bad by conditions over columns: for what none of the others says."""

    bad: Annotated[Predicate | None, D(description="Which events are bad; exclusive with `good`.")] = None
    good: Annotated[Predicate | None, D(description="Which events are good; the rest is bad.")] = None
    total: Annotated[Predicate, D(description="Which rows are events; every request without it.")] = (
        Predicate()
    )


class IndicatorSpec(Written, frozen=True, kw_only=True):
    """What is measured: exactly one of these."""

    availability: Annotated[AvailabilitySpec | None, D(description="Requests that failed.")] = None
    latency: Annotated[LatencySpec | None, D(description="Requests that were slow.")] = None
    quality: Annotated[QualitySpec | None, D(description="Answers that were wrong.")] = None
    cost: Annotated[CostSpec | None, D(description="Requests that were dear.")] = None
    guard: Annotated[GuardSpec | None, D(description="Requests that were refused.")] = None
    raw: Annotated[RawSpec | None, D(description="Conditions over columns.")] = None

    @property
    def kind(self) -> str:
        """The name of the one that is given; empty unless it is exactly one."""
        given = [name for name in self.__struct_fields__ if getattr(self, name) is not None]
        return given[0] if len(given) == 1 else ""


class WindowSpec(Written, frozen=True, kw_only=True):
    """One alerting window of one's own, in place of the derived ones."""

    severity: Annotated[Literal["page", "ticket"], D(description="How loud.")] = "page"
    long: Annotated[str, D(description="The window that must burn, such as 1h.")]
    short: Annotated[str, D(description="Must burn too, so that it ends soon; a twelfth without it.")] = ""
    burn: Annotated[float, D(description="Burn rate from which it fires.", gt=0)]
    after: Annotated[str, D(description="Fires only when it has been so for this long.")] = ""


class AbsoluteSpec(Written, frozen=True, kw_only=True):
    """The companion of the rates: so many bad events are too many, whatever their share."""

    bad: Annotated[int, D(description="Bad events in the window.", ge=1)]
    window: Annotated[str, D(description="At most 6h.")] = "1h"
    severity: Annotated[Literal["page", "ticket"], D(description="How loud.")] = "page"


class AlertingSpec(Written, frozen=True, kw_only=True):
    """When somebody is told."""

    page: Annotated[bool, D(description="Two fast windows: 2 % of the budget in 1 h, 5 % in 6 h.")] = True
    ticket: Annotated[bool, D(description="Two slow windows: 10 % of the budget in 1 d, 10 % in 3 d.")] = True
    page_significance: Annotated[
        float,
        D(
            description="A page needs evidence against the objective: the chance of so many bad events, if the "
            "objective were just met, must be at most this.",
            gt=0,
            le=1,
        ),
    ] = 1e-6
    ticket_significance: Annotated[float, D(description="The same for a ticket.", gt=0, le=1)] = 1e-3
    windows: Annotated[
        tuple[WindowSpec, ...], D(description="Windows of one's own; none are derived then.", max_length=8)
    ] = ()
    absolute: Annotated[AbsoluteSpec | None, D(description="Fires on a count, beside the rates.")] = None


class ObjectiveSpec(Written, frozen=True, kw_only=True):
    """One promise, and its budget."""

    description: Annotated[str, D(description="What is promised, in words.")] = ""
    service: Annotated[str, D(description="The service it belongs to; the endpoint without it.")] = ""
    over: Annotated[
        dict[SliceColumn, str | tuple[str, ...]],
        D(description="Only rows whose column has this value, or one of these."),
    ] = {}
    by: Annotated[
        tuple[SliceColumn, ...], D(description="One budget for each value of these.", max_length=BY_MAX)
    ] = ()
    slices_max: Annotated[
        int, D(description="Budgets at most; the rest is counted together.", ge=1, le=SLICES_MAX)
    ] = 50
    indicator: Annotated[IndicatorSpec, D(description="What is measured.")]
    objective: Annotated[float, D(description="Share of good events, such as 0.999.", gt=0, lt=1)]
    period: Annotated[str, D(description="Rolling, such as 28d (at most 92d); or month.")] = "28d"
    missing_data: Annotated[
        Unknown, D(description="A window without events: no verdict, all good, or all bad.")
    ] = "ignore"
    minimum_events: Annotated[int, D(description="A window with fewer gives no verdict.", ge=0)] = 1
    alerting: Annotated[AlertingSpec, D(description="When somebody is told.")] = AlertingSpec()
    freeze: Annotated[bool, D(description="An exhausted budget asks that releases wait.")] = True
