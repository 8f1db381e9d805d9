"""The routes of quality and what they give; read by control too, so no engine is imported here.

Views only: what stands behind them is in `quality`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from andon.app import views
from andon.observability.quality.model import ReleaseStatus
from andon.observability.quality.report import QualityReport, ReferenceView
from andon.web.routes import Bytes, Named, Route

FILE_TYPE = "text/csv"
FILE_BYTES_MAX = 64 * 2**20


class QualityPath(views.Input, frozen=True, kw_only=True):
    """Which monitor."""

    name: views.Name


class QualityQuery(views.Input, frozen=True, kw_only=True):
    """Of which time, and with which knowledge."""

    since: Annotated[str, msgspec.Meta(max_length=20, description="how far back, such as 24h or 30d")] = "30d"
    as_of: Annotated[
        int,
        msgspec.Meta(
            ge=0,
            description="with the labels known at this moment, nanoseconds since the Unix epoch; 0 for now",
        ),
    ] = 0


class MonitorView(views.View, frozen=True, kw_only=True):
    """One monitor and where it stands."""

    name: str
    endpoint: str
    metric: str
    chunk: str
    state: str  # waiting, good or alarm
    message: str
    until_ns: int
    since_ns: int
    reasons: tuple[str, ...]
    releases: dict[str, ReleaseStatus]


class QualityPage(views.View, frozen=True, kw_only=True):
    """Every monitor."""

    items: tuple[MonitorView, ...]


class QualityDetail(views.View, frozen=True, kw_only=True):
    """One monitor with its chunks; null before the first look."""

    monitor: MonitorView
    report: QualityReport | None = None


class ReferenceRequest(views.Input, frozen=True, kw_only=True):
    """From which answers the reference is made."""

    release: Annotated[str, msgspec.Meta(min_length=1, max_length=200, description="Such as credit@1.")]
    since: Annotated[
        str, msgspec.Meta(max_length=20, description="Length of the window, which ends now.")
    ] = "30d"


class ReferenceQuery(views.Input, frozen=True, kw_only=True):
    """Whose scores the file's are."""

    release: Annotated[
        str,
        msgspec.Meta(
            min_length=1, max_length=200, description="the release that made them, such as credit@1"
        ),
    ]


def quality_routes(verbs: Any) -> Sequence[Route]:
    """`verbs` has list, show, reference and file."""
    return (
        Route(
            method="GET",
            path="/v1/quality",
            name="listQuality",
            action="observe.read",
            response=QualityPage,
            handler=verbs.list,
            summary="Every quality monitor and where it stands",
        ),
        Route(
            method="GET",
            path="/v1/quality/{name}",
            name="getQuality",
            action="observe.read",
            params=QualityPath,
            resource=Named("Monitor"),
            query=QualityQuery,
            response=QualityDetail,
            handler=verbs.show,
            summary="One monitor: figures by release and chunk, estimates and how wrong they were",
        ),
        Route(
            method="POST",
            path="/v1/quality/{name}/reference",
            name="setQualityReference",
            action="observe.write",
            params=QualityPath,
            resource=Named("Monitor"),
            request=ReferenceRequest,
            response=ReferenceView,
            handler=verbs.reference,
            summary="Make the reference of a monitor from labelled answers of a release",
        ),
        Route(
            method="POST",
            path="/v1/quality/{name}/reference-file",
            name="putQualityReference",
            action="observe.write",
            params=QualityPath,
            resource=Named("Monitor"),
            query=ReferenceQuery,
            request=Bytes,
            body_bytes_max=FILE_BYTES_MAX,
            media_types=(FILE_TYPE,),
            response=ReferenceView,
            handler=verbs.file,
            summary="Take the reference of a monitor from a CSV of score, prediction and label",
        ),
    )
