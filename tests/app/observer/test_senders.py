"""API keys as principals: found by the key they carry, gone within a second, bounded for strangers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from andon.app.observer.senders import FRESH_S, KEYS_MAX, LOOKUPS_PER_S, Senders
from andon.kernel.access import Resource
from andon.kernel.clock import SystemClock
from andon.kernel.errors import Refused, Transient
from andon.kernel.random import SeededRandom
from andon.security.identity.model import KeyRequest
from andon.security.identity.service import Keys
from andon.security.identity.token import make_token
from andon.security.policy.engine import Engine
from andon.security.policy.model import text_of
from andon.store.runner import ThreadRunner
from andon.store.sql import open_store
from andon.web.authentication import Authenticator, keyed_digest

PEPPER = b"p" * 32


class Hands:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def now_ns(self) -> int:
        return int((1_780_000_000 + self.now_s) * 1e9)

    def monotonic(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def run(work: Callable[[Keys, Senders, Hands], Awaitable[None]]) -> None:
    async def main() -> None:
        runner, hands = ThreadRunner(1), Hands()
        store = await open_store("sqlite://", SystemClock(), runner)
        try:
            keys = Keys(store, hands, SeededRandom(3), PEPPER)
            await work(keys, Senders(store, hands), hands)
        finally:
            await store.close()
            runner.close()

    asyncio.run(main())


def test_a_key_may_send_facts_and_telemetry_and_nothing_else() -> None:
    async def work(keys: Keys, senders: Senders, hands: Hands) -> None:
        made = await keys.create(KeyRequest(owner="shop"), actor="me")
        authenticator = Authenticator((), PEPPER, senders.find)
        header = f"Bearer {made.secret}"
        principal = await authenticator.identify(header)
        assert principal.name == f"key:{made.key.id}"
        authority = Engine(text_of(()))
        for action, may in (
            ("fact.write", True),
            ("telemetry.write", True),
            ("fact.price", False),
            ("ledger.read", False),
            ("factory.apply", False),
            ("key.write", False),
        ):
            assert authority.decide(principal, action, Resource(), {}).allowed is may
        with pytest.raises(Refused) as refused:
            await authenticator.identify(f"Bearer {make_token(SeededRandom(9)).text}")
        assert refused.value.status == 401

    run(work)


def test_a_revoked_or_expired_key_is_refused_within_a_second() -> None:
    async def work(keys: Keys, senders: Senders, hands: Hands) -> None:
        gone = await keys.create(KeyRequest(owner="shop"), actor="me")
        short = await keys.create(KeyRequest(owner="shop", expires_in_s=5), actor="me")

        async def known(secret: str) -> bool:
            return await senders.find(secret, keyed_digest(secret, PEPPER)) is not None

        assert await known(gone.secret)
        assert await known(short.secret)
        await keys.revoke(gone.key.id, actor="me", reason="test")
        hands.now_s += FRESH_S
        assert not await known(gone.secret)
        hands.now_s += 5
        assert not await known(short.secret)
        # The id of a known key with another secret is nobody.
        forged = short.secret[:20] + make_token(SeededRandom(4)).text[20:]
        assert not await known(forged)

    run(work)


def test_strangers_cost_a_bounded_number_of_look_ups() -> None:
    async def work(keys: Keys, senders: Senders, hands: Hands) -> None:
        chance = SeededRandom(1)
        for _ in range(int(LOOKUPS_PER_S)):
            assert await senders.find(make_token(chance).text, bytes(32)) is None
        stranger = make_token(chance).text
        with pytest.raises(Transient) as refused:
            await senders.find(stranger, bytes(32))
        assert refused.value.code == "keys_busy"
        assert await senders.find("not even a key", bytes(32)) is None
        hands.now_s += 1
        assert await senders.find(make_token(chance).text, bytes(32)) is None
        assert len(senders._read) == 0 < KEYS_MAX

    run(work)
