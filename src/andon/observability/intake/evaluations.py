"""The event `gen_ai.evaluation.result` (OpenTelemetry GenAI) as a fact: from a log record or from a span's event.

Joined by `gen_ai.response.id`, by Andon's own request id or business key, or by the trace it was made in. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from andon.ledger.facts.facting import digest_id
from andon.ledger.facts.model import Evaluation
from andon.ledger.facts.times import Unfit, check_time

EVENT = "gen_ai.evaluation.result"
NAME_CHARACTERS_MAX = 200
EXPLANATION_CHARACTERS_MAX = 8192


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """An event as both signals carry it."""

    attributes: Mapping[str, Any]
    at_ns: int  # 0 where it does not say
    trace_id: str = ""  # 32 hexadecimal digits, or empty
    span_id: str = ""


def to_evaluation(event: Event, source: str, now_ns: int) -> Evaluation:
    """The fact. Raises `Unfit` with the reason."""
    attributes = event.attributes
    name = _text(attributes, "gen_ai.evaluation.name")
    label = _text(attributes, "gen_ai.evaluation.score.label")
    score = _number(attributes.get("gen_ai.evaluation.score.value"))
    if not name:
        raise Unfit("value_missing", "gen_ai.evaluation.name is missing.", "name")
    if score is None and label is None:
        raise Unfit("value_missing", f"'{name}' has neither a score's value nor a label.", "score")
    response = _text(attributes, "gen_ai.response.id")
    request = _text(attributes, "andon.request.id")
    reference = _text(attributes, "andon.reference")
    trace_id = event.trace_id or None
    if not (response or request or reference or trace_id):
        raise Unfit("subject_missing", f"'{name}' has no gen_ai.response.id and no trace.", "response")
    explanation = attributes.get("gen_ai.evaluation.explanation")
    return Evaluation(
        _text(attributes, "log.record.uid")
        or digest_id(
            "evaluation",
            response,
            request,
            reference,
            trace_id,
            event.span_id,
            name,
            event.at_ns,
            score,
            label,
        ),
        now_ns,
        check_time(event.at_ns, now_ns) if event.at_ns else now_ns,
        request,
        reference,
        response,
        name,
        score,
        label,
        explanation[:EXPLANATION_CHARACTERS_MAX] if isinstance(explanation, str) else None,
        source,
        trace_id,
    )


def _text(attributes: Mapping[str, Any], name: str) -> str | None:
    value = attributes.get(name)
    return value[:NAME_CHARACTERS_MAX] if isinstance(value, str) and value else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not math.isfinite(value):
        raise Unfit("value_not_finite", "gen_ai.evaluation.score.value is not finite.", "score")
    return float(value)
