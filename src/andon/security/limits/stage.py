"""The gateway's second stage: reserve before anything is spent, settle to what was used, or take it back.

Memory only, all limits of a request or none. `exchange.reservations` carries what must be settled exactly once, and the
`x-ratelimit-*` lines for the answer, so that egress need not know this room.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from andon.kernel.clock import Clock
from andon.kernel.errors import AndonError, Refused, Transient
from andon.kernel.exchange import Exchange, Operation
from andon.kernel.pending import PENDING
from andon.kernel.principals import Principal
from andon.kernel.snapshot import EndpointEntry, Snapshot
from andon.security.limits.counters import LocalCounters
from andon.security.limits.headers import rate_limit_lines
from andon.security.limits.model import Counter, CounterStore, Denial, Rule, Shared

PLANS_MAX = 100_000  # pairs of key and endpoint; at the limit all are forgotten and made again
ANONYMOUS = "anonymous"  # the one subject of limits on keys when there is no key
BYTES_PER_TOKEN = 4  # of English text under the tokenizers of today; settled to the provider's own count
GENERATING = frozenset({Operation.CHAT, Operation.COMPLETION})


class _Plan:
    """The counters of one pair of key and endpoint."""

    __slots__ = ("burst_tokens", "counters", "guess_max", "output_default")

    def __init__(self, counters: tuple[Counter, ...], endpoint: EndpointEntry | None) -> None:
        self.counters = counters
        self.burst_tokens = min((counter.rule.burst_tokens for counter in counters), default=math.inf)
        # What is only guessed never asks for more than a quarter of the smallest limit on each side, so that a small
        # limit stays usable; what the client states itself is taken at its word.
        self.guess_max = max(1, int(self.burst_tokens / 4)) if self.burst_tokens < math.inf else 0
        self.output_default = min(endpoint.max_output_tokens if endpoint else 0, self.guess_max)


class Reservation:
    """What one exchange has taken; kept on it as `exchange.reservations`."""

    __slots__ = ("_monotonic", "at", "counters", "grant", "input_tokens", "open", "tokens")

    def __init__(
        self,
        counters: tuple[Counter, ...],
        tokens: int,
        input_tokens: int,
        at: float,
        monotonic: Callable[[], float],
    ) -> None:
        self.counters = counters
        self.tokens = tokens  # input and output together
        self.input_tokens = input_tokens
        self.at = at
        self.open = True
        self.grant: object = None  # what the authority of shared counters gave
        self._monotonic = monotonic

    def headers(self) -> bytes:
        """`x-ratelimit-*` lines of the tightest limit as it stands now, each ending in CRLF; empty without limits."""
        return rate_limit_lines(self.counters, self._monotonic())


class LimitStage:
    """Counts requests, tokens and concurrency against every limit that an exchange falls under."""

    name = "limits"

    def __init__(self, clock: Clock, store: CounterStore | None = None, shared: Shared | None = None) -> None:
        self._monotonic = clock.monotonic
        self._shared = shared  # None = this gateway counts for itself
        self._store: CounterStore = store if store is not None else LocalCounters()
        self._rules: dict[str, tuple[Rule, ...]] = {"key": (), "team": (), "endpoint": ()}
        self._endpoints: dict[str, EndpointEntry] = {}
        self._plans: dict[tuple[str, str, str], _Plan] = {}
        self.reserved = 0  # exchanges admitted under at least one limit
        self.settled = 0
        self.cancelled = 0
        self.refused = 0

    @property
    def store(self) -> CounterStore:
        """Where it counts: for invariants, which only read."""
        return self._store

    def adopt(self, snapshot: Snapshot) -> Callable[[], None]:
        """Make rules of a snapshot's limits. Raises Refused if one cannot be enforced."""
        rules = [Rule(entry) for entry in snapshot.limits]
        if len({rule.name for rule in rules}) != len(rules):
            raise Refused("snapshot_invalid", "Two limits of the snapshot have the same name.")
        by_scope = {
            scope: tuple(rule for rule in rules if rule.scope == scope)
            for scope in ("key", "team", "endpoint")
        }
        endpoints = {name: entry for entry in snapshot.endpoints for name in (entry.name, *entry.aliases)}

        def enforce() -> None:
            self._store.adopt(rules, self._monotonic())
            self._rules = by_scope
            self._endpoints = endpoints
            self._plans = {}

        return enforce

    def admit(self, exchange: Exchange) -> AndonError | None:
        """Reserve one request and its tokens from every limit; a refusal leaves nothing reserved."""
        key = exchange.key
        whose = key.id if key is not None else _subject(exchange.principal)
        # A token may name another team than the last one of the same holder did.
        team = key.team if key is not None else _team(exchange)
        plan = self._plans.get((whose, team, exchange.name))
        now = self._monotonic()
        if plan is None:
            made = self._make_plan(whose, team, exchange.name, now)
            if isinstance(made, AndonError):
                self.refused += 1
                return made
            plan = made
        counters = plan.counters
        if not counters:
            return None
        tokens = input_tokens = 0
        if plan.guess_max:
            stated = exchange.input_tokens
            input_tokens = (
                stated if stated is not None else min(len(exchange.body) // BYTES_PER_TOKEN, plan.guess_max)
            )
            cap = exchange.max_output_tokens
            if cap is not None:
                # It is refused later if it is below one; until then it must not lend anybody tokens.
                tokens = input_tokens + (cap if cap > 0 else 0)
            else:
                tokens = input_tokens + (plan.output_default if exchange.operation in GENERATING else 0)
        if self._shared is not None:
            taken = Reservation(counters, tokens, input_tokens, now, self._monotonic)
            taken.open = False
            exchange.reservations = taken
            found = self._shared.reserve(counters, tokens, now)
            return PENDING if found is None else self._take(taken, found)
        denial = self._store.reserve(counters, tokens, now)
        exchange.reservations = taken = Reservation(counters, tokens, input_tokens, now, self._monotonic)
        if denial is not None:
            taken.open = False
            self.refused += 1
            return refuse(denial, tokens)
        self.reserved += 1
        return None

    async def arrange(self, exchange: Exchange) -> AndonError | None:
        """Ask the authority of shared counters, where memory did not suffice."""
        shared = self._shared
        taken: Reservation = exchange.reservations
        assert shared is not None  # nobody else answers PENDING
        return self._take(taken, await shared.ask(taken.counters, taken.tokens))

    def _take(self, taken: Reservation, found: object) -> AndonError | None:
        if isinstance(found, AndonError):
            self.refused += 1
            return found
        if isinstance(found, Denial):
            self.refused += 1
            return refuse(found, taken.tokens)
        taken.grant = found
        taken.open = True
        taken.at = self._monotonic()
        self.reserved += 1
        return None

    def settle(self, exchange: Exchange) -> None:
        """Release the place in flight and charge real use; take everything back if no upstream was ever asked."""
        taken: Reservation | None = exchange.reservations
        if taken is None or not taken.open:
            return
        taken.open = False
        now = self._monotonic()
        shared = self._shared
        if not exchange.upstream_started_at and not exchange.attempt:
            if shared is None:
                self._store.cancel(taken.counters, taken.tokens, taken.at, now)
            else:
                shared.cancel(taken.grant, now)
            self.cancelled += 1
        else:
            used = _used(exchange, taken)
            if shared is None:
                self._store.settle(taken.counters, taken.tokens, used, now)
            else:
                shared.settle(taken.grant, used, now)
            self.settled += 1

    def _make_plan(self, whose: str, team: str, name: str, now: float) -> _Plan | AndonError:
        endpoint = self._endpoints.get(name)
        subjects = {
            "key": whose,
            "team": team,
            "endpoint": endpoint.name if endpoint is not None else "",
        }
        wanted = [
            (rule, subject)
            for scope, subject in subjects.items()
            for rule in self._rules[scope]
            if subject and rule.subject in ("", subject)
        ]
        # Making a counter may sweep idle ones, one of ours included; a second round cannot sweep again.
        counters: list[Counter] = []
        for _ in range(2):
            generation = self._store.generation
            counters = []
            for rule, subject in wanted:
                found = self._store.find(rule, subject, now)
                if isinstance(found, AndonError):
                    return found
                counters.append(found)
            if self._store.generation == generation:
                break
            self._plans = {}
        plan = _Plan(tuple(counters), endpoint)
        if endpoint is not None:  # Names that nobody serves are not worth remembering: clients invent them.
            if len(self._plans) >= PLANS_MAX:
                self._plans = {}
            self._plans[(whose, team, name)] = plan
        return plan


def _subject(principal: Principal | None) -> str:
    """Whom limits on keys count where there is no key: each principal by its name."""
    return ANONYMOUS if principal is None or principal.kind == "anonymous" else principal.name


def _team(exchange: Exchange) -> str:
    principal = exchange.principal
    return "" if principal is None else principal.team


def _used(exchange: Exchange, taken: Reservation) -> int:
    """Tokens to charge: what was counted, an explicit zero included; the reservation where nothing is known.

    An answer that is an error generated nothing, unless it says so. A client that left (499) may have cost all of it.
    """
    input_tokens, output_tokens = exchange.input_tokens, exchange.output_tokens
    if output_tokens is None and exchange.status >= 400 and exchange.status != 499:
        return 0
    if input_tokens is None and output_tokens is None:
        return taken.tokens
    return (taken.input_tokens if input_tokens is None else input_tokens) + (
        taken.tokens - taken.input_tokens if output_tokens is None else output_tokens
    )


def refuse(denial: Denial, tokens: int) -> Transient:
    """The answer to a reservation that was not made: 429, and whether trying again makes sense."""
    rule = denial.counter.rule
    entry = rule.entry
    whom = f"{rule.scope} '{denial.counter.subject}'"
    if denial.dimension == "request size":
        return Transient(
            "rate_limit_exceeded",
            f"This request may use up to {tokens} tokens, and limit '{rule.name}' grants {whom} at most "
            f"{int(rule.burst_tokens)} at once.",
            hint="Send less, or state a lower cap on output tokens; trying again will not help.",
            status=429,
            should_retry=False,
            retry_after_s=60.0,
        )
    if denial.dimension == "concurrency":
        what = f"{entry.concurrency} requests in flight"
    elif denial.dimension == "requests":
        what = f"{entry.requests_per_minute} requests per minute"
    else:
        what = f"{entry.tokens_per_minute} tokens per minute"
    return Transient(
        "rate_limit_exceeded",
        f"Limit '{rule.name}' grants {whom} {what}.",
        hint=f"Try again in {denial.wait_s:.3g} s.",
        status=429,
        retry_after_s=denial.wait_s,
    )
