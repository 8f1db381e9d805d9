"""Health checks of providers: asks each in its period and says when one becomes unwell or well again.

Run by control's driver. It sends no credential: a health path that needs one is answered 401 and means "alive".
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from andon.control.controller import Result
from andon.kernel.clock import Clock
from andon.kernel.decision import Plan, Step
from andon.kernel.errors import AndonError
from andon.kernel.events import Event
from andon.kernel.ports import Upstream
from andon.kernel.snapshot import TargetEntry
from andon.serving.providers.model import PROVIDER, ProviderSpec, ProviderStatus
from andon.serving.providers.rules import judge
from andon.store.model import Lease, Record, Store, Unit

_ALIVE = frozenset({401, 403})  # somebody is there and wants a key
_TELL = "provider.tell"


class ProviderFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One provider and what the check of this turn made of it."""

    name: str
    generation: int
    period_s: float
    before: ProviderStatus
    now: ProviderStatus


class ProviderController:
    """Keeps the status of providers."""

    name = "providers"
    period_s = 1.0

    def __init__(self, store: Store, upstream: Upstream, clock: Clock) -> None:
        self._store = store
        self._upstream = upstream
        self._clock = clock

    def subjects(self, unit: Unit) -> Sequence[str]:
        """Providers that are to be asked."""
        return [
            f"{PROVIDER}/{record.name}"
            for record in unit.list(PROVIDER)
            if record.spec.get("health", {}).get("path")
        ]

    async def observe(self, subject: str) -> ProviderFacts | None:
        """Check it if its period is over."""
        name = subject.partition("/")[2]
        record: Record | None = await self._store.transact(lambda unit: unit.get(PROVIDER, name))
        if record is None:
            return None
        spec = msgspec.convert(record.spec, ProviderSpec)
        before = msgspec.convert(record.status, ProviderStatus) if record.status else ProviderStatus()
        now_ns = self._clock.now_ns()
        after = before
        if spec.health.path and now_ns - before.checked_ns >= spec.health.period_s * 1e9:
            after = judge(spec, before, await self._problem(name, spec), now_ns)
        return ProviderFacts(
            name=name,
            generation=record.generation,
            period_s=spec.health.period_s,
            before=before,
            now=after,
        )

    async def _problem(self, name: str, spec: ProviderSpec) -> str:
        target = TargetEntry(id=f"health-{name}", url=spec.url.rstrip("/"), protocol=spec.protocol)
        timeout_s = spec.health.timeout_s
        try:
            answer = await self._upstream.send(
                target,
                b"GET",
                spec.health.path.encode(),
                (),
                b"",
                connect_timeout_s=timeout_s,
                first_byte_timeout_s=timeout_s,
                idle_timeout_s=timeout_s,
                deadline_at=self._clock.monotonic() + timeout_s,
            )
        except AndonError as error:
            return error.message
        is_well = 200 <= answer.status < 300 or answer.status in _ALIVE
        return "" if is_well else f"It answered {answer.status}."

    def plan(self, facts: ProviderFacts, now_ns: int) -> Plan:
        """Say so when it has become unwell or well."""
        steps: tuple[Step, ...] = ()
        if facts.now.healthy != facts.before.healthy:
            steps = (
                Step(
                    verb=_TELL,
                    subject=f"{PROVIDER}/{facts.name}",
                    reason=facts.now.reason or "It answers again.",
                    data={"healthy": facts.now.healthy, "atNs": facts.now.checked_ns},
                ),
            )
        wake_s = max(0.1, facts.period_s - (now_ns - facts.now.checked_ns) / 1e9)
        return Plan(
            controller=self.name,
            subject=f"{PROVIDER}/{facts.name}",
            generation=facts.generation,
            steps=steps,
            wake_after_s=wake_s,
        )

    def veto(self, facts: ProviderFacts, plan: Plan) -> str | None:
        """Nothing to hold against it."""
        return None

    async def act(self, facts: ProviderFacts, step: Step, lease: Lease) -> None:
        """Tell the journal."""
        name = "provider.recovered" if step.data["healthy"] else "provider.failed"
        event = Event(
            name=name,
            subject=step.subject,
            actor="controller:providers",
            data={"reason": step.reason},
            unique=f"{name}/{facts.name}/{step.data['atNs']}",
        )
        await self._store.transact(lambda unit: unit.append(event))

    async def conclude(self, facts: ProviderFacts, plan: Plan, lease: Lease) -> Sequence[Result]:
        """The status after a check."""
        if facts.now == facts.before:
            return ()
        return (
            Result(
                kind=PROVIDER,
                name=facts.name,
                generation=facts.generation,
                status=msgspec.to_builtins(facts.now),
            ),
        )
