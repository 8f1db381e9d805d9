"""The text of an API key: `sk-andon-<public id>-<secret>-<checksum>`, made, recognised and hashed.

Pure. A mistyped or cut key is recognised without looking anything up, and secret scanners can verify a find offline.
The whole key must never be logged or stored: use `fingerprint` or the public id.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import zlib
from typing import NamedTuple

from andon.kernel.random import Random

PREFIX = "sk-andon-"
ID_LENGTH = 10  # 50 bits of Crockford's base 32: no two letters that look alike, fit for names of resources
SECRET_LENGTH = 33  # 192 bits of base 62 (62**33 > 2**192), beyond any search
SECRET_BYTES = 24
CHECKSUM_LENGTH = 6  # 62**6 > 2**32
KEY_LENGTH = len(PREFIX) + ID_LENGTH + 1 + SECRET_LENGTH + 1 + CHECKSUM_LENGTH

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_FORM = re.compile(rb"sk-andon-([0-9a-hjkmnp-tv-z]{10})-([0-9A-Za-z]{33})-([0-9A-Za-z]{6})")


class Token(NamedTuple):
    """A new key. `text` is the secret itself: show it once, then forget it."""

    id: str
    text: str


def _spell(number: int, alphabet: str, length: int) -> str:
    letters = []
    for _ in range(length):
        number, remainder = divmod(number, len(alphabet))
        letters.append(alphabet[remainder])
    return "".join(reversed(letters))


def checksum(body: str) -> str:
    """CRC-32 (ISO 3309) of everything before the last hyphen, in base 62. It finds typos; it protects nothing."""
    return _spell(zlib.crc32(body.encode()), _BASE62, CHECKSUM_LENGTH)


def make_token(random: Random) -> Token:
    """A new key with 192 secret bits."""
    # 7 bytes are reduced to 50 bits; 2**56 is a multiple of 2**50, so every id is equally likely.
    number = int.from_bytes(random.secret_bytes(7), "big") % 2**50
    id_ = _spell(number, _CROCKFORD, ID_LENGTH)
    secret = _spell(int.from_bytes(random.secret_bytes(SECRET_BYTES), "big"), _BASE62, SECRET_LENGTH)
    body = f"{PREFIX}{id_}-{secret}"
    return Token(id_, f"{body}-{checksum(body)}")


def public_id(text: bytes) -> str | None:
    """The public id of a well-formed key with the right checksum; None for anything else."""
    match = _FORM.fullmatch(text)
    if match is None:
        return None
    body = text[: -CHECKSUM_LENGTH - 1].decode()
    return match[1].decode() if checksum(body).encode() == match[3] else None


def keyed_digest(text: bytes, pepper: bytes) -> str:
    """Hex HMAC-SHA256 (RFC 2104) of a whole key: all that is ever stored of it."""
    return hmac.digest(pepper, text, "sha256").hex()


def fingerprint(text: bytes) -> str:
    """A name for any credential in logs: the public id if it has one, else 8 hex digits of its SHA-256."""
    id_ = public_id(text)
    return id_ if id_ is not None else "?" + hashlib.sha256(text).hexdigest()[:8]
