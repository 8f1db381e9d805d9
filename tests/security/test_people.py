"""Users, invitations, passwords and sessions on a real store: what works once, what ends, what strangers learn."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.kernel.errors import AndonError, Conflict, Refused, Transient
from andon.kernel.principals import Principal
from andon.kernel.random import SystemRandom
from andon.kernel.snapshot import BindingEntry
from andon.security.identity.bindings import ROLE_BINDING, Bindings
from andon.security.identity.passwords import ADDRESS_TRIES, BUCKETS_MAX, TRIES, Attempts, check_password
from andon.security.identity.people import INVITATION_S, SESSION, People, UserSpec, check_grant
from andon.security.identity.sessions import IDLE_S, LIFE_S, OF_ONE_MAX, PREFIX, Sessions
from andon.security.identity.tokens import Identity
from andon.store.model import Record, Store

PEPPER = b"p" * 32
WORD = "seven quiet herons"
ADMIN = Principal(kind="user", id="admin", roles=("administrator",))
Run = Callable[[Callable[[Store], Awaitable[None]]], None]


class AtOnce:
    """Runs work at once."""

    async def run(self, work: Callable[[], Any]) -> Any:
        return work()


def people(store: Store, clock: Any) -> People:
    return People(store, clock, SystemRandom(), AtOnce())


async def refused(awaited: Awaitable[Any]) -> AndonError:
    with pytest.raises(AndonError) as caught:
        await awaited
    return caught.value


def test_the_first_code_makes_one_administrator(with_store: Run, clock: Any) -> None:
    async def story(store: Store) -> None:
        verbs = people(store, clock)
        older, code = await verbs.first(), await verbs.first()
        assert (
            await refused(verbs.accept(older, "ann", WORD, "a"))
        ).code == "code_refused"  # a newer one is out
        assert (await refused(verbs.accept(code, "", WORD, "a"))).code == "user_missing"
        assert (await refused(verbs.accept(code, "admin", WORD, "a"))).code == "user_invalid"
        assert (await refused(verbs.accept(code, "ann", "short", "a"))).code == "weak_password"
        assert await verbs.accept(code, "ann", WORD, "a") == "ann"
        assert (await refused(verbs.accept(code, "eve", WORD, "a"))).code == "code_refused"
        late = await verbs.first()
        assert isinstance(await refused(verbs.accept(late, "eve", WORD, "a")), Conflict)
        assert await verbs.sign_in("ann", WORD, "b") == "ann"

        def kept(unit: Any) -> str:
            return str(
                [unit.list(kind) for kind in ("User", "Password", "Invitation")] + [unit.events(limit=100)]
            )

        everything = await store.transact(kept)
        assert WORD not in everything
        assert code not in everything

    with_store(story)


def test_an_invitation_is_for_one_user_for_a_while(with_store: Run, clock: Any) -> None:
    async def story(store: Store) -> None:
        verbs = people(store, clock)
        code, _ = await verbs.invite("bob", UserSpec(roles=("viewer",)), ADMIN)
        assert (await refused(verbs.accept(code, "eve", WORD, "a"))).code == "code_refused"
        clock.seconds += INVITATION_S
        assert (await refused(verbs.accept(code, "", WORD, "b"))).code == "code_refused"
        code, _ = await verbs.invite("bob", UserSpec(roles=("viewer",)), ADMIN)
        assert await verbs.accept(code, "", WORD, "c") == "bob"
        # A new invitation is a new password; the old one is over.
        code, _ = await verbs.invite("bob", UserSpec(roles=("viewer",)), ADMIN)
        await verbs.accept(code, "", "eight loud ravens", "d")
        assert (await refused(verbs.sign_in("bob", WORD, "d"))).code == "sign_in_refused"
        assert await verbs.sign_in("bob", "eight loud ravens", "d") == "bob"
        await verbs.remove("bob", ADMIN)
        assert (await refused(verbs.sign_in("bob", "eight loud ravens", "d"))).code == "sign_in_refused"

    with_store(story)


def test_nobody_hands_out_what_they_do_not_have(with_store: Run, clock: Any) -> None:
    async def story(store: Store) -> None:
        verbs = people(store, clock)
        viewer = Principal(kind="user", id="v", roles=("viewer",))
        await verbs.accept(await verbs.first(), "ann", WORD, "a")
        for attempt in (
            verbs.invite("eve", UserSpec(roles=("administrator",)), viewer),
            verbs.invite("ann", UserSpec(roles=("viewer",)), viewer),  # ann's password is ann's roles
            verbs.invite("eve", UserSpec(roles=("gateway",)), ADMIN),
            verbs.remove("ann", viewer),
        ):
            assert (await refused(attempt)).code == "role_not_yours"
        await verbs.invite("eve", UserSpec(roles=("viewer",)), viewer)
        check_grant(viewer, ())

    with_store(story)


def test_wrong_and_unknown_are_one(with_store: Run, clock: Any) -> None:
    async def story(store: Store) -> None:
        verbs = people(store, clock)
        await verbs.accept(await verbs.first(), "ann", WORD, "a")
        told = [
            await refused(verbs.sign_in(user, "x" * 12, "b"))
            for user in ("ann", "nobody", "", "ANN", "../x", "a" * 999)
        ]
        assert {(one.code, str(one), one.status) for one in told} == {("sign_in_refused", str(told[0]), 401)}
        for _ in range(TRIES - 1):
            await refused(verbs.sign_in("ann", "x", "c"))
        limited = await refused(verbs.sign_in("ann", WORD, "d"))
        assert isinstance(limited, Transient)
        assert limited.status == 429
        clock.seconds += 60
        assert await verbs.sign_in("ann", WORD, "d") == "ann"

    with_store(story)


def test_attempts_are_counted_in_bounded_memory(clock: Any) -> None:
    attempts = Attempts(clock)
    for number in range(BUCKETS_MAX + 500):
        attempts.take(f"u{number}", f"a{number}")
    assert len(attempts._users) == len(attempts._addresses) == BUCKETS_MAX
    for number in range(ADDRESS_TRIES):
        attempts.take(f"other{number}", "one address")
    with pytest.raises(Transient):
        attempts.take("another", "one address")


@pytest.mark.parametrize(
    "word", ["", "short", "a" * 20, "password12345", "anna-and-more-words", "x" * 300, "abcabcabcabc"]
)
def test_passwords_that_are_guessed_first_will_not_do(word: str) -> None:
    with pytest.raises(Refused) as error:
        check_password(word, "anna")
    assert not word or word not in str(error.value)


def test_sessions_end_by_time_by_rest_by_hand_and_with_their_user(with_store: Run, clock: Any) -> None:
    async def story(store: Store) -> None:
        verbs, sessions = people(store, clock), Sessions(store, clock, SystemRandom(), PEPPER)
        await verbs.accept(await verbs.first(), "ann", WORD, "a")
        token = await sessions.begin_user("ann")
        found = await sessions.find(token)
        assert found is not None
        assert (found.name, found.roles) == ("user:ann", ("administrator",))
        assert await sessions.find(token[:-1] + ("A" if token[-1] != "A" else "B")) is None
        assert await sessions.find(PREFIX) is None

        clock.seconds += IDLE_S - 1
        assert await sessions.find(token) is not None  # which is a use
        clock.seconds += IDLE_S - 1
        assert await sessions.find(token) is not None
        clock.seconds += IDLE_S
        assert await sessions.find(token) is None

        token = await sessions.begin_user("ann")
        for _ in range(int(LIFE_S // (IDLE_S / 2)) - 1):
            clock.seconds += IDLE_S / 2
            assert await sessions.find(token) is not None
        clock.seconds += IDLE_S / 2
        assert await sessions.find(token) is None

        one, other = await sessions.begin_user("ann"), await sessions.begin_user("ann")
        assert await sessions.end(one) == 1
        assert await sessions.end(one) == 0
        assert await sessions.find(other) is not None
        await sessions.begin_user("ann")
        assert await sessions.end(other, everywhere=True) == 2
        last = await sessions.begin_user("ann")
        await verbs.remove("ann", ADMIN)
        assert await sessions.find(last) is None
        for kept in await store.transact(lambda unit: tuple(unit.list(SESSION))):
            assert PREFIX not in str(kept)

    with_store(story)


def test_sessions_of_one_person_are_bounded(with_store: Run, clock: Any) -> None:
    async def story(store: Store) -> None:
        verbs, sessions = people(store, clock), Sessions(store, clock, SystemRandom(), PEPPER)
        await verbs.accept(await verbs.first(), "ann", WORD, "a")
        tokens = []
        for _ in range(OF_ONE_MAX + 3):
            clock.seconds += 1
            tokens.append(await sessions.begin_user("ann"))
        assert [await sessions.find(token) is not None for token in tokens[:4]] == [False] * 3 + [True]

    with_store(story)


def test_roles_of_a_session_are_those_of_now_and_end_with_the_issuer(with_store: Run, clock: Any) -> None:
    async def story(store: Store) -> None:
        sessions = Sessions(store, clock, SystemRandom(), PEPPER)
        identity = Identity(issuer="corp", subject="ann", service=False, expires_at_ns=0, groups=("crew",))
        issuer = {"issuer": "https://x", "audiences": ["a"]}
        binding = {"subject": "group:crew", "roles": ["operator"], "issuer": "corp"}
        await store.transact(lambda unit: unit.put(Record(kind="Issuer", name="corp", spec=issuer)))
        await store.transact(lambda unit: unit.put(Record(kind=ROLE_BINDING, name="b", spec=binding)))
        token = await sessions.begin_identity(identity)
        found = await sessions.find(token)
        assert found is not None
        assert (found.name, found.roles, found.issuer) == ("user:corp/ann", ("operator",), "corp")
        await store.transact(lambda unit: unit.delete(ROLE_BINDING, "b"))
        found = await sessions.find(token)
        assert found is not None
        assert found.roles == ()
        await store.transact(lambda unit: unit.delete("Issuer", "corp"))
        assert await sessions.find(token) is None

    with_store(story)


@given(st.text(max_size=50), st.text(max_size=50))
def test_a_binding_of_one_issuer_is_for_nobody_elses(subject: str, name: str) -> None:
    bindings = Bindings(
        [BindingEntry(name="b", subject="user:*", roles=("operator", "gateway"), issuer="corp")]
    )
    assert bindings.roles("", [f"user:{name}"]) == bindings.roles("other", [f"user:{name}"]) == ()
    assert "gateway" not in bindings.roles("corp", [f"user:{subject}"], ("gateway", "sender"))
    identity = Identity(issuer="corp", subject=name, service=False, expires_at_ns=0)
    assert bindings.principal(identity).name.startswith("user:corp/")


def test_nothing_of_a_removed_user_is_worth_anything_to_a_namesake(with_store: Run, clock: Any) -> None:
    async def story(store: Store) -> None:
        verbs, sessions = people(store, clock), Sessions(store, clock, SystemRandom(), PEPPER)
        first, _ = await verbs.invite("bob", UserSpec(), ADMIN)
        await verbs.accept(first, "bob", WORD, "a")
        session = await sessions.begin_user("bob")
        left, _ = await verbs.invite("bob", UserSpec(), ADMIN)
        await verbs.remove("bob", ADMIN)
        assert (await refused(verbs.accept(left, "bob", WORD, "a"))).code == "code_refused"
        again, _ = await verbs.invite("bob", UserSpec(), ADMIN)
        await verbs.accept(again, "bob", "another bob altogether", "a")
        assert await sessions.find(session) is None

    with_store(story)


def test_a_new_password_ends_the_sessions_of_the_old_one(with_store: Run, clock: Any) -> None:
    async def story(store: Store) -> None:
        verbs, sessions = people(store, clock), Sessions(store, clock, SystemRandom(), PEPPER)
        for user in ("bob", "eve"):
            code, _ = await verbs.invite(user, UserSpec(), ADMIN)
            await verbs.accept(code, user, WORD, "a")
        stolen, other = await sessions.begin_user("bob"), await sessions.begin_user("eve")
        code, _ = await verbs.invite("bob", UserSpec(), ADMIN)
        assert await sessions.find(stolen) is not None  # an invitation alone changes nothing
        await verbs.accept(code, "bob", "seven other herons", "a")
        assert await sessions.find(stolen) is None
        assert await sessions.find(other) is not None

    with_store(story)
