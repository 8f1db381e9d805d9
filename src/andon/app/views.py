"""What the admin API takes and gives, where a room has no type of its own for it.

Resources are in the shape of factory files (camelCase); every other answer is in snake_case. Fields are only added.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from andon.control.plan import Action, ChangePlan
from andon.kernel.labels import Label
from andon.kernel.reports import GateReading, Report
from andon.security.identity.bindings import ROLE

BIGGEST = 2**63 - 1  # what a database can hold in one integer
Name = Annotated[
    str, msgspec.Meta(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$", description="Name of a resource.")
]
Word = Annotated[
    str, msgspec.Meta(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,62}$", description="Kind, plural or short name.")
]
KeyId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$", description="Public id of a key.")]
Text = Annotated[str, msgspec.Meta(max_length=1000, pattern=r"^[^\x00]*$")]
Filter = Annotated[str, msgspec.Meta(max_length=200, pattern=r"^[^\x00]*$")]
Count = Annotated[int, msgspec.Meta(ge=0, le=BIGGEST)]
PageSize = Annotated[int, msgspec.Meta(ge=1, le=1000, description="How many at most.")]


class Input(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What callers send: nothing that is not known here."""


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What callers get."""


class KindPath(Input, frozen=True, kw_only=True):
    """Path parameters of one kind."""

    kind: Word


class ResourcePath(Input, frozen=True, kw_only=True):
    """Path parameters of one resource."""

    kind: Word
    name: Name


class NamePath(Input, frozen=True, kw_only=True):
    """Path parameter of one rollout."""

    name: Name


class KeyPath(Input, frozen=True, kw_only=True):
    """Path parameter of one key."""

    id: KeyId


class RevisionPath(Input, frozen=True, kw_only=True):
    """Path parameter of one revision."""

    number: Annotated[int, msgspec.Meta(ge=1, le=BIGGEST, description="Number of the revision.")]


class FactoryFile(Input, frozen=True, kw_only=True):
    """One factory file as text, so that what is wrong is told by file and line."""

    file: Annotated[Text, msgspec.Meta(description="Its name, for errors.")]
    text: Annotated[str, msgspec.Meta(description="YAML or JSON, one resource or more.")]
    layer: Annotated[
        int,
        msgspec.Meta(ge=0, le=1000, description="A higher layer is laid over the resources of lower ones."),
    ] = 0


class PlanRequest(Input, frozen=True, kw_only=True):
    """What should be: files, or resources, or both."""

    files: Annotated[tuple[FactoryFile, ...], msgspec.Meta(max_length=200, description="Factory files.")] = ()
    documents: Annotated[
        tuple[dict[str, Any], ...],
        msgspec.Meta(max_length=5000, description="Resources in the shape of factory files."),
    ] = ()
    prune: Annotated[
        bool, msgspec.Meta(description="Delete what the last revision holds and these do not.")
    ] = True


class ApplyRequest(Input, frozen=True, kw_only=True):
    """A plan, exactly as `POST /v1/plans` gave it."""

    plan: ChangePlan
    message: Annotated[Text, msgspec.Meta(description="Why, for the history.")] = ""


class UndoRequest(Input, frozen=True, kw_only=True):
    """Where to return to."""

    to: Annotated[Count, msgspec.Meta(description="Revision; 0 is the one before the latest.")] = 0


class Reason(Input, frozen=True, kw_only=True):
    """Why a person acts."""

    reason: Annotated[Text, msgspec.Meta(description="Kept in the journal.")] = ""


class DiffQuery(Input, frozen=True, kw_only=True, rename={"before": "from", "after": "to"}):
    """Two revisions; 0 is the empty factory."""

    before: Annotated[Count | None, msgspec.Meta(description="By default the one before `to`.")] = None
    after: Annotated[Count | None, msgspec.Meta(description="By default the latest.")] = None


class EventQuery(Input, frozen=True, kw_only=True):
    """Which lines of the journal."""

    after: Annotated[Count, msgspec.Meta(description="Only those after this sequence number.")] = 0
    subject: Annotated[Filter, msgspec.Meta(description="Only of this one, such as Rollout/credit-3.")] = ""
    name: Annotated[Filter, msgspec.Meta(description="Only of this name, such as rollout.aborted.")] = ""
    limit: PageSize = 100
    newest: Annotated[bool, msgspec.Meta(description="The newest ones; still answered oldest first.")] = False
    follow: Annotated[bool, msgspec.Meta(description="Go on as server-sent events.")] = False


class RevisionQuery(Input, frozen=True, kw_only=True):
    """How many revisions."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=500, description="How many at most, newest first.")] = 50


