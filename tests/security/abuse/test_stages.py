"""The stages against abuse, as the gateway's chain drives them."""

from __future__ import annotations

import asyncio

import pytest

from andon.kernel.errors import Transient
from andon.kernel.exchange import Exchange
from andon.kernel.principals import Principal
from andon.kernel.snapshot import AbuseEntry, EndpointEntry, Snapshot
from andon.security.abuse.extraction import Suspicion
from andon.security.abuse.penalties import Penalties
from andon.security.abuse.settings import AbuseSettings
from andon.security.abuse.stage import AddressStage, ConductStage

SETTINGS = AbuseSettings(offences=3, forgiving_s=30.0, in_flight_max=10, in_flight_min=2)
KEY = Principal(kind="key", id="k1")
LOW, HIGH = EndpointEntry(name="low", protocol="oip"), EndpointEntry(name="high", protocol="oip", priority=5)


class HandClock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def now_ns(self) -> int:
        return int(self.seconds * 1e9)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        await asyncio.sleep(0)


class Chain:
    """Both stages, with the gateway's manners: what admitted is settled, once, with a status."""

    def __init__(self, *policies: AbuseEntry, settings: AbuseSettings = SETTINGS) -> None:
        self.clock = HandClock()
        keys = Penalties(settings)
        self.addresses = AddressStage(settings, self.clock, keys)
        self.conduct = ConductStage(settings, self.clock, keys, b"salt")
        self.told: list[Suspicion] = []
        self.conduct.told = self.told.append
        snapshot = Snapshot(
            version=1, factory="f", revision=1, compiled_at_ns=1, endpoints=(LOW, HIGH), abuse=policies
        )
        for stage in (self.addresses, self.conduct):
            stage.adopt(snapshot)()

    def open(
        self, endpoint: EndpointEntry = LOW, principal: Principal | None = KEY, peer: str = "203.0.113.5:1"
    ) -> tuple[Exchange, int]:
        """An exchange after admission, and its refusal's status or 0."""
        x = Exchange()
        x.peer, x.endpoint, x.body = peer, endpoint, b"%d" % id(x)
        error = self.addresses.admit(x)
        if error is not None:
            return x, error.status
        x.principal = principal
        error = self.conduct.admit(x) if principal is not None else None
        if error is not None:
            self.close(x, error.status, error.code, admitted=1)
            return x, error.status
        return x, 0

    def close(self, x: Exchange, status: int, code: str = "", admitted: int = 2) -> None:
        x.status, x.error_code = status, code
        if admitted == 2:
            self.conduct.settle(x)
        self.addresses.settle(x)

    def ask(self, status: int = 200, code: str = "", **who: object) -> int:
        x, refused = self.open(**who)
        if refused:
            return refused
        self.close(x, status, code, 2 if x.principal is not None else 1)
        return status


def test_an_address_that_guesses_keys_must_wait_and_others_need_not() -> None:
    chain = Chain()
    assert [chain.ask(401, principal=None) for _ in range(6)] == [401, 401, 401, 401, 429, 429]
    assert chain.ask(401, principal=None, peer="203.0.113.6:1") == 401
    assert chain.addresses.bars("203.0.113.5:77")
    assert not chain.addresses.bars("203.0.113.6:77")
    chain.clock.seconds += 1.0
    assert chain.ask(401, principal=None) == 401
    assert chain.ask(401, principal=None) == 429
    assert chain.addresses.refused == 3


def test_a_known_caller_is_judged_by_its_key_not_by_its_address() -> None:
    chain = Chain()
    assert [chain.ask(400) for _ in range(6)] == [400, 400, 400, 400, 429, 429]
    assert chain.ask(200, principal=Principal(kind="key", id="k2")) == 200


def test_a_blocked_guard_is_dearer_than_a_mistake_and_a_provider_s_refusal_is_free() -> None:
    chain = Chain()
    assert [chain.ask(400, "upstream_refused") for _ in range(20)] == [400] * 20
    assert [chain.ask(400, "guard_blocked") for _ in range(3)] == [400, 400, 429]


def test_what_the_listener_gives_up_on_counts_too() -> None:
    chain = Chain()
    for _ in range(4):
        chain.addresses.note("203.0.113.9:5", "malformed_request")
    for _ in range(9):
        chain.addresses.note("203.0.113.8:5", "connections")
    assert chain.addresses.bars("203.0.113.9:6")
    assert not chain.addresses.bars("203.0.113.8:6")


def test_a_refusal_says_how_long_and_nothing_else() -> None:
    chain = Chain()
    for _ in range(5):
        chain.ask(401, principal=None)
    x = Exchange()
    x.peer = "203.0.113.5:1"
    error = chain.addresses.admit(x)
    assert isinstance(error, Transient)
    assert error.code == "penalised"
    assert 0 < error.retry_after_s <= 1
    assert "203.0.113" not in str(error)


def test_the_lowest_priority_is_shed_first_and_every_place_comes_back() -> None:
    chain = Chain()
    held = [chain.open(HIGH)[0] for _ in range(8)]
    assert chain.ask(endpoint=LOW) == 503
    held += [chain.open(HIGH)[0] for _ in range(2)]
    assert chain.ask(endpoint=HIGH) == 503
    chain.close(held.pop(), 200)
    assert chain.ask(endpoint=HIGH) == 200
    for x in held:
        chain.close(x, 200)
    assert chain.conduct.shedder.in_flight == 0
    assert chain.conduct.shedder.shed == 2
    assert chain.ask(endpoint=LOW) == 200


@pytest.mark.parametrize(
    ("action", "statuses"), [("alert", [200] * 4), ("throttle", [200, 429, 429, 429]), ("block", [403] * 4)]
)
def test_a_copying_caller_gets_what_the_policy_says_and_is_told_of_once(
    action: str, statuses: list[int]
) -> None:
    policy = AbuseEntry(
        name="copies", endpoints=("low",), window_s=600.0, distinct_inputs=50, peers_ratio=2.0,
        boundary_margin=0.0, action=action, limit_rpm=10, hold_s=60.0,
    )  # fmt: skip
    chain = Chain(policy)
    kept = []  # so that no two have one id, and so one body
    for _ in range(200):
        x, refused = chain.open()
        assert refused == 0
        kept.append(x)
        chain.close(x, 200)
    chain.conduct.judge(chain.clock.seconds)
    chain.conduct.judge(chain.clock.seconds)
    assert [(one.principal, one.sign) for one in chain.told] == [("key:k1", "coverage")]
    assert [chain.ask() for _ in range(4)] == statuses
    assert chain.ask(endpoint=HIGH) == 200  # only there
    assert chain.ask(principal=Principal(kind="key", id="k2")) == 200  # and nobody else
    chain.clock.seconds += 700.0
    chain.conduct.judge(chain.clock.seconds)
    assert chain.ask() == 200


def test_the_bound_follows_the_lag_of_the_loop_on_a_clock_of_its_own() -> None:
    class Late(HandClock):
        late_s = 0.0

        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds + self.late_s)

    async def main() -> None:
        clock = Late()
        conduct = ConductStage(SETTINGS, clock, Penalties(SETTINGS), b"salt")
        task = asyncio.ensure_future(conduct.run())
        clock.late_s = 1.0
        for _ in range(100):
            await asyncio.sleep(0)
        lowered = conduct.shedder.bound
        clock.late_s = 0.0
        for _ in range(400):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert lowered < SETTINGS.in_flight_max
        assert conduct.shedder.bound == SETTINGS.in_flight_max

    asyncio.run(main())
