"""Who is let in: every header that clients use, every kind of wrong key, and a revocation that works at once."""

from __future__ import annotations

from typing import Any

import pytest

from andon.kernel.errors import AndonError, Refused
from andon.kernel.exchange import Exchange
from andon.kernel.random import SeededRandom, SystemRandom
from andon.kernel.snapshot import EndpointEntry, KeyEntry, Snapshot
from andon.security.identity.stage import WRONG_MAX, IdentifyStage
from andon.security.identity.token import Token, checksum, keyed_digest, make_token

PEPPER = b"p" * 32
TOKEN = make_token(SeededRandom(7))
ENDPOINTS = (
    EndpointEntry(name="credit", protocol="oip", aliases=("scoring",)),
    EndpointEntry(name="chat", protocol="openai"),
)


def entry(token: Token = TOKEN, **fields: Any) -> KeyEntry:
    return KeyEntry(id=token.id, digest=keyed_digest(token.text.encode(), PEPPER), **fields)


def snapshot(*keys: KeyEntry, anonymous: bool = False) -> Snapshot:
    return Snapshot(
        version=1,
        factory="f",
        revision=1,
        compiled_at_ns=0,
        keys=keys,
        endpoints=ENDPOINTS,
        allow_anonymous=anonymous,
    )


def stage(clock: Any, *keys: KeyEntry, anonymous: bool = False) -> IdentifyStage:
    made = IdentifyStage(PEPPER, clock)
    made.adopt(snapshot(*keys, anonymous=anonymous))()
    return made


def exchange(value: bytes | None = None, header: bytes = b"authorization", name: str = "credit") -> Exchange:
    made = Exchange()
    made.name = name
    made.headers = [(b"host", b"x")] if value is None else [(b"host", b"x"), (header, value)]
    return made


def bearer(token: Token = TOKEN) -> bytes:
    return b"Bearer " + token.text.encode()


def code(answer: AndonError | None) -> tuple[int, str]:
    assert isinstance(answer, Refused)
    return answer.status, answer.code


@pytest.mark.parametrize(
    ("header", "value"),
    [
        (b"authorization", bearer()),
        (b"authorization", b"bearer " + TOKEN.text.encode() + b" "),
        (b"authorization", TOKEN.text.encode()),
        (b"x-api-key", TOKEN.text.encode()),
        (b"api-key", TOKEN.text.encode()),
    ],
)
def test_every_header_that_clients_use_is_understood(clock: Any, header: bytes, value: bytes) -> None:
    identify = stage(clock, entry())
    for _ in range(2):
        asked = exchange(value, header)
        assert identify.admit(asked) is None
        assert asked.key is not None
        assert asked.key.id == TOKEN.id
    assert identify.hashed == 1


def test_wrong_keys_are_refused_alike(clock: Any) -> None:
    identify = stage(clock, entry())
    stranger = make_token(SystemRandom())
    body = f"sk-andon-{TOKEN.id}-{'x' * 33}"
    forged = f"{body}-{checksum(body)}".encode()
    unknown = identify.admit(exchange(bearer(stranger)))
    wrong = identify.admit(exchange(b"Bearer " + forged))
    assert code(unknown) == code(wrong) == (401, "invalid_api_key")
    assert str(unknown) == str(wrong)
    assert identify.hashed == 2


@pytest.mark.parametrize(
    "value", [b"", b"Bearer ", b"Basic YTpi", b"Bearer sk-1234", b"\xff" * 300, bearer()[:-1]]
)
def test_malformed_keys_cost_no_hash_and_no_memory(clock: Any, value: bytes) -> None:
    identify = stage(clock, entry())
    assert code(identify.admit(exchange(value))) == (401, "invalid_api_key")
    assert identify.hashed == 0


def test_no_key_is_refused_unless_anonymous_callers_are_allowed(clock: Any) -> None:
    assert code(stage(clock, entry()).admit(exchange())) == (401, "missing_api_key")
    identify = stage(clock, entry(), anonymous=True)
    asked = exchange()
    assert identify.admit(asked) is None
    assert asked.key is None
    # A wrong key is a mistake even where none is needed.
    assert code(identify.admit(exchange(b"Bearer nonsense"))) == (401, "invalid_api_key")


def test_a_revocation_works_with_the_next_snapshot_also_for_cached_keys(clock: Any) -> None:
    identify = stage(clock, entry())
    assert identify.admit(exchange(bearer())) is None
    enforce = identify.adopt(snapshot())
    assert identify.admit(exchange(bearer())) is None  # accepted is not yet enforced
    enforce()
    assert code(identify.admit(exchange(bearer()))) == (401, "invalid_api_key")


def test_a_new_key_works_at_once_although_it_was_refused_a_moment_ago(clock: Any) -> None:
    identify = stage(clock)
    assert identify.admit(exchange(bearer())) is not None
    identify.adopt(snapshot(entry()))()
    assert identify.admit(exchange(bearer())) is None


def test_an_expiry_is_honoured_on_a_cached_key(clock: Any) -> None:
    identify = stage(clock, entry(expires_at_ns=clock.now_ns() + 10**9))
    assert identify.admit(exchange(bearer())) is None
    clock.seconds += 1
    assert code(identify.admit(exchange(bearer()))) == (401, "expired_api_key")


def test_a_key_calls_only_what_it_may_and_learns_nothing_of_the_rest(clock: Any) -> None:
    identify = stage(clock, entry(endpoints=("credit",)))
    assert identify.admit(exchange(bearer(), name="credit")) is None
    assert identify.admit(exchange(bearer(), name="scoring")) is None
    other = identify.admit(exchange(bearer(), name="chat"))
    missing = identify.admit(exchange(bearer(), name="no-such"))
    assert code(other) == code(missing) == (403, "model_not_allowed")
    assert str(other) == str(missing)


def test_a_flood_of_the_same_wrong_key_is_hashed_once_in_a_while(clock: Any) -> None:
    identify = stage(clock, entry())
    stranger = bearer(make_token(SystemRandom()))
    for _ in range(100):
        identify.admit(exchange(stranger))
    assert identify.hashed == 1
    clock.seconds += 6
    identify.admit(exchange(stranger))
    assert identify.hashed == 2


def test_a_flood_of_different_wrong_keys_is_bounded_in_memory(clock: Any) -> None:
    identify = stage(clock, entry())
    random = SeededRandom(3)
    for _ in range(WRONG_MAX + 50):
        identify.admit(exchange(bearer(make_token(random))))
    assert len(identify._table.wrong) <= WRONG_MAX
    assert identify.admit(exchange(bearer())) is None


@pytest.mark.parametrize(
    "keys", [(entry(), entry()), (KeyEntry(id="a", digest="short"),)], ids=["same id twice", "no digest"]
)
def test_a_snapshot_that_cannot_be_enforced_is_refused_whole(clock: Any, keys: tuple[KeyEntry, ...]) -> None:
    identify = stage(clock, entry())
    with pytest.raises(Refused, match=r"snapshot|digest|same id"):
        identify.adopt(snapshot(*keys))
    assert identify.admit(exchange(bearer())) is None


def test_the_last_use_of_a_key_is_told_once(clock: Any) -> None:
    identify = stage(clock, entry())
    identify.admit(exchange(bearer()))
    assert identify.last_used_ns() == {TOKEN.id: clock.now_ns()}
    assert identify.last_used_ns() == {}
