"""What people write about how one release takes over from another: releases, steps, gates, deadlines.

Part of an endpoint's spec (`endpoints/model.py`) and copied into each rollout. Frozen; read by every rule of this room.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from andon.kernel.units import duration_s

D = msgspec.Meta


class Written(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True
):
    """A part of a factory file: unknown fields are refused, names are camelCase."""


class ReleaseSpec(Written, frozen=True, kw_only=True):
    """What is served: a version of a model of this factory, or a model of a provider."""

    model: Annotated[str, D(description="A Model of this factory; exclusive with `provider`.")] = ""
    version: Annotated[
        str, D(description="Its version; for a provider, any label that changes with the release.")
    ] = ""
    provider: Annotated[str, D(description="A Provider outside; exclusive with `model`.")] = ""
    upstream_model: Annotated[str, D(description="The name by which the provider knows the model.")] = ""

    @property
    def id(self) -> str:
        """The name of the release in snapshots, rows and events: "credit@2", "openai/gpt-4o@1"."""
        name = self.model or f"{self.provider}/{self.upstream_model}"
        return f"{name}@{self.version}" if self.version else name

    @property
    def deployment(self) -> str:
        """The name of the Deployment that serves it; empty for a provider's model."""
        return f"{self.model}-{self.version}" if self.model else ""


class PauseSpec(Written, frozen=True, kw_only=True):
    """How long a step lasts. Both given: both must be reached. Neither: until a person promotes."""

    duration: Annotated[str, D(description="At least this long, such as 30s or 10m.")] = ""
    requests: Annotated[int, D(description="At least this many canary requests.", ge=0)] = 0


class StepSpec(Written, frozen=True, kw_only=True):
    """One step of a canary."""

    weight: Annotated[float, D(description="Per cent of the traffic that goes to the canary.", ge=0, le=100)]
    pause: Annotated[PauseSpec, D(description="When the next step may follow, if every gate passes.")] = (
        PauseSpec(requests=50)
    )


class StickySpec(Written, frozen=True, kw_only=True):
    """By what a caller keeps the arm that it was given."""

    by: Annotated[Literal["none", "key", "header"], D(description="`none` draws anew for each request.")] = (
        "none"
    )
    header: Annotated[str, D(description="Name of the header whose value is the unit, for `by: header`.")] = (
        ""
    )


class PinSpec(Written, frozen=True, kw_only=True):
    """Requests that go to one arm whatever the weights. They are no evidence for a gate."""

    arm: Annotated[Literal["stable", "canary", "preview"], D(description="Where they go.")] = "canary"
    header: Annotated[str, D(description="Name of a header.")] = ""
    value: Annotated[str, D(description="The value that the header must have.")] = ""
    cohort: Annotated[str, D(description="A cohort of API keys; instead of header and value.")] = ""


class CanarySpec(Written, frozen=True, kw_only=True):
    """A growing share of the traffic, judged against the rest of it at every request."""

    steps: Annotated[tuple[StepSpec, ...], D(description="In order; promotion follows the last.")] = (
        StepSpec(weight=10, pause=PauseSpec(requests=200)),
        StepSpec(weight=50, pause=PauseSpec(requests=200)),
    )
    sticky: Annotated[StickySpec, D(description="By what a caller keeps its arm.")] = StickySpec()
    pins: Annotated[tuple[PinSpec, ...], D(description="Requests with a fixed arm.")] = ()
    shadow_percent: Annotated[
        float, D(description="Per cent of stable requests copied to the canary.", ge=0, le=100)
    ] = 0


class BlueGreenSpec(Written, frozen=True, kw_only=True):
    """A preview that gets pins and copies only, then a switch at once, with the old release kept warm."""

    auto_promote: Annotated[bool, D(description="Switch without a person once ready and judged.")] = True
    preview_requests: Annotated[
        int, D(description="Preview requests (pins, copies) before the switch.", ge=0)
    ] = 0
    scale_down_delay: Annotated[
        str, D(description="How long the old release stays warm and the gates watch.")
    ] = "5m"
    holdback: Annotated[
        float, D(description="Per cent left on the old release meanwhile, to compare with.", ge=0, le=50)
    ] = 5
    pins: Annotated[tuple[PinSpec, ...], D(description="Requests with a fixed arm.")] = ()
    shadow_percent: Annotated[
        float, D(description="Per cent of stable requests copied to the preview.", ge=0, le=100)
    ] = 0


