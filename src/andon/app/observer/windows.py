"""The part of the live windows: follows the feed, fills itself from the log, answers `top` and windows.

The same `Windows` is what alerts and objectives read: `windows_of(ground)` gives it to other parts.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from andon.app import views
from andon.app.behind import LedgerVerbs, top_page
from andon.app.observer.gateways import GatewayLook
from andon.app.observer.part import ObserverGround, Part
from andon.app.observer.windows_routes import WindowPage, WindowQuery, top_route, windows_routes
from andon.observability.families import Family, Sample
from andon.observability.windows.backfill import Backfill
from andon.observability.windows.service import Windows
from andon.web.routes import Call

FULL_WEIGHT = 10_000  # of the snapshot: basis points


class WindowVerbs:
    """What stands behind the routes."""

    def __init__(self, windows: Windows, log: LedgerVerbs, gateway: GatewayLook) -> None:
        self._windows = windows
        self._log = log
        self._gateway = gateway
        self.is_filled = False

    async def windows(self, call: Call) -> WindowPage:
        """The readings that were asked for."""
        asked: WindowQuery = call.query
        readings = self._windows.readings(asked.seconds, endpoint=asked.endpoint, release=asked.release)
        return WindowPage(
            seconds=asked.seconds,
            complete_since_ns=self._windows.complete_since_ns,
            items=tuple(readings),
        )

    async def top(self, call: Call) -> views.TopPage:
        """The windows, and what the gateway has in flight; from the log as long as the windows are being filled."""
        window_s: int = call.query.window_s
        if self.is_filled:
            page = top_page(window_s, self._windows.readings(window_s))
        else:
            page = await self._log.top(window_s)
        return with_gateway(page, await self._gateway.snapshot())


def with_gateway(page: views.TopPage, snapshot: dict[str, Any]) -> views.TopPage:
    """The page with what is in flight and weighed; a release that is served but has no traffic is not added."""
    endpoints: dict[str, dict[str, Any]] = snapshot.get("endpoints", {})
    rows = []
    for row in page.items:
        release = endpoints.get(row.endpoint, {}).get(row.release)
        if release is not None and release.get("arm") == row.arm:
            weight = release["weight"] / FULL_WEIGHT
            row = msgspec.structs.replace(row, in_flight=release["in_flight"], weight=weight)
        rows.append(row)
    return msgspec.structs.replace(page, items=tuple(rows))


class WindowMetrics:
    """How the windows themselves fare."""

    def __init__(self, windows: Windows, backfill: Backfill) -> None:
        self._windows = windows
        self._backfill = backfill

    def families(self) -> tuple[Family, ...]:
        """Rows that came too late or from a wrong clock, and rows read back at the start."""
        rows = Family(
            name="andon_window_rows_total",
            kind="counter",
            meaning="Rows of the live windows that were out of the ordinary, by what they were.",
            samples=tuple(
                Sample((("kind", kind),), float(count))
                for kind, count in (
                    ("too_late", self._windows.too_late),
                    ("ahead", self._windows.ahead),
                    ("backfilled", self._backfill.rows),
                )
            ),
        )
        return (rows,)


def build_windows(ground: ObserverGround) -> Part:
    """The part."""
    windows = ground.windows
    backfill = Backfill(windows, ground.disk, ground.clock, ground.runner)
    verbs = WindowVerbs(
        windows,
        LedgerVerbs(ground.disk, ground.clock, ground.runner),
        GatewayLook(ground.home, ground.internal, ground.clock),
    )

    async def fill() -> None:
        await backfill.run()
        verbs.is_filled = True
        await asyncio.Event().wait()  # a loop of a part never ends

    return Part(
        name="windows",
        routes=(*windows_routes(verbs), top_route(verbs)),
        loops=(fill,),
        consumers=(windows,),
        metrics=(WindowMetrics(windows, backfill),),
    )
