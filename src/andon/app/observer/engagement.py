"""The part that tells engagement and feature time, from the ledger.

Each answer is one or two bounded queries in a thread; nothing is kept between them.
"""

from __future__ import annotations

from andon.app.observer.engagement_routes import EngagementPage, FeaturePage, engagement_routes
from andon.app.observer.part import ObserverGround, Part
from andon.kernel.errors import Refused
from andon.kernel.units import duration_s
from andon.observability.engagement.repository import read_engagement, read_features
from andon.web.routes import Call


class EngagementVerbs:
    """The handlers."""

    def __init__(self, ground: ObserverGround) -> None:
        self._ground = ground

    async def engagement(self, call: Call) -> EngagementPage:
        """Per release."""
        endpoint, since_ns = self._asked(call)
        work = self._ground.runner.run(lambda: read_engagement(self._ground.engine, endpoint, since_ns))
        return EngagementPage(endpoint=endpoint, since_ns=since_ns, items=tuple(await work))

    async def features(self, call: Call) -> FeaturePage:
        """Per feature."""
        endpoint, since_ns = self._asked(call)
        work = self._ground.runner.run(lambda: read_features(self._ground.engine, endpoint, since_ns))
        return FeaturePage(endpoint=endpoint, since_ns=since_ns, items=tuple(await work))

    def _asked(self, call: Call) -> tuple[str, int]:
        try:
            back_s = duration_s(call.query.since)
        except ValueError as error:
            raise Refused(
                "invalid_parameter", str(error), hint="Such as since=24h.", param="since"
            ) from error
        return call.query.endpoint, max(0, self._ground.clock.now_ns() - int(back_s * 1e9))


def build_engagement(ground: ObserverGround) -> Part:
    """Engagement and feature time."""
    return Part(name="engagement", routes=engagement_routes(EngagementVerbs(ground)))
