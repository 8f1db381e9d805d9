"""From an endpoint and its rollout to their entry in the snapshot, every default made explicit.

Called by `app`'s compiler, which knows where targets come from. Pure; the gateway sees nothing of this room but this.
"""

from __future__ import annotations

from collections.abc import Callable

from andon.kernel.snapshot import (
    BodiesEntry,
    EndpointEntry,
    GuardEntry,
    PredictionEntry,
    RecordingEntry,
    ReleaseEntry,
    Signature,
    TargetEntry,
)
from andon.kernel.units import duration_s, size_bytes
from andon.lifecycle.endpoints.model import RecordingSpec
from andon.lifecycle.endpoints.rules import EndpointFacts, standings
from andon.lifecycle.rollouts.compilation import compile_rollout
from andon.lifecycle.rollouts.model import STOPPED
from andon.lifecycle.rollouts.strategy import ReleaseSpec

# Where a release can be reached now, and what its model takes and gives.
Targets = Callable[[ReleaseSpec], tuple[tuple[TargetEntry, ...], Signature | None]]


def compile_endpoint(
    facts: EndpointFacts, targets: Targets, gateways: int = 1, guards: tuple[GuardEntry, ...] = ()
) -> EndpointEntry:
    """The entry of one endpoint. Without a stable release it has none, and the gateway says so."""
    spec, status, latest = facts.spec, facts.status, facts.latest
    course = latest if latest is not None and latest.spec.number > status.absorbed else None
    if course is not None and (course.status.phase in STOPPED or status.stable is None):
        course = None
    by_id = {
        release.id: release for release in (status.stable, course.spec.target if course else None) if release
    }
    releases = []
    for standing in standings(status, course):
        reached, signature = targets(by_id[standing.id])
        releases.append(
            ReleaseEntry(
                id=standing.id, arm=standing.arm, weight=standing.weight, targets=reached, signature=signature
            )
        )
    return EndpointEntry(
        name=facts.name,
        protocol=spec.protocol,
        releases=tuple(releases),
        rollout=compile_rollout(course, gateways) if course is not None else None,
        durability=spec.durability,
        timeout_s=duration_s(spec.timeouts.total),
        connect_timeout_s=duration_s(spec.timeouts.connect),
        first_byte_timeout_s=duration_s(spec.timeouts.first_byte),
        idle_timeout_s=duration_s(spec.timeouts.idle),
        retries=spec.retries,
        hedge_after_ms=spec.hedge_after_ms,
        fallbacks=spec.fallbacks,
        body_bytes_max=size_bytes(spec.body_max),
        max_output_tokens=spec.max_output_tokens,
        on_full_disk=spec.on_full_disk,
        aliases=spec.aliases,
        recording=compile_recording(spec.recording),
        label=spec.label,
        label_max=spec.label_max,
        priority=spec.priority,
        guards=guards,
        attributes=spec.attributes,
    )


def compile_recording(spec: RecordingSpec) -> RecordingEntry | None:
    """What is recorded beyond rows; None for nothing, so that a gateway has nothing to ask."""
    prediction, bodies = spec.prediction, spec.bodies
    is_kept = (bodies.inputs or bodies.outputs) and bodies.share > 0
    if prediction is None and not is_kept:
        return None
    return RecordingEntry(
        prediction=None
        if prediction is None
        else PredictionEntry(
            output=prediction.output,
            index=-1 if prediction.index is None else prediction.index,
            threshold=prediction.threshold,
            classes=prediction.classes,
        ),
        bodies=BodiesEntry(
            inputs=bodies.inputs,
            outputs=bodies.outputs,
            share=bodies.share,
            bytes_max=size_bytes(bodies.max_bytes),
            restricted=bodies.restricted,
        )
        if is_kept
        else None,
    )
