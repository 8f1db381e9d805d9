"""Tokens that stand for what was found, readable again by the same subject only: authenticated encryption, no store.

Port `Vault` with one implementation. The same value gives the same token within one subject, so that a model can still
tell two people apart. Source: AES-SIV, RFC 5297; HKDF, RFC 5869.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

TOKEN: Final = re.compile(r"\[\[([A-Za-z0-9_]{1,40}):([A-Za-z0-9_-]{22,2048})\]\]")
TOKEN_MAX: Final = 2048 + 40 + 5
_TEXT_MAX: Final = 1400  # bytes of a value, so that its token stays within TOKEN
_VERSION: Final = b"andon vault v1"


class Vault(Protocol):
    """Where what was taken out of a text can be got back."""

    def put(self, entity: str, text: str, subject: str) -> str:
        """The token that stands for a text."""
        ...

    def get(self, token: str, subject: str) -> str | None:
        """What a token stands for; None for one that is not this subject's, or none at all."""
        ...


class SealedVault:
    """Tokens that carry what they stand for, sealed with the factory's key."""

    def __init__(self, secret: bytes) -> None:
        key = HKDF(algorithm=hashes.SHA256(), length=64, salt=None, info=_VERSION).derive(secret)
        self._cipher = AESSIV(key)

    def put(self, entity: str, text: str, subject: str) -> str:
        """See `Vault`. A text that is too long for a token is redacted: it cannot be got back."""
        data = text.encode("utf-8", "surrogatepass")
        name = re.sub(r"[^A-Za-z0-9_]", "_", entity)[:40] or "TEXT"
        if not data or len(data) > _TEXT_MAX:
            return f"[{name}]"
        sealed = self._cipher.encrypt(data, _bound_to(subject))
        return f"[[{name}:{base64.urlsafe_b64encode(sealed).rstrip(b'=').decode()}]]"

    def get(self, token: str, subject: str) -> str | None:
        """See `Vault`."""
        found = TOKEN.fullmatch(token)
        if found is None:
            return None
        coded = found.group(2)
        try:
            sealed = base64.urlsafe_b64decode(coded + "=" * (-len(coded) % 4))
            return self._cipher.decrypt(sealed, _bound_to(subject)).decode("utf-8", "surrogatepass")
        except (InvalidTag, ValueError, binascii.Error):
            return None


def _bound_to(subject: str) -> list[bytes]:
    """What a token is sealed together with; none of it is empty, which the cipher does not take."""
    return [_VERSION, b"of " + subject.encode("utf-8", "surrogatepass")]