class RequestQuery(Input, frozen=True, kw_only=True):
    """Which rows of the ledger."""

    after: Annotated[
        Count, msgspec.Meta(description="Only those after this position; 0 asks for the latest.")
    ] = 0
    id: Annotated[Filter, msgspec.Meta(description="Only this request, or ids that begin so.")] = ""
    endpoint: Annotated[Filter, msgspec.Meta(description="Only of this endpoint.")] = ""
    release: Annotated[Filter, msgspec.Meta(description="Only of this release, such as credit@2.")] = ""
    key: Annotated[Filter, msgspec.Meta(description="Only with this key, by public id.")] = ""
    status: Annotated[
        str, msgspec.Meta(pattern=r"^(|ok|error|[1-5](xx|[0-9][0-9]))$", description="429, 5xx, ok or error.")
    ] = ""
    limit: PageSize = 50
    follow: Annotated[bool, msgspec.Meta(description="Go on as server-sent events.")] = False


class TopicQuery(Input, frozen=True, kw_only=True):
    """Which kind or field."""

    path: Annotated[
        Filter, msgspec.Meta(min_length=1, description="KIND or KIND.field, such as Endpoint.retries.")
    ]


class TopQuery(Input, frozen=True, kw_only=True):
    """Over which time."""

    window_s: Annotated[int, msgspec.Meta(ge=1, le=3600, description="Over the last so many seconds.")] = 60


class SnapshotQuery(Input, frozen=True, kw_only=True):
    """What the gateway has, and how long it will wait for something newer."""

    have: Annotated[Count, msgspec.Meta(description="Version that the gateway has; 0 for none.")] = 0
    wait_s: Annotated[float, msgspec.Meta(ge=0, le=30, description="How long to wait for a newer one.")] = 0.0


class ReportBatch(Input, frozen=True, kw_only=True):
    """What a gateway tells."""

    reports: Annotated[tuple[Report, ...], msgspec.Meta(max_length=1000)]


class KeyRequest(Input, frozen=True, kw_only=True):
    """A key to be made."""

    team: Annotated[Filter, msgspec.Meta(description="Whose requests these are.")] = ""
    owner: Annotated[Filter, msgspec.Meta(description="The person or program that holds it.")] = ""
    endpoints: Annotated[
        tuple[Name, ...], msgspec.Meta(max_length=100, description="What it may call; empty = all.")
    ] = ()
    cohorts: Annotated[
        tuple[Name, ...], msgspec.Meta(max_length=100, description="Groups that releases can pin.")
    ] = ()
    expires_in: Annotated[
        Filter, msgspec.Meta(description="How long it lives, such as 90d; empty = for ever.")
    ] = ""
    service: Annotated[
        Filter, msgspec.Meta(description="The Service that holds it: then that is who acts.")
    ] = ""
    roles: Annotated[
        tuple[Annotated[str, msgspec.Meta(pattern=ROLE)], ...],
        msgspec.Meta(max_length=50, description="What policies grant to; none for a key of a Service."),
    ] = ()
    label: Annotated[Label, msgspec.Meta(description="Highest data class that it may send and receive.")] = (
        "restricted"
    )


class RotateRequest(Input, frozen=True, kw_only=True):
    """How a key is replaced."""

    overlap: Annotated[Filter, msgspec.Meta(description="How long the old one still works.")] = "1h"


class Check(View, frozen=True, kw_only=True):
    """One thing that must hold for control to do its work."""

    name: str
    ok: bool
    detail: str = ""


class Readiness(View, frozen=True, kw_only=True):
    """Whether control does its work."""

    ready: bool
    checks: tuple[Check, ...] = ()


class Column(View, frozen=True, kw_only=True):
    """One column of `andon get`."""

    heading: str
    path: str


class KindView(View, frozen=True, kw_only=True):
    """One kind of resource."""

    name: str
    plural: str
    short: tuple[str, ...]
    summary: str
    generated: bool
    columns: tuple[Column, ...]


class KindPage(View, frozen=True, kw_only=True):
    """Every kind, in order of dependency."""

    items: tuple[KindView, ...]


class Metadata(View, frozen=True, kw_only=True, rename="camel"):
    """Names and numbers of a resource."""

    name: str
    labels: dict[str, str]
    annotations: dict[str, str]
    generation: int
    version: int
    owner: str
    created_ns: int
    updated_ns: int


class Resource(View, frozen=True, kw_only=True, rename="camel"):
    """One resource, in the shape of a factory file."""

    api_version: str
    kind: str
    metadata: Metadata
    spec: dict[str, Any]
    status: dict[str, Any]


