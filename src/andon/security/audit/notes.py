"""Signed notes and checkpoints: the texts that a log and its witnesses sign (C2SP signed-note, tlog-checkpoint, and
tlog-cosignature/v1), with Ed25519 (RFC 8032).

Pure: keys come in as objects, nothing is read or written. A text that is not exactly of its form is refused.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from andon.kernel.errors import Refused
from andon.security.audit.hashing import HASH_BYTES

ED25519: Final = 0x01  # a signature over the note's text
COSIGNATURE: Final = 0x04  # a witness's, over a header, a time and the text
KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
NOTE_BYTES_MAX: Final = 64 * 1024
SIGNATURES_MAX: Final = 100

_NAME = re.compile(r"[^\s+\u2014]{1,200}")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_DASH: Final = "\u2014 "


class Vkey(msgspec.Struct, frozen=True):
    """A public key as it is handed around: name+id+base64."""

    name: str
    kind: int  # ED25519 or COSIGNATURE
    raw: bytes

    @property
    def id(self) -> bytes:
        """The first four bytes of SHA-256(name, newline, kind, key)."""
        return sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.raw).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{_encode(bytes([self.kind]) + self.raw)}"


class Signature(msgspec.Struct, frozen=True):
    """One line below a note."""

    name: str
    id: bytes
    raw: bytes


class Note(msgspec.Struct, frozen=True):
    """A text and who signed it; signatures are not yet checked."""

    text: str  # with the newline at its end
    signatures: tuple[Signature, ...]

    def __str__(self) -> str:
        lines = (f"{_DASH}{one.name} {_encode(one.id + one.raw)}\n" for one in self.signatures)
        return f"{self.text}\n{''.join(lines)}"


class Checkpoint(msgspec.Struct, frozen=True):
    """The head of a log: how many leaves, and the root over them."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """What is signed."""
        more = "".join(f"{line}\n" for line in self.extensions)
        return f"{self.origin}\n{self.size}\n{_encode(self.root)}\n{more}"


def read_vkey(text: str) -> Vkey:
    """A public key from its text. Raises `Refused` for anything that is not exactly one."""
    name, _, rest = text.strip().partition("+")
    id_, _, encoded = rest.partition("+")
    raw = _decode(encoded)
    known = raw is not None and len(raw) == KEY_BYTES + 1 and raw[0] in (ED25519, COSIGNATURE)
    if not known or raw is None or not _NAME.fullmatch(name):
        raise _not("a public key", "Give it as andon audit key prints it: name+id+key.")
    vkey = Vkey(name, raw[0], raw[1:])
    if vkey.id.hex() != id_:
        raise _not("a public key, because its id is that of another", "Copy it again, whole.")
    return vkey


def public_vkey(name: str, kind: int, key: Ed25519PrivateKey) -> Vkey:
    """The public part of a key under a name."""
    if not _NAME.fullmatch(name):
        raise Refused(
            "audit_key_name", f"'{name[:80]}' cannot be a key's name.", hint="No blanks and no '+'."
        )
    return Vkey(name, kind, key.public_key().public_bytes_raw())


def read_note(text: str) -> Note:
    """A note from its bytes as text. Raises `Refused`."""
    body, blank, below = text.rpartition("\n\n")
    lines = below.split("\n")
    if len(text) > NOTE_BYTES_MAX or not blank or lines[-1] or not body or len(lines) - 1 > SIGNATURES_MAX:
        raise _not("a signed note", "It is damaged, or another file.")
    signatures = []
    for line in lines[:-1]:
        name, _, encoded = line.removeprefix(_DASH).partition(" ")
        raw = _decode(encoded)
        if not line.startswith(_DASH) or not _NAME.fullmatch(name) or raw is None or len(raw) < 5:
            raise _not("a signed note", "It is damaged, or another file.")
        signatures.append(Signature(name, raw[:4], raw[4:]))
    if not signatures:
        raise _not("a signed note, for nobody has signed it", "It is damaged, or another file.")
    return Note(body + "\n", tuple(signatures))


def read_checkpoint(text: str) -> Checkpoint:
    """The checkpoint that a note's text is. Raises `Refused`."""
    origin, _, rest = text.partition("\n")
    lines = rest.split("\n")
    root = _decode(lines[1]) if len(lines) > 2 else None
    if (
        not origin
        or root is None
        or len(root) != HASH_BYTES
        or not _SIZE.fullmatch(lines[0])
        or lines[-1]
        or "" in lines[2:-1]
    ):
        raise _not("a checkpoint", "It is damaged, or another file.")
    return Checkpoint(origin, int(lines[0]), root, tuple(lines[2:-1]))


def sign(text: str, name: str, key: Ed25519PrivateKey) -> Signature:
    """The log's own signature over a note's text."""
    return Signature(name, public_vkey(name, ED25519, key).id, key.sign(text.encode()))


def cosign(text: str, name: str, key: Ed25519PrivateKey, at_s: int) -> Signature:
    """A witness's signature over a checkpoint's text, with the time (seconds since the epoch)."""
    raw = at_s.to_bytes(8, "big") + key.sign(_cosigned(text, at_s))
    return Signature(name, public_vkey(name, COSIGNATURE, key).id, raw)


def signed_by(note: Note, vkey: Vkey) -> bool:
    """Whether a key has signed the note; lines of other keys say nothing, a wrong one of this key says no."""
    of_key = [one for one in note.signatures if one.name == vkey.name and one.id == vkey.id]
    return bool(of_key) and all(_holds(note.text, one, vkey) for one in of_key)


def cosigned_at(note: Note, vkey: Vkey) -> int | None:
    """When a witness has cosigned, in seconds since the epoch; None where it has not."""
    if vkey.kind != COSIGNATURE or not signed_by(note, vkey):
        return None
    times = (one.raw[:8] for one in note.signatures if one.name == vkey.name and one.id == vkey.id)
    return max(int.from_bytes(raw, "big") for raw in times)


def join_notes(notes: Sequence[Note]) -> Note:
    """One text with the signatures of all; raises ValueError where texts differ."""
    if len({note.text for note in notes}) != 1:
        raise ValueError("notes with different texts cannot be one")
    return Note(notes[0].text, tuple(dict.fromkeys(one for note in notes for one in note.signatures)))


def _holds(text: str, signature: Signature, vkey: Vkey) -> bool:
    raw, message = signature.raw, text.encode()
    if vkey.kind == COSIGNATURE:
        message, raw = _cosigned(text, int.from_bytes(raw[:8], "big")), raw[8:]
    if len(raw) != SIGNATURE_BYTES:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(vkey.raw).verify(raw, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _cosigned(text: str, at_s: int) -> bytes:
    return f"cosignature/v1\ntime {at_s}\n{text}".encode()


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decode(text: str) -> bytes | None:
    """Bytes of canonical base64; None for any other text, so that one value has one form."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if _encode(raw) == text else None


def _not(what: str, hint: str) -> Refused:
    return Refused("audit_form", f"This is not {what}.", hint=hint)
