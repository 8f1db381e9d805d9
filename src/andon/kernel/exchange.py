"""The Exchange: one request on its walk through the gateway, in the canonical form of every dialect.

Made by `gateway/ingress`, read and filled by the stages in `app/chain.py`, written to the ledger at the end.
A plain mutable object with slots because it is made for every request; it never outlives its answer.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from andon.kernel.labels import Label
    from andon.kernel.principals import Principal
    from andon.kernel.snapshot import EndpointEntry, KeyEntry, ReleaseEntry, Snapshot
    from andon.kernel.trace import Trace


class Dialect(StrEnum):
    """The protocol that the client speaks."""

    OPENAI = "openai"
    OIP = "oip"  # Open Inference Protocol v2


class Operation(StrEnum):
    """What the client asks for."""

    CHAT = "chat"
    COMPLETION = "completion"
    EMBEDDING = "embedding"
    INFER = "infer"


class UsageSource(StrEnum):
    """Where the token counts of a row come from; an unknown count is null, never zero."""

    PROVIDER = "provider"
    ESTIMATED = "estimated"
    NONE = "none"


class Told:
    """What an attempt's answer said of itself, for the ledger; made only where there is something to remember."""

    __slots__ = (
        "connect_us",
        "features",
        "finish_reason",
        "model",
        "prediction",
        "response_id",
        "score",
        "tls_us",
    )

    def __init__(self) -> None:
        self.response_id: str | None = None
        self.model: str | None = None
        self.finish_reason: str | None = None
        self.prediction: str | None = None
        self.score: float | None = None
        self.features: dict[str, int] | None = None  # microseconds by feature
        self.connect_us: int | None = None  # None on a connection that was kept
        self.tls_us: int | None = None


class Exchange:
    """One request and everything learnt about it so far. Times ending in `_at` are monotonic seconds."""

    __slots__ = (
        "arm",
        "attempt",
        "barred",
        "bets",
        "body",
        "client_retry",
        "content_type",
        "deadline_at",
        "delivered_bytes",
        "dialect",
        "endpoint",
        "error_code",
        "features",
        "first_byte_at",
        "guard_us",
        "guarded",
        "header_length",
        "headers",
        "id",
        "idempotency_key",
        "input_tokens",
        "key",
        "label",
        "max_output_tokens",
        "name",
        "onward",
        "operation",
        "output_tokens",
        "peer",
        "pinned",
        "policies",
        "principal",
        "propensity",
        "provider_error",
        "queue_us",
        "received_ns",
        "reference",
        "release",
        "request",
        "reservations",
        "scanned_bytes",
        "shadow",
        "snapshot",
        "started_at",
        "status",
        "stream",
        "target",
        "told",
        "trace",
        "traceparent",
        "unit",
        "upstream_ended_at",
        "upstream_started_at",
        "usage_source",
        "verdicts",
        "wants_usage",
    )

    def __init__(self) -> None:
        self.id = ""  # UUIDv7, also x-request-id
        self.dialect = Dialect.OPENAI
        self.operation = Operation.CHAT
        self.name = ""  # the model or endpoint name that the client wrote
        self.body: bytes = b""
        self.content_type: bytes = b"application/json"
        self.header_length: int | None = None  # Inference-Header-Content-Length
        self.headers: list[tuple[bytes, bytes]] = []  # names in lower case, as received
        self.request: Any = None  # the decoded body, a struct of the dialect
        self.stream = False
        self.wants_usage = False  # the client itself asked for include_usage
        self.max_output_tokens: int | None = None  # the highest cap in the request
        self.received_ns = 0
        self.started_at = 0.0
        self.deadline_at = 0.0
        self.trace: Trace | None = None  # the caller's; None = begun here, and known from the id
        self.traceparent = ""  # of the whole exchange, as the ledger remembers it
        self.onward: list[tuple[bytes, bytes]] | None = None  # headers of tracing that the upstream gets too
        self.reference = ""  # x-andon-reference: the business key that facts may name
        self.features: dict[str, int] | None = None  # microseconds that the client took for each
        self.idempotency_key: bytes | None = None
        self.client_retry = 0  # x-stainless-retry-count
        # who and which, filled by stages
        self.snapshot: Snapshot | None = None
        self.key: KeyEntry | None = None
        self.peer = ""  # the client's address; empty on Unix sockets
        self.principal: Principal | None = None
        self.policies: tuple[str, ...] = ()  # ids of the policies that let it through, or refused it
        self.barred: frozenset[str] | None = None  # "endpoint/release" that policies keep it away from
        self.label: Label = "public"  # highest data class of anything that went into this exchange
        self.endpoint: EndpointEntry | None = None
        self.release: ReleaseEntry | None = None
        self.arm = ""  # "stable", "canary", "preview", "shadow"
        self.unit = ""  # what assignment is sticky by; empty = this request
        self.propensity = 1.0  # chance with which this arm was chosen; 0 < p <= 1
        self.bets: Any = None  # what the gates placed on this request when its release was drawn
        self.pinned = False  # routed by header or cohort: not evidence for a gate
        self.shadow: ReleaseEntry | None = None  # release that gets a copy
        self.reservations: Any = None  # what the limits stage must give back
        self.verdicts: Sequence[Any] | None = None  # of guards, in order; None where the endpoint has none
        self.guarded: Any = None  # its guards at work; None where the endpoint has none
        self.guard_us: int | None = None  # spent in guards
        self.scanned_bytes: int | None = None  # of text that guards judged, of what was delivered
        self.delivered_bytes: int | None = None  # of text that went on to the model and back to the client
        # how it went
        self.attempt = 0
        self.target = ""  # id of the target that served the last attempt
        self.told: Told | None = None  # of the last attempt
        self.queue_us: int | None = None  # that the last attempt waited for a connection
        self.upstream_started_at = 0.0
        self.first_byte_at = 0.0
        self.upstream_ended_at = 0.0
        self.status = 0  # what the client was told; 499 when it left
        self.error_code = ""
        self.provider_error = False  # the release is to blame, not the client: what gates count
        self.input_tokens: int | None = None
        self.output_tokens: int | None = None
        self.usage_source = UsageSource.NONE
