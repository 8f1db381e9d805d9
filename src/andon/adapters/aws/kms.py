"""AWS KMS: data keys made, wrapped and opened there, bound to their encryption context.

Blocking; loaded only where the settings name a key. The key itself never leaves KMS, which keeps its older versions by
itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from andon.adapters.aws.service import code_of, connect
from andon.kernel.errors import Permanent, Refused, Transient

T = TypeVar("T")

_FORGED: Final = frozenset(("InvalidCiphertextException", "IncorrectKeyException"))
_CLOSED: Final = frozenset(
    (
        "AccessDeniedException",
        "DisabledException",
        "KMSInvalidStateException",
        "NotFoundException",
        "ValidationException",
    )
)


class Kms:
    """One key of KMS. Safe to use from several threads, as boto3's clients are."""

    def __init__(self, key: str, region: str, endpoint: str) -> None:
        self.key = key
        self._client: Any = connect("kms", region, endpoint)

    def generate(self, context: Mapping[str, str]) -> tuple[bytes, bytes]:
        """A new data key of 32 bytes, plain and wrapped. Raises AndonError."""
        answer = self._ask(
            lambda: self._client.generate_data_key(
                KeyId=self.key, KeySpec="AES_256", EncryptionContext=dict(context)
            )
        )
        return answer["Plaintext"], answer["CiphertextBlob"]

    def encrypt(self, plain: bytes, context: Mapping[str, str]) -> bytes:
        """A data key wrapped. Raises AndonError."""
        answer = self._ask(
            lambda: self._client.encrypt(KeyId=self.key, Plaintext=plain, EncryptionContext=dict(context))
        )
        return bytes(answer["CiphertextBlob"])

    def decrypt(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """The data key. Raises Refused `envelope_refused` for what was changed or is about something else."""
        answer = self._ask(
            lambda: self._client.decrypt(
                KeyId=self.key, CiphertextBlob=wrapped, EncryptionContext=dict(context)
            )
        )
        return bytes(answer["Plaintext"])

    def close(self) -> None:
        """Let connections go."""
        self._client.close()

    def _ask(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except ClientError as error:
            code = code_of(error)
            if code in _FORGED:
                raise Refused(
                    "envelope_refused", "KMS did not make what it was asked to open.", status=500
                ) from None
            if code in _CLOSED:
                raise Permanent(
                    "kek_refused",
                    f"KMS does not let this role use the wrapping key: {code}.",
                    hint="Look at the key's policy and state; nothing that is sealed is lost.",
                ) from None
            raise Transient("kek_unreachable", f"KMS did not answer: {code}.") from None
        except BotoCoreError as error:
            raise Transient("kek_unreachable", f"KMS cannot be asked: {type(error).__name__}.") from None
