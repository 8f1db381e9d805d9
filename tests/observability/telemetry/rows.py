"""Rows as the gateway writes them, for tests of what is made of them."""

from __future__ import annotations

from typing import Any

from andon.kernel.trace import begin
from andon.ledger.row import Outcome

SECOND_NS = 1_000_000_000
NOW_NS = 1_793_000_000 * SECOND_NS


def request_id(number: int, at_ns: int = NOW_NS) -> str:
    """A UUIDv7 of a moment."""
    stamp = f"{at_ns // 1_000_000:012x}"
    return f"{stamp[:8]}-{stamp[8:]}-7{number & 0xFFF:03x}-8000-{number:012x}"


def outcome(number: int = 1, **changes: Any) -> Outcome:
    """A streamed chat that went well."""
    at_ns = changes.pop("at_ns", NOW_NS + number)
    id_ = request_id(number, NOW_NS)
    fields: dict[str, Any] = {
        "id": id_,
        "at_ns": at_ns,
        "status": 200,
        "endpoint": "assistant",
        "release": "dummy/small",
        "arm": "stable",
        "target": "dummy",
        "operation": "chat",
        "dialect": "openai",
        "key": "k1",
        "team": "crew",
        "stream": True,
        "duration_us": 101_000,
        "overhead_us": 1_000,
        "upstream_us": 100_000,
        "first_byte_us": 20_000,
        "input_tokens": 10,
        "output_tokens": 5,
        "usage_source": "provider",
        "traceparent": begin(id_),
    }
    return Outcome(**{**fields, **changes})


def refusal(number: int = 1, **changes: Any) -> Outcome:
    """A request that was never sent anywhere."""
    nothing = dict.fromkeys(
        (
            "release", "arm", "target", "overhead_us", "upstream_us", "first_byte_us", "input_tokens",
            "output_tokens", "usage_source",
        )
    )  # fmt: skip
    told = {"status": 429, "error_code": "rate_limited", "refused_by": "limits", "duration_us": 80}
    return outcome(number, **{**nothing, "stream": False, **told, **changes})
