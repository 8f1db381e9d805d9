"""The routes of infrastructure and GPU attribution, as control and the observer both know them.

Imports no engine: control publishes and forwards these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from andon.app import views
from andon.observability.infrastructure.attribution import DeviceShare, EndpointShare
from andon.observability.infrastructure.history import Series
from andon.observability.infrastructure.model import Moment
from andon.web.routes import Route


class SinceQuery(views.Input, frozen=True, kw_only=True):
    """How far back."""

    seconds: Annotated[
        int, msgspec.Meta(ge=0, le=86_400, description="Over the last so many seconds; 0 asks for no past.")
    ] = 3600


class InfrastructurePage(views.View, frozen=True, kw_only=True):
    """The latest look at everything, and a few figures over time."""

    now: Moment | None  # null before the first look, seconds after the start
    warnings: tuple[str, ...]  # what somebody should look at
    windows_complete_since_ns: int
    series: tuple[Series, ...]


class AttributionPage(views.View, frozen=True, kw_only=True):
    """Whose work the GPUs did."""

    seconds: int
    absent: str  # why there is no GPU to be seen; empty where there is
    devices: tuple[DeviceShare, ...]
    endpoints: tuple[EndpointShare, ...]


def infrastructure_routes(verbs: Any) -> Sequence[Route]:
    """`GET /v1/infrastructure` and `GET /v1/gpu/attribution`."""
    return (
        Route(
            method="GET",
            path="/v1/infrastructure",
            name="getInfrastructure",
            action="observe.read",
            query=SinceQuery,
            response=InfrastructurePage,
            handler=verbs.infrastructure,
            summary="Host, processes, logs and GPUs now, and their last hours",
        ),
        Route(
            method="GET",
            path="/v1/gpu/attribution",
            name="getGpuAttribution",
            action="observe.read",
            query=SinceQuery,
            response=AttributionPage,
            handler=verbs.attribution,
            summary="GPU seconds and joules by endpoint; they add up to the devices",
        ),
    )
