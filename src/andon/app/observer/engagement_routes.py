"""The routes of engagement and of feature time.

Read by control as well, which forwards them; imports no engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from andon.observability.engagement.rules import Engagement, FeatureTime
from andon.web.routes import Route


class EngagementQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of what, and since when."""

    endpoint: Annotated[str, Meta(min_length=1, max_length=63, description="name of the endpoint")]
    since: Annotated[str, Meta(max_length=20, description="how far back, such as 24h or 7d")] = "7d"


class EngagementPage(msgspec.Struct, frozen=True, kw_only=True):
    """Engagement with each release."""

    endpoint: str
    since_ns: int
    items: tuple[Engagement, ...]


class FeaturePage(msgspec.Struct, frozen=True, kw_only=True):
    """The time of each feature, the costliest first."""

    endpoint: str
    since_ns: int
    items: tuple[FeatureTime, ...]


def engagement_routes(verbs: Any) -> Sequence[Route]:
    """`verbs` has engagement and features."""
    return (
        Route(
            method="GET",
            path="/v1/engagement",
            name="getEngagement",
            action="ledger.read",
            query=EngagementQuery,
            response=EngagementPage,
            handler=verbs.engagement,
            summary="What people did with the answers of each release",
        ),
        Route(
            method="GET",
            path="/v1/features",
            name="getFeatures",
            action="ledger.read",
            query=EngagementQuery,
            response=FeaturePage,
            handler=verbs.features,
            summary="What computing each feature took",
        ),
    )
