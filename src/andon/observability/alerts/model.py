"""What people write about alerts: when one fires, who is told and how, and when nobody is.

Read by control (schemas, `plan`) and by the observer. Frozen; imports no engine. Defaults of waiting are those of
Prometheus' Alertmanager (docs/configuration.md): 30 s, 5 min, 4 h.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

D = msgspec.Meta

ALERT, RECEIVER, SILENCE = "Alert", "Receiver", "Silence"
INSTANCES_MAX = 200  # of one rule: the first by their labels; what is left out is told
LABELS_MAX = 16
TEXT_MAX = 2000  # characters of one annotation after its labels are filled in
Severity = Literal["page", "ticket", "info"]
MEASURES = {
    "duration": "duration",
    "overhead": "overhead",
    "queue": "queue",
    "upstream": "upstream",
    "firstToken": "first_token",
    "perToken": "per_token",
    "features": "features",
    "connect": "connect",
}
QUANTILES = ("p50", "p90", "p95", "p99")
COUNTS = (
    "requests",
    "requestsPerS",
    "errors",
    "errorRate",
    "attemptErrorRate",
    "refusedRate",
    "cancelledRate",
    "tokensPerS",
    "costMicros",
)
METRICS = (*COUNTS, *(f"{measure}.{quantile}" for measure in MEASURES for quantile in QUANTILES))


class Written(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True
):
    """A part of a factory file: unknown fields are refused, names are camelCase."""


class ObjectiveWhen(Written, frozen=True, kw_only=True):
    """A window of an Objective burns too fast."""

    name: Annotated[str, D(description="The Objective; empty = every one.")] = ""
    severities: Annotated[
        tuple[Literal["page", "ticket"], ...], D(description="Of its windows; those that count.")
    ] = ("page",)


class DriftWhen(Written, frozen=True, kw_only=True):
    """A drift monitor tells of drift."""

    monitor: Annotated[str, D(description="The DriftMonitor; empty = every one.")] = ""
    severities: Annotated[tuple[Literal["page", "ticket"], ...], D(description="Those that count.")] = (
        "page",
        "ticket",
    )


class QualityWhen(Written, frozen=True, kw_only=True):
    """A quality monitor tells of a fall, by labels or by its estimate."""

    monitor: Annotated[str, D(description="The Monitor; empty = every one.")] = ""
    severities: Annotated[tuple[Literal["page", "ticket"], ...], D(description="Those that count.")] = (
        "page",
        "ticket",
    )


class WindowWhen(Written, frozen=True, kw_only=True):
    """A figure of the live windows is beyond a threshold."""

    metric: Annotated[
        str, D(description="errorRate, requestsPerS, duration.p99 (milliseconds) and so on; see docs.")
    ]
    endpoint: Annotated[str, D(description="The endpoint; empty = each one by itself.")] = ""
    release: Annotated[str, D(description="One release such as credit@2; empty = all together.")] = ""
    above: Annotated[float | None, D(description="Fires above this.")] = None
    below: Annotated[float | None, D(description="Fires below this.")] = None
    over: Annotated[str, D(description="Length of the window, 10s to 24h.")] = "5m"
    minimum_events: Annotated[int, D(description="With fewer requests there is no verdict.", ge=0)] = 20


class QueryWhen(Written, frozen=True, kw_only=True):
    """Every row that a query returns fires."""

    sql: Annotated[
        str,
        D(
            description="Read-only SQL; text columns become labels, `value` the value. $since and $until (nanoseconds) "
            "bound the last `over`.",
            min_length=1,
            max_length=20_000,
        ),
    ]
    over: Annotated[str, D(description="How far $since lies before $until.")] = "5m"


class AbsentWhen(Written, frozen=True, kw_only=True):
    """Something that should come has not come: silence is the fault."""

    requests: Annotated[str | None, D(description="No request of this endpoint; empty = of any.")] = None
    label: Annotated[str | None, D(description="No label of this name; empty = of any.")] = None
    feedback: Annotated[str | None, D(description="No feedback of this kind; empty = of any.")] = None
    kpi: Annotated[str | None, D(description="No KPI event of this name, such as a nightly batch's.")] = None
    evaluation: Annotated[str | None, D(description="No evaluation of this name; empty = of any.")] = None
    during: Annotated[str, D(description="For so long, such as 26h for something nightly; at most 92d.")]


class MetricWhen(Written, frozen=True, kw_only=True):
    """A figure that the observer exports is beyond a threshold; each of its series by itself."""

    name: Annotated[str, D(description="Name of the family, as in /metrics.", min_length=1)]
    labels: Annotated[dict[str, str], D(description="Only series with these labels.")] = {}
    above: Annotated[float | None, D(description="Fires above this.")] = None
    below: Annotated[float | None, D(description="Fires below this.")] = None


class EventWhen(Written, frozen=True, kw_only=True):
    """The journal tells of something."""

    names: Annotated[
        tuple[str, ...],
        D(description="Such as rollout.aborted; a name that ends in '.' means all below it.", min_length=1),
    ]
    subject: Annotated[str, D(description="Only subjects that begin so, such as Rollout/credit.")] = ""
    until: Annotated[
        tuple[str, ...], D(description="Events of the same subject that end it before keepFiringFor does.")
    ] = ()


class When(Written, frozen=True, kw_only=True):
    """Exactly one condition."""

    objective: Annotated[ObjectiveWhen | None, D(description="A budget burns too fast.")] = None
    drift: Annotated[DriftWhen | None, D(description="Traffic or quality has drifted.")] = None
    quality: Annotated[QualityWhen | None, D(description="Quality has fallen.")] = None
    window: Annotated[WindowWhen | None, D(description="A live figure is beyond a threshold.")] = None
    query: Annotated[QueryWhen | None, D(description="A query returns rows.")] = None
    absent: Annotated[AbsentWhen | None, D(description="Something that should come has not.")] = None
    metric: Annotated[MetricWhen | None, D(description="A metric is beyond a threshold.")] = None
    event: Annotated[EventWhen | None, D(description="The journal tells of something.")] = None

    @property
    def kind(self) -> str:
        """Which one is given; empty unless it is exactly one."""
        given = [name for name in self.__struct_fields__ if getattr(self, name) is not None]
        return given[0] if len(given) == 1 else ""


class InhibitedBy(Written, frozen=True, kw_only=True):
    """While another alert fires, this one tells nobody."""

    alert: Annotated[str, D(description="Name of the other Alert.", min_length=1)]
    equal: Annotated[tuple[str, ...], D(description="Labels that both must have alike.")] = ()


class AlertSpec(Written, frozen=True, kw_only=True):
    """One rule."""

    description: Annotated[str, D(description="What it is for, in a sentence.")] = ""
    when: Annotated[When, D(description="When it is true.")]
    for_: Annotated[str, D(description="For how long it must be true before it fires.")] = msgspec.field(
        name="for", default="0s"
    )
    keep_firing_for: Annotated[
        str, D(description="For how long it goes on firing after it was last true; empty = 0s, events 5m.")
    ] = ""
    missing: Annotated[
        Literal["ok", "keep", "fire"],
        D(description="A window with too few events: not true, as it was, or true."),
    ] = "ok"
    every: Annotated[str, D(description="How often it is looked at; empty = 10s, queries 1m.")] = ""
    severity: Annotated[Severity, D(description="How loud.")] = "page"
    labels: Annotated[dict[str, str], D(description="Added to what fires; for silences and grouping.")] = {}
    annotations: Annotated[
        dict[str, str],
        D(
            description="summary, description, runbook…; {endpoint} and {value} are filled in from the labels."
        ),
    ] = {}
    group_by: Annotated[
        tuple[str, ...], D(description="What has these labels alike is told together.", max_length=8)
    ] = ("alertname",)
    group_wait: Annotated[str, D(description="How long the first notification waits for company.")] = "30s"
    group_interval: Annotated[str, D(description="Least time between two notifications of a group.")] = "5m"
    repeat_interval: Annotated[str, D(description="When what still fires is told again.")] = "4h"
    receivers: Annotated[
        tuple[str, ...], D(description="Who is told: names of Receivers.", max_length=8)
    ] = ()
    inhibited_by: Annotated[
        tuple[InhibitedBy, ...], D(description="Alerts that make this one needless.", max_length=8)
    ] = ()
    enabled: Annotated[bool, D(description="False = looked at by nobody.")] = True


class WebhookSpec(Written, frozen=True, kw_only=True):
    """Alertmanager's webhook payload, version 4, as JSON by POST."""

    url: Annotated[str, D(description="Where to; or env:NAME or file:PATH where the URL is secret.")]
    secret: Annotated[
        str,
        D(
            description="Reference, such as secret:NAME, to a key; X-Andon-Signature is then HMAC-SHA256 of the body."
        ),
    ] = ""
    authorization: Annotated[
        str, D(description="Reference, such as secret:NAME, to the value of the Authorization header.")
    ] = ""


