"""The routes of drift and what they give; read by control too, so no engine is imported here.

Views only: what stands behind them is in `drift`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from andon.app import views
from andon.observability.quality.drift.report import PROFILE_TYPE, DriftReport
from andon.web.routes import Bytes, Named, Route

PROFILE_BYTES_MAX = 64 * 2**20


class MonitorPath(views.Input, frozen=True, kw_only=True):
    """Which monitor."""

    name: views.Name


class DriftView(views.View, frozen=True, kw_only=True):
    """One monitor and the verdict of its last whole period."""

    name: str
    endpoint: str
    period: str
    state: str  # no baseline, waiting, stable, shift or drift
    message: str
    until_ns: int  # end of the period
    rows: int
    drifted: tuple[str, ...]
    paging: tuple[str, ...]
    since_ns: int
    baseline: str


class DriftPage(views.View, frozen=True, kw_only=True):
    """Every monitor."""

    items: tuple[DriftView, ...]


class DriftDetail(views.View, frozen=True, kw_only=True):
    """One monitor with its latest report; null before the first."""

    monitor: DriftView
    report: DriftReport | None = None
    report_until_ns: int = 0


class BaselineRequest(views.Input, frozen=True, kw_only=True):
    """From which traffic the reference is made."""

    release: Annotated[
        str, msgspec.Meta(max_length=200, description="Only of this release; empty for all.")
    ] = ""
    since: Annotated[
        str, msgspec.Meta(max_length=20, description="Length of the window, which ends now.")
    ] = "7d"


class BaselineView(views.View, frozen=True, kw_only=True):
    """The reference that was made or taken."""

    monitor: str
    origin: str
    rows: int
    columns: int


def drift_routes(verbs: Any) -> Sequence[Route]:
    """Reports, and the two ways to set a baseline."""
    return (
        Route(
            method="GET",
            path="/v1/drift",
            name="listDrift",
            action="observe.read",
            response=DriftPage,
            handler=verbs.list,
            summary="Every drift monitor and the verdict of its last period",
        ),
        Route(
            method="GET",
            path="/v1/drift/{name}",
            name="getDrift",
            action="observe.read",
            params=MonitorPath,
            resource=Named("DriftMonitor"),
            response=DriftDetail,
            handler=verbs.show,
            summary="One monitor: every column with its distances, noise floors, p and impact",
        ),
        Route(
            method="POST",
            path="/v1/drift/{name}/baseline",
            name="setDriftBaseline",
            action="observe.write",
            params=MonitorPath,
            resource=Named("DriftMonitor"),
            request=BaselineRequest,
            response=BaselineView,
            handler=verbs.baseline,
            summary="Make the reference of a monitor from a window of traffic",
        ),
        Route(
            method="POST",
            path="/v1/drift/{name}/profile",
            name="putDriftProfile",
            action="observe.write",
            params=MonitorPath,
            resource=Named("DriftMonitor"),
            request=Bytes,
            body_bytes_max=PROFILE_BYTES_MAX,
            media_types=(PROFILE_TYPE,),
            response=BaselineView,
            handler=verbs.profile,
            summary="Take a reference profile that was made from a file",
        ),
    )
