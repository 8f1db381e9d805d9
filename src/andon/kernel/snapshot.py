"""The snapshot: everything the gateway needs to serve, compiled by control, immutable, whole.

Pushed as one document, validated completely before use, kept on disk as the last good one. It holds digests and
references, never a secret. Stages build their own look-up tables from it in `adopt`, never per request.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from andon.kernel.labels import Label

Arm = Literal["stable", "canary", "preview"]
Durability = Literal["acknowledged", "strict", "relaxed"]
Protocol = Literal["oip", "openai"]


class KeyEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An API key as the gateway knows it: public id and keyed hash."""

    id: str  # public part, safe to log
    digest: str  # hex HMAC-SHA256 of the whole key under the factory's pepper
    team: str = ""
    owner: str = ""
    endpoints: tuple[str, ...] = ()  # names it may call; empty = all
    cohorts: tuple[str, ...] = ()
    expires_at_ns: int = 0  # 0 = never
    roles: tuple[str, ...] = ()  # what policies grant to
    label: Label = "restricted"  # highest data class that it may send and receive
    service: str = ""  # the Service that holds it: then that is who acts


class IssuerEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An OpenID Connect issuer whose tokens are taken, with its signing keys as last fetched."""

    name: str
    issuer: str  # must equal `iss`
    audiences: tuple[str, ...]  # one of them must be in `aud`
    authorised_parties: tuple[str, ...] = ()  # one of them must be `azp`; empty = any
    algorithms: tuple[str, ...] = ("RS256", "ES256", "EdDSA")
    keys: str = ""  # a JSON Web Key Set (RFC 7517); empty = none could be fetched yet
    keys_url: str = ""  # where a gateway asks for keys it does not know
    leeway_s: float = 30.0
    subject_claim: str = "sub"
    team_claim: str = ""
    roles_claim: str = "roles"
    label: Label = "internal"  # highest data class for its principals, unless a claim says less
    service_claim: str = ""  # present and true, or equal to `sub`: a service, not a person
    groups_claim: str = ""  # what bindings of groups are compared with; empty = none
    label_claim: str = ""  # lowers `label`, never raises it
    keys_at_ns: int = 0  # since when control knows these keys: older ones that a gateway learnt give way
    ca: str = ""  # certificates (PEM) to trust when asking for keys; empty = the system's


class BindingEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who has which roles: a pattern of principals that an issuer vouches for."""

    name: str
    subject: str  # "user:ann@example.com", "service:*", "group:ml-admins"
    roles: tuple[str, ...]
    issuer: str = ""  # name of the issuer; empty = people and services of this factory itself


class PolicyEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The factory's policies, validated at `plan`: one Cedar policy set and its schema."""

    digest: str  # of both, so that a decision can be told which policies it was made by
    text: str
    schema: str = ""


class ExcuseEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A finding that somebody has allowed, for a time."""

    until_ns: int
    entity: str = ""  # empty = of any name
    text: str = ""  # what was found, in small letters; empty = whatever was found


class GuardEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One guard of an endpoint, explicit in every field."""

    name: str
    detector: str  # "injection", "pii", "secrets", "unicode", "topics", "pattern", "schema", "external"
    places: tuple[Literal["input", "context", "output"], ...]
    mode: Literal["shadow", "enforce"] = "shadow"
    action: Literal["block", "redact", "tokenise", "label", "mark"] = "block"
    threshold: float | None = None
    on_failure: Literal["block", "pass"] = "block"  # when it cannot judge
    settings: dict[str, Any] = {}  # of the detector, validated at `plan` and again at adoption
    label: Label = "public"  # class of what it finds; action `label` only
    buffer: bool = False  # streams may be held until they are whole
    excuses: tuple[ExcuseEntry, ...] = ()


class LeaseEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A secret that targets refer to and control lends: which version of it may be used, never the value."""

    reference: str  # as targets write it: secret:NAME, aws-sm:NAME#KEY, vault:PATH#KEY
    version: int = 0  # 0 = it may not be used any more


class LimitEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A ceiling on one scope. Windows are token buckets that refill evenly; a field left out is unlimited."""

    name: str
    scope: Literal["key", "team", "endpoint"]
    subject: str = ""  # which key, team or endpoint; empty = each one separately
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None
    burst_requests: int | None = None  # granted at once after a quiet time; None = one minute's worth
    burst_tokens: int | None = None
    on_store_down: Literal["closed", "open", "localShare"] = "localShare"  # where counters are shared


class AbuseEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """When a caller's questions look like the copying of a model, explicit in every field."""

    name: str
    endpoints: tuple[str, ...] = ()  # empty = all
    window_s: float
    distinct_inputs: int
    peers_ratio: float
    boundary_margin: float
    action: Literal["alert", "throttle", "block"]
    limit_rpm: int
    hold_s: float


class TensorSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One input or output of a model's signature. A dimension of -1 is free."""

    name: str
    datatype: str  # Open Inference Protocol names: FP32, INT64, BYTES, ...
    shape: tuple[int, ...]
    optional: bool = False
    minimum: float | None = None
    maximum: float | None = None
    allow_nan: bool = False


