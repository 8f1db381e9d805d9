"""Past requests under other policies: who would be denied now, who would be let in, who would meet another release.

Pure. What rows do not hold is taken as it is today: attributes of keys and endpoints; that is said in the report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from andon.kernel.access import Decision, Resource
from andon.kernel.labels import RANKS
from andon.kernel.principals import NOBODY, Principal
from andon.ledger.row import Outcome
from andon.security.policy.engine import Engine
from andon.security.policy.people import Known
from andon.security.policy.vocabulary import SERVE

CHANGES_MAX = 1000
_HOUR_NS = 3_600_000_000_000


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """What is known today of those who called and what they called."""

    known: Known
    endpoints: Mapping[str, Mapping[str, Any]]  # attributes by name


class Change(msgspec.Struct, kw_only=True):
    """Requests that would have gone otherwise."""

    principal: str
    endpoint: str
    operation: str
    label: str
    change: str
    policies: tuple[str, ...]
    requests: int = 0
    example: str = ""


class Report(msgspec.Struct, kw_only=True):
    """The outcome of a replay."""

    requests: int = 0
    unchanged: int = 0
    newly_denied: int = 0
    newly_allowed: int = 0
    kept_away: int = 0
    unknown: int = 0
    erring: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()


def replay(engine: Engine, rows: Sequence[Outcome], past: Past) -> Report:
    """What rows of requests would have been told. Rows that never reached a decision on access are left out."""
    report = Report()
    changes: dict[tuple[Any, ...], Change] = {}
    for row in rows:
        denied_then = row.error_code == "policy_denied"
        if row.endpoint is None or row.operation is None or (row.status in (401, 404) and not denied_then):
            continue
        report.requests += 1
        principal, known = _who(row, past)
        report.unknown += not known
        decision, kept_away = _decide(engine, principal, row, past)
        if decision.allowed == denied_then:
            change = "allowed" if decision.allowed else "denied"
            report.newly_allowed += decision.allowed
            report.newly_denied += not decision.allowed
        elif kept_away is not None and not denied_then:
            change, decision = f"kept away from {row.arm}", kept_away
            report.kept_away += 1
        else:
            report.unchanged += 1
            continue
        key = (principal.name, row.endpoint, row.operation, row.data_class or "", change, decision.policies)
        if key not in changes:
            if len(changes) >= CHANGES_MAX:
                continue
            changes[key] = Change(
                principal=key[0],
                endpoint=key[1],
                operation=key[2],
                label=key[3],
                change=change,
                policies=decision.policies,
                example=row.id,
            )
        changes[key].requests += 1
    report.erring = tuple(sorted(engine.errors))
    report.changes = tuple(sorted(changes.values(), key=lambda one: -one.requests))
    return report


def _who(row: Outcome, past: Past) -> tuple[Principal, bool]:
    name = row.principal or (f"key:{row.key}" if row.key else NOBODY.name)
    try:
        return past.known.find(name, data=True)
    except ValueError:
        return NOBODY, False


def _decide(
    engine: Engine, principal: Principal, row: Outcome, past: Past
) -> tuple[Decision, Decision | None]:
    """The decision on the request, and the one on the release that answered it where that is a denial."""
    attributes = past.endpoints.get(row.endpoint or "", {})
    resource = Resource(kind="Endpoint", name=row.endpoint or "", attributes=attributes)
    floor = attributes.get("label", RANKS["internal"])
    context = {
        "labelRank": max(RANKS.get(row.data_class or "", 0), floor),
        "stream": row.stream,
        "estimatedTokens": (row.input_tokens or 0) + (row.output_tokens or 0),
        "pathPinned": False,
        "hour": row.at_ns // _HOUR_NS % 24,
        "address": row.address or "",
    }
    decision = engine.decide(principal, f"infer.{row.operation}", resource, context)
    if not decision.allowed or not row.release:
        return decision, None
    told = {**attributes, "endpoint": row.endpoint, "arm": row.arm or "stable"}
    release = Resource(kind="Release", name=row.release, attributes=told)
    served = engine.decide(principal, SERVE, release, context)
    return decision, None if served.allowed else served
