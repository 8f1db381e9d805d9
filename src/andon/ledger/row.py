"""The schema of a row: the one versioned place that says what the ledger remembers of each attempt.

`Intent` is written before an attempt is dispatched, `Outcome` when it has ended; both are keyed by (id, attempt).
A row never holds a secret, a body or a client's text beyond names. Evolution: fields are only appended, each with a
default, and a field never changes its meaning; readers take shorter rows from older writers (missing fields read as
their defaults) and longer rows from newer ones (the rest is ignored). Any append raises `SCHEMA_VERSION`.
Unknown is null, never zero. The unit is the last part of a name.
"""

from __future__ import annotations

from typing import Annotated, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

SCHEMA_VERSION = 3

Text = str | None
Count = int | None


class Intent(msgspec.Struct, array_like=True, tag=1, gc=False):
    """An attempt about to be dispatched: what a crash would otherwise leave unknown."""

    id: Annotated[str, Meta(description="the request, a UUIDv7; also x-request-id")]
    attempt: Annotated[int, Meta(description="0 for the first, counting retries and fallbacks")] = 0
    at_ns: Annotated[int, Meta(description="wall time of writing, since the Unix epoch, UTC")] = 0
    endpoint: Annotated[Text, Meta(description="name of the endpoint called")] = None
    operation: Annotated[Text, Meta(description="chat, completion, embedding or infer")] = None
    dialect: Annotated[Text, Meta(description="protocol the client spoke: openai or oip")] = None
    key: Annotated[Text, Meta(description="public id of the API key; null for anonymous")] = None
    team: Annotated[Text, Meta(description="team that the key belongs to")] = None
    release: Annotated[Text, Meta(description="release chosen, such as credit@2")] = None
    arm: Annotated[Text, Meta(description="stable, canary, preview or shadow")] = None
    propensity: Annotated[
        float | None, Meta(description="chance with which this arm was chosen, in (0, 1]")
    ] = None
    pinned: Annotated[bool, Meta(description="routed by header or cohort, so not evidence for a gate")] = (
        False
    )
    unit: Annotated[Count, Meta(description="64-bit hash of what assignment is sticky by")] = None
    stream: Annotated[bool, Meta(description="the client asked for a streamed answer")] = False
    reserved_tokens: Annotated[
        Count, Meta(description="tokens held by limits until the outcome is known")
    ] = None
    request_bytes: Annotated[Count, Meta(description="size of the request's body")] = None
    client_retry: Annotated[int, Meta(description="retry count that the client itself declared")] = 0
    traceparent: Annotated[Text, Meta(description="W3C trace context as received")] = None
    snapshot: Annotated[Count, Meta(description="version of the configuration snapshot in force")] = None


