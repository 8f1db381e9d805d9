"""What senders send: one item for each fact, as it stands in a JSON body or a line of a CSV file.

Turned into facts by `facting.py`. Fields are only added. Unknown is left out, never zero.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

Name = Annotated[str, Meta(min_length=1, max_length=200)]
Long = Annotated[str, Meta(max_length=8192)]
Key = Annotated[str, Meta(min_length=1, max_length=200)]
Currency = Annotated[str, Meta(pattern="^[A-Z]{3}$")]
TraceId = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]


class Item(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every item may say about itself."""

    id: Annotated[
        str, Meta(max_length=200, description="makes it idempotent; left out: a digest of the content")
    ] = ""
    time: Annotated[
        str | int | None,
        Meta(description="when it became true: RFC 3339, or nanoseconds since the epoch; left out: now"),
    ] = None


class AboutRequest(Item, frozen=True, kw_only=True):
    """An item about a request; at least one of the three says which."""

    request: Annotated[Key | None, Meta(description="request id, as in x-request-id")] = None
    reference: Annotated[Key | None, Meta(description="business key, as sent in x-andon-reference")] = None
    response: Annotated[Key | None, Meta(description="id inside the answer, such as chatcmpl-1")] = None


class LabelItem(AboutRequest, frozen=True, kw_only=True):
    """The truth about one prediction. A later one of the same name corrects it."""

    name: Annotated[Name, Meta(description="which truth, where there are several")] = "label"
    value: Annotated[float | None, Meta(description="as a number; 0 or 1 for two classes")] = None
    text: Annotated[Long | None, Meta(description="as a class name")] = None
    weight: Annotated[float, Meta(ge=0, description="how much it counts")] = 1.0


class FeedbackItem(AboutRequest, frozen=True, kw_only=True):
    """What a person did with an answer."""

    kind: Annotated[
        str, Meta(description="thumb, rating, regenerate, abandon, accept, edit or copy", max_length=20)
    ] = "thumb"
    value: Annotated[float | None, Meta(description="thumb: 0 or 1; rating: 1 to 5")] = None
    text: Annotated[Long | None, Meta(description="a person's comment")] = None


class KpiItem(AboutRequest, frozen=True, kw_only=True):
    """Something the business counts; may be about a unit alone."""

    name: Annotated[Name, Meta(description="the KPI, such as conversion")]
    value: Annotated[float, Meta(description="how much; 1 for something that is counted")] = 1.0
    currency: Annotated[Currency | None, Meta(description="ISO 4217, where the value is money")] = None
    unit: Annotated[
        Key | None, Meta(description="what assignment is sticky by, as the application sends it")
    ] = None


class EvaluationItem(AboutRequest, frozen=True, kw_only=True):
    """A judgement of an answer."""

    name: Annotated[Name, Meta(description="gen_ai.evaluation.name")]
    score: Annotated[float | None, Meta(description="gen_ai.evaluation.score.value")] = None
    label: Annotated[Name | None, Meta(description="gen_ai.evaluation.score.label")] = None
    explanation: Annotated[Long | None, Meta(description="gen_ai.evaluation.explanation")] = None
    trace_id: Annotated[TraceId | None, Meta(description="trace it was made in, where no id is known")] = None


class PriceItem(Item, frozen=True, kw_only=True):
    """One line of a price list, in force from `time` on."""

    book: Annotated[Name, Meta(description="price list it belongs to")]
    version: Annotated[str, Meta(max_length=200, description="version of that list")] = ""
    provider: Annotated[Name | None, Meta(description="who charges")] = None
    model: Annotated[Name | None, Meta(description="model name as the provider writes it")] = None
    bucket: Annotated[Name, Meta(description="what is charged: input_tokens, output_tokens, requests, …")]
    amount_micros: Annotated[
        int, Meta(ge=0, le=2**62, description="price of `quantity` units, in millionths")
    ]
    quantity: Annotated[
        int, Meta(ge=1, le=2**62, description="units that the amount is for, such as 1000000 tokens")
    ] = 1
    currency: Annotated[Currency, Meta(description="ISO 4217")]


AnyItem = LabelItem | FeedbackItem | KpiItem | EvaluationItem | PriceItem

KINDS: dict[str, type[AnyItem]] = {
    "label": LabelItem,
    "feedback": FeedbackItem,
    "kpi": KpiItem,
    "evaluation": EvaluationItem,
    "price": PriceItem,
}


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """One item that was not taken."""

    index: int  # in the batch, from 0
    code: str
    message: str


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a batch. What is accepted is on disk."""

    accepted: Annotated[int, Meta(description="facts written now")]
    duplicates: Annotated[int, Meta(description="items whose id was written lately; nothing was done")]
    unknown: Annotated[
        int | None,
        Meta(
            description="of the accepted: about requests that the ledger does not know (yet); kept, and joined when "
            "they come; null where it could not be looked up"
        ),
    ]
    refused_count: Annotated[int, Meta(description="items not taken")] = 0
    refused: Annotated[tuple[Refusal, ...], Meta(description="the first 1,000 of them")] = ()
