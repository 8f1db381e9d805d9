"""The part that takes in what became known later: facts by their own routes, and OpenTelemetry.

Wires the intake and the receiver to the routes, the feed and the metrics; decides nothing.
"""

from __future__ import annotations

from andon.app.observer.facts_routes import facts_routes
from andon.app.observer.otlp import OtlpVerbs
from andon.app.observer.otlp_routes import otlp_routes
from andon.app.observer.part import ObserverGround, Part
from andon.gateway.recording import unit_hash
from andon.ledger.facts.intake import Intake
from andon.ledger.facts.items import Receipt
from andon.ledger.facts.known import KnownRequests
from andon.observability.engagement.counting import EngagementCounts
from andon.observability.intake.metrics import IntakeMetrics
from andon.observability.intake.receiver import Receiver
from andon.web.routes import Call


class FactVerbs:
    """The handlers."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    async def labels(self, call: Call) -> Receipt:
        """Labels."""
        return await self._receive("label", call)

    async def feedback(self, call: Call) -> Receipt:
        """Feedback."""
        return await self._receive("feedback", call)

    async def kpi_events(self, call: Call) -> Receipt:
        """KPI events."""
        return await self._receive("kpi", call)

    async def evaluations(self, call: Call) -> Receipt:
        """Evaluations."""
        return await self._receive("evaluation", call)

    async def prices(self, call: Call) -> Receipt:
        """Prices."""
        return await self._receive("price", call)

    async def _receive(self, kind: str, call: Call) -> Receipt:
        body = call.body
        source = call.principal.name
        return await self._intake.receive(kind, body.data, body.content_type, body.encoding, source)


def build_intake(ground: ObserverGround) -> Part:
    """Facts and telemetry in."""
    known = KnownRequests()
    engagement = EngagementCounts(known)
    intake = Intake(ground.facts, known, ground.engine, ground.runner, ground.clock, unit_hash)
    receiver = Receiver(intake, ground.clock, keep_content=ground.settings.telemetry_content)
    return Part(
        name="intake",
        routes=(*facts_routes(FactVerbs(intake)), *otlp_routes(OtlpVerbs(receiver))),
        consumers=(known, engagement),
        metrics=(IntakeMetrics(intake, receiver.counters), engagement),
    )
