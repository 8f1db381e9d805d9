"""Reports: what a gateway tells control. Facts already true at the gateway, delivered at least once, applied once.

A `Cut` is the cord pulled: the gateway has already set the arm's weight to zero when it is sent.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class GateReading(msgspec.Struct, frozen=True, kw_only=True):
    """One gate's evidence, as shown by `andon explain rollout`; made by the same function that decides."""

    gate: str
    metric: str
    verdict: Literal["breach", "pass", "insufficient", "no-data"]
    evidence: float  # the e-value: how many times likelier under "worse" than under "not worse"
    threshold: float  # 1 / alpha
    canary_n: int
    stable_n: int
    canary_value: float | None  # error rate, or latency in ms at the gate's first quantile
    stable_value: float | None
    minimum: int
    reason: str


class Cut(msgspec.Struct, frozen=True, kw_only=True, tag="cut"):
    """A gate crossed: the arm is stopped."""

    rollout: str
    generation: int
    release: str
    gateway: str
    at_ns: int
    canary_requests: int  # served by the arm since the rollout began, this gateway
    seconds: float  # since the arm's first request
    action: Literal["abort", "pause", "warn"]
    readings: tuple[GateReading, ...]


class Progress(msgspec.Struct, frozen=True, kw_only=True, tag="progress"):
    """How a rollout stands at one gateway, sent each second while it runs."""

    rollout: str
    generation: int
    gateway: str
    at_ns: int
    canary_requests: int
    stable_requests: int
    step_canary_requests: int  # since the current generation began
    readings: tuple[GateReading, ...]


class TargetHealth(msgspec.Struct, frozen=True, kw_only=True, tag="target"):
    """A target's breaker opened or closed."""

    endpoint: str
    target: str
    gateway: str
    at_ns: int
    healthy: bool
    reason: str


class TokenRefusals(msgspec.Struct, frozen=True, kw_only=True):
    """How often tokens of one issuer were refused for one reason, and what an operator should know of it."""

    issuer: str  # name of the Issuer; empty = nobody that is known
    reason: str
    count: int
    detail: str


class Callers(msgspec.Struct, frozen=True, kw_only=True, tag="callers"):
    """Who was let in and who was not, at most once a minute: last use of keys, refusals of tokens."""

    gateway: str
    at_ns: int
    used_ns: dict[str, int] = {}  # public id of a key: when it was last let in
    refused: tuple[TokenRefusals, ...] = ()


class Notice(msgspec.Struct, frozen=True, kw_only=True, tag="notice"):
    """Something that the journal should remember, so that people and alerts see it."""

    gateway: str
    at_ns: int
    name: str  # of the event: "limits.lost"
    subject: str  # of the event: "Gateway/0"
    data: dict[str, str | float] = {}


Report = Cut | Progress | TargetHealth | Callers | Notice
