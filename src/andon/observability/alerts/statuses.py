"""Statuses of alerts and receivers as resources. Pure; nothing is decided here.

They change with what fires, never with a mere value, so that the store is not written at every look.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from andon.observability.alerts.delivery import Ended
from andon.observability.alerts.instances import Instance

SHOWN = 20  # instances in a status


def rule_status(
    instances: Iterable[Instance], mutes: Mapping[str, str], error: str, left_out: int
) -> dict[str, Any]:
    """The status of an Alert: changes only when something changed, never with a mere value."""
    ordered = sorted(instances, key=lambda one: (one.phase != "firing", one.active_ns, one.fingerprint))
    firing = [one for one in ordered if one.phase == "firing"]
    pending = [one for one in ordered if one.phase == "pending"]
    state = "firing" if firing else "pending" if pending else "inactive"
    return {
        "state": state,
        "firing": len(firing),
        "pending": len(pending),
        "sinceNs": min((one.active_ns for one in firing or pending), default=0),
        "error": error,
        "leftOut": left_out,
        "instances": [
            {
                "fingerprint": one.fingerprint,
                "phase": one.phase,
                "labels": one.labels,
                "sinceNs": one.active_ns,
                "mutedBy": mutes.get(one.fingerprint, ""),
                "ackedBy": one.acked_by,
            }
            for one in ordered[:SHOWN]
            if one.phase != "resolved"
        ],
    }


def receiver_status(before: Mapping[str, Any], ended: Sequence[Ended], now_ns: int) -> dict[str, Any]:
    """The status of a Receiver after these notifications."""
    bad = [one for one in ended if not one.ok]
    good = len(ended) - len(bad)
    return {
        "sent": before.get("sent", 0) + good,
        "failed": before.get("failed", 0) + len(bad),
        "lastSentNs": now_ns if good else before.get("lastSentNs", 0),
        "lastFailureNs": now_ns if bad else before.get("lastFailureNs", 0),
        "lastFailure": bad[-1].why if bad else before.get("lastFailure", ""),
    }
