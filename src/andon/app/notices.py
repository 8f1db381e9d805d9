"""Notices of gateways become events of the journal, each once.

Called by the admin API's report route. A gateway says what happened at itself only; nothing is decided by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from andon.kernel.events import Event
from andon.kernel.reports import Notice, Report
from andon.store.model import Store, Unit

NAMES: Final = frozenset({"limits.lost", "limits.restored", "extraction.suspected"})


async def remember_notices(store: Store, batch: Sequence[Report], gateway: str, now_ns: int) -> None:
    """Append an event for each notice that was not told before; names that nobody knows are passed over."""
    found = [report for report in batch if isinstance(report, Notice) and report.name in NAMES]
    if not found:
        return

    def work(unit: Unit) -> None:
        for notice in found:
            unit.append(
                Event(
                    name=notice.name,
                    subject=notice.subject,
                    actor=f"gateway:{gateway}",
                    data=dict(notice.data),
                    unique=f"{notice.name}:{gateway}:{notice.subject}:{notice.at_ns}",
                    at_ns=now_ns,
                )
            )

    await store.transact(work)
