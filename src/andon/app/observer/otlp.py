"""The verbs of the OTLP/HTTP receiver.

Wired with the intake of facts (`facts.py`), because what comes in becomes facts.
"""

from __future__ import annotations

from andon.app.observer.otlp_routes import to_raw
from andon.observability.intake.decoding import Signal
from andon.observability.intake.receiver import Receiver
from andon.web.routes import Call, Raw


class OtlpVerbs:
    """The handlers."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    async def traces(self, call: Call) -> Raw:
        """Spans."""
        return await self._receive("traces", call)

    async def metrics(self, call: Call) -> Raw:
        """Metrics."""
        return await self._receive("metrics", call)

    async def logs(self, call: Call) -> Raw:
        """Log records."""
        return await self._receive("logs", call)

    async def _receive(self, signal: Signal, call: Call) -> Raw:
        body = call.body
        source = call.principal.name
        return to_raw(
            await self._receiver.receive(signal, body.data, body.content_type, body.encoding, source)
        )