class EmailSpec(Written, frozen=True, kw_only=True):
    """One message for each notification, by SMTP."""

    to: Annotated[tuple[str, ...], D(description="Addresses.", min_length=1, max_length=20)]
    sender: Annotated[str, D(description="Address of the sender.", min_length=3)]
    host: Annotated[str, D(description="The SMTP server.", min_length=1)]
    port: Annotated[int, D(description="Its port.", ge=1, le=65535)] = 587
    tls: Annotated[
        Literal["starttls", "implicit", "none"],
        D(description="none only to this machine, or with allowInsecure."),
    ] = "starttls"
    user: Annotated[str, D(description="Who logs in; empty = nobody.")] = ""
    password: Annotated[str, D(description="Reference to it: secret:NAME, env:NAME or file:PATH.")] = ""
    allow_insecure: Annotated[bool, D(description="Send in the open to other machines.")] = False


class SlackSpec(Written, frozen=True, kw_only=True):
    """Slack's incoming webhook: `text` and `blocks`."""

    url: Annotated[
        str, D(description="Reference, such as secret:NAME, to the webhook's URL, which is a secret.")
    ]


class AlertmanagerSpec(Written, frozen=True, kw_only=True):
    """Prometheus' Alertmanager, API version 2; it groups and repeats by itself."""

    url: Annotated[str, D(description="Its base URL, such as http://127.0.0.1:9093.")]
    authorization: Annotated[
        str, D(description="Reference, such as secret:NAME, to the Authorization header.")
    ] = ""


