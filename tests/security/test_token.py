"""The form of keys: recognised offline, hashed under the pepper, never repeated in logs."""

from __future__ import annotations

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.kernel.random import SeededRandom, SystemRandom
from andon.security.identity.token import KEY_LENGTH, fingerprint, keyed_digest, make_token, public_id


@given(st.integers(0, 2**32))
def test_a_new_key_is_recognised(seed: int) -> None:
    token = make_token(SeededRandom(seed))
    assert len(token.text) == KEY_LENGTH
    assert public_id(token.text.encode()) == token.id == fingerprint(token.text.encode())


@given(st.integers(0, 2**32), st.integers(0, KEY_LENGTH - 1), st.characters(codec="ascii"))
def test_one_wrong_letter_is_noticed(seed: int, place: int, letter: str) -> None:
    text = make_token(SeededRandom(seed)).text
    changed = text[:place] + letter + text[place + 1 :]
    assert (public_id(changed.encode()) is None) == (changed != text)


@given(st.binary(max_size=200))
def test_any_bytes_are_answered(text: bytes) -> None:
    assert public_id(text) is None
    assert fingerprint(text).startswith("?")


@pytest.mark.parametrize(
    "change", [lambda t: t[:-1], lambda t: t + "a", lambda t: t + "\n", lambda t: " " + t, str.upper]
)
def test_a_cut_or_padded_key_is_noticed(change: object) -> None:
    assert callable(change)
    assert public_id(change(make_token(SystemRandom()).text).encode()) is None


def test_keys_are_all_different_and_begin_with_the_prefix_that_scanners_look_for() -> None:
    texts = {make_token(SystemRandom()).text for _ in range(1000)}
    assert len(texts) == 1000
    assert all(text.startswith("sk-andon-") for text in texts)


def test_the_stored_digest_is_an_hmac_under_the_pepper() -> None:
    assert keyed_digest(b"key", b"pepper") == hmac.new(b"pepper", b"key", "sha256").hexdigest()
    assert keyed_digest(b"key", b"pepper") != keyed_digest(b"key", b"other")
