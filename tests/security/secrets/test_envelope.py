"""Envelopes: what was sealed opens, and nothing else does; negative cases in the manner of Wycheproof."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andon.kernel.errors import AndonError, Refused
from andon.kernel.random import SeededRandom, SystemRandom
from andon.security.secrets.envelope import (
    MESSAGE_BYTES_MAX,
    Context,
    Wrapped,
    rewrap,
    seal,
    take_apart,
    unseal,
)
from andon.security.secrets.keyring import Keyring, Versions

RANDOM = SystemRandom()
ABOUT = Context(factory="f", kind="Secret", record="openai@1")


def keys(name: str = "k", versions: int = 1) -> Versions:
    return Versions(name, {number: RANDOM.secret_bytes(32) for number in range(1, versions + 1)}, RANDOM)


def refused(
    data: bytes, about: Context, wrapper: object, codes: tuple[str, ...] = ("envelope_refused",)
) -> None:
    with pytest.raises(Refused) as found:
        unseal(data, about, wrapper)  # type: ignore[arg-type]  # whatever is given
    assert found.value.code in codes
    assert b"hello" not in str(found.value).encode()


@given(st.binary(max_size=2000), st.text(max_size=50), st.text(max_size=50))
@settings(max_examples=100, deadline=None)
def test_what_was_sealed_opens(message: bytes, kind: str, record: str):
    about = Context(factory="f", kind=kind, record=record)
    wrapper = keys()
    sealed = seal(message, about, wrapper, RANDOM)
    assert unseal(sealed, about, wrapper) == message
    assert len(sealed) == len(take_apart(sealed).encoded())


def test_every_flipped_bit_of_every_byte_is_refused():
    wrapper = keys()
    sealed = seal(b"hello", ABOUT, wrapper, RANDOM)
    for place in range(len(sealed)):
        for bit in range(8):
            changed = bytearray(sealed)
            changed[place] ^= 1 << bit
            # A flipped name or version of the wrapping key is a key that is not there; all else is the same refusal.
            refused(bytes(changed), ABOUT, wrapper, ("envelope_refused", "kek_unknown"))


def test_every_truncation_and_every_longer_one_is_refused():
    wrapper = keys()
    sealed = seal(b"hello, hello", ABOUT, wrapper, RANDOM)
    for length in range(len(sealed)):
        refused(sealed[:length], ABOUT, wrapper, ("envelope_refused", "kek_unknown"))
    for more in (b"\0", b"\0" * 16, sealed):
        refused(sealed + more, ABOUT, wrapper)


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_rubbish_is_refused_and_never_a_crash(data: bytes):
    wrapper = keys()
    refused(data, ABOUT, wrapper)
    refused(b"AE\x01" + data, ABOUT, wrapper, ("envelope_refused", "kek_unknown"))


@pytest.mark.parametrize("field", ["factory", "kind", "record"])
def test_a_message_about_something_else_is_refused(field: str):
    wrapper = keys()
    sealed = seal(b"hello", ABOUT, wrapper, RANDOM)
    refused(sealed, msgspec.structs.replace(ABOUT, **{field: "other"}), wrapper)


def test_parts_of_a_context_cannot_slide_into_one_another():
    wrapper = keys()
    sealed = seal(b"hello", Context(factory="ab", kind="c", record="d"), wrapper, RANDOM)
    refused(sealed, Context(factory="a", kind="bc", record="d"), wrapper)
    refused(sealed, Context(factory="ab", kind="", record="cd"), wrapper)


def test_two_envelopes_do_not_exchange_any_part():
    """Same wrapping key, same record, two messages: no mixture of their parts opens."""
    wrapper = keys()
    one, other = (take_apart(seal(text, ABOUT, wrapper, RANDOM)) for text in (b"hello one", b"hello two"))
    parts = ("wrapped", "commitment", "nonce", "sealed")
    for mask in range(1, 2 ** len(parts) - 1):
        taken = {part: getattr(other, part) for place, part in enumerate(parts) if mask >> place & 1}
        refused(msgspec.structs.replace(one, **taken).encoded(), ABOUT, wrapper)


@pytest.mark.parametrize("nonce", [b"", b"\0" * 8, b"\0" * 11, b"\0" * 13, b"\0" * 16])
def test_a_nonce_of_another_length_is_refused(nonce: bytes):
    wrapper = keys()
    envelope = take_apart(seal(b"hello", ABOUT, wrapper, RANDOM))
    refused(msgspec.structs.replace(envelope, nonce=nonce).encoded(), ABOUT, wrapper)


@pytest.mark.parametrize("tag", [b"\0" * 16, b"\xff" * 16, b"", b"\0" * 4, b"\0" * 12, b"\0" * 15])
def test_a_tag_of_zeros_of_ones_or_too_short_is_refused(tag: bytes):
    wrapper = keys()
    envelope = take_apart(seal(b"hello", ABOUT, wrapper, RANDOM))
    refused(msgspec.structs.replace(envelope, sealed=envelope.sealed[:-16] + tag).encoded(), ABOUT, wrapper)


def test_another_wrapping_key_of_the_same_name_is_refused():
    refused(seal(b"hello", ABOUT, keys("k"), RANDOM), ABOUT, keys("k"))


def test_an_unknown_wrapping_key_and_an_unknown_version_are_told_apart_from_forgery():
    sealed = seal(b"hello", ABOUT, keys("k", 2), RANDOM)
    refused(sealed, ABOUT, keys("other"), ("kek_unknown",))
    refused(sealed, ABOUT, keys("k", 1), ("kek_unknown",))
    refused(sealed, ABOUT, Keyring([keys("other"), keys("another")]), ("kek_unknown",))


@pytest.mark.parametrize("version", [0, 2, 3, 255])
def test_a_version_of_the_form_that_is_not_known_is_refused(version: int):
    wrapper = keys()
    sealed = bytearray(seal(b"hello", ABOUT, wrapper, RANDOM))
    sealed[2] = version
    refused(bytes(sealed), ABOUT, wrapper)


def test_a_data_key_that_is_not_the_committed_one_is_refused_before_anything_is_decrypted():
    class Lying(Versions):
        def unwrap(self, wrapped: Wrapped, context: Context) -> bytes:
            return b"\1" * 32

    wrapper = keys()
    refused(seal(b"hello", ABOUT, wrapper, RANDOM), ABOUT, Lying("k", wrapper.keys, RANDOM))


def test_wrapping_anew_changes_the_head_only_and_the_old_key_is_needed_no_more():
    wrapper = keys("k", 1)
    sealed = seal(b"hello", ABOUT, wrapper, RANDOM)
    newer = Versions("k", {**wrapper.keys, 2: RANDOM.secret_bytes(32)}, RANDOM)
    fresh = rewrap(sealed, ABOUT, newer)
    before, after = take_apart(sealed), take_apart(fresh)
    assert (before.sealed, before.nonce, before.commitment) == (after.sealed, after.nonce, after.commitment)
    assert after.wrapped.version == 2
    only_new = Versions("k", {2: newer.keys[2]}, RANDOM)
    assert unseal(fresh, ABOUT, only_new) == b"hello"
    refused(sealed, ABOUT, only_new, ("kek_unknown",))
    changed = bytearray(sealed)
    changed[-1 - len(before.sealed) - 12] ^= 1  # the commitment
    with pytest.raises(Refused):
        rewrap(bytes(changed), ABOUT, newer)


def test_no_two_envelopes_share_a_key_a_nonce_or_a_commitment():
    wrapper = keys()
    found = [take_apart(seal(b"hello", ABOUT, wrapper, RANDOM)) for _ in range(200)]
    for part in ("nonce", "commitment", "sealed"):
        assert len({getattr(one, part) for one in found}) == len(found)
    assert len({one.wrapped.data for one in found}) == len(found)


def test_chance_comes_from_the_port_alone():
    def sealed() -> bytes:
        random = SeededRandom(7)
        return seal(b"hello", ABOUT, Versions("k", {1: b"\2" * 32}, random), random)

    assert sealed() == sealed()


def test_a_message_that_is_too_long_is_refused():
    with pytest.raises(AndonError) as found:
        seal(bytes(MESSAGE_BYTES_MAX + 1), ABOUT, keys(), RANDOM)
    assert found.value.code == "message_too_large"
