"""The route of the metrics: `/metrics` for Prometheus, answered by the observer and forwarded by control.

Imports nothing heavy, because control reads it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from andon.app.settings import Settings
from andon.kernel.access import OPEN
from andon.web.routes import Call, Raw, Route

READ = "observe.read"
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class MetricVerbs(Protocol):
    """What stands behind the route."""

    @property
    def metrics(self) -> Callable[[Call], Awaitable[Raw]]:
        """Every family of every part, as text."""
        ...


def metrics_action(settings: Settings) -> str:
    """Who may read: anybody where only this machine can ask, or where the operator says so; else holders of a key."""
    is_open = settings.metrics_open
    if is_open is None:
        is_open = settings.control_host in _LOOPBACK
    return OPEN if is_open else READ


def metrics_routes(verbs: MetricVerbs, action: str = READ) -> Sequence[Route]:
    """The route."""
    return (
        Route(
            method="GET",
            path="/metrics",
            name="getMetrics",
            action=action,
            response=str,
            handler=verbs.metrics,
            summary="Metrics of all parts, as Prometheus text or OpenMetrics; open on loopback unless told otherwise",
            media_types=("text/plain", "application/openmetrics-text"),
        ),
    )
