"""Every part of the observer, in order: the one list from which its routes, loops, consumers and metrics are made.

Also read by control, which forwards the observer's routes, and by the reference of the API.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from andon.app.observer.alerts import build_alerts
from andon.app.observer.auditing import build_auditing
from andon.app.observer.changes import build_changes
from andon.app.observer.drift import build_drift
from andon.app.observer.engagement import build_engagement
from andon.app.observer.facts import build_intake
from andon.app.observer.infrastructure import build_infrastructure
from andon.app.observer.lineage import build_lineage
from andon.app.observer.metrics import build_metrics
from andon.app.observer.objectives import build_objectives
from andon.app.observer.part import ObserverGround, Part
from andon.app.observer.quality import build_quality
from andon.app.observer.queries import build_queries
from andon.app.observer.sealing import build_sealing
from andon.app.observer.telemetry import build_telemetry
from andon.app.observer.windows import build_windows

Build = Callable[[ObserverGround], Part]


def builders() -> tuple[Build, ...]:
    """The parts, each by the function that builds it."""
    return (
        build_windows,
        build_infrastructure,
        build_sealing,
        build_queries,
        build_intake,
        build_engagement,
        build_telemetry,
        build_objectives,
        build_drift,
        build_changes,
        build_quality,
        build_auditing,
        build_lineage,
    )


def build_parts(ground: ObserverGround) -> Sequence[Part]:
    """Every part on one ground; alerts and metrics last, because they are about all the others."""
    parts = [build(ground) for build in builders()]
    parts.append(build_alerts(ground, [source for part in parts for source in part.metrics]))
    return [*parts, build_metrics(ground, [source for part in parts for source in part.metrics])]
