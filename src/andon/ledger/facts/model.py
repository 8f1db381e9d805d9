"""The schema of facts: labels, feedback, KPI events, evaluations, spans of users, prices.

Bitemporal: `event_ns` is when it became true in the world, `at_ns` when Andon learnt it. A fact is about a request by
its id, by the business key that the request carried, or by the id inside its answer; at least one is given. `id` makes
it idempotent: the same id twice is one fact. A later fact about the same thing and name corrects the earlier one.
Evolution as for rows: fields are only appended, each with a default; any append raises `SCHEMA_VERSION`.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

SCHEMA_VERSION = 2

Text = str | None
Id = Annotated[str, Meta(description="makes it idempotent: the sender's own, or a digest of the content")]
Known = Annotated[int, Meta(description="when Andon learnt it: wall time since the Unix epoch, UTC")]
Event = Annotated[int, Meta(description="when it became true: wall time since the Unix epoch, UTC")]
Request = Annotated[Text, Meta(description="request id that it is about")]
Reference = Annotated[Text, Meta(description="business key that it is about, as given in x-andon-reference")]
Response = Annotated[Text, Meta(description="id inside the answer that it is about, such as chatcmpl-1")]
Source = Annotated[Text, Meta(description="principal that sent it")]


class Label(msgspec.Struct, array_like=True, tag="label", gc=False):
    """The truth about one prediction, or a part of it: late, corrected or never."""

    id: Id
    at_ns: Known = 0
    event_ns: Event = 0
    request: Request = None
    reference: Reference = None
    response: Response = None
    name: Annotated[str, Meta(description="which truth, where there are several")] = "label"
    value: Annotated[float | None, Meta(description="the truth as a number; 0 or 1 for two classes")] = None
    text: Annotated[Text, Meta(description="the truth as a class name")] = None
    weight: Annotated[float, Meta(description="how much it counts")] = 1.0
    source: Source = None


class Feedback(msgspec.Struct, array_like=True, tag="feedback", gc=False):
    """What a person did with an answer."""

    id: Id
    at_ns: Known = 0
    event_ns: Event = 0
    request: Request = None
    reference: Reference = None
    response: Response = None
    kind: Annotated[str, Meta(description="thumb, rating, regenerate, abandon, accept, edit or copy")] = (
        "thumb"
    )
    value: Annotated[float | None, Meta(description="thumb: 0 or 1; rating: 1 to 5")] = None
    text: Annotated[Text, Meta(description="a person's comment, if the sender gave one")] = None
    source: Source = None


class KpiEvent(msgspec.Struct, array_like=True, tag="kpi", gc=False):
    """Something the business counts: a sale, a saved minute, a chargeback."""

    id: Id
    at_ns: Known = 0
    event_ns: Event = 0
    request: Request = None
    reference: Reference = None
    response: Response = None
    name: Annotated[str, Meta(description="the KPI, such as conversion")] = ""
    value: Annotated[float, Meta(description="how much; 1 for something that is counted")] = 1.0
    currency: Annotated[Text, Meta(description="ISO 4217, where the value is money")] = None
    unit: Annotated[int | None, Meta(description="hash of the assignment unit, as in the rows")] = None
    source: Source = None


class Evaluation(msgspec.Struct, array_like=True, tag="evaluation", gc=False):
    """A judgement of an answer: OpenTelemetry's `gen_ai.evaluation.result`."""

    id: Id
    at_ns: Known = 0
    event_ns: Event = 0
    request: Request = None
    reference: Reference = None
    response: Response = None
    name: Annotated[str, Meta(description="gen_ai.evaluation.name")] = ""
    score: Annotated[float | None, Meta(description="gen_ai.evaluation.score.value")] = None
    label: Annotated[Text, Meta(description="gen_ai.evaluation.score.label")] = None
    explanation: Annotated[Text, Meta(description="gen_ai.evaluation.explanation")] = None
    source: Source = None
    # Appended in schema 2.
    trace_id: Annotated[
        Text,
        Meta(
            description="trace it was made in, 32 hexadecimal digits; what it is about where no id is given"
        ),
    ] = None


class Span(msgspec.Struct, array_like=True, tag="span", gc=False):
    """A span of a user's own program, received over OTLP; joined to rows by its trace."""

    id: Id
    at_ns: Known = 0
    event_ns: Event = 0
    trace_id: Annotated[str, Meta(description="32 hexadecimal digits")] = ""
    span_id: Annotated[str, Meta(description="16 hexadecimal digits")] = ""
    parent_id: Annotated[Text, Meta(description="16 hexadecimal digits; null for a root")] = None
    name: Annotated[str, Meta(description="the operation")] = ""
    kind: Annotated[int, Meta(description="OTLP SpanKind")] = 0
    service: Annotated[Text, Meta(description="service.name of the resource")] = None
    end_ns: Annotated[int, Meta(description="when it ended; it began at event_ns")] = 0
    error: Annotated[bool, Meta(description="its status is an error")] = False
    attributes: Annotated[Text, Meta(description="its attributes as JSON, bounded")] = None
    source: Source = None


class Price(msgspec.Struct, array_like=True, tag="price", gc=False):
    """One line of a price list, in force from `event_ns` on until a newer one of the same bucket."""

    id: Id
    at_ns: Known = 0
    event_ns: Event = 0
    book: Annotated[str, Meta(description="price list it belongs to")] = ""
    version: Annotated[str, Meta(description="version of that list")] = ""
    provider: Annotated[Text, Meta(description="who charges")] = None
    model: Annotated[Text, Meta(description="model name as the provider writes it")] = None
    bucket: Annotated[str, Meta(description="what is charged: input_tokens, output_tokens, requests, …")] = ""
    amount_micros: Annotated[int, Meta(description="price of `quantity` units, in millionths")] = 0
    quantity: Annotated[int, Meta(description="units that the amount is for, such as 1000000 tokens")] = 1
    currency: Annotated[Text, Meta(description="ISO 4217")] = None
    source: Source = None


Fact = Label | Feedback | KpiEvent | Evaluation | Span | Price
