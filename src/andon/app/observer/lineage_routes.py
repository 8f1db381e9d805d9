"""Routes of lineage: OpenLineage events in, and what came from what.

`POST /api/v1/lineage` is where OpenLineage's own clients send to, as Marquez has it. Imports no engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Protocol

import msgspec
from msgspec import Meta

from andon.kernel.labels import Label
from andon.security.lineage.model import Edge, Node, NodeType
from andon.web.routes import Bytes, Call, Route

BODY_BYTES_MAX = 16 * 2**20
ANSWERS_MAX = 10_000
JSON = "application/json"

_NODE = "A node by its id, or by as much of it as is unambiguous: NAME, NAMESPACE/NAME, NAME@VERSION."
_SINCE = "How far back answers are counted."
_AS_OF = "Only what was known by then, RFC 3339; empty = now."


class LineageRefusal(msgspec.Struct, frozen=True, kw_only=True):
    """One event that was not taken."""

    index: int
    path: str
    message: str


class LineageReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a body of events."""

    accepted: int  # on disk now, for the first time
    duplicates: int  # were there already
    trimmed: int  # facets that were too large and are kept as their address only
    refused: tuple[LineageRefusal, ...] = ()


class LineageQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which nodes to list."""

    type: Annotated[NodeType | Literal[""], Meta(description="Only of this type.")] = ""
    text: Annotated[str, Meta(max_length=1024, description="Only ids that hold this text.")] = ""
    limit: Annotated[int, Meta(ge=1, le=5000)] = 500


class LineageStanding(msgspec.Struct, frozen=True, kw_only=True):
    """How the lineage stands."""

    nodes: int
    edges: int
    dropped: int  # beyond what is held in memory
    contradicted: int  # runs that were said to end in two ways
    log_bytes: int
    loaded: bool  # everything in the log has been read
    unreadable: int  # events lost to damage of the log


class LineagePage(msgspec.Struct, frozen=True, kw_only=True):
    """Nodes."""

    items: tuple[Node, ...]
    truncated: bool
    standing: LineageStanding


class GraphQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which part of the graph."""

    node: Annotated[str, Meta(min_length=1, max_length=4096, description=_NODE)]
    direction: Annotated[
        Literal["up", "down"], Meta(description="What it came from, or what came from it.")
    ] = "down"
    depth: Annotated[int, Meta(ge=0, le=1000, description="Steps; 0 for all.")] = 0
    since: Annotated[str, Meta(max_length=20, description="How far back hours of answers are shown.")] = "24h"
    as_of: Annotated[str, Meta(max_length=40, description=_AS_OF)] = ""
    facets: Annotated[bool, Meta(description="Facets as they came, with each node.")] = False


class LineageGraph(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the graph."""

    start: tuple[str, ...]
    direction: str
    nodes: tuple[Node, ...]  # nearest first
    edges: tuple[Edge, ...]
    truncated: bool  # there is more than one answer may hold
    as_of_ns: int


class ImpactQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What turned out to be bad."""

    node: Annotated[str, Meta(min_length=1, max_length=4096, description=_NODE)]
    since: Annotated[str, Meta(max_length=20, description=_SINCE)] = "365d"
    as_of: Annotated[str, Meta(max_length=40, description=_AS_OF)] = ""


class ServedAnswers(msgspec.Struct, frozen=True, kw_only=True):
    """Answers of one release at one endpoint."""

    endpoint: str
    release: str
    answers: int
    first_ns: int
    last_ns: int


class Impact(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that may come from a node."""

    start: tuple[str, ...]
    as_of_ns: int
    since_ns: int
    counts: dict[str, int]  # of each of the following lists, which hold the first thousand
    datasets: tuple[str, ...]  # made from it
    runs: tuple[str, ...]
    models: tuple[str, ...]
    releases: tuple[str, ...]
    endpoints: tuple[str, ...]  # that are served by such a release, or were since
    assumed: tuple[str, ...]  # reached only where nobody said which version was meant
    answers: int
    served: tuple[ServedAnswers, ...]
    incomplete: bool  # something of the lineage was beyond what is held, or was lost: there may be more


class AnswersQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which answers came from it."""

    node: Annotated[str, Meta(min_length=1, max_length=4096, description=_NODE)]
    since: Annotated[str, Meta(max_length=20, description=_SINCE)] = "365d"
    as_of: Annotated[str, Meta(max_length=40, description=_AS_OF)] = ""
    after: Annotated[str, Meta(max_length=100, description="The `next` of the page before.")] = ""
    limit: Annotated[int, Meta(ge=1, le=ANSWERS_MAX)] = 1000


class AffectedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One answer."""

    id: str
    at_ns: int
    endpoint: str
    release: str


class AnswersPage(msgspec.Struct, frozen=True, kw_only=True):
    """Answers, oldest first."""

    items: tuple[AffectedAnswer, ...]
    next: str  # empty at the end


class LabelStanding(msgspec.Struct, frozen=True, kw_only=True):
    """The data class of a model or endpoint by what it came from."""

    node: str
    declared: Label | None  # endpoints only
    effective: Label
    because: str  # a node that makes it so; empty for public
    below: bool  # it declares less than its lineage says


class LabelPage(msgspec.Struct, frozen=True, kw_only=True):
    """Models and endpoints."""

    items: tuple[LabelStanding, ...]


class LineageVerbs(Protocol):
    """What stands behind the routes."""

    async def receive(self, call: Call) -> LineageReceipt: ...
    async def list(self, call: Call) -> LineagePage: ...
    async def graph(self, call: Call) -> LineageGraph: ...
    async def impact(self, call: Call) -> Impact: ...
    async def answers(self, call: Call) -> AnswersPage: ...
    async def labels(self, call: Call) -> LabelPage: ...


def lineage_routes(verbs: Any) -> Sequence[Route]:
    """`verbs` is a `LineageVerbs`."""
    return (
        Route(
            method="POST",
            path="/api/v1/lineage",
            name="addLineage",
            action="lineage.write",
            request=Bytes,
            media_types=(JSON,),
            body_bytes_max=BODY_BYTES_MAX,
            response=LineageReceipt,
            handler=verbs.receive,
            summary="Take OpenLineage events: one, or an array",
        ),
        _asking("/v1/lineage", "listLineage", LineageQuery, LineagePage, verbs.list, "Nodes of the lineage"),
        _asking(
            "/v1/lineage/graph",
            "getLineage",
            GraphQuery,
            LineageGraph,
            verbs.graph,
            "What a node came from, or what came from it",
        ),
        _asking(
            "/v1/lineage/impact",
            "getImpact",
            ImpactQuery,
            Impact,
            verbs.impact,
            "What may come from a bad data set: models, releases, endpoints, answers",
        ),
        _asking(
            "/v1/lineage/answers",
            "listAffectedAnswers",
            AnswersQuery,
            AnswersPage,
            verbs.answers,
            "The answers that may come from a node, each by its id",
        ),
        _asking(
            "/v1/lineage/labels",
            "listLineageLabels",
            None,
            LabelPage,
            verbs.labels,
            "Data classes of models and endpoints by what they came from",
        ),
    )


def _asking(path: str, name: str, query: Any, response: Any, handler: Any, summary: str) -> Route:
    route = Route(
        method="GET",
        path=path,
        name=name,
        action="lineage.read",
        response=response,
        handler=handler,
        summary=summary,
    )
    return route if query is None else msgspec.structs.replace(route, query=query)
