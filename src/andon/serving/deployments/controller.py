"""The controllers of deployments: one keeps each in its wanted number, one sweeps replicas that nobody wants.

Run by control's driver. They carry out what `rules` decide; they decide nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from andon.control.controller import Result
from andon.kernel.admission import Admitted
from andon.kernel.clock import Clock
from andon.kernel.decision import Plan, Step
from andon.kernel.deployments import DEPLOYMENT, DeploymentSpec
from andon.kernel.events import Event
from andon.serving.deployments import rules
from andon.serving.deployments.invariants import broken_by
from andon.serving.deployments.model import Facts, ServingStatus
from andon.serving.deployments.status import conclude
from andon.serving.deployments.template import template_of
from andon.serving.executors.port import Executor, Observed
from andon.serving.models.model import MODEL_VERSION, ModelVersionSpec
from andon.serving.replica.model import ReplicaSpec
from andon.store.model import Lease, Record, Store, Unit

_ACTOR = "controller:deployments"


class DeploymentController:
    """Keeps model versions running. `root` is the factory file's folder."""

    name = "deployments"
    period_s = 1.0

    def __init__(
        self, store: Store, executor: Executor, clock: Clock, root: Path, *, admits: bool = False
    ) -> None:
        """`admits`: versions are served only once security has admitted them."""
        self._store = store
        self._executor = executor
        self._clock = clock
        self._root = root
        self._admits = admits

    def subjects(self, unit: Unit) -> Sequence[str]:
        """Every deployment."""
        return [f"{DEPLOYMENT}/{record.name}" for record in unit.list(DEPLOYMENT)]

    async def observe(self, subject: str) -> Facts | None:
        """The record, its version and its replicas."""
        name = subject.partition("/")[2]
        observed = tuple(await self._executor.list(name))

        def read(unit: Unit) -> tuple[Record, Record | None] | None:
            record = unit.get(DEPLOYMENT, name)
            if record is None:
                return None
            spec = msgspec.convert(record.spec, DeploymentSpec)
            return record, unit.get(MODEL_VERSION, f"{spec.model}-{spec.version}")

        found = await self._store.transact(read)
        return None if found is None else self._facts(found[0], found[1], observed)

    def _facts(self, record: Record, version: Record | None, observed: tuple[Observed, ...]) -> Facts:
        spec = msgspec.convert(record.spec, DeploymentSpec)
        template: ReplicaSpec | None = None
        problem = waiting = admitted = ""
        if version is None:
            problem = f"There is no ModelVersion {spec.model}-{spec.version}."
        elif self._admits:
            admitted, problem, waiting = standing(version)
        if version is not None and not problem and not waiting:
            try:
                declared = msgspec.convert(version.spec, ModelVersionSpec)
                template = template_of(record.name, declared, self._root, admitted)
            except ValueError as error:  # msgspec's own errors included
                problem = f"ModelVersion {version.name} cannot be deployed: {error}."
        return Facts(
            name=record.name,
            generation=record.generation,
            wanted=spec.replicas,
            template=template,
            problem=problem,
            waiting=waiting,
            observed=observed,
            before=msgspec.convert(record.status, ServingStatus) if record.status else ServingStatus(),
        )

    def plan(self, facts: Facts, now_ns: int) -> Plan:
        """See `rules.plan`."""
        return rules.plan(facts, now_ns)

    def veto(self, facts: Facts, plan: Plan) -> str | None:
        """See `invariants`."""
        return broken_by(facts, plan)

    async def act(self, facts: Facts, step: Step, lease: Lease) -> None:
        """One call of the executor, or one event."""
        replica = step.subject.removeprefix("Replica/")
        if step.verb == rules.START:
            assert facts.template is not None
            slot = int(step.data["slot"])
            await self._executor.start(msgspec.structs.replace(facts.template, id=replica, slot=slot))
        elif step.verb == rules.STOP:
            await self._executor.stop(replica, float(step.data["graceS"]))
        elif step.verb == rules.FORGET:
            await self._executor.forget(replica)
        else:
            event = _event(facts, step, replica)
            await self._store.transact(lambda unit: unit.append(event))

    async def conclude(self, facts: Facts, plan: Plan, lease: Lease) -> Sequence[Result]:
        """The new status, if anything of it has changed."""
        status = conclude(facts, plan, self._clock.now_ns())
        if status == facts.before:
            return ()
        return (
            Result(
                kind=DEPLOYMENT,
                name=facts.name,
                generation=facts.generation,
                status=msgspec.to_builtins(status),
            ),
        )


