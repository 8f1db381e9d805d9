"""The gateway's second stage: may whoever this is ask this of that endpoint, and which releases may answer?

Reads memory only. Policies are asked once for each principal, endpoint and what the policies look at; the answer holds
as long as the snapshot. Without policies of the factory's own nothing is asked. The determining policies go into the
row; the client of a denial learns nothing of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from andon.kernel.access import Resource
from andon.kernel.clock import Clock
from andon.kernel.errors import AndonError, Refused
from andon.kernel.exchange import Exchange
from andon.kernel.labels import RANKS
from andon.kernel.principals import NOBODY, Principal
from andon.kernel.snapshot import EndpointEntry, Snapshot
from andon.security.policy.engine import Engine
from andon.security.policy.heads import WHOLE
from andon.security.policy.vocabulary import DATA_ACTIONS, INFER_CONTEXT, LIST, SERVE

PRINCIPALS_MAX = 20_000  # whose answers are remembered; at the limit all are forgotten and asked again
ANSWERS_MAX = 512  # of one principal; likewise
BYTES_PER_TOKEN = 4  # of text, roughly: what `estimatedTokens` is estimated by
_HOUR_NS = 3_600_000_000_000


class Verdict:
    """One answer, as it is remembered."""

    __slots__ = ("allowed", "barred", "policies")

    def __init__(self, allowed: bool, policies: tuple[str, ...], barred: frozenset[str] | None) -> None:
        self.allowed = allowed
        self.policies = policies
        self.barred = barred  # "endpoint/release" that may not answer; None = any may


class _Mine:
    """The answers of one principal."""

    __slots__ = ("principal", "verdicts")

    def __init__(self, principal: Principal) -> None:
        self.principal = principal
        self.verdicts: dict[Any, Verdict] = {}


class _Line:
    """One endpoint as policies know it."""

    __slots__ = ("fallbacks", "rank", "releases", "resource")

    def __init__(self, entry: EndpointEntry) -> None:
        self.rank = RANKS[entry.label]
        attributes: dict[str, Any] = dict(entry.attributes)
        attributes["riskTier"] = entry.attributes.get("risk-tier", "")
        attributes["team"] = entry.attributes.get("team", "")
        attributes["label"] = self.rank
        attributes["labelMax"] = RANKS[entry.label_max]
        attributes["protocol"] = entry.protocol
        attributes["priority"] = entry.priority
        self.resource = Resource(kind="Endpoint", name=entry.name, attributes=attributes)
        self.releases: list[tuple[str, Resource]] = []
        for release in entry.releases:
            told = {**attributes, "endpoint": entry.name, "arm": str(release.arm)}
            self.releases.append(
                (f"{entry.name}/{release.id}", Resource(kind="Release", name=release.id, attributes=told))
            )
        self.fallbacks = entry.fallbacks


class _Table:
    """Everything derived from one snapshot."""

    __slots__ = ("digest", "engine", "fields", "lines", "mine", "serving")

    def __init__(self, snapshot: Snapshot, engine: Engine | None) -> None:
        self.digest = "" if snapshot.policy is None else snapshot.policy.digest
        self.engine = engine
        self.mine: dict[int, _Mine] = {}
        self.lines = {} if engine is None else {entry.name: _Line(entry) for entry in snapshot.endpoints}
        self.serving = False
        self.fields: tuple[str, ...] = ()
        if engine is not None:
            concerns = engine.concerns(SERVE)
            # The built-in policy lets any release answer; only where something else is said is it asked.
            self.serving = concerns.forbids or not any(head.id == "any-release" for head in concerns.heads)
            fields = {field for action in DATA_ACTIONS for field in engine.concerns(action).fields}
            if WHOLE in fields:
                fields = {name.rstrip("?") for name in INFER_CONTEXT}
            self.fields = tuple(sorted(fields))


class AuthoriseStage:
    """Fills `exchange.policies` and `exchange.barred`, or refuses with 403."""

    name = "policy"
    at_the_door = True  # admitted with the first stage, before anything is said of the request itself

    def __init__(self, clock: Clock) -> None:
        self._now_ns = clock.now_ns
        self._table = _Table(Snapshot(version=0, factory="", revision=0, compiled_at_ns=0), None)
        self._ready_digest = ""
        self._ready: Engine | None = None  # read before its snapshot
        self.asked = 0  # answers that were not remembered
        self.denied = 0
        self.barred = 0  # requests that a policy kept away from a release
        self.errors = 0  # answers in which a policy could not be evaluated

    @property
    def reads_labels(self) -> bool:
        """Whether any policy asks for the data class of a request."""
        return "labelRank" in self._table.fields

    @property
    def digest(self) -> str:
        """Of the policies in force; empty where there are none."""
        return self._table.digest

    def expect(self, digest: str, engine: Engine) -> None:
        """The policies of a snapshot that is about to be adopted, read already."""
        self._ready_digest, self._ready = digest, engine

    def adopt(self, snapshot: Snapshot) -> Callable[[], None]:
        """Parse a snapshot's policies, or keep those that are unchanged. Raises Refused for what is no policy set."""
        entry, before = snapshot.policy, self._table
        if entry is None:
            engine = None
        elif before.engine is not None and entry.digest == before.digest:
            engine = before.engine
        elif self._ready is not None and entry.digest == self._ready_digest:
            engine = self._ready
        else:
            engine = Engine(entry.text)
        self._ready_digest, self._ready = "", None
        table = _Table(snapshot, engine)

        def enforce() -> None:
            self._table = table

        return enforce

    def admit(self, exchange: Exchange) -> AndonError | None:
        """Look up the answer, or ask for it."""
        table = self._table
        engine = table.engine
        if engine is None:
            return None
        principal = exchange.principal
        if principal is None:
            principal = NOBODY
        mine = table.mine.get(id(principal))
        if mine is None:
            mine = _meet(table, principal)
        endpoint = exchange.endpoint
        key: Any = None if endpoint is None else (exchange.operation, endpoint.name)
        if table.fields and endpoint is not None:
            key = (key, self._values(table, exchange, endpoint))
        verdict = mine.verdicts.get(key)
        if verdict is None:
            verdict = self._ask(table, engine, mine, exchange)
            if len(mine.verdicts) >= ANSWERS_MAX:
                mine.verdicts.clear()
            mine.verdicts[key] = verdict
        exchange.policies = verdict.policies
        if not verdict.allowed:
            self.denied += 1
            return denied()
        if verdict.barred is not None:
            self.barred += 1
            exchange.barred = verdict.barred
        return None

    def settle(self, exchange: Exchange) -> None:
        """Nothing is held."""

    def _values(self, table: _Table, x: Exchange, endpoint: EndpointEntry) -> tuple[Any, ...]:
        return tuple([self._value(field, x, endpoint) for field in table.fields])

    def _value(self, field: str, x: Exchange, endpoint: EndpointEntry) -> Any:
        """One field of the context, as `INFER_CONTEXT` types it."""
        if field == "labelRank":
            return max(RANKS[endpoint.label], RANKS[x.label])
        if field == "stream":
            return x.stream
        if field == "estimatedTokens":
            asked = x.max_output_tokens
            return len(x.body) // BYTES_PER_TOKEN + (endpoint.max_output_tokens if asked is None else asked)
        if field == "pathPinned":
            return x.pinned
        if field == "address":
            return x.peer.rpartition(":")[0] or x.peer
        if field == "hour":
            return (x.received_ns or self._now_ns()) // _HOUR_NS % 24
        return None

    def _ask(self, table: _Table, engine: Engine, mine: _Mine, x: Exchange) -> Verdict:
        self.asked += 1
        endpoint = x.endpoint
        if endpoint is None:
            decision = engine.decide(mine.principal, LIST, Resource(), {})
            self.errors += bool(decision.errors)
            return Verdict(decision.allowed, decision.policies, None)
        context = {field: self._value(field, x, endpoint) for field in table.fields}
        line = table.lines[endpoint.name]
        action = f"infer.{x.operation.value}"
        decision = engine.decide(mine.principal, action, line.resource, context)
        self.errors += bool(decision.errors)
        if not decision.allowed:
            return Verdict(False, decision.policies, None)
        policies = list(decision.policies)
        barred: list[str] = []
        if table.serving:
            self._bar(engine, mine, line, context, barred, policies)
        for name in line.fallbacks:
            other = table.lines.get(name)
            if other is None:
                continue
            if engine.decide(mine.principal, action, other.resource, context).allowed:
                if table.serving:
                    self._bar(engine, mine, other, context, barred, policies)
            else:
                barred.extend([mark for mark, _ in other.releases])
        return Verdict(True, tuple(dict.fromkeys(policies)), frozenset(barred) if barred else None)

    def _bar(
        self,
        engine: Engine,
        mine: _Mine,
        line: _Line,
        context: dict[str, Any],
        barred: list[str],
        policies: list[str],
    ) -> None:
        """Note the releases of an endpoint that may not answer, and what says so."""
        for mark, release in line.releases:
            decision = engine.decide(mine.principal, SERVE, release, context)
            self.errors += bool(decision.errors)
            if not decision.allowed:
                barred.append(mark)
                policies.extend(decision.policies)


class ReconsiderStage:
    """Asks again where something has raised the data class of a request since it was let in."""

    name = "label"

    def __init__(self, authorise: AuthoriseStage) -> None:
        self._authorise = authorise

    def adopt(self, snapshot: Snapshot) -> Callable[[], None]:
        """Nothing of its own."""
        return _nothing

    def admit(self, exchange: Exchange) -> AndonError | None:
        """The answer for the class that the request has by now."""
        endpoint = exchange.endpoint
        if endpoint is None or RANKS[exchange.label] <= RANKS[endpoint.label]:
            return None
        return self._authorise.admit(exchange) if self._authorise.reads_labels else None

    def settle(self, exchange: Exchange) -> None:
        """Nothing is held."""


def denied() -> Refused:
    """What every denial by policy says."""
    return Refused(
        "policy_denied",
        "This is not allowed.",
        hint="Ask the owner of the factory for access.",
        status=403,
    )


def _meet(table: _Table, principal: Principal) -> _Mine:
    """The place for a principal's answers. It holds the principal, so that its identity stays its own."""
    if len(table.mine) >= PRINCIPALS_MAX:
        table.mine.clear()
    mine = table.mine[id(principal)] = _Mine(principal)
    return mine


def _nothing() -> None:
    return None