class Signature(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a model takes and gives."""

    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()


class TargetEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One place that serves a release: a replica or a provider."""

    id: str  # "credit-2-a1b2", stable over the life of the replica
    url: str  # unix:///run/x.sock, http://host:port, https://host/base
    protocol: Protocol
    model: str = ""  # the name the upstream knows; empty = the endpoint's own
    credential: str = ""  # a reference, resolved by the gateway; see kernel/references
    weight: int = 1


class ReleaseEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One version behind an endpoint, with the targets that are ready to serve it."""

    id: str  # "credit@2"
    arm: Arm
    weight: int  # basis points of the endpoint's traffic, 0..10000
    targets: tuple[TargetEntry, ...] = ()
    signature: Signature | None = None


class GateEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One gate of a rollout, explicit in every field, with its share of alpha already divided."""

    name: str
    # The observer judges the last four; a gateway is told of errorRate and latency only.
    metric: Literal["errorRate", "latency", "quality", "calibration", "drift", "robustness"]
    alpha: float  # this gate's own share in this gateway
    margin: float  # latency: ratio allowed (1.25); of all others: absolute difference allowed
    direction: Literal["increase", "decrease"] = "increase"
    minimum: int = 50  # canary observations below which the verdict is insufficient
    on_breach: Literal["abort", "pause", "warn"] = "abort"
    on_missing_data: Literal["hold", "abort", "promote"] = "hold"
    quantiles: tuple[float, ...] = (0.5, 0.95)  # latency only
    slack_ms: float = 0.0  # latency only: a difference up to this never counts, whatever the ratio
    at_least: float | None = None  # robustness only: the robust accuracy below which it breaches


class PinEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A header value or key cohort that goes to one arm whatever the weights."""

    arm: Arm
    header: str = ""
    value: str = ""
    cohort: str = ""


class RolloutEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A release in progress, as the gateway needs it to route and to stop it."""

    id: str  # "credit-3"
    generation: int  # changes with every step; reports carry it
    overrules: int = (
        0  # how often a person resumed it after a cut; a gateway lifts its own cut only when this grows
    )
    stable: str  # release id
    canary: str
    gates: tuple[GateEntry, ...] = ()
    sticky_header: str = ""  # unit = this header's value; empty = the exchange id
    sticky_key: bool = False  # unit = the API key
    salt: str = ""  # makes the hash of units independent between rollouts
    pins: tuple[PinEntry, ...] = ()
    shadow_share: int = 0  # basis points of stable traffic copied to the canary


class PredictionEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where in an answer the prediction stands, for requests of one row."""

    output: str  # tensor's name
    index: int = -1  # of the positive class among the values of a row; -1 = the only or, of two, the second
    threshold: float | None = None  # score from which it is predicted; None = 0.5, or the largest of several
    classes: tuple[str, ...] = ()  # names by index


class BodiesEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which bodies are remembered."""

    inputs: bool = False
    outputs: bool = False
    share: float = 1.0  # of requests, drawn from their ids
    bytes_max: int = 64 * 1024  # of each; beyond, only the beginning
    restricted: bool = False  # also of exchanges of the highest data class


class RecordingEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the ledger remembers of an endpoint beyond its rows."""

    prediction: PredictionEntry | None = None
    bodies: BodiesEntry | None = None


class EndpointEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One name that clients call."""

    name: str
    protocol: Protocol
    releases: tuple[ReleaseEntry, ...] = ()
    rollout: RolloutEntry | None = None
    durability: Durability = "acknowledged"
    timeout_s: float = 60.0
    connect_timeout_s: float = 2.0
    first_byte_timeout_s: float = 30.0
    idle_timeout_s: float = 30.0
    retries: int = 2
    hedge_after_ms: int = 0  # 0 = off
    fallbacks: tuple[str, ...] = ()  # endpoint names tried when every target failed
    body_bytes_max: int = 10 * 2**20
    max_output_tokens: int = 4096  # assumed for limits when the request states no cap
    on_full_disk: Literal["refuse", "shed"] = "refuse"
    aliases: tuple[str, ...] = ()
    recording: RecordingEntry | None = None
    label: Label = "internal"  # data class of its own data: the floor of every row
    label_max: Label = "restricted"  # highest data class that may be sent to it
    priority: int = 0  # higher is shed later
    guards: tuple[GuardEntry, ...] = ()
    attributes: dict[str, str] = {}  # what policies may ask of it, such as risk-tier


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Everything, at one version. Versions only grow; equal content keeps its version."""

    version: int
    factory: str
    revision: int
    compiled_at_ns: int
    keys: tuple[KeyEntry, ...] = ()
    limits: tuple[LimitEntry, ...] = ()
    endpoints: tuple[EndpointEntry, ...] = ()
    allow_anonymous: bool = False
    issuers: tuple[IssuerEntry, ...] = ()
    policy: PolicyEntry | None = None
    leases: tuple[LeaseEntry, ...] = ()
    bindings: tuple[BindingEntry, ...] = ()
    abuse: tuple[AbuseEntry, ...] = ()
