"""Routes about policies: why an access is allowed or not, the words, what the past would be, and approvals.

What they take and give; `policy_verbs` does it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Protocol

import msgspec
from msgspec import Meta

from andon.app import views
from andon.kernel.errors import Transient
from andon.kernel.labels import Label
from andon.security.policy.model import TEXT_MAX
from andon.web.routes import Call, Named, Route

Short = Annotated[str, Meta(max_length=300)]
Names = Annotated[tuple[Short, ...], Meta(max_length=50)]


class AccessQuestion(views.Input, frozen=True, kw_only=True):
    """Who would do what to what. What is given about a principal is added to what is known of it."""

    principal: Short  # "user:ann", "key:4kq2m", "service:batch", "anonymous"
    action: Short  # "release.promote", "infer.chat"
    resource: Short = ""  # "Rollout/credit-3"; empty = the factory
    context: dict[str, Any] = msgspec.field(default_factory=dict)
    attributes: dict[str, Any] = msgspec.field(
        default_factory=dict
    )  # of the resource, where they are not what is stored
    roles: Names = ()
    cohorts: Names = ()
    team: Short = ""
    label: Label | None = None


class PolicyText(views.View, frozen=True, kw_only=True):
    """One policy, and where it stands."""

    id: str
    effect: str
    source: str  # "Policy/roles", "built in"
    line: int
    text: str
    why: str = ""  # of a policy that would permit it: what is missing


class AccessExplanation(views.View, frozen=True, kw_only=True):
    """A decision as the policies in force make it now."""

    allowed: bool
    principal: str
    action: str
    resource: str
    roles: tuple[str, ...]
    context: dict[str, Any]
    attributes: dict[str, Any]
    policies: tuple[PolicyText, ...]  # that determine it
    errors: tuple[str, ...]  # ids of those that could not be evaluated
    would_permit: tuple[PolicyText, ...] = ()  # where nothing permits it
    policies_digest: str = ""  # empty = built-in policies only
    unknown: tuple[str, ...] = ()  # of principal and resource, what is not in this factory


class PolicyWords(views.View, frozen=True, kw_only=True):
    """What policies may say."""

    schema: str  # Cedar's own form
    built_in: str
    digest: str


class ReplayRequest(views.Input, frozen=True, kw_only=True):
    """Policies to try on the past."""

    cedar: Annotated[str, Meta(max_length=TEXT_MAX)]
    replaces: Names = ()  # built-in policies and names of Policy resources that are left out
    endpoint: Short = ""
    limit: Annotated[int, Meta(ge=1, le=100_000)] = 10_000


class ReplayChange(views.View, frozen=True, kw_only=True):
    """Requests that would have gone otherwise."""

    principal: str
    endpoint: str
    operation: str
    label: str
    change: str  # "denied", "allowed", "kept away from canary"
    policies: tuple[str, ...]
    requests: int
    example: str  # id of one of them


class ReplayReport(views.View, frozen=True, kw_only=True):
    """What past requests would have been told."""

    requests: int
    unchanged: int
    newly_denied: int
    newly_allowed: int
    kept_away: int  # answered by a release that would have been forbidden
    unknown: int  # of principals of which nothing is known any more; judged by their names alone
    erring: tuple[str, ...]  # policies that could not be evaluated
    changes: tuple[ReplayChange, ...]


class ApprovalRequest(views.Input, frozen=True, kw_only=True):
    """A yes."""

    reason: Annotated[str, Meta(max_length=500)] = ""
    expires_in: Short = "24h"


class PlanPath(views.Input, frozen=True, kw_only=True):
    """Which plan."""

    id: Annotated[str, Meta(min_length=8, max_length=100, pattern=r"^[A-Za-z0-9:_-]+$")]


class ApprovalView(views.View, frozen=True, kw_only=True):
    """An approval as it is kept."""

    name: str
    subject: str
    digest: str
    approver: str
    expires_ns: int


class PolicyVerbs(Protocol):
    """What stands behind these routes."""

    async def explain(self, call: Call) -> AccessExplanation: ...
    async def words(self, call: Call) -> PolicyWords: ...
    async def replay(self, call: Call) -> ReplayReport: ...
    async def approve_rollout(self, call: Call) -> ApprovalView: ...
    async def approve_plan(self, call: Call) -> ApprovalView: ...


class NoPolicyVerbs:
    """Where there are none."""

    async def _none(self, call: Call) -> None:
        raise Transient("policies_missing", "This process keeps no policies.", hint="andon status")

    def __getattr__(self, name: str) -> Any:
        return self._none


def policy_routes(verbs: PolicyVerbs) -> Sequence[Route]:
    """Every route about policies."""
    return (
        Route(
            method="POST",
            path="/v1/access/explanations",
            name="explainAccess",
            action="access.explain",
            request=AccessQuestion,
            response=AccessExplanation,
            handler=verbs.explain,
            summary="Whether somebody may do something, by which policies, and what would permit it",
        ),
        Route(
            method="GET",
            path="/v1/policies/words",
            name="getPolicyWords",
            action="access.explain",
            response=PolicyWords,
            handler=verbs.words,
            summary="The Cedar schema of this version, and the built-in policies",
        ),
        Route(
            method="POST",
            path="/v1/policies/replays",
            name="replayPolicies",
            action="access.replay",
            request=ReplayRequest,
            response=ReplayReport,
            handler=verbs.replay,
            summary="What past requests would have been told under other policies",
        ),
        Route(
            method="POST",
            path="/v1/rollouts/{name}/approvals",
            name="approveRollout",
            action="release.approve",
            params=views.NamePath,
            resource=Named("Rollout"),
            request=ApprovalRequest,
            response=ApprovalView,
            handler=verbs.approve_rollout,
            summary="Say yes to a rollout as it stands, for somebody else to act on",
        ),
        Route(
            method="POST",
            path="/v1/plans/{id}/approvals",
            name="approvePlan",
            action="factory.approve",
            params=PlanPath,
            request=ApprovalRequest,
            response=ApprovalView,
            handler=verbs.approve_plan,
            summary="Say yes to a plan, for somebody else to apply",
        ),
    )
