"""The routes of alerts and what they take and give; read by control too, so no engine is imported here.

Views only: what stands behind them is in `alerts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from andon.app import views
from andon.observability.alerts.model import Matcher
from andon.web.routes import Named, Route

SERIES_MAX = 2_000_000  # points of one series that a back-test takes; a body of 64 MiB holds fewer
INCIDENTS_MAX = 10_000
D = msgspec.Meta


class AlertInstance(views.View, frozen=True, kw_only=True):
    """One thing that fires, waits to fire, or has just ended."""

    fingerprint: str
    phase: str  # pending, firing or resolved
    labels: dict[str, str]
    annotations: dict[str, str]
    value: float | None
    active_ns: int  # since when it is true
    fired_ns: int
    ended_ns: int
    muted_by: str  # a Silence or an Alert that keeps it quiet; empty = nobody
    acked_by: str


class AlertView(views.View, frozen=True, kw_only=True):
    """One rule as it stands."""

    name: str
    description: str
    severity: str
    condition: str  # window, objective, query…
    enabled: bool
    state: str  # inactive, pending, firing or disabled
    error: str  # why the last look saw nothing
    looked_ns: int
    left_out: int
    receivers: tuple[str, ...]
    instances: tuple[AlertInstance, ...]


class AlertPage(views.View, frozen=True, kw_only=True):
    """Every rule, and whether they are looked at."""

    evaluating: bool
    turned_ns: int
    items: tuple[AlertView, ...]


class AckRequest(views.Input, frozen=True, kw_only=True):
    """Which of a rule's alerts somebody has taken on."""

    fingerprint: Annotated[
        str,
        D(description="The beginning of a fingerprint; empty = all that fire.", pattern=r"^[0-9a-f]{0,16}$"),
    ] = ""


class AckReceipt(views.View, frozen=True, kw_only=True):
    """What was acknowledged: its repeats stop."""

    items: tuple[AlertInstance, ...]


class SilenceRequest(views.Input, frozen=True, kw_only=True):
    """A silence to be made."""

    matchers: Annotated[tuple[Matcher, ...], D(description="All must match.", min_length=1, max_length=16)]
    duration: Annotated[str, D(description="From now on, such as 2h; at most 31d.", max_length=50)] = "2h"
    reason: Annotated[views.Text, D(description="Why.")] = ""
    name: Annotated[str, D(description="Its name; empty = one is made.", max_length=63)] = ""


class SilenceReceipt(views.View, frozen=True, kw_only=True):
    """The silence that was made or ended."""

    name: str
    ends: str


class SendTestReceipt(views.View, frozen=True, kw_only=True):
    """How an attempt to tell a receiver ended."""

    receiver: str
    word: str  # sent, failed, unknown or refused
    why: str


class Incident(views.Input, frozen=True, kw_only=True):
    """A time in which something was wrong, as people marked it."""

    starts_ns: views.Count
    ends_ns: views.Count
    name: Annotated[str, D(max_length=200)] = ""


class BacktestRequest(views.Input, frozen=True, kw_only=True):
    """A rule to be tried on what has been."""

    name: Annotated[str, D(description="An Alert that is applied; or give `spec`.", max_length=63)] = ""
    spec: Annotated[
        dict[str, Any] | None, D(description="The spec of an Alert that need not be applied.")
    ] = None
    since: Annotated[str, D(description="How far back, such as 30d; at most 92d.", max_length=50)] = "30d"
    incidents: Annotated[tuple[Incident, ...], D(max_length=INCIDENTS_MAX)] = ()
    pages_per_week: Annotated[float, D(description="What the advice aims at.", gt=0, le=10_000)] = 1.0


class BacktestPage(views.View, frozen=True, kw_only=True):
    """One page that would have been sent."""

    at_ns: int
    labels: dict[str, str]
    value: float | None
    lasted_s: float | None  # None where it went on to the end
    alerts: int
    incident: str  # which it belongs to; empty = a false page, where incidents were given
    why: str


class BacktestIncident(views.View, frozen=True, kw_only=True):
    """What the rule made of one incident."""

    name: str
    starts_ns: int
    ends_ns: int
    delay_s: float | None  # from its start to the first page; None = missed


class BacktestAdvice(views.View, frozen=True, kw_only=True):
    """A threshold that would page as seldom as was asked."""

    threshold: float
    pages_per_week: float
    detected: int
    delay_s: float | None  # median


class BacktestReport(views.View, frozen=True, kw_only=True):
    """What a rule would have done."""

    since_ns: int
    until_ns: int
    step_s: float  # how often history could be looked at
    series: int
    points: int
    pages: int
    pages_per_week: float
    repeats: int
    firing_share: float  # of the time, anything fired
    shown: tuple[BacktestPage, ...]
    left_out: int
    incidents: tuple[BacktestIncident, ...]
    detected: int
    missed: int
    false_pages: int | None  # None where no incidents were given
    median_delay_s: float | None
    advice: BacktestAdvice | None
    notes: tuple[str, ...]


def alerts_routes(verbs: Any) -> Sequence[Route]:
    """Everything under /v1/alerts, /v1/silences and /v1/receivers."""
    return (*_rule_routes(verbs), *_silence_routes(verbs))


def _rule_routes(verbs: Any) -> Sequence[Route]:
    return (
        Route(
            method="GET",
            path="/v1/alerts",
            name="listAlerts",
            action="observe.read",
            response=AlertPage,
            handler=verbs.list,
            summary="Every alert: what fires, since when, what keeps it quiet",
        ),
        Route(
            method="POST",
            path="/v1/alerts/test",
            name="testAlert",
            action="observe.read",
            request=BacktestRequest,
            response=BacktestReport,
            handler=verbs.test,
            summary="Try a rule on the ledger's history: pages per week, delays, misses, advice",
        ),
        Route(
            method="GET",
            path="/v1/alerts/{name}",
            name="getAlert",
            action="observe.read",
            params=views.NamePath,
            resource=Named("Alert"),
            response=AlertView,
            handler=verbs.show,
            summary="One alert with everything that it says now",
        ),
        Route(
            method="POST",
            path="/v1/alerts/{name}/ack",
            name="acknowledgeAlert",
            action="observe.alert",
            params=views.NamePath,
            resource=Named("Alert"),
            request=AckRequest,
            response=AckReceipt,
            handler=verbs.ack,
            summary="Somebody has taken it on: repeats stop until it is over",
        ),
    )


def _silence_routes(verbs: Any) -> Sequence[Route]:
    return (
        Route(
            method="POST",
            path="/v1/silences",
            name="createSilence",
            action="observe.alert",
            request=SilenceRequest,
            response=SilenceReceipt,
            handler=verbs.silence,
            summary="Nobody is told of what matches, for a while",
        ),
        Route(
            method="POST",
            path="/v1/silences/{name}/expire",
            name="expireSilence",
            action="observe.alert",
            params=views.NamePath,
            resource=Named("Silence"),
            request=views.Reason,
            response=SilenceReceipt,
            handler=verbs.unsilence,
            summary="End a silence that was made by this API",
        ),
        Route(
            method="POST",
            path="/v1/receivers/{name}/test",
            name="testReceiver",
            action="observe.alert",
            params=views.NamePath,
            resource=Named("Receiver"),
            request=views.Reason,
            response=SendTestReceipt,
            handler=verbs.send_test,
            summary="Send a notification that says that it is a test",
        ),
    )
