"""Envelopes: a message sealed under a key of its own, and that key wrapped by one that is kept elsewhere.

AES-256-GCM (NIST SP 800-38D) with a fresh data key for each message, so a data key is used once. What a message is
about (factory, kind of record, record) is bound to both the message and its wrapped key: two envelopes cannot be
exchanged. Wrapping anew changes the head only. Every refusal is the same refusal: who forges learns nothing.
"""

from __future__ import annotations

import hmac
import struct
from typing import Final, Protocol

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from andon.kernel.errors import Permanent, Refused
from andon.kernel.random import Random

# Form, big-endian: "AE" · 1 (format) · length and text of the wrapping key's name · its version (4) · length (2) and
# bytes of the wrapped data key · commitment (32) · nonce (12) · ciphertext with its tag (16).
#
# GCM does not commit to its key: a ciphertext can be made that opens under two. The commitment, derived from the data
# key beside the encryption key, does (Albertini et al., "How to Abuse and Fix Authenticated Encryption Without Key
# Commitment", USENIX Security 2022, §5: derive both from one key); it is compared in constant time before anything is
# decrypted.
MAGIC: Final = b"AE"
FORMAT: Final = 1
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
COMMITMENT_BYTES: Final = 32
MESSAGE_BYTES_MAX: Final = (
    64 * 2**20
)  # GCM itself would take 64 GiB; nobody here needs it, and it is held in memory
NAME_BYTES_MAX: Final = 255
WRAPPED_BYTES_MAX: Final = 4096
VERSION_MAX: Final = 2**32 - 1
CONTEXT_BYTES_MAX: Final = 1024  # of each of its parts


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What a message is about. The same three must be said to open it."""

    factory: str  # the factory
    kind: str  # of record: "Secret", "Body", "Lease"
    record: str  # "openai@3"

    def encoded(self) -> bytes:
        """Unambiguous bytes: each part behind its length."""
        parts = [part.encode() for part in (self.factory, self.kind, self.record)]
        if any(len(part) > CONTEXT_BYTES_MAX for part in parts):
            raise Refused("context_too_long", f"A name has at most {CONTEXT_BYTES_MAX} bytes.")
        return b"".join(struct.pack(">H", len(part)) + part for part in parts)


class Wrapped(msgspec.Struct, frozen=True, kw_only=True):
    """A data key as it may be stored: by which key it was wrapped, and the result."""

    key: str  # name of the wrapping key: never itself
    version: int
    data: bytes


class Wrapper(Protocol):
    """Wraps data keys by a key that only it knows: a file, a variable, AWS KMS. May block."""

    def fresh(self, context: Context) -> tuple[bytes, Wrapped]:
        """A new data key of 32 bytes, plain and wrapped by the present version. Raises AndonError."""
        ...

    def wrap(self, key: bytes, context: Context) -> Wrapped:
        """A data key wrapped by the present version. Raises AndonError."""
        ...

    def unwrap(self, wrapped: Wrapped, context: Context) -> bytes:
        """The data key. Raises Refused `envelope_refused`, or `kek_unknown` where this wrapper has no such key."""
        ...

    def present(self) -> tuple[str, int]:
        """Name and version of the key that wraps now."""
        ...


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """A sealed message, taken apart."""

    wrapped: Wrapped
    commitment: bytes
    nonce: bytes
    sealed: bytes

    def encoded(self) -> bytes:
        """As it is stored."""
        name = self.wrapped.key.encode()
        head = MAGIC + bytes([FORMAT, len(name)]) + name
        head += struct.pack(">IH", self.wrapped.version, len(self.wrapped.data)) + self.wrapped.data
        return head + self.commitment + self.nonce + self.sealed


def refusal() -> Refused:
    """The one answer to whatever is wrong with a sealed message."""
    return Refused(
        "envelope_refused",
        "A sealed record cannot be opened: it was changed, cut, moved, or sealed by another key.",
        hint="Restore the record and the wrapping keys from the same backup.",
        status=500,
    )


def seal(message: bytes, context: Context, wrapper: Wrapper, random: Random) -> bytes:
    """A message sealed. Raises Refused for one that is too long, and what the wrapper raises."""
    if len(message) > MESSAGE_BYTES_MAX:
        raise Refused("message_too_large", f"At most {MESSAGE_BYTES_MAX} bytes can be sealed at once.")
    key, wrapped = wrapper.fresh(context)
    encryption, commitment = _derive(key)
    nonce = random.secret_bytes(NONCE_BYTES)
    sealed = AESGCM(encryption).encrypt(nonce, message, _associated(context))
    return Envelope(wrapped=wrapped, commitment=commitment, nonce=nonce, sealed=sealed).encoded()


def unseal(data: bytes, context: Context, wrapper: Wrapper) -> bytes:
    """The message. Raises Refused `envelope_refused`; `kek_unknown` where the wrapping key is not there."""
    envelope = take_apart(data)
    encryption, commitment = _derive(wrapper.unwrap(envelope.wrapped, context))
    if not hmac.compare_digest(commitment, envelope.commitment):
        raise refusal()
    try:
        return AESGCM(encryption).decrypt(envelope.nonce, envelope.sealed, _associated(context))
    except InvalidTag as error:
        raise refusal() from error


def rewrap(data: bytes, context: Context, wrapper: Wrapper) -> bytes:
    """The same sealed message with its data key wrapped by the present version; the message stays as it is.

    Raises Refused as `unseal` does.
    """
    envelope = take_apart(data)
    key = wrapper.unwrap(envelope.wrapped, context)
    _, commitment = _derive(key)
    if not hmac.compare_digest(commitment, envelope.commitment):
        raise refusal()
    return msgspec.structs.replace(envelope, wrapped=wrapper.wrap(key, context)).encoded()


def take_apart(data: bytes) -> Envelope:
    """An envelope by its form alone; nothing is decrypted. Raises Refused."""
    try:
        if data[:2] != MAGIC or data[2] != FORMAT:
            raise refusal()
        at = 4 + data[3]
        name = data[4:at].decode("ascii")
        version, length = struct.unpack_from(">IH", data, at)
        at += 6
        wrapped, at = data[at : at + length], at + length
        commitment, at = data[at : at + COMMITMENT_BYTES], at + COMMITMENT_BYTES
        nonce, sealed = data[at : at + NONCE_BYTES], data[at + NONCE_BYTES :]
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise refusal() from error
    if not name or not 0 < length <= WRAPPED_BYTES_MAX or len(sealed) < TAG_BYTES:
        raise refusal()
    return Envelope(
        wrapped=Wrapped(key=name, version=version, data=bytes(wrapped)),
        commitment=bytes(commitment),
        nonce=bytes(nonce),
        sealed=bytes(sealed),
    )


def wrap_by(key: bytes, name: str, version: int, inner: bytes, context: Context, random: Random) -> Wrapped:
    """A data key wrapped by a key in memory.

    The key that encrypts is derived for this wrapping alone from 32 random bytes (HKDF, RFC 5869), so that the limit of
    2^32 random nonces under one key (SP 800-38D §8.3) is met by each derived key's single use, however often the
    wrapping key is used.
    """
    salt, nonce = random.secret_bytes(32), random.secret_bytes(NONCE_BYTES)
    about = _about_wrap(name, version, context)
    sealed = AESGCM(_wrapping_key(key, salt)).encrypt(nonce, inner, about)
    return Wrapped(key=name, version=version, data=salt + nonce + sealed)


def unwrap_by(key: bytes, wrapped: Wrapped, context: Context) -> bytes:
    """The inverse of `wrap_by`. Raises Refused."""
    data = wrapped.data
    if len(data) != 32 + NONCE_BYTES + KEY_BYTES + TAG_BYTES:
        raise refusal()
    salt, nonce, sealed = data[:32], data[32 : 32 + NONCE_BYTES], data[32 + NONCE_BYTES :]
    try:
        about = _about_wrap(wrapped.key, wrapped.version, context)
        return AESGCM(_wrapping_key(key, salt)).decrypt(nonce, sealed, about)
    except InvalidTag as error:
        raise refusal() from error


def _wrapping_key(key: bytes, salt: bytes) -> bytes:
    return HKDF(SHA256(), KEY_BYTES, salt, b"andon envelope 1: wrap").derive(key)


def _about_wrap(name: str, version: int, context: Context) -> bytes:
    return b"andon wrap 1" + struct.pack(">HI", len(name), version) + name.encode() + context.encoded()


def _associated(context: Context) -> bytes:
    return b"andon message 1" + context.encoded()


def _derive(key: bytes) -> tuple[bytes, bytes]:
    """The key that encrypts and the commitment, from one data key."""
    if len(key) != KEY_BYTES:
        raise Permanent("kek_damaged", "A wrapped key did not give 32 bytes.")
    both = HKDF(SHA256(), KEY_BYTES + COMMITMENT_BYTES, None, b"andon envelope 1: data").derive(key)
    return both[:KEY_BYTES], both[KEY_BYTES:]
