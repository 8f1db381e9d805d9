"""The kind `DriftMonitor` as people write it, and its status. Frozen; imports no engine, because control reads it too.

A monitor compares each whole period of an endpoint's traffic with a reference profile, within one budget of false
alarms over all of its columns.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from andon.ledger.row import Outcome
from andon.observability.quality.drift.report import Limits

D = msgspec.Meta

MONITOR = "DriftMonitor"
State = Literal["no baseline", "waiting", "stable", "shift", "drift"]

_NAMES = "finish_reason prediction model".split()
_FIGURES = "score input_tokens output_tokens request_bytes response_bytes duration_us feature_us".split()
ROW_COLUMNS = (*_FIGURES, *_NAMES)  # what a monitor of rows watches when it names no columns
KNOWN_COLUMNS = frozenset(field.name for field in msgspec.structs.fields(Outcome)) - {
    "id",
    "features",
    "traceparent",
}


class Written(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True
):
    """A part of a factory file: unknown fields are refused, names are camelCase."""


class LimitsSpec(Limits, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How large a proved shift must be to be called drift."""


class BaselineSpec(Written, frozen=True, kw_only=True):
    """Where the reference comes from when nobody gives one: the first full window of a release."""

    release: Annotated[str, D(description="A release such as credit@1; empty for whatever served.")] = ""
    since: Annotated[str, D(description="Length of the window that ends where watching begins.")] = "7d"
    automatic: Annotated[bool, D(description="Make it by itself once the window holds enough rows.")] = True


class DriftMonitorSpec(Written, frozen=True, kw_only=True):
    """Compares what an endpoint is asked and answers with a reference."""

    endpoint: Annotated[str, D(description="The endpoint that is watched.")]
    release: Annotated[str, D(description="Only rows of this release, such as credit@2; empty for all.")] = ""
    source: Annotated[
        Literal["rows", "bodies"],
        D(
            description="rows: columns of the ledger; bodies: recorded inputs, where the endpoint records them."
        ),
    ] = "rows"
    columns: Annotated[
        tuple[str, ...], D(description="Which columns; empty for all that the source has.", max_length=1000)
    ] = ()
    period: Annotated[str, D(description="Each whole period is compared by itself.")] = "1h"
    min_rows: Annotated[int, D(description="A period with fewer rows is not judged.", ge=50)] = 300
    max_rows: Annotated[
        int, D(description="Of a period with more, a fair part by request id.", ge=1000, le=500_000)
    ] = 100_000
    false_alarms_per_month: Annotated[
        float, D(description="Over all columns and statistics of this monitor together.", gt=0, le=30)
    ] = 1.0
    limits: Annotated[LimitsSpec, D(description="How large a proved shift must be.")] = LimitsSpec()
    baseline: Annotated[BaselineSpec, D(description="The reference.")] = BaselineSpec()


class MonitorStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What became of the last period."""

    state: State = "no baseline"
    message: str = ""
    until_ns: int = 0  # end of the last period that was looked at
    rows: int = 0
    drifted: tuple[str, ...] = ()
    paging: tuple[str, ...] = ()
    since_ns: int = 0  # since when it is drift
    episode: int = 0  # how many drifts there were
    baseline: str = ""  # where the reference comes from
