"""From a `ModelVersion` to the replica that serves it.

Pure. The fingerprint covers everything that a running replica would have to be replaced for.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from andon.kernel.units import size_bytes
from andon.serving.models.model import ModelVersionSpec, signature_of
from andon.serving.replica.model import ReplicaSpec


def template_of(deployment: str, version: ModelVersionSpec, root: Path, admitted: str = "") -> ReplicaSpec:
    """The replica of a version, without id and slot; relative sources are below `root`.

    `admitted` is the digest of the bytes that were admitted, which a replica must find again.

    Raises ValueError if the memory limit is no size, which `plan` refuses before.
    """
    spec = ReplicaSpec(
        id="",
        deployment=deployment,
        model=version.model,
        version=version.version,
        source=str(root / version.source),
        format=version.format,
        entry=version.entry,
        digest=admitted or version.digest,
        allow_pickle=version.allow_pickle,
        signature=signature_of(version.signature) if version.signature else None,
        rows_max=version.batching.max_size,
        delay_max_ms=version.batching.max_delay_ms,
        memory_bytes=size_bytes(version.resources.memory) if version.resources.memory else 0,
        cpu_threads=version.resources.cpu_threads,
        warmup=version.warmup,
        env=version.env,
        start_timeout_s=version.start_timeout_s,
    )
    fingerprint = hashlib.sha256(msgspec.json.encode(spec, order="sorted")).hexdigest()[:12]
    return msgspec.structs.replace(spec, fingerprint=fingerprint)
