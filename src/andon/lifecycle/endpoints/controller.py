"""The controller of endpoints and their rollouts: observe the records, plan by the rules, act in units of work.

Driven by `control/driver.py`, woken by reports, readiness and people. It starts nothing itself: it writes Deployments
and serving makes them so. Decisions are made again inside each unit of work, so that a fact that moved is not overrun.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from andon.control.controller import Result
from andon.kernel.clock import Clock
from andon.kernel.decision import Plan, Step
from andon.kernel.deployments import DEPLOYMENT, DeploymentSpec
from andon.kernel.errors import Permanent
from andon.kernel.events import Event
from andon.lifecycle.endpoints.invariants import broken
from andon.lifecycle.endpoints.repository import ENDPOINT, ensure_deployment, leave_deployment, load_facts
from andon.lifecycle.endpoints.rules import EndpointFacts, settle, steps_of
from andon.lifecycle.rollouts.model import ROLLOUT, RolloutStatus
from andon.lifecycle.rollouts.repository import apply_move, get_course, readiness
from andon.lifecycle.rollouts.rules import abort, decide
from andon.lifecycle.rollouts.strategy import RolloutSpec
from andon.store.model import Lease, Record, Store, Unit

_PERIOD_S = 1.0


class EndpointController:
    """Keeps every endpoint on its way to the release that people want."""

    name = "endpoints"
    period_s = _PERIOD_S

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._actor = f"controller:{self.name}"

    def subjects(self, unit: Unit) -> Sequence[str]:
        """Every endpoint, and those gone whose deployments are left behind."""
        names = {record.name for record in unit.list(ENDPOINT)}
        for record in unit.list(DEPLOYMENT):
            names.update(msgspec.convert(record.spec, DeploymentSpec).wanted_by)
        return [f"{ENDPOINT}/{name}" for name in sorted(names)]

    async def observe(self, subject: str) -> EndpointFacts | None:
        """The endpoint with its latest rollout and the readiness of its releases."""
        name = subject.partition("/")[2]

        def look(unit: Unit) -> EndpointFacts | None:
            facts = load_facts(unit, name)
            if facts is None:
                for record in unit.list(DEPLOYMENT):
                    leave_deployment_of(unit, record, name)
            return facts

        return await self._store.transact(look)

    def plan(self, facts: EndpointFacts, now_ns: int) -> Plan:
        """The steps that the rules demand; looks again within a second."""
        return Plan(
            controller=self.name,
            subject=f"{ENDPOINT}/{facts.name}",
            generation=facts.generation,
            steps=steps_of(facts, now_ns),
            wake_after_s=_PERIOD_S,
        )

    def veto(self, facts: EndpointFacts, plan: Plan) -> str | None:
        """The first invariant that does not hold for what was observed."""
        found = broken(facts.status, facts.latest)
        return found[0] if found else None

    async def act(self, facts: EndpointFacts, step: Step, lease: Lease) -> None:
        """Do one step; doing it twice does nothing more."""
        name, now_ns = step.subject.partition("/")[2], self._clock.now_ns()

        def work(unit: Unit) -> None:
            if not unit.holds(lease):
                return
            if step.verb == "deployment.ensure":
                ensure_deployment(unit, name, msgspec.convert(step.data, DeploymentSpec), facts.name)
            elif step.verb == "deployment.leave":
                leave_deployment(unit, name, facts.name)
            elif step.verb == "rollout.start":
                self._start(unit, name, step, now_ns)
            elif step.verb in ("rollout.move", "rollout.abort"):
                self._move(unit, name, step, now_ns)
            else:
                raise Permanent("unknown_step", f"The endpoint controller has no step '{step.verb}'.")

        await self._store.transact(work)

    async def conclude(self, facts: EndpointFacts, plan: Plan, lease: Lease) -> Sequence[Result]:
        """The endpoint's status after the steps, from what is stored now."""
        now_ns = self._clock.now_ns()
        latest = await self._store.transact(lambda unit: load_facts(unit, facts.name))
        if latest is None:
            return ()
        status = settle(latest, now_ns)
        if status == latest.status:
            return ()
        return (
            Result(
                status=msgspec.to_builtins(status),
                kind=ENDPOINT,
                name=facts.name,
                generation=latest.generation,
            ),
        )

    def _start(self, unit: Unit, name: str, step: Step, now_ns: int) -> None:
        if unit.get(ROLLOUT, name) is not None:
            return
        spec = msgspec.convert(step.data["spec"], RolloutSpec)
        record = Record(kind=ROLLOUT, name=name, spec=step.data["spec"], owner=f"{ENDPOINT}/{spec.endpoint}")
        unit.put(record, expect_version=0)
        unit.put_status(
            ROLLOUT, name, msgspec.to_builtins(RolloutStatus(started_ns=now_ns, reason=step.reason))
        )
        data = {"endpoint": spec.endpoint, "source": spec.source.id, "target": spec.target.id}
        unit.append(
            Event(
                name="rollout.started",
                subject=f"{ROLLOUT}/{name}",
                actor=self._actor,
                data=data,
                at_ns=now_ns,
            )
        )

    def _move(self, unit: Unit, name: str, step: Step, now_ns: int) -> None:
        course = get_course(unit, name)
        if step.verb == "rollout.abort":
            move = abort(course.status, now_ns, step.reason)
        else:
            move = decide(course.spec, course.status, readiness(unit, course.spec.target), now_ns)
        if move is not None:
            apply_move(unit, course, move, self._actor, now_ns)


def leave_deployment_of(unit: Unit, record: Record, endpoint: str) -> None:
    """Let go of a deployment on behalf of an endpoint that no longer exists."""
    if endpoint in msgspec.convert(record.spec, DeploymentSpec).wanted_by:
        leave_deployment(unit, record.name, endpoint)