def standing(version: Record) -> tuple[str, str, str]:
    """Where a version stands with security: the admitted digest, or why it is refused, or what it waits for."""
    admission = msgspec.convert(version.status, Admitted).admission
    if admission is None or admission.generation != version.generation:
        return "", "", f"ModelVersion {version.name} has not been looked at yet: it waits for admission."
    if not admission.admitted:
        return "", f"ModelVersion {version.name} is not admitted: {admission.reason}", ""
    return admission.digest, "", ""


def _event(facts: Facts, step: Step, replica: str) -> Event:
    """The event of a step that only says something; each happens once."""
    subject = f"{DEPLOYMENT}/{facts.name}"
    if step.verb == rules.ALERT:
        data = {
            "alert": "replicas-crashing",
            "severity": "critical",
            "summary": f"Replicas of {facts.name} keep crashing.",
            "reason": step.reason,
            **step.data,
        }
        return Event(
            name="alert.raised", subject=subject, actor=_ACTOR, data=data, unique=f"alert.raised/{replica}"
        )
    data = {"replica": replica, "reason": step.reason, **step.data}
    return Event(name=step.verb, subject=subject, actor=_ACTOR, data=data, unique=f"{step.verb}/{replica}")


class Strays(msgspec.Struct, frozen=True, kw_only=True):
    """Replicas whose deployment is gone."""

    observed: tuple[Observed, ...]


class SweepController:
    """Stops replicas of deployments that are no more. Its one subject is the executor itself."""

    name = "replica-sweep"
    period_s = 5.0

    def __init__(self, store: Store, executor: Executor) -> None:
        self._store = store
        self._executor = executor

    def subjects(self, unit: Unit) -> Sequence[str]:
        """The executor; it is no resource and has no status."""
        return ("Executor/local",)

    async def observe(self, subject: str) -> Strays | None:
        """The replicas first and the deployments after, so that a deployment made in between is not missed."""
        observed = await self._executor.list()
        known = await self._store.transact(lambda unit: {record.name for record in unit.list(DEPLOYMENT)})
        return Strays(observed=tuple(one for one in observed if one.spec.deployment not in known))

    def plan(self, facts: Strays, now_ns: int) -> Plan:
        """Stop what lives, forget what has ended."""
        steps = [
            Step(
                verb=rules.FORGET if one.phase == "exited" else rules.STOP,
                subject=f"Replica/{one.spec.id}",
                reason=f"There is no deployment {one.spec.deployment} any more.",
            )
            for one in facts.observed
            if one.phase != "stopping"
        ]
        return Plan(
            controller=self.name,
            subject="Executor/local",
            generation=0,
            steps=tuple(steps),
            wake_after_s=0.5 if facts.observed else None,
        )

    def veto(self, facts: Strays, plan: Plan) -> str | None:
        """Nothing to hold against it."""
        return None

    async def act(self, facts: Strays, step: Step, lease: Lease) -> None:
        """One call of the executor."""
        replica = step.subject.removeprefix("Replica/")
        if step.verb == rules.STOP:
            await self._executor.stop(replica, rules.STOP_GRACE_S)
        else:
            await self._executor.forget(replica)

    async def conclude(self, facts: Strays, plan: Plan, lease: Lease) -> Sequence[Result]:
        """It has no status."""
        return ()