class HeartbeatSpec(Written, frozen=True, kw_only=True):
    """A dead man's switch: this receiver is asked every period, and misses us when we are gone."""

    url: Annotated[str, D(description="Asked by POST; or env:NAME or file:PATH where the URL is secret.")]
    every: Annotated[str, D(description="How often, 5s to 24h.")] = "1m"


class ReceiverSpec(Written, frozen=True, kw_only=True):
    """Exactly one way to be told, and a heartbeat if wanted."""

    webhook: Annotated[WebhookSpec | None, D(description="JSON by POST.")] = None
    email: Annotated[EmailSpec | None, D(description="Mail.")] = None
    slack: Annotated[SlackSpec | None, D(description="Slack, or what understands its webhook.")] = None
    alertmanager: Annotated[AlertmanagerSpec | None, D(description="An Alertmanager.")] = None
    heartbeat: Annotated[HeartbeatSpec | None, D(description="A dead man's switch; may stand alone.")] = None
    send_resolved: Annotated[bool, D(description="Tell also when it is over.")] = True
    timeout_s: Annotated[float, D(description="Longest wait for one attempt.", gt=0, le=60)] = 10.0
    allow_insecure: Annotated[bool, D(description="Accept http to other machines.")] = False

    @property
    def way(self) -> str:
        """Which one is given; empty for none, or several."""
        ways = ("webhook", "email", "slack", "alertmanager")
        given = [name for name in ways if getattr(self, name) is not None]
        return given[0] if len(given) == 1 else ""


class Matcher(Written, frozen=True, kw_only=True):
    """One comparison of a label; one that is not there counts as empty."""

    label: Annotated[str, D(description="Such as alertname, endpoint or severity.", min_length=1)]
    op: Annotated[Literal["=", "!=", "=~", "!~"], D(description="=~ matches the whole value.")] = "="
    value: Annotated[str, D(description="The value, or a regular expression.", max_length=500)]


class WindowSpec(Written, frozen=True, kw_only=True):
    """A maintenance window that comes again."""

    days: Annotated[
        tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...],
        D(description="On which days it begins; empty = every day."),
    ] = ()
    begin: Annotated[str, D(description="HH:MM, 24 hours.", pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
    length: Annotated[str, D(description="Such as 2h; at most 24h.")]
    zone: Annotated[str, D(description="IANA time zone, such as Europe/Zurich.")] = "UTC"


class SilenceSpec(Written, frozen=True, kw_only=True):
    """What matches tells nobody meanwhile."""

    matchers: Annotated[tuple[Matcher, ...], D(description="All must match.", min_length=1, max_length=16)]
    starts: Annotated[str, D(description="RFC 3339 moment; empty = at once.")] = ""
    ends: Annotated[str, D(description="RFC 3339 moment; empty = never, for windows that come again.")] = ""
    windows: Annotated[
        tuple[WindowSpec, ...], D(description="Only within these; empty = all the time.", max_length=16)
    ] = ()
    author: Annotated[str, D(description="Who wants it.", max_length=200)] = ""
    reason: Annotated[str, D(description="Why.", max_length=1000)] = ""
