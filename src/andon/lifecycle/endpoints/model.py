"""What people write about an endpoint: which release it serves, how a new one takes over, and what it promises.

Read by `control` (schemas, reference), by the controller beside it and by `compilation.py`. Frozen; knows no store.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from andon.kernel.labels import Label
from andon.lifecycle.rollouts.strategy import ReleaseSpec, StrategySpec, Written

D = msgspec.Meta


class TimeoutsSpec(Written, frozen=True, kw_only=True):
    """Limits on waiting."""

    total: Annotated[str, D(description="For the whole request, retries included.")] = "60s"
    connect: Annotated[str, D(description="To reach the upstream.")] = "2s"
    first_byte: Annotated[str, D(description="Until the answer begins.")] = "30s"
    idle: Annotated[str, D(description="Between two pieces of a stream.")] = "30s"


class PredictionSpec(Written, frozen=True, kw_only=True):
    """Where an answer holds the prediction. Recorded for requests of one row; null for batches."""

    output: Annotated[str, D(description="Name of the output tensor.", min_length=1)]
    index: Annotated[
        Annotated[int, D(ge=0)] | None,
        D(
            description=(
                "Place of the positive class among the values of a row; its value is the score. Left out: the only "
                "value, the second of two, or of more the largest."
            )
        ),
    ] = None
    threshold: Annotated[
        float | None,
        D(
            description=(
                "Score from which the positive class is predicted. Left out: 0.5 for one value with two classes, "
                "the largest of several values, and a single value without classes is the prediction itself."
            )
        ),
    ] = None
    classes: Annotated[tuple[str, ...], D(description="Names of the classes, in the model's order.")] = ()


class BodiesSpec(Written, frozen=True, kw_only=True):
    """Which inputs and outputs are kept, in segments of their own under the factory's limit for bodies."""

    inputs: Annotated[bool, D(description="Keep what clients sent.")] = False
    outputs: Annotated[bool, D(description="Keep what they were sent.")] = False
    share: Annotated[
        float, D(description="Share of requests, drawn from their ids; 1 = every one.", ge=0, le=1)
    ] = 1.0
    restricted: Annotated[
        bool, D(description="Also of exchanges of the class restricted, which are left out otherwise.")
    ] = False
    max_bytes: Annotated[str, D(description="Of each body, such as 64Ki; beyond, its beginning is kept.")] = (
        "64Ki"
    )


class RecordingSpec(Written, frozen=True, kw_only=True):
    """What the ledger remembers of requests beyond their rows. Nothing unless asked for."""

    prediction: Annotated[
        PredictionSpec | None, D(description="Record class and score of each answer (oip only).")
    ] = None
    bodies: Annotated[BodiesSpec, D(description="Inputs and outputs.")] = BodiesSpec()


class EndpointSpec(Written, frozen=True, kw_only=True):
    """One name that clients call."""

    release: Annotated[ReleaseSpec, D(description="What it serves; changing it starts a rollout.")]
    protocol: Annotated[Literal["oip", "openai"], D(description="What clients speak to it.")] = "oip"
    replicas: Annotated[int, D(description="Of each release of a model of this factory.", ge=1, le=1000)] = 1
    strategy: Annotated[StrategySpec, D(description="How a new release takes over.")] = StrategySpec()
    durability: Annotated[
        Literal["acknowledged", "strict", "relaxed"], D(description="When the ledger's rows are on disk.")
    ] = "acknowledged"
    timeouts: Annotated[TimeoutsSpec, D(description="Limits on waiting.")] = TimeoutsSpec()
    retries: Annotated[int, D(description="Further attempts after a failed one.", ge=0, le=10)] = 2
    hedge_after_ms: Annotated[
        int,
        D(description="Milliseconds after which a second target is asked too (no streams); 0 = off.", ge=0),
    ] = 0
    fallbacks: Annotated[tuple[str, ...], D(description="Endpoints tried when every target failed.")] = ()
    body_max: Annotated[str, D(description="Largest request body, such as 10Mi.")] = "10Mi"
    max_output_tokens: Annotated[
        int, D(description="Assumed for limits when a request states no cap.", ge=1)
    ] = 4096
    on_full_disk: Annotated[Literal["refuse", "shed"], D(description="When the ledger's disk is full.")] = (
        "refuse"
    )
    aliases: Annotated[tuple[str, ...], D(description="Other names for it.")] = ()
    recording: Annotated[
        RecordingSpec, D(description="What the ledger remembers beyond the facts of each request.")
    ] = RecordingSpec()
    guards: Annotated[
        tuple[str, ...], D(description="Guards that judge its requests and answers, in this order.")
    ] = ()
    label: Annotated[Label, D(description="Data class of its own data: the lowest of its exchanges.")] = (
        "internal"
    )
    label_max: Annotated[Label, D(description="Highest data class that may be sent to it.")] = "restricted"
    priority: Annotated[
        int, D(description="Under load, requests of a higher one are refused later.", ge=-100, le=100)
    ] = 0
    attributes: Annotated[
        dict[str, str], D(description="What policies may ask of it, such as risk-tier.")
    ] = msgspec.field(default_factory=dict)


class EndpointStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Where an endpoint stands; made by `rules.py`."""

    observed_generation: int = 0
    stable: ReleaseSpec | None = None
    previous: ReleaseSpec | None = None  # replaced lately, still warm
    previous_until_ns: int = 0
    rollouts: int = 0  # how many were started; the number of the latest
    absorbed: int = 0  # the latest rollout whose end has been taken in
    forgiven: int = 0  # aborted rollouts up to here no longer block their release
    rollout: str = ""  # the one under way, or the latest
    releases: tuple[ReleaseStanding, ...] = ()
    conditions: tuple[Condition, ...] = ()


class ReleaseStanding(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One release behind an endpoint."""

    id: str
    arm: Literal["stable", "canary", "preview"]
    weight: int  # basis points
    model: str = ""
    version: str = ""
    provider: str = ""


class Condition(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One thing that is so or is not, and why."""

    type: str  # "Ready", "Progressing", "Degraded"; the driver adds its own
    status: bool
    reason: str = ""
