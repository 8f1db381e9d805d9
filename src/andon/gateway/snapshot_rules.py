"""What a snapshot must be, beyond its types, before any of it is put in force. Pure.

Settings that this gateway cannot enforce are refused here rather than ignored. Used by `gateway/snapshots` only.
"""

from __future__ import annotations

from collections.abc import Iterator

from andon.kernel.errors import Refused
from andon.kernel.snapshot import EndpointEntry, Snapshot


def check(snapshot: Snapshot, current: Snapshot | None) -> None:
    """Raises `Refused` with everything that is wrong, the first eight things named."""
    problems = [*_order(snapshot, current), *_names(snapshot)]
    for endpoint in snapshot.endpoints:
        problems.extend(f"endpoint '{endpoint.name}': {problem}" for problem in _endpoint(endpoint, snapshot))
    if problems:
        raise Refused(
            "snapshot_invalid",
            f"Snapshot {snapshot.version} cannot be enforced: {'; '.join(problems[:8])}.",
            hint="The last good snapshot stays in force.",
        )


def _order(snapshot: Snapshot, current: Snapshot | None) -> Iterator[str]:
    if current is None:
        return
    if snapshot.factory != current.factory:
        yield f"it is of factory '{snapshot.factory}', this gateway serves '{current.factory}'"
    if snapshot.version <= current.version:
        yield f"version {current.version} is in force already"


def _names(snapshot: Snapshot) -> Iterator[str]:
    seen: set[str] = set()
    for endpoint in snapshot.endpoints:
        for name in (endpoint.name, *endpoint.aliases):
            if not name:
                yield "an endpoint has an empty name"
            if name in seen:
                yield f"the name '{name}' is given twice"
            seen.add(name)


def _endpoint(endpoint: EndpointEntry, snapshot: Snapshot) -> Iterator[str]:
    if endpoint.hedge_after_ms < 0:
        yield "hedgeAfterMs must not be negative"
    limits = (
        endpoint.timeout_s,
        endpoint.connect_timeout_s,
        endpoint.first_byte_timeout_s,
        endpoint.idle_timeout_s,
        endpoint.body_bytes_max,
    )
    if any(limit <= 0 for limit in limits):
        yield "time-outs and sizes must be greater than zero"
    if endpoint.retries < 0:
        yield "retries must not be negative"
    protocols = {other.name: other.protocol for other in snapshot.endpoints}
    for name in endpoint.fallbacks:
        if name == endpoint.name:
            yield "it falls back to itself"
        elif name not in protocols:
            yield f"it falls back to '{name}', which does not exist"
        elif protocols[name] != endpoint.protocol:
            yield f"it falls back to '{name}', which speaks another protocol"
    recording = endpoint.recording
    if recording is not None and recording.bodies is not None:
        bodies = recording.bodies
        if not 0 < bodies.share <= 1 or bodies.bytes_max <= 0:
            yield "bodies are recorded with a share in (0, 1] and a size above zero"
    if recording is not None and recording.prediction is not None and not recording.prediction.output:
        yield "a recorded prediction needs the name of its output"
    yield from _releases(endpoint)


def _releases(endpoint: EndpointEntry) -> Iterator[str]:
    ids = [release.id for release in endpoint.releases]
    if len(set(ids)) != len(ids):
        yield "two releases have the same id"
    if sum(release.arm == "stable" for release in endpoint.releases) > 1:
        yield "two releases are stable"
    for release in endpoint.releases:
        if any(ord(letter) < 33 or ord(letter) > 126 for letter in release.id):
            yield f"release id '{release.id}' has characters that a header cannot hold"
        if not 0 <= release.weight <= 10_000:
            yield f"release '{release.id}' has a weight outside 0..10000"
        for target in release.targets:
            if target.protocol != endpoint.protocol:
                yield f"target '{target.id}' speaks {target.protocol}, the endpoint {endpoint.protocol}"
            if target.weight < 1:
                yield f"target '{target.id}' has a weight below 1"
    rollout = endpoint.rollout
    if rollout is not None and not {rollout.stable, rollout.canary} <= set(ids):
        yield f"rollout '{rollout.id}' names a release that is not there"
