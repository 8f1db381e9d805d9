"""One AWS service: its client, and what its errors mean. Blocking; call it in a thread.

Credentials and region are found as boto3 finds them; only region and endpoint may be set here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from andon.kernel.errors import AndonError, Permanent, Transient

CONNECT_S: Final = 3.0
READ_S: Final = 10.0
# What is wrong with the batch itself; everything else may be mended while the batch waits, credentials included.
_FOR_GOOD: Final = frozenset(
    (
        "InvalidParameterException",
        "InvalidRequestException",
        "MalformedQueryString",
        "SerializationException",
        "ValidationException",
    )
)

T = TypeVar("T")


def connect(service: str, region: str, endpoint: str) -> Any:
    """A client of `service`; empty region or endpoint mean what boto3 finds by itself."""
    config = Config(connect_timeout=CONNECT_S, read_timeout=READ_S, retries={"total_max_attempts": 2})
    return boto3.client(service, region_name=region or None, endpoint_url=endpoint or None, config=config)


def code_of(error: ClientError) -> str:
    """AWS's own name of what went wrong."""
    return str(error.response.get("Error", {}).get("Code", ""))


def ask(what: str, call: Callable[[], T]) -> T:
    """The result of a call. Raises `Transient` if it may be asked again, `Permanent` if not."""
    try:
        return call()
    except ClientError as error:
        raise _trouble(what, code_of(error)) from error
    except BotoCoreError as error:
        raise Transient("telemetry_unreachable", f"AWS did not take the {what}: {error}") from error


def _trouble(what: str, code: str) -> AndonError:
    if code in _FOR_GOOD:
        return Permanent("telemetry_refused", f"AWS refused the {what} for good: {code}.")
    return Transient("telemetry_unreachable", f"AWS did not take the {what}: {code}.")
