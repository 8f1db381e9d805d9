"""The kind `Limit`, the rule made from it, the counter of one subject, and the port that counters stand behind.

Counters are the only mutable state of this room. They belong to a `CounterStore`; stages hold references and change
nothing themselves, so that a store shared by many gateways can take the local one's place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Protocol

import msgspec

from andon.control.kinds import Kind, Problem, World
from andon.kernel.errors import AndonError, Refused
from andon.kernel.snapshot import LimitEntry
from andon.store.model import Record

MINUTE_S = 60.0

OnStoreDown = Literal["closed", "open", "localShare"]
Scope = Literal["key", "team", "endpoint"]
Count = Annotated[int, msgspec.Meta(ge=1, le=10**12)]


class LimitSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """A ceiling for each key, team or endpoint, or for one of them."""

    scope: Annotated[Scope, msgspec.Meta(description="What is counted: each key, team or endpoint.")]
    subject: Annotated[
        str,
        msgspec.Meta(
            description="The one key id, team or endpoint that is meant; left out: each, on its own."
        ),
    ] = ""
    requests_per_minute: Annotated[
        Count | None, msgspec.Meta(description="Requests granted a minute, refilled evenly.")
    ] = None
    tokens_per_minute: Annotated[
        Count | None,
        msgspec.Meta(
            description="Tokens, input and output together, a minute; reserved first, then settled."
        ),
    ] = None
    concurrency: Annotated[Count | None, msgspec.Meta(description="Requests in flight at one moment.")] = None
    burst_requests: Annotated[
        Count | None,
        msgspec.Meta(description="Requests granted at once after a quiet time; default: a minute's."),
    ] = None
    burst_tokens: Annotated[
        Count | None,
        msgspec.Meta(description="Tokens granted at once after a quiet time; default: a minute's."),
    ] = None
    on_store_down: Annotated[
        OnStoreDown,
        msgspec.Meta(
            description="Where gateways share counters and cannot reach them: refuse all, let all through, or "
            "count alone to this gateway's part of the limit."
        ),
    ] = "localShare"


# Which kind a subject of each scope names.
_SUBJECTS = {"key": "ApiKey", "team": "Team", "endpoint": "Endpoint"}


def check_limit(spec: LimitSpec, record: Record, world: World) -> list[Problem]:
    """What could not be enforced: no ceiling, a burst without its ceiling, a subject that does not exist."""
    problems = [Problem(path="spec", message=text) for text in _unenforceable(spec)]
    kind = _SUBJECTS[spec.scope]
    if spec.subject and (kind, spec.subject) not in world:
        hint = (
            "Use the public id from `andon keys list`."
            if spec.scope == "key"
            else f"Add the {kind}, or correct it."
        )
        problems.append(
            Problem(path="spec.subject", message=f"there is no {kind} '{spec.subject}'", hint=hint)
        )
    return problems


def _unenforceable(limit: LimitSpec | LimitEntry) -> list[str]:
    texts = []
    if limit.requests_per_minute is None and limit.tokens_per_minute is None and limit.concurrency is None:
        texts.append("sets no ceiling: give requestsPerMinute, tokensPerMinute or concurrency")
    if limit.burst_requests is not None and limit.requests_per_minute is None:
        texts.append("burstRequests means nothing without requestsPerMinute")
    if limit.burst_tokens is not None and limit.tokens_per_minute is None:
        texts.append("burstTokens means nothing without tokensPerMinute")
    return texts


LIMIT = Kind(
    name="Limit",
    plural="limits",
    spec=LimitSpec,
    summary="A ceiling on requests, tokens and concurrency for keys, teams or endpoints.",
    check=check_limit,
    columns=(
        ("SCOPE", "spec.scope"),
        ("SUBJECT", "spec.subject"),
        ("RPM", "spec.requestsPerMinute"),
        ("TPM", "spec.tokensPerMinute"),
        ("CONCURRENCY", "spec.concurrency"),
    ),
)


def limit_entry(record: Record) -> LimitEntry:
    """What a snapshot says of a stored Limit. Raises msgspec.ValidationError."""
    spec = msgspec.convert(record.spec, LimitSpec)
    return LimitEntry(
        name=record.name,
        scope=spec.scope,
        subject=spec.subject,
        requests_per_minute=spec.requests_per_minute,
        tokens_per_minute=spec.tokens_per_minute,
        concurrency=spec.concurrency,
        burst_requests=spec.burst_requests,
        burst_tokens=spec.burst_tokens,
        on_store_down=spec.on_store_down,
    )


class Rule:
    """A limit in the units of the hot path: seconds that one request or token costs, seconds of debt allowed.

    An unlimited dimension has a cost of 0 and an allowance of infinity, so that no branch is needed.
    """

    __slots__ = (
        "burst_tokens",
        "concurrency",
        "entry",
        "name",
        "request_allowance_s",
        "request_head",
        "request_s",
        "scope",
        "subject",
        "token_allowance_s",
        "token_head",
        "token_s",
    )

    def __init__(self, entry: LimitEntry) -> None:
        """Raises Refused for an entry that cannot be enforced."""
        texts = _unenforceable(entry)
        for field in (
            "requests_per_minute",
            "tokens_per_minute",
            "concurrency",
            "burst_requests",
            "burst_tokens",
        ):
            value = getattr(entry, field)
            if value is not None and value < 1:
                texts.append(f"{field} is {value}; the least is 1")
        if texts:
            raise Refused("limit_unenforceable", f"Limit '{entry.name}' {'; '.join(texts)}.")
        self.entry = entry
        self.name = entry.name
        self.scope = entry.scope
        self.subject = entry.subject
        self.concurrency: float = entry.concurrency or math.inf
        self.request_s, self.request_allowance_s = _cost(entry.requests_per_minute, entry.burst_requests)
        self.token_s, self.token_allowance_s = _cost(entry.tokens_per_minute, entry.burst_tokens)
        # The unchanging part of the header lines, up to the number of what remains.
        self.request_head = _head("requests", entry.requests_per_minute)
        self.token_head = _head("tokens", entry.tokens_per_minute)
        self.burst_tokens: float = entry.burst_tokens or entry.tokens_per_minute or math.inf


def _head(dimension: str, per_minute: int | None) -> str:
    return f"x-ratelimit-limit-{dimension}: {per_minute}\r\nx-ratelimit-remaining-{dimension}: "


def _cost(per_minute: int | None, burst: int | None) -> tuple[float, float]:
    if per_minute is None:
        return 0.0, math.inf
    cost_s = MINUTE_S / per_minute
    return cost_s, cost_s * (burst or per_minute)


class Counter:
    """How much of one rule one subject has used. Times are monotonic seconds; see `rules` for what they mean."""

    __slots__ = ("accounts", "active", "held", "request_paid_at", "rule", "subject", "token_paid_at")

    def __init__(self, rule: Rule, subject: str) -> None:
        self.rule = rule
        self.subject = subject
        self.active = 0  # requests in flight
        self.held = 0  # tokens reserved by requests in flight
        self.request_paid_at = -math.inf  # when every request so far is paid for by the passing of time
        self.token_paid_at = -math.inf
        self.accounts: Any = None  # where it is shared: what stands for it there


class Denial(msgspec.Struct, frozen=True):
    """Why a reservation was not made: which counter and dimension, and when it may be tried again."""

    counter: Counter
    dimension: Literal["requests", "tokens", "concurrency", "request size"]
    wait_s: float  # infinite if it can never be granted


class Shared(Protocol):
    """Counters that an authority keeps for several gateways. A grant is whatever it wants back at the end."""

    def reserve(self, counters: Sequence[Counter], tokens: int, now: float) -> Any:
        """A grant, a `Denial`, an AndonError, or None if the authority must be asked."""
        ...

    async def ask(self, counters: Sequence[Counter], tokens: int) -> Any:
        """A grant, a `Denial` or an AndonError, within a bounded time; cancelled, it leaves nothing taken."""
        ...

    def settle(self, grant: Any, used: int, now: float) -> None:
        """The request of a grant has ended."""
        ...

    def cancel(self, grant: Any, now: float) -> None:
        """The request of a grant was refused later on."""
        ...


class CounterStore(Protocol):
    """Where counters live. All of a reservation is made or nothing."""

    generation: int  # grows when idle counters are forgotten: references to them are then stale

    def adopt(self, rules: Sequence[Rule], now: float) -> None:
        """Follow a new snapshot: counters of a limit that stays are kept, with its new ceilings."""
        ...

    def find(self, rule: Rule, subject: str, now: float) -> Counter | AndonError:
        """The counter of a subject, made on first use; an error when there is no room for another."""
        ...

    def reserve(self, counters: Sequence[Counter], tokens: int, now: float) -> Denial | None:
        """Take one request and `tokens` from every counter, or nothing from any."""
        ...

    def settle(self, counters: Sequence[Counter], tokens: int, used: int, now: float) -> None:
        """Give back `tokens` and one place in flight, and charge what was really used."""
        ...

    def cancel(self, counters: Sequence[Counter], tokens: int, reserved_at: float, now: float) -> None:
        """Take a reservation back as if it had not been made."""
        ...
