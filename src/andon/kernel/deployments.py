"""What lifecycle asks of serving: a model version kept running, and where it can be reached.

The two rooms are blind to one another; they meet in the generated resource `Deployment`, whose spec lifecycle writes
and whose status serving writes. App reads both to compile the snapshot.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from andon.kernel.snapshot import Signature, TargetEntry

DEPLOYMENT = "Deployment"


class DeploymentSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """One model version wanted `replicas` times. Named `<model>-<version>`; owned by nobody, kept while wanted."""

    model: Annotated[str, Meta(description="The Model.")]
    version: Annotated[str, Meta(description="Its version.")]
    replicas: Annotated[int, Meta(description="How many are kept running.")] = 1
    wanted_by: Annotated[tuple[str, ...], Meta(description="The endpoints that need it, for people.")] = ()


class ReplicaStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One replica as last seen."""

    id: str
    phase: str  # "starting", "ready", "backoff", "stopping", "failed"
    url: str
    pid: int = 0
    restarts: int = 0
    reason: str = ""


class DeploymentStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What serving has made of it."""

    observed_generation: int = 0
    ready: int = 0
    replicas: tuple[ReplicaStatus, ...] = ()
    targets: tuple[TargetEntry, ...] = ()  # the ready ones
    signature: Signature | None = None
    digest: str = ""
    failed: str = ""  # why it will never be ready as it stands; empty otherwise
    waiting: str = ""  # what it waits for before any replica may start; empty = nothing
