"""The observer's routes as control knows them: what they take and give, without what stands behind them.

Control forwards these and publishes them in its OpenAPI document; it must start without the observer's extras, so a
part states its routes in a file of its own that imports no engine: `<part>_routes(verbs)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from andon.app.observer.alerts_routes import alerts_routes
from andon.app.observer.auditing_routes import auditing_routes
from andon.app.observer.drift_routes import drift_routes
from andon.app.observer.engagement_routes import engagement_routes
from andon.app.observer.facts_routes import facts_routes
from andon.app.observer.infrastructure_routes import infrastructure_routes
from andon.app.observer.lineage_routes import lineage_routes
from andon.app.observer.metrics_routes import metrics_routes
from andon.app.observer.objectives_routes import objectives_routes
from andon.app.observer.otlp_routes import otlp_routes
from andon.app.observer.quality_routes import quality_routes
from andon.app.observer.queries_routes import queries_routes
from andon.app.observer.sealing_routes import sealing_routes
from andon.app.observer.windows_routes import windows_routes
from andon.kernel.access import OPEN
from andon.kernel.errors import Transient
from andon.web.routes import Call, Route


async def away(call: Call) -> None:
    """Nothing answers here: the request should have been forwarded. Raises `Transient`."""
    raise Transient("observer_missing", "The observer does not answer.", hint="andon status")


class Absent:
    """Stands for the verbs of a part where only its routes are wanted."""

    def __getattr__(self, name: str) -> Any:
        return away


def forwarded(routes: Sequence[Route]) -> Sequence[Route]:
    """The same routes, answered by the observer."""
    return [msgspec.structs.replace(route, handler=away, elsewhere=True) for route in routes]


def observer_routes() -> Sequence[Route]:
    """Every route of the observer, for control to forward."""
    return forwarded(
        (
            *windows_routes(Absent()),
            *infrastructure_routes(Absent()),
            *queries_routes(Absent()),
            *facts_routes(Absent()),
            *otlp_routes(Absent()),
            *engagement_routes(Absent()),
            *objectives_routes(Absent()),
            *drift_routes(Absent()),
            *alerts_routes(Absent()),
            *quality_routes(Absent()),
            *sealing_routes(Absent()),
            *auditing_routes(Absent()),
            *lineage_routes(Absent()),
            *metrics_routes(Absent(), OPEN),  # the observer knows the setting, and decides
        )
    )