class ResourcePage(View, frozen=True, kw_only=True):
    """Every resource of a kind, by name."""

    items: tuple[Resource, ...]


class RevisionView(View, frozen=True, kw_only=True):
    """One revision without its document."""

    number: int
    parent: int
    author: str
    message: str
    digest: str
    resources: int
    at_ns: int


class RevisionPage(View, frozen=True, kw_only=True):
    """Revisions, newest first."""

    items: tuple[RevisionView, ...]


class RevisionDetail(RevisionView, frozen=True, kw_only=True):
    """One revision with everything that people had written."""

    document: list[dict[str, Any]]


class Difference(View, frozen=True, kw_only=True, rename={"before": "from", "after": "to"}):
    """What differs between two revisions."""

    before: int
    after: int
    actions: tuple[Action, ...]


class EventView(View, frozen=True, kw_only=True):
    """One line of the journal."""

    sequence: int
    name: str
    subject: str
    actor: str
    data: dict[str, Any]
    at_ns: int


class EventPage(View, frozen=True, kw_only=True):
    """Lines of the journal, oldest first. `next` is the `after` of the page that follows."""

    items: tuple[EventView, ...]
    next: int


class RolloutView(View, frozen=True, kw_only=True):
    """How a rollout stands after a verb."""

    name: str
    phase: str


class RolloutExplanation(View, frozen=True, kw_only=True):
    """Why a rollout stands where it stands; the readings come from the function that decides."""

    name: str
    endpoint: str
    stable: str
    canary: str
    phase: str
    step: str = ""  # "2 of 4"
    weight: int = 0  # basis points of the canary
    reason: str = ""
    seconds: float = 0.0  # since it began, or that it took
    canary_requests: int = 0
    stable_requests: int = 0
    stopped_after_s: float | None = None  # from the canary's first request to the cut; null if there was none
    readings: tuple[GateReading, ...] = ()


class KeyView(View, frozen=True, kw_only=True):
    """One key, without its secret."""

    id: str
    team: str
    owner: str
    endpoints: tuple[str, ...]
    cohorts: tuple[str, ...]
    state: str  # "active", "expired", "revoked"
    created_ns: int
    expires_ns: int = 0  # 0 = never
    service: str = ""
    roles: tuple[str, ...] = ()
    label: Label = "restricted"
    last_used_ns: int | None = None  # by any gateway, a minute late; unknown is null


class KeyPage(View, frozen=True, kw_only=True):
    """Every key."""

    items: tuple[KeyView, ...]


class NewKey(View, frozen=True, kw_only=True):
    """A key that was just made; the only time that its secret is told."""

    key: KeyView
    secret: str


class RequestView(View, frozen=True, kw_only=True):
    """One outcome of the ledger. Unknown is null, never zero."""

    position: int
    id: str
    attempt: int
    at_ns: int
    status: int
    endpoint: str | None = None
    release: str | None = None
    arm: str | None = None
    target: str | None = None
    team: str | None = None
    key: str | None = None
    operation: str | None = None
    dialect: str | None = None
    error_code: str | None = None
    duration_us: int | None = None
    upstream_us: int | None = None
    first_byte_us: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


class RequestPage(View, frozen=True, kw_only=True):
    """Rows of the ledger, oldest first. `next` is the `after` of the page that follows."""

    items: tuple[RequestView, ...]
    next: int


class TopRow(View, frozen=True, kw_only=True):
    """What one release of one endpoint did in the window, in one arm. What nobody knows is null."""

    endpoint: str
    release: str
    arm: str = ""  # stable, canary, preview or shadow; empty for what no release was chosen for
    requests: int
    requests_per_s: float = 0.0
    attempts: int = 0  # retries included
    errors: int  # that the release is to blame for
    error_rate: float | None = None
    refused: int = 0
    cancelled: int = 0  # the client left first
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    first_token_p95_ms: float | None = None  # of streamed answers
    tokens: int  # in and out
    tokens_per_s: float = 0.0
    in_flight: int | None = None  # at this moment, at the release's targets; null where no gateway says so
    weight: float | None = None  # share of the endpoint's traffic that the release is to get


class TopPage(View, frozen=True, kw_only=True):
    """Every endpoint and release that had traffic in the window."""

    window_s: int
    items: tuple[TopRow, ...]


class Receipt(View, frozen=True, kw_only=True):
    """How many reports were taken."""

    accepted: int


class Alive(View, frozen=True, kw_only=True):
    """The process answers."""

    alive: Literal[True] = True
