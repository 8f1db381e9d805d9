"""New signing keys are learnt once, by few questions, whatever strangers send and however the issuer fares."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import msgspec
from joserfc.jwk import KeySet

from andon.kernel.errors import AndonError, Transient, Unlearnt
from andon.kernel.exchange import Exchange
from andon.kernel.snapshot import BindingEntry, EndpointEntry, IssuerEntry, Snapshot
from andon.security.identity.learning import INTERVAL_S, KeyLearner
from andon.security.identity.stage import LEARNT_S, WRONG_S, IdentifyStage
from andon.testing.issuer import Key, make_key
from tests.security.test_tokens import CLAIMS, sign

FIRST, SECOND = make_key("first"), make_key("second")


class Answer(msgspec.Struct):
    body: bytes
    status: int = 200
    headers: Sequence[tuple[bytes, bytes]] = ()
    opening: Any = None


class Web:
    """An issuer's key set, as far as one can be asked for."""

    def __init__(self, *keys: Key) -> None:
        self.keys = keys
        self.asked = 0
        self.broken = False
        self.gate: asyncio.Event | None = None

    async def send(self, *arguments: Any, **more: Any) -> Answer:
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.broken:
            raise Transient("upstream_connect", "nobody is there")
        return Answer(key_set(*self.keys).encode())


def key_set(*keys: Key) -> str:
    return json.dumps(KeySet(list(keys)).as_dict(private=False))


def entry(keys: str, **more: Any) -> IssuerEntry:
    return IssuerEntry(
        name="corp", issuer=CLAIMS["iss"], audiences=("andon",), keys=keys, keys_url="https://x/certs", **more
    )


def snapshot(*issuers: IssuerEntry) -> Snapshot:
    return Snapshot(
        version=1,
        factory="f",
        revision=1,
        compiled_at_ns=0,
        issuers=issuers,
        endpoints=(EndpointEntry(name="chat", protocol="openai"),),
        bindings=(BindingEntry(name="b", subject="user:a*", roles=("operator", "gateway"), issuer="corp"),),
    )


def exchange(token: bytes) -> Exchange:
    made = Exchange()
    made.name = "chat"
    made.headers = [(b"authorization", b"Bearer " + token)]
    return made


def rooms(clock: Any, web: Web) -> tuple[IdentifyStage, KeyLearner]:
    stage = IdentifyStage(b"p" * 32, clock)
    stage.adopt(snapshot(entry(key_set(FIRST))))()
    return stage, KeyLearner(stage.issuers, stage.learn_keys, lambda ca: web, clock)


