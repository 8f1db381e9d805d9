"""What the admin API stands on: the verbs of the rooms, as the API needs them.

`app` hands in the real ones; tests hand in the real factory and small fakes. Every verb raises the kernel's errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, cast

from andon.app.admission_routes import NoPapers, Papers
from andon.app.identity import Identities
from andon.app.policy_routes import NoPolicyVerbs, PolicyVerbs
from andon.app.secret_routes import NoSecrets, SecretVerbs
from andon.app.views import (
    Check,
    KeyRequest,
    KeyView,
    NewKey,
    RequestPage,
    RequestQuery,
    RolloutExplanation,
    RolloutView,
    TopPage,
)
from andon.control.factory import Factory
from andon.control.plan import ChangePlan
from andon.kernel.clock import Clock
from andon.kernel.ports import Runner
from andon.kernel.principals import Principal
from andon.kernel.reports import Report
from andon.web.routes import Call

RolloutVerb = Literal["promote", "abort", "pause", "resume"]


class Rollouts(Protocol):
    """Releases in progress."""

    async def act(self, verb: RolloutVerb, name: str, *, actor: str, reason: str) -> RolloutView:
        """Do one verb, once; Refused 404 if there is no such rollout, Conflict if it is over."""
        ...

    async def explain(self, name: str) -> RolloutExplanation:
        """Why it stands where it stands; Refused 404 if there is no such rollout."""
        ...


class Keys(Protocol):
    """API keys of the gateway."""

    async def create(self, request: KeyRequest, *, actor: Principal) -> NewKey: ...
    async def list(self) -> Sequence[KeyView]: ...
    async def rotate(self, id_: str, *, overlap_s: float, actor: Principal) -> NewKey: ...
    async def revoke(self, id_: str, *, actor: str, reason: str) -> KeyView: ...


class Ledger(Protocol):
    """Reads what happened."""

    async def requests(self, query: RequestQuery) -> RequestPage:
        """Outcomes after a position, or the latest; `next` is where to go on."""
        ...

    async def top(self, window_s: int) -> TopPage:
        """Counts and quantiles per endpoint and release."""
        ...


class Gateways(Protocol):
    """The way between control and gateways."""

    async def snapshot(self, have: int, wait_s: float) -> bytes | None:
        """The snapshot as JSON, if it is newer than `have` within `wait_s` seconds; None otherwise."""
        ...

    async def report(self, reports: Sequence[Report], *, gateway: str) -> None:
        """Take facts from a gateway, each once."""
        ...


class Changes(Protocol):
    """Whether a principal may make each change of a plan."""

    async def check(self, call: Call, plan: ChangePlan) -> None:
        """Return if all of them; raises Refused 403 for the first that is not."""
        ...


class NoPolicies:
    """For factories without an authority over single resources: whoever may apply may change everything."""

    async def check(self, call: Call, plan: ChangePlan) -> None:
        """Return."""


class Health(Protocol):
    """Whether control does its work."""

    async def checks(self) -> Sequence[Check]: ...


@dataclass(frozen=True)
class Services:
    """Everything behind the admin API."""

    clock: Clock
    runner: Runner  # parses factory files away from the event loop
    factory: Factory
    rollouts: Rollouts
    keys: Keys
    ledger: Ledger
    gateways: Gateways
    health: Health
    changes: Changes = NoPolicies()  # noqa: RUF009  # it has no state
    policies: PolicyVerbs = cast("PolicyVerbs", NoPolicyVerbs())  # noqa: RUF009  # it has no state
    papers: Papers = NoPapers()  # noqa: RUF009  # it has no state
    identities: Identities | None = None  # None = nobody signs in here; keys only
    secrets: SecretVerbs = cast("SecretVerbs", NoSecrets())  # noqa: RUF009  # it has no state
