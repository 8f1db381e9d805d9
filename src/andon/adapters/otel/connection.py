"""The way to an OTLP/HTTP backend: addresses, headers, and what an answer means.

The SDK's exporters say only yes or no; the answer itself is heard on their session, because a batch that is refused
for good must not be sent again and one that is delayed must. Source: opentelemetry-proto docs/specification.md.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import unquote

import msgspec
import requests

from andon.kernel.errors import AndonError, Permanent, Transient

TIMEOUT_S: Final = 10.0
TOO_LARGE: Final = 413
_AGAIN: Final = frozenset((408, 425, 429, 500, 502, 503, 504))
_BODY_BYTES_MAX: Final = 65536


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """Where telemetry goes. The endpoint is the base address, such as http://collector:4318."""

    endpoint: str
    headers: Mapping[str, str] = {}
    timeout_s: float = TIMEOUT_S

    def url(self, signal: str) -> str:
        """The address of a signal: traces, metrics or logs."""
        return f"{self.endpoint.rstrip('/')}/v1/{signal}"


def parse_headers(text: str) -> dict[str, str]:
    """Headers as OTEL_EXPORTER_OTLP_HEADERS writes them: `name=value,other=value`, percent-encoded."""
    headers: dict[str, str] = {}
    for part in text.split(","):
        name, found, value = part.partition("=")
        if found and name.strip():
            headers[unquote(name.strip()).lower()] = unquote(value.strip())
    return headers


class Ear:
    """Hears the answers on one session."""

    def __init__(self) -> None:
        self.status: int | None = None  # None = no answer came
        self.body = b""
        self.session = requests.Session()
        self.session.hooks["response"].append(self._hear)

    def forget(self) -> None:
        """Before each batch."""
        self.status, self.body = None, b""

    def trouble(self, what: str) -> AndonError:
        """Why a batch was not taken: `Transient` if it may be sent again, else `Permanent`."""
        if self.status is None:
            return Transient("telemetry_unreachable", f"The telemetry backend did not answer the {what}.")
        message = f"The telemetry backend answered {self.status} to the {what}."
        if self.status in _AGAIN:
            return Transient("telemetry_unreachable", message)
        return Permanent(
            "telemetry_refused", message, hint="See its log; the address or a header may be wrong."
        )

    def _hear(self, response: requests.Response, *rest: Any, **more: Any) -> None:
        self.status = response.status_code
        self.body = response.content[:_BODY_BYTES_MAX]


def partial(body: bytes, decode: Callable[[bytes], Any], field: str) -> tuple[int, str]:
    """How many of an accepted batch were rejected, and why; nothing for an answer that does not say."""
    if not body:
        return 0, ""
    try:
        told = decode(body).partial_success
    # protobuf has its own exceptions, and an answer that is not protobuf says nothing about rejection.
    except Exception:
        return 0, ""
    return int(getattr(told, field)), str(told.error_message)


def hush() -> None:
    """Keep the SDK from logging each failed batch: the follower tells of it, with its own restraint."""
    logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