class Outcome(msgspec.Struct, array_like=True, tag=2, gc=False):
    """An attempt that has ended, refused or not. Exactly one per answered request has `final` set."""

    id: Annotated[str, Meta(description="the request, a UUIDv7; also x-request-id")]
    attempt: Annotated[int, Meta(description="0 for the first, counting retries and fallbacks")] = 0
    final: Annotated[bool, Meta(description="the attempt whose answer the client got")] = True
    at_ns: Annotated[int, Meta(description="wall time of writing, since the Unix epoch, UTC")] = 0
    status: Annotated[int, Meta(description="HTTP status told to the client; 499 when it left first")] = 0
    error_code: Annotated[
        Text, Meta(description="stable code of the failure or refusal; null on success")
    ] = None
    provider_error: Annotated[bool, Meta(description="the release is to blame: what gates count")] = False
    endpoint: Annotated[Text, Meta(description="name of the endpoint called")] = None
    release: Annotated[Text, Meta(description="release that served, such as credit@2")] = None
    arm: Annotated[Text, Meta(description="stable, canary, preview or shadow")] = None
    target: Annotated[Text, Meta(description="replica or provider that was asked")] = None
    operation: Annotated[Text, Meta(description="chat, completion, embedding or infer")] = None
    dialect: Annotated[Text, Meta(description="protocol the client spoke: openai or oip")] = None
    key: Annotated[Text, Meta(description="public id of the API key; null for anonymous")] = None
    team: Annotated[Text, Meta(description="team that the key belongs to")] = None
    propensity: Annotated[
        float | None, Meta(description="chance with which this arm was chosen, in (0, 1]")
    ] = None
    pinned: Annotated[bool, Meta(description="routed by header or cohort, so not evidence for a gate")] = (
        False
    )
    unit: Annotated[Count, Meta(description="64-bit hash of what assignment is sticky by")] = None
    stream: Annotated[bool, Meta(description="the answer was streamed")] = False
    duration_us: Annotated[Count, Meta(description="from the request's last byte to this row")] = None
    overhead_us: Annotated[Count, Meta(description="part of the duration spent in the gateway itself")] = None
    queue_us: Annotated[Count, Meta(description="part of the duration spent waiting for a place")] = None
    upstream_us: Annotated[Count, Meta(description="from dispatch to the upstream's last byte")] = None
    first_byte_us: Annotated[Count, Meta(description="from dispatch to the upstream's first byte")] = None
    input_tokens: Annotated[Count, Meta(description="tokens of the prompt")] = None
    output_tokens: Annotated[Count, Meta(description="tokens of the answer")] = None
    usage_source: Annotated[Text, Meta(description="who counted the tokens: provider, estimated or none")] = (
        None
    )
    request_bytes: Annotated[Count, Meta(description="size of the request's body")] = None
    response_bytes: Annotated[Count, Meta(description="size of the answer's body")] = None
    refused_by: Annotated[Text, Meta(description="stage of the chain that refused the request")] = None
    durability: Annotated[Text, Meta(description="promise kept: acknowledged, strict or relaxed")] = None
    cost_micros: Annotated[Count, Meta(description="cost in millionths of the currency; reserved")] = None
    currency: Annotated[Text, Meta(description="ISO 4217 code of the cost; reserved")] = None
    price_version: Annotated[
        Text, Meta(description="price list that the cost was computed from; reserved")
    ] = None
    # Appended in schema 2.
    gateway: Annotated[Text, Meta(description="gateway that wrote the row")] = None
    traceparent: Annotated[
        Text, Meta(description="W3C trace context of the exchange: the caller's, or begun by the gateway")
    ] = None
    reference: Annotated[
        Text, Meta(description="business key given as x-andon-reference; facts may name it instead of the id")
    ] = None
    response_id: Annotated[Text, Meta(description="id inside the answer, such as chatcmpl-1")] = None
    model: Annotated[Text, Meta(description="model name that the upstream says has answered")] = None
    finish_reason: Annotated[Text, Meta(description="why generation ended, as the upstream says")] = None
    prediction: Annotated[
        Text, Meta(description="predicted class or value, where the endpoint records it")
    ] = None
    score: Annotated[
        float | None, Meta(description="probability or value predicted, where the endpoint records it")
    ] = None
    feature_us: Annotated[Count, Meta(description="time spent computing features, all together")] = None
    features: Annotated[
        dict[str, int] | None, Meta(description="microseconds by feature, as told by Server-Timing")
    ] = None
    guard_us: Annotated[Count, Meta(description="part of the duration spent in guards")] = None
    connect_us: Annotated[
        Count, Meta(description="to open the upstream connection; null on one that was kept")
    ] = None
    tls_us: Annotated[Count, Meta(description="part of it spent on TLS; null without")] = None
    client_retry: Annotated[Count, Meta(description="retry count that the client itself declared")] = None
    snapshot: Annotated[Count, Meta(description="version of the configuration snapshot in force")] = None
    # Appended in schema 3.
    principal: Annotated[
        Text, Meta(description="who called, such as key:4kq2m or user:ann@example.com; null for anonymous")
    ] = None
    policies: Annotated[
        Text, Meta(description="ids of the policies that decided on access, separated by commas")
    ] = None
    data_class: Annotated[
        Text, Meta(description="data class: the highest of everything that went into the exchange")
    ] = None
    verdicts: Annotated[Text, Meta(description="what guards said, as a JSON array; null without guards")] = (
        None
    )
    scanned_bytes: Annotated[
        Count, Meta(description="text that guards judged, of all that was delivered; null without guards")
    ] = None
    delivered_bytes: Annotated[
        Count, Meta(description="text that reached the model and the client; equals scanned_bytes")
    ] = None
    address: Annotated[
        Text, Meta(description="client's network address, where the factory records addresses")
    ] = None


Row = Intent | Outcome

_UNITS = {
    "ns": "nanoseconds",
    "us": "microseconds",
    "bytes": "bytes",
    "tokens": "tokens",
    "micros": "millionths of the currency",
}


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One field of a row, for the generated reference."""

    row: str  # "intent" or "outcome"
    name: str
    type: str  # "text", "integer", "number", "boolean" or "map" (of text to integer)
    nullable: bool
    unit: str  # empty where a number has none
    meaning: str


def describe() -> tuple[Column, ...]:
    """Every field of every row, in stored order."""
    return tuple(
        _column(kind.__name__.lower(), name, hint)
        for kind in (Intent, Outcome)
        for name, hint in get_type_hints(kind, include_extras=True).items()
        if get_origin(hint) is Annotated
    )


def _column(row: str, name: str, hint: object) -> Column:
    declared, meta = get_args(hint)[:2]
    choices = (declared,) if get_origin(declared) is dict else get_args(declared) or (declared,)
    names = {str: "text", int: "integer", float: "number", bool: "boolean", dict[str, int]: "map"}
    return Column(
        row=row,
        name=name,
        type=next(names[choice] for choice in choices if choice in names),
        nullable=type(None) in choices,
        unit=_UNITS.get(name.rsplit("_", 1)[-1], ""),
        meaning=meta.description,
    )
