"""Secrets in AWS Secrets Manager, as an outside store. Blocking; loaded only where a reference asks for it.

What AWS answers is never repeated in an error but for its own name of what went wrong.
"""

from __future__ import annotations

import json
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from andon.adapters.aws.service import code_of, connect
from andon.kernel.errors import Refused, Transient
from andon.kernel.references import Reference

_GONE: Final = frozenset(
    (
        "AccessDeniedException",
        "InvalidParameterException",
        "InvalidRequestException",  # among others: it is marked for deletion
        "ResourceNotFoundException",
        "ValidationException",
    )
)


class AwsSecrets:
    """An `OutsideStore`."""

    def __init__(self, region: str, endpoint: str) -> None:
        self._region = region
        self._endpoint = endpoint
        self._client: Any = None

    def read(self, reference: Reference) -> str:
        """The present version, or one field of it where it is a JSON object. Raises Refused, Transient."""
        try:
            client = (
                connect("secretsmanager", self._region, self._endpoint)
                if self._client is None
                else self._client
            )
            self._client = client
            answer = client.get_secret_value(SecretId=reference.place)
        except ClientError as error:
            code = code_of(error)
            if code in _GONE:
                raise Refused(
                    "secret_unknown",
                    f"AWS Secrets Manager does not give {reference.place}: {code}.",
                    hint="Look at its name or ARN, the region, and the policy of this role.",
                    status=404,
                ) from None
            raise Transient("secret_unreachable", f"AWS Secrets Manager did not answer: {code}.") from None
        except BotoCoreError as error:
            raise Transient(
                "secret_unreachable", f"AWS Secrets Manager cannot be asked: {type(error).__name__}."
            ) from None
        return _field(answer.get("SecretString"), reference)

    def close(self) -> None:
        """Let connections go."""
        if self._client is not None:
            self._client.close()


def _field(text: object, reference: Reference) -> str:
    value = text
    if reference.key and isinstance(text, str):
        try:
            decoded = json.loads(text)
        except (ValueError, RecursionError):
            decoded = None
        value = decoded.get(reference.key) if isinstance(decoded, dict) else None
    if not isinstance(value, str) or not value:
        raise Refused(
            "secret_unknown",
            f"The secret {reference.place} in AWS has no text{f' under {reference.key}' if reference.key else ''}.",
            hint="Write aws-sm:NAME#KEY with a key of its JSON object.",
            status=404,
        )
    return value
