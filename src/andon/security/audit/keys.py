"""The log's signing key: a file of mode 0600 in its folder, the public keys beside it, and how one follows another.

A rotation is a statement about the next key, signed by the one before and kept in `keys`, so that an auditor who holds
any earlier public key finds the present one. A rotation that was cut short is finished or forgotten at the next start.
"""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from andon.kernel.errors import Refused
from andon.kernel.ports import Disk
from andon.kernel.random import Random
from andon.security.audit.notes import ED25519, Note, Vkey, public_vkey, read_note, read_vkey, sign, signed_by
from andon.security.audit.tiles import KEYS
from andon.security.identity.secret_files import load, load_or_create

KEY_FILE: Final = "signing.key"
NEXT_FILE: Final = "signing.key.next"
SEED_BYTES: Final = 32
ROTATIONS_MAX: Final = 1000
_TITLE: Final = "andon audit key"
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")


class Successor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key and why to believe in it."""

    vkey: str
    size: int = 0  # leaves in the log when it took over
    statement: str = ""  # a note signed by the key before; empty for the first


class SigningKey:
    """The private key in use, its name, and all public keys so far."""

    def __init__(self, name: str, key: Ed25519PrivateKey, keys: tuple[Successor, ...]) -> None:
        self.name = name
        self._key = key
        self.keys = keys

    @property
    def vkey(self) -> Vkey:
        """The public key in use."""
        return public_vkey(self.name, ED25519, self._key)

    def sign(self, text: str) -> Note:
        """A note over the text."""
        return Note(text, (sign(text, self.name, self._key),))


def load_signing_key(folder: Path, disk: Disk, random: Random, factory: str) -> SigningKey:
    """The key of a log, made on the first start. Raises `Refused` for files that others can read or that disagree."""
    name = f"andon/{_NOT_IN_NAMES.sub('-', factory)[:80] or 'factory'}-{random.secret_bytes(4).hex()}"
    fresh = f"{name} {_text_of(random.secret_bytes(SEED_BYTES))}"
    name, key = _parse(load_or_create(folder / KEY_FILE, fresh), folder / KEY_FILE)
    vkey = str(public_vkey(name, ED25519, key))
    keys = read_keys(_read(disk))
    if not keys:
        keys = (Successor(vkey=vkey),)
        disk.replace(KEYS, msgspec.json.encode(keys))
    if keys[-1].vkey != vkey and (folder / NEXT_FILE).exists():
        # The statement was written and the key was not: finish what was begun.
        name, key = _parse(load(folder / NEXT_FILE), folder / NEXT_FILE)
        vkey = str(public_vkey(name, ED25519, key))
        if keys[-1].vkey == vkey:
            disk.replace(KEY_FILE, f"{name} {_text_of(key.private_bytes_raw())}\n".encode())
    (folder / NEXT_FILE).unlink(missing_ok=True)
    if keys[-1].vkey != vkey:
        raise Refused(
            "audit_key_mismatch",
            f"{folder / KEY_FILE} is not the key that {folder / KEYS} ends with.",
            hint="Restore both from the same backup; a log is never signed by a key that nobody vouched for.",
        )
    return SigningKey(name, key, keys)


def rotate(signing: SigningKey, folder: Path, disk: Disk, random: Random, size: int) -> SigningKey:
    """Replace the key, with a statement by the one before. Raises OSError."""
    if len(signing.keys) >= ROTATIONS_MAX:
        raise Refused("audit_too_many", f"A log has at most {ROTATIONS_MAX} keys.", hint="Begin a new log.")
    key = Ed25519PrivateKey.from_private_bytes(random.secret_bytes(SEED_BYTES))
    vkey = str(public_vkey(signing.name, ED25519, key))
    private = f"{signing.name} {_text_of(key.private_bytes_raw())}\n".encode()
    statement = signing.sign(_statement(signing.name, size, vkey))
    keys = (*signing.keys, Successor(vkey=vkey, size=size, statement=str(statement)))
    disk.replace(NEXT_FILE, private)
    disk.replace(KEYS, msgspec.json.encode(keys))
    disk.replace(KEY_FILE, private)
    disk.remove(NEXT_FILE)
    return SigningKey(signing.name, key, keys)


def read_keys(data: bytes) -> tuple[Successor, ...]:
    """The public keys of a log, oldest first; none from no bytes. Raises `Refused`."""
    if not data:
        return ()
    try:
        return msgspec.json.decode(data, type=tuple[Successor, ...])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Refused(
            "audit_form", "The list of the log's keys is damaged.", hint="Compare with a copy."
        ) from error


def present_key(trusted: Vkey, keys: tuple[Successor, ...]) -> Vkey:
    """The key that signs now, from one that is trusted, by way of signed statements. Raises `Refused`."""
    if not any(successor.vkey == str(trusted) for successor in keys):
        raise _unknown()
    current = read_vkey(keys[0].vkey)
    if keys[0].size or keys[0].statement:
        raise _unknown()
    for successor in keys[1:]:
        note = read_note(successor.statement)
        if note.text != _statement(current.name, successor.size, successor.vkey) or not signed_by(
            note, current
        ):
            raise _unknown()
        current = read_vkey(successor.vkey)
    return current


def _unknown() -> Refused:
    return Refused(
        "audit_key_unknown",
        "No statement leads from the public key that was given to the one that signs this log.",
        hint="Use the public key of this log; if it is, somebody else signs it now.",
    )


def _statement(name: str, size: int, vkey: str) -> str:
    return f"{_TITLE}\n{name}\n{size}\n{vkey}\n"


def _read(disk: Disk) -> bytes:
    try:
        return disk.read(KEYS)
    except FileNotFoundError:
        return b""


def _text_of(seed: bytes) -> str:
    return base64.b64encode(seed).decode()


def _parse(text: str, path: Path) -> tuple[str, Ed25519PrivateKey]:
    name, _, seed = text.strip().partition(" ")
    try:
        return name, Ed25519PrivateKey.from_private_bytes(base64.b64decode(seed, validate=True))
    except ValueError:
        pass  # told below, without the content
    raise Refused(
        "secret_file_damaged", f"{path} does not hold a signing key.", hint="Restore it from a backup."
    )
