"""What the deployments controller remembers and sees.

The status extends `kernel.deployments.DeploymentStatus` with what serving alone needs to go on after a restart.
"""

from __future__ import annotations

import msgspec

from andon.control.kinds import Kind
from andon.kernel.deployments import DEPLOYMENT, DeploymentSpec, DeploymentStatus
from andon.serving.executors.port import Observed
from andon.serving.replica.model import ReplicaSpec


class Crash(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One unwanted end of a replica."""

    replica: str
    slot: int
    at_ns: int
    reason: str


class ServingStatus(DeploymentStatus, frozen=True, kw_only=True, rename="camel"):
    """The status as serving keeps it."""

    serial: int = 0  # the number of the last replica started; ids are never used again
    crashes: tuple[Crash, ...] = ()  # recent ones: what backoff and alerts are computed from
    failed_fingerprint: str = ""  # which replica spec it was that failed for good


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment as seen in one turn."""

    name: str
    generation: int
    wanted: int
    template: ReplicaSpec | None  # without id and slot; None if the version cannot be deployed
    problem: str = ""  # why there is no template
    waiting: str = ""  # why there is none yet
    observed: tuple[Observed, ...] = ()
    before: ServingStatus = ServingStatus()


DEPLOYMENT_KIND = Kind(
    name=DEPLOYMENT,
    plural="deployments",
    short=("deploy",),
    spec=DeploymentSpec,
    summary="One model version kept running; made by endpoints and rollouts, never written by people.",
    generated=True,
    columns=(
        ("MODEL", "spec.model"),
        ("VERSION", "spec.version"),
        ("WANTED", "spec.replicas"),
        ("READY", "status.ready"),
        ("FAILED", "status.failed"),
        ("WAITING", "status.waiting"),
    ),
)