class GateSpec(Written, frozen=True, kw_only=True):
    """What stops a rollout, with everything explicit once defaults are filled in."""

    name: Annotated[str, D(description="Unique in the strategy.", min_length=1)]
    metric: Annotated[
        Literal["errorRate", "latency", "quality", "calibration", "drift", "robustness"],
        D(
            description="What is compared between the arms. quality: wrong answers, as labels tell; calibration: "
            "squared errors of the probability (Brier), as labels tell; drift: where the scores lie. These three "
            "need an endpoint that records predictions, and the first two of them a Monitor of the endpoint. "
            "robustness: the robust accuracy of the newest assessment of each version."
        ),
    ]
    monitor: Annotated[
        str, D(description="The Monitor that says what a good answer is; empty for the endpoint's only one.")
    ] = ""
    margin: Annotated[
        Annotated[float, D(ge=0)] | None,
        D(description="Difference allowed: latency as a ratio (1.25), all others as a difference (0.01)."),
    ] = None
    direction: Annotated[Literal["increase", "decrease"], D(description="Which change is a breach.")] = (
        "increase"
    )
    minimum: Annotated[
        int, D(description="Canary observations before it can pass; a breach may come earlier.", ge=1)
    ] = 50
    on_breach: Annotated[Literal["abort", "pause", "warn"], D(description="What a breach does.")] = "abort"
    on_missing_data: Annotated[
        Literal["hold", "abort", "promote"],
        D(description="What happens at the end of a step without enough data."),
    ] = "hold"
    quantiles: Annotated[
        tuple[Annotated[float, D(gt=0, lt=1)], ...],
        D(description="Latency only: where to compare.", min_length=1),
    ] = (0.5, 0.95)
    slack_ms: Annotated[
        float,
        D(
            description="Latency only: milliseconds that never matter, whatever the ratio. A new replica with little "
            "traffic is slower by cold caches alone.",
            ge=0,
        ),
    ] = 2.0
    at_least: Annotated[
        Annotated[float, D(ge=0, le=1)] | None,
        D(description="Robustness only: robust accuracy that the new version must have."),
    ] = None
    alpha_share: Annotated[
        Annotated[float, D(gt=0, le=1)] | None,
        D(description="Share of the strategy's alpha; by default errorRate and quality 4 parts, others 1."),
    ] = None


DEFAULT_GATES = (GateSpec(name="errors", metric="errorRate"), GateSpec(name="latency", metric="latency"))


class StrategySpec(Written, frozen=True, kw_only=True):
    """How a new release takes over."""

    type: Annotated[Literal["canary", "blueGreen", "allAtOnce"], D(description="The way.")] = "canary"
    canary: Annotated[CanarySpec, D(description="For `type: canary`.")] = CanarySpec()
    blue_green: Annotated[BlueGreenSpec, D(description="For `type: blueGreen`.")] = BlueGreenSpec()
    alpha: Annotated[
        float,
        D(
            description="Chance that a release no worse is stopped, over all gates and the whole rollout.",
            gt=0,
            lt=0.5,
        ),
    ] = 0.01
    gates: Annotated[
        tuple[GateSpec, ...] | None, D(description="Left out: errors and latency. An empty list: none.")
    ] = None
    deadline: Annotated[str, D(description="How long the whole rollout may take.")] = "1h"
    on_deadline: Annotated[Literal["abort", "pause", "promote"], D(description="What happens then.")] = (
        "abort"
    )
    progress_deadline: Annotated[str, D(description="How long the new release may take to become ready.")] = (
        "10m"
    )
    rollback_window: Annotated[
        str,
        D(description="How long a replaced release is kept warm and may return at once, without a rollout."),
    ] = "10m"

    @property
    def in_force(self) -> tuple[GateSpec, ...]:
        """The gates, defaults included."""
        return DEFAULT_GATES if self.gates is None else self.gates


class RolloutSpec(Written, frozen=True, kw_only=True):
    """A rollout, copied from its endpoint when it began and never changed."""

    endpoint: Annotated[str, D(description="The endpoint that owns it.")]
    number: Annotated[int, D(description="Counts the endpoint's rollouts.", ge=1)]
    source: Annotated[ReleaseSpec, D(description="The stable release when it began.")]
    target: Annotated[ReleaseSpec, D(description="The release that is to take over.")]
    strategy: Annotated[StrategySpec, D(description="How.")]


def seconds_of(text: str) -> float:
    """Seconds of a duration already checked; empty is 0."""
    return duration_s(text) if text else 0.0
