"""The routes by which facts come in. Applications call them with the API key they call the gateway with.

A body is one item or a batch, as JSON, NDJSON or CSV, compressed or not; see docs/facts.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from andon.ledger.facts.items import (
    EvaluationItem,
    FeedbackItem,
    KpiItem,
    LabelItem,
    PriceItem,
    Receipt,
)
from andon.ledger.facts.reading import ITEMS_MAX, MEDIA_TYPES
from andon.web.routes import Bytes, Route

BODY_BYTES_MAX = 64 * 2**20


class LabelBatch(msgspec.Struct, frozen=True, kw_only=True):
    """Labels."""

    items: Annotated[list[LabelItem], Meta(max_length=ITEMS_MAX)]


class FeedbackBatch(msgspec.Struct, frozen=True, kw_only=True):
    """What people did with answers."""

    items: Annotated[list[FeedbackItem], Meta(max_length=ITEMS_MAX)]


class KpiBatch(msgspec.Struct, frozen=True, kw_only=True):
    """What the business counted."""

    items: Annotated[list[KpiItem], Meta(max_length=ITEMS_MAX)]


class EvaluationBatch(msgspec.Struct, frozen=True, kw_only=True):
    """Judgements of answers."""

    items: Annotated[list[EvaluationItem], Meta(max_length=ITEMS_MAX)]


class PriceBatch(msgspec.Struct, frozen=True, kw_only=True):
    """Lines of price lists."""

    items: Annotated[list[PriceItem], Meta(max_length=ITEMS_MAX)]


def facts_routes(verbs: Any) -> Sequence[Route]:
    """`verbs` has one for each kind: labels, feedback, kpi_events, evaluations, prices."""
    return (
        _route("/v1/labels", "addLabels", verbs.labels, LabelBatch, "Tell the truth about predictions"),
        _route("/v1/feedback", "addFeedback", verbs.feedback, FeedbackBatch, "Tell what people did"),
        _route("/v1/kpi-events", "addKpiEvents", verbs.kpi_events, KpiBatch, "Tell what the business counts"),
        _route(
            "/v1/evaluations",
            "addEvaluations",
            verbs.evaluations,
            EvaluationBatch,
            "Tell judgements of answers",
        ),
        _route(
            "/v1/prices", "addPrices", verbs.prices, PriceBatch, "Tell what is charged", action="fact.price"
        ),
    )


def _route(path: str, name: str, verb: Any, shape: Any, summary: str, action: str = "fact.write") -> Route:
    return Route(
        method="POST",
        path=path,
        name=name,
        action=action,
        request=Bytes,
        shape=shape,
        media_types=MEDIA_TYPES,
        body_bytes_max=BODY_BYTES_MAX,
        response=Receipt,
        handler=verb,
        summary=summary,
    )
