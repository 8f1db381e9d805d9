"""Keys of the people whom events are about: one each, so that destroying it erases every payload about that person.

AES-256-GCM (NIST SP 800-38D) with a random nonce; what is encrypted is bound to its place in the log. The keys are
wrapped by the factory's own key before they touch the disk. Destroyed keys leave no trace of whose they were.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from andon.kernel.errors import Permanent
from andon.kernel.ports import Disk
from andon.kernel.random import Random
from andon.security.secrets.envelope import Context, Wrapper, seal, unseal

FOLDER: Final = "subjects"
NONCE_BYTES: Final = 12
KEY_BYTES: Final = 32
KEPT_MAX: Final = 100_000  # subjects in memory; beyond it the one used longest ago gets a further key
_SUFFIX: Final = ".json"
_ENDING: Final = ".shredding"


class Lock(msgspec.Struct, frozen=True):
    """One subject's key, in use."""

    key: bytes

    def close(self, random: Random, data: bytes, bound: bytes) -> bytes:
        """Ciphertext with its nonce in front."""
        nonce = random.secret_bytes(NONCE_BYTES)
        return nonce + AESGCM(self.key).encrypt(nonce, data, bound)

    def open(self, data: bytes, bound: bytes) -> bytes:
        """What was closed. Raises `Permanent`."""
        try:
            return AESGCM(self.key).decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], bound)
        except (InvalidTag, ValueError) as error:
            raise Permanent(
                "audit_payload_damaged",
                "A payload of the audit log does not decrypt.",
                hint="andon audit verify tells whether the log is sound.",
            ) from error


class _Secret(msgspec.Struct, frozen=True):
    subject: str
    key: bytes


class Subjects:
    """The keys of one log. Not thread-safe; blocking."""

    def __init__(self, disk: Disk, random: Random, wrapper: Wrapper) -> None:
        """Raises `Refused` where a key cannot be unwrapped, OSError."""
        self._wrapper = wrapper
        self._disk = disk
        self._random = random
        self._by_subject: OrderedDict[str, tuple[str, bytes]] = OrderedDict()
        for name in disk.list(FOLDER):
            if name.endswith(_SUFFIX):
                id_ = name.removesuffix(_SUFFIX)
                secret = _open(wrapper, disk.read(f"{FOLDER}/{name}"), id_)
                self._by_subject[secret.subject] = (id_, secret.key)

    def seal(self, subject: str, data: bytes, bound: bytes) -> tuple[str, bytes]:
        """(id of the subject's key, ciphertext). Makes the key durably if there is none. Raises OSError."""
        known = self._by_subject.get(subject)
        if known is None:
            known = self._make(subject)
        self._by_subject.move_to_end(subject)
        return known[0], Lock(known[1]).close(self._random, data, bound)

    def begin_shred(self, subject: str) -> list[str]:
        """Put the keys of a subject out of use; their ids. They are destroyed by `end_shred`, once that is logged."""
        self._by_subject.pop(subject, None)
        found = []
        for name in self._disk.list(FOLDER):
            if name.endswith(_SUFFIX):
                id_, raw = name.removesuffix(_SUFFIX), self._disk.read(f"{FOLDER}/{name}")
                if _open(self._wrapper, raw, id_).subject == subject:
                    self._disk.replace(f"{FOLDER}/{id_}{_ENDING}", b"")
                    self._disk.remove(f"{FOLDER}/{name}")
                    found.append(id_)
        return found

    def shredding(self) -> list[str]:
        """Keys that are gone and whose end is perhaps not logged yet."""
        return [name.removesuffix(_ENDING) for name in self._disk.list(FOLDER) if name.endswith(_ENDING)]

    def end_shred(self, id_: str) -> None:
        """It is in the log."""
        self._disk.remove(f"{FOLDER}/{id_}{_ENDING}")

    def _make(self, subject: str) -> tuple[str, bytes]:
        id_, key = self._random.secret_bytes(8).hex(), self._random.secret_bytes(KEY_BYTES)
        sealed = seal(
            msgspec.msgpack.encode(_Secret(subject, key)), _context(id_), self._wrapper, self._random
        )
        self._disk.replace(f"{FOLDER}/{id_}{_SUFFIX}", sealed)
        self._by_subject[subject] = (id_, key)
        if len(self._by_subject) > KEPT_MAX:
            self._by_subject.popitem(last=False)
        return id_, key


class Opener:
    """Decrypts payloads for an export, from the keys that are left."""

    def __init__(self, folder: Path, wrapper: Wrapper) -> None:
        self._wrapper = wrapper
        self._folder = folder / FOLDER
        self._keys: OrderedDict[str, bytes | None] = OrderedDict()

    def open(self, id_: str, payload: bytes, bound: bytes) -> bytes | None:
        """The payload; None where its key was destroyed. Raises `Permanent` for a payload that does not decrypt."""
        if id_ not in self._keys:
            path = self._folder / f"{id_}{_SUFFIX}"
            self._keys[id_] = _open(self._wrapper, path.read_bytes(), id_).key if path.is_file() else None
            if len(self._keys) > KEPT_MAX:
                self._keys.popitem(last=False)
        key = self._keys[id_]
        return None if key is None else Lock(key).open(payload, bound)


def bound_to(source: str, position: int) -> bytes:
    """What a payload is bound to: its place."""
    return f"{source}\n{position}".encode()


def _open(wrapper: Wrapper, raw: bytes, id_: str) -> _Secret:
    return msgspec.msgpack.decode(unseal(raw, _context(id_), wrapper), type=_Secret)


def _context(id_: str) -> Context:
    return Context(factory="", kind="AuditSubject", record=id_)
