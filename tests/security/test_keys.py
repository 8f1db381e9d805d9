"""The verbs of keys on a real store: shown once, stored as a hash, rotated with overlap, revoked for good."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from andon.kernel.errors import Conflict, Refused
from andon.kernel.random import SystemRandom
from andon.security.identity.model import KeyRequest
from andon.security.identity.service import Keys, key_entries
from andon.security.identity.token import keyed_digest, public_id
from andon.store.model import Record, Store

PEPPER = b"p" * 32
DAY_S = 24 * 3600.0
Run = Callable[[Callable[[Store], Any]], Any]


def test_a_secret_is_in_the_answer_and_nowhere_else(with_store: Run, clock: Any) -> None:
    async def story(store: Store) -> None:
        keys = Keys(store, clock, SystemRandom(), PEPPER)
        made = await keys.create(KeyRequest(owner="ada", endpoints=("credit",)), actor="user:root")
        assert public_id(made.secret.encode()) == made.key.id

        def everything(unit: Any) -> bytes:
            return msgspec.json.encode([unit.list("ApiKey"), unit.events(), unit.pending("keys")])

        kept = await store.transact(everything)
        assert made.secret.encode() not in kept
        assert made.secret.split("-")[3].encode() not in kept
        assert keyed_digest(made.secret.encode(), PEPPER).encode() in kept
        listed = await keys.list_keys({made.key.id: 7})
        assert [(key.id, key.last4, key.owner, key.state, key.last_used_ns) for key in listed] == [
            (made.key.id, made.secret[-4:], "ada", "active", 7)
        ]

    with_store(story)


def test_each_verb_leaves_one_event_and_signals_the_change(with_store: Run, clock: Any) -> None:
    async def story(store: Store) -> None:
        signals: list[int] = []
        keys = Keys(store, clock, SystemRandom(), PEPPER, changed=lambda: signals.append(1))
        first = await keys.create(KeyRequest(owner="ada"), actor="user:root")
        second = await keys.rotate(first.key.id, overlap_s=60, actor="user:root")
        await keys.revoke(second.key.id, reason="leaked", actor="user:root")
        await keys.revoke(second.key.id, actor="user:root")
        events = await store.transact(lambda unit: [row.event for row in unit.events()])
        assert [(event.name, event.subject) for event in events] == [
            ("key.created", f"ApiKey/{first.key.id}"),
            ("key.rotated", f"ApiKey/{first.key.id}"),
            ("key.revoked", f"ApiKey/{second.key.id}"),
        ]
        assert len(signals) == 4

    with_store(story)


def test_a_rotated_key_works_until_the_overlap_ends(with_store: Run, clock: Any) -> None:
    async def story(store: Store) -> None:
        keys = Keys(store, clock, SystemRandom(), PEPPER)
        old = await keys.create(KeyRequest(owner="ada", endpoints=("credit",), cohorts=("beta",)), actor="a")
        new = await keys.rotate(old.key.id, overlap_s=DAY_S, actor="a")
        assert new.key.endpoints == ("credit",)
        assert new.key.cohorts == ("beta",)
        assert new.key.state == "active"
        entries = await store.transact(lambda unit: key_entries(unit, clock.now_ns()))
        assert {entry.id for entry in entries} == {old.key.id, new.key.id}
        clock.seconds += DAY_S
        entries = await store.transact(lambda unit: key_entries(unit, clock.now_ns()))
        assert [entry.id for entry in entries] == [new.key.id]
        with pytest.raises(Refused, match="expired"):
            await keys.rotate(old.key.id, actor="a")
        await keys.rotate(new.key.id, actor="a")
        with pytest.raises(Conflict, match="already rotated"):
            await keys.rotate(new.key.id, actor="a")

    with_store(story)


def test_no_overlap_ends_the_old_key_at_once(with_store: Run, clock: Any) -> None:
    async def story(store: Store) -> None:
        keys = Keys(store, clock, SystemRandom(), PEPPER)
        old = await keys.create(KeyRequest(owner="ada"), actor="a")
        new = await keys.rotate(old.key.id, overlap_s=0, actor="a")
        entries = await store.transact(lambda unit: key_entries(unit, clock.now_ns()))
        assert [entry.id for entry in entries] == [new.key.id]

    with_store(story)


def test_an_overlap_never_prolongs_a_key(with_store: Run, clock: Any) -> None:
    async def story(store: Store) -> None:
        keys = Keys(store, clock, SystemRandom(), PEPPER)
        old = await keys.create(KeyRequest(owner="ada", expires_in_s=60), actor="a")
        await keys.rotate(old.key.id, overlap_s=DAY_S, actor="a")
        listed = {key.id: key for key in await keys.list_keys()}
        assert listed[old.key.id].expires_at_ns == old.key.expires_at_ns

    with_store(story)


def test_a_revoked_key_is_in_no_snapshot(with_store: Run, clock: Any) -> None:
    async def story(store: Store) -> None:
        keys = Keys(store, clock, SystemRandom(), PEPPER)
        made = await keys.create(KeyRequest(owner="ada"), actor="a")
        revoked = await keys.revoke(made.key.id, actor="a")
        assert revoked.state == "revoked"
        assert await store.transact(lambda unit: key_entries(unit, clock.now_ns())) == ()
        with pytest.raises(Refused, match="revoked"):
            await keys.rotate(made.key.id, actor="a")

    with_store(story)


def test_unknown_names_are_refused_without_repeating_them(with_store: Run, clock: Any) -> None:
    async def story(store: Store) -> None:
        keys = Keys(store, clock, SystemRandom(), PEPPER)
        with pytest.raises(Refused) as error:
            await keys.revoke("sk-andon-a-whole-key", actor="a")
        assert error.value.status == 404
        assert "whole" not in str(error.value)
        with pytest.raises(Refused, match="no Team 'x'"):
            await keys.create(KeyRequest(owner="ada", team="x"), actor="a")
        await store.transact(lambda unit: unit.put(Record(kind="Team", name="x", spec={})))
        assert (await keys.create(KeyRequest(owner="ada", team="x"), actor="a")).key.team == "x"
        with pytest.raises(Refused, match="overlap"):
            await keys.rotate("any", overlap_s=-1, actor="a")

    with_store(story)
