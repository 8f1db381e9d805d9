"""The one versioned table between the ledger and other people's names: attributes of spans, instruments of metrics.

Everything that leaves by OTLP, CloudWatch, X-Ray or `/metrics` takes its names, units and buckets from here, and the
reference page is made from it. Sources: OpenTelemetry semantic conventions (HTTP, stable) and those for generative AI
(development), at the versions pinned below. Raise `VERSION` when a name or a meaning changes.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

VERSION: Final = 1
HTTP_SEMCONV: Final = "1.44.0"
GENAI_SEMCONV: Final = (
    "1.44.0 (in development), as the package opentelemetry-semantic-conventions 0.66b2 has it"
)
SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"

Stability = Literal["stable", "development", "andon"]
Where = Literal["server", "attempt", "both"]

HTTP_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
GENAI_SECONDS: Final = tuple(0.01 * 2**power for power in range(14))
FIRST_TOKEN_SECONDS: Final = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
)  # fmt: skip
PER_TOKEN_SECONDS: Final = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
TOKENS: Final = tuple(float(4**power) for power in range(14))
OVERHEAD_SECONDS: Final = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0,
)  # fmt: skip

ROUTES: Final = {
    "chat": "/v1/chat/completions",
    "completion": "/v1/completions",
    "embedding": "/v1/embeddings",
    "infer": "/v2/models/{model}/infer",
}
OPERATIONS: Final = {"chat": "chat", "completion": "text_completion", "embedding": "embeddings"}


class Attribute(msgspec.Struct, frozen=True):
    """One attribute of a span. `source` is a field of the row, or a derived value in angle brackets."""

    name: str
    source: str
    where: Where
    unit: str = ""
    conversion: Literal["", "us_to_s", "list"] = ""
    stability: Stability = "andon"
    genai_only: bool = False  # left out for models that are not asked in the OpenAI dialect


class Instrument(msgspec.Struct, frozen=True):
    """One metric: its name on `/metrics`, its name in OTLP, and its unit (UCUM)."""

    family: str
    otel: str
    unit: str
    meaning: str
    labels: tuple[str, ...]
    kind: Literal["counter", "histogram"] = "histogram"
    bounds: tuple[float, ...] = ()
    stability: Stability = "andon"
    cloudwatch: str = ""  # its unit in CloudWatch; empty = it does not go there


ATTRIBUTES: Final[tuple[Attribute, ...]] = (
    Attribute("http.request.method", "<POST>", "server", stability="stable"),
    Attribute("http.route", "<route>", "server", stability="stable"),
    Attribute("url.path", "<path>", "server", stability="stable"),
    Attribute("url.scheme", "<http>", "server", stability="stable"),
    Attribute("http.response.status_code", "status", "server", stability="stable"),
    Attribute("http.request.body.size", "request_bytes", "server", "By", stability="development"),
    Attribute("http.response.body.size", "response_bytes", "server", "By", stability="development"),
    Attribute("error.type", "<error>", "both", stability="stable"),
    Attribute("http.request.resend_count", "<resend>", "attempt", stability="stable"),
    Attribute("gen_ai.operation.name", "<operation>", "attempt", stability="development", genai_only=True),
    Attribute("gen_ai.provider.name", "<provider>", "attempt", stability="development", genai_only=True),
    Attribute("gen_ai.request.model", "<model>", "attempt", stability="development", genai_only=True),
    Attribute("gen_ai.request.stream", "stream", "attempt", stability="development", genai_only=True),
    Attribute("gen_ai.response.model", "model", "attempt", stability="development", genai_only=True),
    Attribute("gen_ai.response.id", "response_id", "attempt", stability="development", genai_only=True),
    Attribute(
        "gen_ai.response.finish_reasons",
        "finish_reason",
        "attempt",
        "",
        "list",
        "development",
        genai_only=True,
    ),
    Attribute(
        "gen_ai.response.time_to_first_chunk",
        "<first_chunk_us>",
        "attempt",
        "s",
        "us_to_s",
        "development",
        True,
    ),
    Attribute("gen_ai.usage.input_tokens", "input_tokens", "attempt", "{token}", "", "development", True),
    Attribute("gen_ai.usage.output_tokens", "output_tokens", "attempt", "{token}", "", "development", True),
    Attribute("andon.request.id", "id", "both"),
    Attribute("andon.attempt", "attempt", "both"),
    Attribute("andon.endpoint", "endpoint", "both"),
    Attribute("andon.release", "release", "both"),
    Attribute("andon.arm", "arm", "both"),
    Attribute("andon.operation", "operation", "both"),
    Attribute("andon.dialect", "dialect", "server"),
    Attribute("andon.team", "team", "server"),
    Attribute("andon.key", "key", "server"),
    Attribute("andon.refused_by", "refused_by", "server"),
    Attribute("andon.durability", "durability", "server"),
    Attribute("andon.propensity", "propensity", "server"),
    Attribute("andon.target", "target", "attempt"),
    Attribute("andon.provider_error", "provider_error", "attempt"),
    Attribute("andon.usage_source", "usage_source", "attempt"),
    Attribute("andon.overhead", "overhead_us", "server", "s", "us_to_s"),
    Attribute("andon.queue", "queue_us", "server", "s", "us_to_s"),
    Attribute("andon.guard", "guard_us", "server", "s", "us_to_s"),
    Attribute("andon.features", "feature_us", "attempt", "s", "us_to_s"),
    Attribute("andon.snapshot", "snapshot", "server"),
    Attribute("andon.gateway", "gateway", "server"),
)

_PLACE: Final = ("endpoint", "release")
_COUNT_LABELS: Final = (*_PLACE, "arm", "operation", "status_class", "error_type")
_GENAI_LABELS: Final = (*_PLACE, "gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")

INSTRUMENTS: Final[tuple[Instrument, ...]] = (
    Instrument(
        "andon_requests_total", "andon.requests", "{request}", "Requests answered: final outcomes.",
        _COUNT_LABELS, "counter", cloudwatch="Count",
    ),
    Instrument(
        "andon_attempts_total", "andon.attempts", "{attempt}",
        "Attempts sent upstream; retries, fallbacks, hedges and shadow copies included.",
        _COUNT_LABELS, "counter", cloudwatch="Count",
    ),
    Instrument(
        "andon_tokens_total", "andon.tokens", "{token}", "Tokens of all attempts, as counted or estimated.",
        (*_PLACE, "type"), "counter", cloudwatch="Count",
    ),
    Instrument(
        "andon_provider_errors_total", "andon.provider_errors", "{request}",
        "Requests whose failure the release is to blame for: what gates count.",
        (*_PLACE, "arm"), "counter", cloudwatch="Count",
    ),
    Instrument(
        "andon_team_requests_total", "andon.team.requests", "{request}", "Requests answered, by team.",
        ("team", "status_class"), "counter",
    ),
    Instrument(
        "andon_team_tokens_total", "andon.team.tokens", "{token}", "Tokens of all attempts, by team.",
        ("team", "type"), "counter",
    ),
    Instrument(
        "andon_key_requests_total", "andon.key.requests", "{request}", "Requests answered, by key.",
        ("key", "status_class"), "counter",
    ),
    Instrument(
        "http_server_request_duration_seconds", "http.server.request.duration", "s",
        "From a request's last byte to its outcome.",
        (*_PLACE, "http_request_method", "http_route", "http_response_status_code", "url_scheme", "error_type"),
        bounds=HTTP_SECONDS, stability="stable", cloudwatch="Seconds",
    ),
    Instrument(
        "gen_ai_client_operation_duration_seconds", "gen_ai.client.operation.duration", "s",
        "One attempt at a generative model, from dispatch to its last byte.", (*_GENAI_LABELS, "error_type"),
        bounds=GENAI_SECONDS, stability="development", cloudwatch="Seconds",
    ),
    Instrument(
        "gen_ai_server_time_to_first_token_seconds", "gen_ai.server.time_to_first_token", "s",
        "From dispatch to the first byte of a streamed answer; successes only.", _GENAI_LABELS,
        bounds=FIRST_TOKEN_SECONDS, stability="development", cloudwatch="Seconds",
    ),
    Instrument(
        "gen_ai_server_time_per_output_token_seconds", "gen_ai.server.time_per_output_token", "s",
        "(duration - time to first token) / (output tokens - 1) of streamed successes.", _GENAI_LABELS,
        bounds=PER_TOKEN_SECONDS, stability="development", cloudwatch="Seconds",
    ),
    Instrument(
        "gen_ai_client_token_usage", "gen_ai.client.token.usage", "{token}",
        "Tokens of one attempt, where the provider counted them.", (*_GENAI_LABELS, "gen_ai_token_type"),
        bounds=TOKENS, stability="development",
    ),
    Instrument(
        "andon_overhead_seconds", "andon.overhead", "s", "Time that the gateway itself took.", _PLACE,
        bounds=OVERHEAD_SECONDS, cloudwatch="Seconds",
    ),
    Instrument(
        "andon_queue_seconds", "andon.queue", "s", "Time spent waiting for a place.", _PLACE, bounds=HTTP_SECONDS,
    ),
    Instrument(
        "andon_guard_seconds", "andon.guard", "s", "Time spent in guards.", _PLACE, bounds=OVERHEAD_SECONDS,
    ),
    Instrument(
        "andon_upstream_connect_seconds", "andon.upstream.connect", "s",
        "To open an upstream connection; kept ones are not counted.", _PLACE, bounds=HTTP_SECONDS,
    ),
    Instrument(
        "andon_upstream_tls_seconds", "andon.upstream.tls", "s", "The part of it spent on TLS.", _PLACE,
        bounds=HTTP_SECONDS,
    ),
    Instrument(
        "andon_upstream_first_byte_seconds", "andon.upstream.first_byte", "s",
        "From dispatch to the upstream's first byte.", _PLACE, bounds=HTTP_SECONDS,
    ),
    Instrument(
        "andon_feature_seconds", "andon.feature", "s", "Time to compute one feature of one request.",
        ("endpoint", "feature"), bounds=OVERHEAD_SECONDS,
    ),
)  # fmt: skip

BY_FAMILY: Final = {instrument.family: instrument for instrument in INSTRUMENTS}

# Labels on `/metrics` that have another name in OTLP; every other one is `andon.<label>`.
LABELS: Final = {
    "http_request_method": "http.request.method",
    "http_route": "http.route",
    "http_response_status_code": "http.response.status_code",
    "url_scheme": "url.scheme",
    "error_type": "error.type",
    "gen_ai_operation_name": "gen_ai.operation.name",
    "gen_ai_provider_name": "gen_ai.provider.name",
    "gen_ai_request_model": "gen_ai.request.model",
    "gen_ai_token_type": "gen_ai.token.type",
}


def otel_name(family: str) -> tuple[str, str]:
    """Name and unit of a family in OTLP; families that are not in the table keep their Prometheus name."""
    instrument = BY_FAMILY.get(family)
    if instrument is not None:
        return instrument.otel, instrument.unit
    unit = "s" if family.endswith("_seconds") else "By" if family.endswith(("_bytes", "_bytes_total")) else ""
    return family, unit


def otel_label(label: str) -> str:
    """Name of a label in OTLP."""
    return LABELS.get(label, f"andon.{label}")
