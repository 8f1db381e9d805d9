"""Four eyes: what somebody else has said yes to, exactly as it was when they said it.

An approval is bound to a digest: of a plan, or of a rollout as it stands. It is made by a verb and kept in the store as
a resource; it never counts for whoever gave it, and not after its time.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Final

import msgspec

from andon.control.kinds import Kind
from andon.kernel.access import Resource
from andon.kernel.errors import Refused
from andon.kernel.events import Event
from andon.kernel.principals import Principal
from andon.store.model import Record, Unit

APPROVAL: Final = "Approval"
DAY_NS: Final = 86_400_000_000_000
LIFE_MAX_NS: Final = 30 * DAY_NS
EACH_MAX: Final = 50  # approvals of one thing at one time
ALL_MAX: Final = 2000  # of everything
_PLAN_ID = re.compile(r"plan-[0-9a-f]{32}")


class ApprovalSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """One person's yes to one thing as it was."""

    subject: Annotated[
        str, msgspec.Meta(description='What was approved: "Rollout/credit-3" or "Plan/plan-…".')
    ]
    digest: Annotated[str, msgspec.Meta(description="What it was like; approved is nothing else.")]
    approver: Annotated[str, msgspec.Meta(description="Who said yes, such as user:ann@example.com.")]
    owner: Annotated[
        str, msgspec.Meta(description="Who answers for the approver, where it is a key or service.")
    ] = ""
    reason: Annotated[str, msgspec.Meta(max_length=500, description="Why, for people.")] = ""
    at_ns: Annotated[int, msgspec.Meta(description="When.")]
    expires_ns: Annotated[int, msgspec.Meta(description="When it stops to count.")]


APPROVAL_KIND = Kind(
    name=APPROVAL,
    plural="approvals",
    spec=ApprovalSpec,
    summary="Somebody's yes to a plan or a rollout, made by `andon approve`.",
    generated=True,
    columns=(("SUBJECT", "spec.subject"), ("APPROVER", "spec.approver"), ("REASON", "spec.reason")),
)


def digest_of(record: Record) -> str:
    """What a resource is like now: what people wrote of it, and which generation of it this is."""
    body = msgspec.json.encode([record.kind, record.name, record.generation, record.spec], order="sorted")
    return "sha256:" + hashlib.sha256(body).hexdigest()


def subject_of(unit: Unit, subject: str) -> tuple[Resource, str]:
    """The thing and its digest: a rollout by its name, or a plan by its id. Raises Refused 404."""
    kind, _, name = subject.partition("/")
    if kind == "Plan" and _PLAN_ID.fullmatch(name):
        return Resource(), name
    record = unit.get("Rollout", name) if kind == "Rollout" else None
    if record is None:
        raise Refused(
            "approval_subject_unknown",
            f"There is nothing to approve by the name '{subject}'.",
            hint="Name a rollout (Rollout/credit-3), or the id of a plan as `andon plan -o FILE` tells it (plan-…).",
            status=404,
        )
    return Resource(kind="Rollout", name=name), digest_of(record)


def approve(
    unit: Unit, principal: Principal, subject: str, *, reason: str, now_ns: int, life_ns: int
) -> Record:
    """Keep an approval; saying yes again renews it. Raises Refused: 403 for machines, 404, 429 for too many."""
    if principal.kind != "user":
        raise Refused(
            "approval_by_people",
            "Only a person can approve: a key or a service may belong to whoever asks.",
            hint="Sign in with andon login and approve again.",
            status=403,
        )
    _, digest = subject_of(unit, subject)
    held = [(record, msgspec.convert(record.spec, ApprovalSpec)) for record in unit.list(APPROVAL)]
    for record, spec in held:
        if spec.expires_ns <= now_ns:
            unit.delete(APPROVAL, record.name)
    living = [spec for _, spec in held if spec.expires_ns > now_ns]
    if len(living) >= ALL_MAX or sum(spec.subject == subject for spec in living) >= EACH_MAX:
        raise Refused(
            "approvals_exhausted",
            "There are as many approvals as are kept.",
            hint="They end by themselves; see: andon get approvals.",
            status=429,
        )
    name = hashlib.sha256(f"{subject}\0{digest}\0{principal.name}".encode()).hexdigest()[:24]
    spec = ApprovalSpec(
        subject=subject,
        digest=digest,
        approver=principal.name,
        owner=principal.owner,
        reason=reason,
        at_ns=now_ns,
        expires_ns=now_ns + min(life_ns, LIFE_MAX_NS),
    )
    record = unit.put(Record(kind=APPROVAL, name=name, spec=msgspec.to_builtins(spec)))
    data = {"digest": digest, "expiresNs": spec.expires_ns, "reason": reason}
    unit.append(Event(name="approval.given", subject=subject, actor=principal.name, data=data))
    return record


def approvers_of(
    approvals: Iterable[ApprovalSpec], digest: str, principal: Principal, now_ns: int
) -> Sequence[str]:
    """Whose approvals count for this principal: of exactly this, in time, and not its own by any name."""
    own = {principal.name, f"user:{principal.owner}", principal.owner} - {"", "user:"}
    return sorted(
        {
            spec.approver
            for spec in approvals
            if spec.digest == digest
            and spec.expires_ns > now_ns
            and spec.approver not in own
            and spec.owner not in own
            and f"user:{spec.owner}" not in own
        }
    )
