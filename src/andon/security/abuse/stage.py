"""The stages against abuse: one before anybody is identified, by address; one after, by caller and by load.

Memory only; where nobody offends, the first costs a look at an empty table. What was refused is learnt in its `settle`,
where every walk ends. Neither tells a caller more than how long to wait.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from andon.kernel.clock import Clock
from andon.kernel.errors import AndonError, Refused, Transient
from andon.kernel.exchange import Exchange
from andon.kernel.principals import NOBODY
from andon.kernel.snapshot import AbuseEntry, Snapshot
from andon.security.abuse.addresses import Addresses
from andon.security.abuse.extraction import Extraction, Suspicion
from andon.security.abuse.penalties import Penalties
from andon.security.abuse.settings import AbuseSettings
from andon.security.abuse.shedding import Shedder

OFFENCES: Final = frozenset({400, 401, 403, 405, 413, 415, 422})
WIRE_OFFENCES: Final = frozenset(
    {"malformed_request", "head_timeout", "body_timeout", "slow_reader", "chunk_overhead", "head_too_large"}
)  # what a server refuses before there is an exchange
GUARD_POINTS: Final = 3.0  # a guard blocked: dearer than a mistake
BLOCKED: Final = "conduct_blocked"
SHED_S: Final = 1.0
MINUTE_S: Final = 60.0


class AddressStage:
    """Refuses addresses that must wait, before anything is looked up; learns from every refusal."""

    name = "addresses"

    def __init__(self, settings: AbuseSettings, clock: Clock, keys: Penalties) -> None:
        self.keys = keys  # those of whoever is known
        self.addresses = Addresses(settings.trusted_proxies, settings.exempt)
        self.penalties = Penalties(settings)
        self._monotonic = clock.monotonic
        self.refused = 0

    def adopt(self, snapshot: Snapshot) -> Callable[[], None]:
        """Nothing of it is in the snapshot."""
        return _nothing

    def admit(self, exchange: Exchange) -> AndonError | None:
        """Refuse an address that must wait."""
        if not len(self.penalties):
            return None
        address = self.addresses.client(exchange.peer, exchange.headers)
        wait_s = self.penalties.wait_s(address, self._monotonic())
        if wait_s <= 0.0:
            return None
        self.refused += 1
        return _wait("This address has sent too many requests that had to be refused.", wait_s)

    def settle(self, exchange: Exchange) -> None:
        """Count an offence, or forgive for something that went well.

        Whoever is known is judged by the name, not by an address that others may share.
        """
        status, principal = exchange.status, exchange.principal
        if status in OFFENCES:
            if exchange.error_code.startswith("upstream_") or exchange.error_code == BLOCKED:
                return  # the provider's word, or our own: nothing that the caller did now
            points = GUARD_POINTS if exchange.error_code.startswith("guard") else 1.0
            if principal is None or principal.kind == "anonymous":
                address = self.addresses.client(exchange.peer, exchange.headers)
                self.penalties.offend(address, points, self._monotonic())
            else:
                self.keys.offend(principal.name, points, self._monotonic())
        elif status < 400 and principal is not None:
            if len(self.keys):
                self.keys.behave(principal.name, self._monotonic())
            if len(self.penalties):
                address = self.addresses.client(exchange.peer, exchange.headers)
                self.penalties.behave(address, self._monotonic())

    def note(self, peer: str, code: str) -> None:
        """The server refused something of a peer that never became a request."""
        if code in WIRE_OFFENCES:
            self.penalties.offend(self.addresses.client(peer, ()), 1.0, self._monotonic())

    def bars(self, peer: str) -> bool:
        """Whether a new connection is not worth accepting. Behind a trusted proxy nobody is barred."""
        return bool(len(self.penalties)) and (
            self.penalties.wait_s(self.addresses.client(peer, ()), self._monotonic()) > 0.0
        )


class _Held:
    """An action in force against one caller on one endpoint."""

    __slots__ = ("paid_at", "policy", "until")

    def __init__(self, policy: AbuseEntry, until: float) -> None:
        self.policy = policy
        self.until = until
        self.paid_at = 0.0


class ConductStage:
    """Sheds load by priority, makes keys wait that offend, watches for the copying of models."""

    name = "conduct"

    def __init__(self, settings: AbuseSettings, clock: Clock, keys: Penalties, salt: bytes) -> None:
        self.settings = settings
        self.shedder = Shedder(settings)
        self.penalties = keys
        self.extraction = Extraction(settings, salt)
        self.suspected = 0
        self.refused = 0
        self._clock = clock
        self._monotonic = clock.monotonic
        self._policies: dict[str, AbuseEntry] = {}
        self._held: dict[tuple[str, str], _Held] = {}
        self.told: Callable[[Suspicion], None] = _tell_nobody

    def adopt(self, snapshot: Snapshot) -> Callable[[], None]:
        """Which endpoints are watched, and what priorities there are. A policy that names its endpoints wins."""
        ordered = sorted(snapshot.abuse, key=lambda entry: bool(entry.endpoints))
        policies = {
            endpoint.name: entry
            for entry in ordered
            for endpoint in snapshot.endpoints
            if not entry.endpoints or endpoint.name in entry.endpoints
        }
        priorities = [endpoint.priority for endpoint in snapshot.endpoints]

        def enforce() -> None:
            self._policies = policies
            self._held = {pair: held for pair, held in self._held.items() if pair[1] in policies}
            self.shedder.adopt(priorities)

        return enforce

    def admit(self, exchange: Exchange) -> AndonError | None:
        """Refuse what the gateway cannot bear, or whom it must hold off."""
        shedder, endpoint = self.shedder, exchange.endpoint
        if shedder.in_flight >= shedder.least and shedder.refuses(
            0 if endpoint is None else endpoint.priority
        ):
            shedder.shed += 1
            return Transient(
                "overloaded",
                "The gateway has more to do than it can; requests of a higher priority go first.",
                hint="Try again shortly.",
                retry_after_s=SHED_S,
            )
        if len(self.penalties):
            wait_s = self.penalties.wait_s(_name(exchange), self._monotonic())
            if wait_s > 0.0:
                self.refused += 1
                return _wait("This key has sent too many requests that had to be refused.", wait_s)
        if self._policies and endpoint is not None:
            policy = self._policies.get(endpoint.name)
            if policy is not None:
                refusal = self._watch(exchange, policy)
                if refusal is not None:
                    self.refused += 1
                    return refusal
        shedder.in_flight += 1
        return None

    def settle(self, exchange: Exchange) -> None:
        """One request less; what it showed of its caller."""
        self.shedder.in_flight -= 1
        if self._policies and exchange.endpoint is not None:
            policy = self._policies.get(exchange.endpoint.name)
            if policy is not None:
                self.extraction.hear(exchange, _name(exchange), policy)

    async def run(self) -> None:
        """Beside the requests, until cancelled: measure the loop's lag, judge who copies models."""
        settings, clock = self.settings, self._clock
        judge_at = self._monotonic() + settings.judging_s
        while True:
            began = self._monotonic()
            await clock.sleep(settings.lag_period_s)
            now = self._monotonic()
            self.shedder.observe(max(0.0, now - began - settings.lag_period_s))
            if now >= judge_at:
                judge_at = now + settings.judging_s
                self.judge(now)

    def judge(self, now: float) -> None:
        """Look at every caller; act on those that stand out, and tell of each once while it lasts."""
        self.penalties.sweep(now)
        self._held = {pair: held for pair, held in self._held.items() if held.until > now}
        for suspicion in self.extraction.judge(self._policies, now):
            pair = (suspicion.principal, suspicion.endpoint)
            held = self._held.get(pair)
            if held is None:
                self._held[pair] = _Held(suspicion.policy, now + suspicion.policy.hold_s)
                self.suspected += 1
                self.told(suspicion)
            else:
                held.policy, held.until = suspicion.policy, now + suspicion.policy.hold_s

    def _watch(self, exchange: Exchange, policy: AbuseEntry) -> AndonError | None:
        assert exchange.endpoint is not None  # of whom the policy is
        name, now = _name(exchange), self._monotonic()
        held = self._held.get((name, exchange.endpoint.name)) if self._held else None
        if held is not None and held.until > now:
            if held.policy.action == "block":
                return Refused(
                    BLOCKED,
                    "This endpoint is closed to this caller for some time.",
                    hint="Ask the owner of the factory.",
                    status=403,
                )
            if held.policy.action == "throttle":
                cost_s = MINUTE_S / held.policy.limit_rpm
                if held.paid_at > now:
                    return _wait("This caller is slowed down on this endpoint.", held.paid_at - now)
                held.paid_at = now + cost_s
        self.extraction.ask(exchange, name, policy, now)
        return None


def _name(exchange: Exchange) -> str:
    return NOBODY.name if exchange.principal is None else exchange.principal.name


def _wait(message: str, wait_s: float) -> Transient:
    return Transient(
        "penalised", message, hint=f"Wait {wait_s:.3g} s; then mend what is refused.", status=429,
        retry_after_s=wait_s,
    )  # fmt: skip


def _nothing() -> None:
    return


def _tell_nobody(suspicion: Suspicion) -> None:
    return