def token(clock: Any, key: Key = FIRST, header: dict[str, Any] | None = None, **claims: Any) -> bytes:
    return sign(key, header, **({"exp": clock.now_ns() // 10**9 + 300} | claims))


async def admitted(stage: IdentifyStage, learner: KeyLearner, text: bytes) -> AndonError | None:
    refusal = stage.admit(exchange(text))
    if isinstance(refusal, Unlearnt) and await learner.learn(refusal):
        refusal = stage.admit(exchange(text))
    return refusal


def test_a_token_fills_in_who_it_is_and_costs_one_signature(clock: Any) -> None:
    stage, _ = rooms(clock, Web())
    text = token(clock, aud=["account", "andon"])
    for _ in range(3):
        x = exchange(text)
        assert stage.admit(x) is None
        assert x.principal is not None
        assert x.key is not None
        assert (x.principal.name, x.principal.roles, x.principal.issuer) == (
            "user:corp/ann",
            ("operator",),
            "corp",
        )
        assert (x.key.id, x.key.digest) == ("user:corp/ann", "")
    assert stage.verified == 1
    assert stage.last_used_ns() == {}
    clock.seconds += 331  # what is remembered ends with the token
    refusal = stage.admit(exchange(text))
    assert refusal is not None
    assert refusal.code == "expired_token"


def test_a_new_snapshot_forgets_who_was_let_in(clock: Any) -> None:
    stage, _ = rooms(clock, Web())
    text = token(clock)
    assert stage.admit(exchange(text)) is None
    stage.adopt(snapshot())()
    refusal = stage.admit(exchange(text))
    assert refusal is not None
    assert refusal.code == "invalid_token"


def test_refusals_are_the_same_in_words_and_the_reasons_are_told_to_operators(clock: Any) -> None:
    stage, _ = rooms(clock, Web())
    texts = [
        token(clock, aud="account"),
        token(clock, SECOND, {"kid": "first"}),
        token(clock, iss="https://y"),
    ]
    texts.append(token(clock, SECOND))
    told = [stage.admit(exchange(text)) for text in texts * 2]
    assert {(str(one), one.code, one.status) for one in told if one is not None} == {
        (str(told[0]), "invalid_token", 401)
    }
    reasons = {(one.issuer, one.reason): one.count for one in stage.token_refusals()}
    # What was refused a moment ago is not verified again, unless it may be learnt meanwhile.
    assert reasons == {
        ("corp", "account"): 1,
        ("corp", "signature"): 1,
        ("", "issuer"): 1,
        ("corp", "key"): 2,
    }
    assert stage.token_refusals() == ()
    clock.seconds += WRONG_S + 1
    stage.admit(exchange(texts[0]))
    assert len(stage.token_refusals()) == 1


def test_one_question_serves_everybody_who_waits(clock: Any) -> None:
    async def main() -> None:
        web = Web(FIRST, SECOND)
        web.gate = asyncio.Event()
        stage, learner = rooms(clock, web)
        text = token(clock, SECOND)
        waiting = [asyncio.create_task(admitted(stage, learner, text)) for _ in range(50)]
        await asyncio.sleep(0)
        waiting[0].cancel()  # who asked first leaves; the answer is for the others all the same
        web.gate.set()
        told = await asyncio.gather(*waiting, return_exceptions=True)
        assert told[1:] == [None] * 49
        assert web.asked == 1
        await learner.close()

    asyncio.run(main())


def test_ids_that_nobody_has_ask_seldom_and_an_issuer_that_is_away_costs_nothing_else(clock: Any) -> None:
    async def main() -> None:
        web = Web(FIRST)
        stage, learner = rooms(clock, web)
        for number in range(1000):
            assert await admitted(stage, learner, token(clock, SECOND, {"kid": f"r{number}"})) is not None
        assert web.asked == 1
        for _ in range(3):
            clock.seconds += INTERVAL_S
            await admitted(stage, learner, token(clock, SECOND, {"kid": "r0"}))
        assert web.asked == 1  # it is known that nobody has this one
        web.broken = True
        clock.seconds += INTERVAL_S
        assert await admitted(stage, learner, token(clock, SECOND)) is not None
        assert await admitted(stage, learner, token(clock)) is None
        assert (web.asked, learner.failed) == (2, 1)
        web.broken, web.keys = False, (SECOND,)
        clock.seconds += INTERVAL_S
        assert await admitted(stage, learner, token(clock, SECOND)) is None
        # What the issuer no longer publishes is no longer taken, remembered tokens included.
        assert await admitted(stage, learner, token(clock)) is not None

    asyncio.run(main())


def test_what_was_learnt_outlives_snapshots_that_do_not_know_it_and_gives_way_to_those_that_do(
    clock: Any,
) -> None:
    async def main() -> None:
        stage, learner = rooms(clock, Web(FIRST, SECOND))
        text = token(clock, SECOND, exp=clock.now_ns() // 10**9 + 10_000)
        assert await admitted(stage, learner, text) is None
        stage.adopt(snapshot(entry(key_set(FIRST), keys_at_ns=clock.now_ns() - 1)))()
        assert stage.admit(exchange(text)) is None
        stage.adopt(snapshot(entry(key_set(FIRST), keys_at_ns=clock.now_ns() + 1)))()
        assert stage.admit(exchange(text)) is not None
        clock.seconds += INTERVAL_S
        assert await admitted(stage, learner, text) is None
        clock.seconds += LEARNT_S + 1
        stage.adopt(snapshot(entry(key_set(FIRST))))()
        assert stage.admit(exchange(text)) is not None

    asyncio.run(main())
