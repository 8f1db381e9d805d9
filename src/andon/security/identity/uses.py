"""Who was let in lately: the gateways' side tells it at most once a minute, control's side remembers and journals it.

Last uses are kept apart from the keys themselves, so that traffic never changes what should be. A report that is lost
costs a minute of knowledge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from andon.kernel.clock import Clock
from andon.kernel.events import Event
from andon.kernel.ports import Reports
from andon.kernel.reports import Callers, Report
from andon.security.identity.issuers import ISSUER
from andon.security.identity.model import API_KEY
from andon.security.identity.stage import IdentifyStage
from andon.store.model import Record, Store, Unit

PERIOD_S: Final = 60.0
REFUSALS_S: Final = 5.0  # refusals are told sooner: somebody may be waiting for the reason
TOLD_NS: Final = (
    600 * 10**9
)  # one event for an issuer and a reason; every refusal is in the gateway's log and rows
USED_MAX: Final = 10_000  # keys in one report; the rest is told with the next one
_KIND, _NAME = "KeyUses", "all"

_logger = structlog.get_logger("andon.identity")


async def tell_callers(identify: IdentifyStage, reports: Reports, gateway: str, clock: Clock) -> None:
    """Report who was let in and who was refused by token, until cancelled."""
    used: dict[str, int] = {}
    due_at = clock.monotonic()  # at once: a key that was never used is told apart from one that was soon
    while True:
        await clock.sleep(REFUSALS_S)
        now = clock.monotonic()
        refused = identify.token_refusals()
        for one in refused:
            _logger.warning(
                "tokens refused", issuer=one.issuer, reason=one.reason, count=one.count, detail=one.detail
            )
        used.update(identify.last_used_ns())
        told: dict[str, int] = {}
        if used and now >= due_at:
            told = dict(list(used.items())[:USED_MAX])
            used = {id_: at_ns for id_, at_ns in used.items() if id_ not in told}
            due_at = now + PERIOD_S
        if told or refused:
            reports.send(Callers(gateway=gateway, at_ns=clock.now_ns(), used_ns=told, refused=refused))


class KeyUses:
    """What gateways told, in the store. Its store should not be one that notices changes."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def receive(self, reports: Sequence[Report]) -> None:
        """Take what is about callers; repeated reports change nothing."""
        told = [report for report in reports if isinstance(report, Callers)]
        if told:
            await self._store.transact(lambda unit: _take(unit, told))

    async def last_used_ns(self) -> Mapping[str, int]:
        """When each key was last let in anywhere, by public id."""
        return await self._store.transact(_read)


def _read(unit: Unit) -> dict[str, int]:
    kept = unit.get(_KIND, _NAME)
    return {} if kept is None else dict(kept.spec["used"])


def _take(unit: Unit, told: Sequence[Callers]) -> None:
    used = _read(unit)
    changed = False
    for report in told:
        for id_, at_ns in report.used_ns.items():
            if at_ns > used.get(id_, 0):
                used[id_] = at_ns
                changed = True
        for one in report.refused:
            unit.append(
                Event(
                    name="token.refused",
                    subject=f"{ISSUER}/{one.issuer}" if one.issuer else "Factory",
                    actor=f"gateway:{report.gateway}",
                    data={"reason": one.reason, "count": one.count, "detail": one.detail},
                    at_ns=report.at_ns,
                    unique=f"token.refused/{report.gateway}/{one.issuer}/{one.reason}/{report.at_ns // TOLD_NS}",
                )
            )
    if changed:
        known = {record.name for record in unit.list(API_KEY.name)}
        used = {id_: at_ns for id_, at_ns in used.items() if id_ in known}
        unit.put(Record(kind=_KIND, name=_NAME, spec={"used": used}))
