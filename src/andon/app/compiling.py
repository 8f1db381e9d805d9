"""From the factory's resources to the gateways' snapshot: the one place where the rooms' entries are joined.

Called by `app/publishing` inside a unit of work. Pure but for reading; it decides nothing that a room could decide.
"""

from __future__ import annotations

import msgspec

from andon.kernel.deployments import DEPLOYMENT, DeploymentStatus
from andon.kernel.snapshot import EndpointEntry, LimitEntry, Signature, Snapshot, TargetEntry
from andon.lifecycle.endpoints.compilation import compile_endpoint
from andon.lifecycle.endpoints.repository import ENDPOINT, load_facts
from andon.lifecycle.rollouts.strategy import ReleaseSpec
from andon.security.abuse.model import ABUSE_POLICY, abuse_entry
from andon.security.guards.kinds import guard_entries
from andon.security.identity.bindings import binding_entries
from andon.security.identity.issuers import issuer_entries
from andon.security.identity.service import key_entries
from andon.security.limits.model import LIMIT, limit_entry
from andon.security.policy.model import POLICY, entry_of
from andon.security.secrets.compilation import lease_entries
from andon.serving.models.model import MODEL_VERSION, ModelVersionSpec, signature_of
from andon.serving.providers.model import PROVIDER, ProviderSpec
from andon.serving.providers.rules import target_of
from andon.store.model import Unit

Reach = tuple[tuple[TargetEntry, ...], Signature | None]


class Compiler:
    """Compiles snapshots for `gateways` gateways of one factory."""

    def __init__(self, factory: str, gateways: int, *, allow_anonymous: bool, audited: bool = False) -> None:
        self._factory = factory
        self._gateways = gateways
        self._allow_anonymous = allow_anonymous
        self._audited = audited  # nothing may be served whose row could be lost

    def compile(self, unit: Unit, now_ns: int) -> Snapshot:
        """Everything that should be in force now; its version is given by the publisher."""
        latest = unit.latest_revision()
        endpoints = []
        for record in unit.list(ENDPOINT):
            facts = load_facts(unit, record.name)
            if facts is not None:
                guards = guard_entries(unit, facts.spec.guards)
                entry = compile_endpoint(facts, lambda release: reach(unit, release), self._gateways, guards)
                endpoints.append(kept(entry) if self._audited else entry)
        return Snapshot(
            version=0,
            factory=self._factory,
            revision=latest.number if latest else 0,
            compiled_at_ns=now_ns,
            keys=key_entries(unit, now_ns),
            limits=_limits(unit),
            endpoints=tuple(endpoints),
            allow_anonymous=self._allow_anonymous,
            leases=lease_entries(unit, endpoints, now_ns),
            issuers=issuer_entries(unit),
            bindings=binding_entries(unit),
            abuse=tuple(abuse_entry(record) for record in unit.list(ABUSE_POLICY.name)),
            policy=entry_of(unit.list(POLICY), ""),
        )


def kept(entry: EndpointEntry) -> EndpointEntry:
    """The same endpoint, whose answers wait for their rows whatever was asked for."""
    durability = "acknowledged" if entry.durability == "relaxed" else entry.durability
    return msgspec.structs.replace(entry, durability=durability, on_full_disk="refuse")


def _limits(unit: Unit) -> tuple[LimitEntry, ...]:
    return tuple(limit_entry(record) for record in unit.list(LIMIT.name))


def reach(unit: Unit, release: ReleaseSpec) -> Reach:
    """Where a release can be reached now, and what it takes: from its provider, or from its deployment."""
    if release.provider:
        record = unit.get(PROVIDER, release.provider)
        if record is None:
            return (), None
        spec = msgspec.convert(record.spec, ProviderSpec)
        return (target_of(record.name, spec, release.upstream_model),), None
    deployed = unit.get(DEPLOYMENT, release.deployment)
    if deployed is None or not deployed.status:
        return (), None
    status = msgspec.convert(deployed.status, DeploymentStatus)
    return status.targets, _declared(unit, release) or status.signature


def _declared(unit: Unit, release: ReleaseSpec) -> Signature | None:
    """The signature that people wrote, which may be narrower than what the model itself says."""
    record = unit.get(MODEL_VERSION, release.deployment)
    if record is None:
        return None
    spec = msgspec.convert(record.spec, ModelVersionSpec)
    return signature_of(spec.signature) if spec.signature is not None else None
