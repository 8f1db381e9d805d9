"""Answers on their way out: heads with what Andon says about an exchange, and refusals in the dialect's own shape.

The one place where an error becomes bytes for clients of the data plane. Pure functions over an exchange.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from andon.gateway.course import Course
from andon.gateway.dialects import oip, openai
from andon.kernel.errors import AndonError, Transient
from andon.kernel.exchange import Dialect, Exchange
from andon.wire.model import Header

JSON: Final = b"application/json"
JSON_HEADERS: Final[Sequence[Header]] = ((b"content-type", JSON),)
_RETRY_AFTER_MAX_S: Final = 120.0  # clients of the OpenAI dialect do not retry at all beyond this
_PASSED: Final = frozenset(
    (b"openai-processing-ms", b"openai-version", b"inference-header-content-length", b"content-encoding")
)


def head(course: Course, content_type: bytes, added_s: float) -> bytes:
    """Header lines of an answer that an upstream made; `added_s` is what the gateway itself has taken so far."""
    x = course.exchange
    lines = (
        b"content-type: %b\r\nx-request-id: %b\r\n%bx-andon-attempts: %d\r\nx-andon-overhead-ms: %.3f\r\n"
        % (
            content_type,
            x.id.encode(),
            course.served.head,
            x.attempt + 1,
            added_s * 1000,
        )
    )
    limits = x.reservations
    return lines if limits is None else lines + limit_lines(limits)


def limit_lines(reservations: object) -> bytes:
    """The x-ratelimit lines, if whoever holds the reservations offers them."""
    headers = getattr(reservations, "headers", None)
    return headers() if headers is not None else b""


def passed(headers: Sequence[Header]) -> bytes:
    """Lines of an upstream's answer that belong to the client."""
    lines = b""
    for name, value in headers:
        if name in _PASSED:
            lines += b"%b: %b\r\n" % (name, value)
    return lines


def content_type_of(headers: Sequence[Header]) -> bytes:
    """The content type of an upstream's answer."""
    for name, value in headers:
        if name == b"content-type":
            return value
    return JSON


def error_head(id_: str, error: AndonError) -> bytes:
    """Header lines of an error: whether and when to try again, in every form that clients read."""
    retry = b"false"
    if isinstance(error, Transient):
        if error.should_retry:
            retry = b"true"
        wait = min(error.retry_after_s, _RETRY_AFTER_MAX_S) if error.should_retry else error.retry_after_s
        if error.status in (429, 503, 409):
            return (
                b"content-type: application/json\r\nx-request-id: %b\r\nx-should-retry: %b\r\n"
                b"retry-after: %d\r\nretry-after-ms: %d\r\n"
                % (id_.encode(), retry, max(1, math.ceil(wait)), max(1, math.ceil(wait * 1000)))
            )
    return b"content-type: application/json\r\nx-request-id: %b\r\nx-should-retry: %b\r\n" % (
        id_.encode(),
        retry,
    )


def error_body(dialect: Dialect, error: AndonError) -> bytes:
    """An error in the shape that clients of the dialect read."""
    return openai.error_body(error) if dialect is Dialect.OPENAI else oip.error_body(error)


def error_lines(x: Exchange, error: AndonError, course: Course | None) -> bytes:
    """All header lines of an error, with what is known about the exchange by then."""
    lines = error_head(x.id, error)
    if course is not None:
        lines += course.served.head + b"x-andon-attempts: %d\r\n" % (x.attempt + 1)
    if x.reservations is not None:
        lines += limit_lines(x.reservations)
    return lines


def dialect_of(path: bytes) -> Dialect:
    """The dialect that clients of a path expect."""
    return Dialect.OIP if path.startswith(b"/v2") else Dialect.OPENAI
