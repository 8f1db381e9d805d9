"""Keeps what is known of issuers: asks each in its period for its discovery document and keys, and says what changed.

Run by control's driver. An issuer that is away keeps the keys that it had: tokens already out there go on being taken.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from andon.control.controller import Result
from andon.kernel.clock import Clock
from andon.kernel.decision import Plan, Step
from andon.kernel.errors import AndonError, Transient
from andon.kernel.events import Event
from andon.security.identity.discovery import Upstreams, look
from andon.security.identity.issuers import ISSUER, IssuerSpec, IssuerStatus, status_of
from andon.store.model import Lease, Record, Store, Unit

RETRY_S = 5.0  # after a failure; doubled with each further one, up to the issuer's own period
CA_BYTES_MAX = 256 * 1024
_TELL = "issuer.tell"


class IssuerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One issuer and what the look of this turn made of it."""

    name: str
    generation: int
    refresh_s: float
    before: IssuerStatus
    now: IssuerStatus


class IssuerController:
    """Keeps the status of issuers."""

    name = "issuers"
    period_s = 5.0

    def __init__(self, store: Store, upstreams: Upstreams, clock: Clock, root: Path) -> None:
        self._store = store
        self._upstreams = upstreams
        self._clock = clock
        self._root = root

    def subjects(self, unit: Unit) -> Sequence[str]:
        """Every issuer."""
        return [f"{ISSUER}/{record.name}" for record in unit.list(ISSUER)]

    async def observe(self, subject: str) -> IssuerFacts | None:
        """Look at it if it is time, or if its spec has changed."""
        name = subject.partition("/")[2]
        record: Record | None = await self._store.transact(lambda unit: unit.get(ISSUER, name))
        if record is None:
            return None
        spec = msgspec.convert(record.spec, IssuerSpec)
        before = status_of(record)
        now_ns = self._clock.now_ns()
        after = before
        mark = hashlib.sha256(msgspec.json.encode(spec)).hexdigest()[:16]
        if mark != before.looked_with or now_ns - before.checked_ns >= _wait_s(spec.refresh_s, before) * 1e9:
            after = await self._look(name, spec, mark, before, now_ns)
        return IssuerFacts(
            name=name, generation=record.generation, refresh_s=spec.refresh_s, before=before, now=after
        )

    async def _look(
        self, name: str, spec: IssuerSpec, mark: str, before: IssuerStatus, now_ns: int
    ) -> IssuerStatus:
        # Keys that were fetched for another address are not this issuer's.
        kept = before if mark == before.looked_with else IssuerStatus()
        try:
            ca = self._certificates(spec.ca_file)
            found = await look(name, spec, self._upstreams(ca), self._clock)
        except (AndonError, OSError) as error:
            problem = error.message if isinstance(error, AndonError) else str(error)
            return msgspec.structs.replace(
                kept, checked_ns=now_ns, failures=kept.failures + 1, problem=problem[:500], looked_with=mark
            )
        return IssuerStatus(
            keys=found.keys,
            key_ids=found.key_ids,
            keys_ns=kept.keys_ns if found.keys == kept.keys else now_ns,
            keys_url=found.keys_url,
            authorization_url=found.authorization_url,
            token_url=found.token_url,
            ca=ca,
            checked_ns=now_ns,
            looked_with=mark,
        )

    def _certificates(self, file: str) -> str:
        """The text of a CA file, which lies beside the factory file. Raises Transient."""
        if not file:
            return ""
        path = self._root / file
        try:
            text = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise Transient(
                "issuer_unusable", f"{path} cannot be read: {type(error).__name__}.", hint="Correct caFile."
            ) from error
        if len(text) > CA_BYTES_MAX or "-----BEGIN CERTIFICATE-----" not in text or "PRIVATE KEY" in text:
            raise Transient(
                "issuer_unusable", f"{path} does not hold certificates in PEM.", hint="Correct caFile."
            )
        return text

    def plan(self, facts: IssuerFacts, now_ns: int) -> Plan:
        """Say so when it fails, recovers or signs with other keys."""
        before, now = facts.before, facts.now
        told: list[tuple[str, str]] = []
        if now.problem and not before.problem:
            told.append(("issuer.failed", now.problem))
        if before.problem and not now.problem:
            told.append(("issuer.recovered", "It answers again."))
        if now.keys != before.keys and now.keys:
            told.append(
                ("issuer.rotated", f"It signs with {len(now.key_ids)} keys: {', '.join(now.key_ids[:10])}.")
            )
        subject = f"{ISSUER}/{facts.name}"
        steps = tuple(
            Step(verb=_TELL, subject=subject, reason=reason, data={"event": name, "atNs": now.checked_ns})
            for name, reason in told
        )
        wait_s = _wait_s(facts.refresh_s, now) - (now_ns - now.checked_ns) / 1e9
        return Plan(
            controller=self.name,
            subject=subject,
            generation=facts.generation,
            steps=steps,
            wake_after_s=max(0.1, wait_s),
        )

    def veto(self, facts: IssuerFacts, plan: Plan) -> str | None:
        """Nothing to hold against it."""
        return None

    async def act(self, facts: IssuerFacts, step: Step, lease: Lease) -> None:
        """Tell the journal."""
        name = str(step.data["event"])
        event = Event(
            name=name,
            subject=step.subject,
            actor="controller:issuers",
            data={"reason": step.reason},
            unique=f"{name}/{facts.name}/{step.data['atNs']}",
        )
        await self._store.transact(lambda unit: unit.append(event))

    async def conclude(self, facts: IssuerFacts, plan: Plan, lease: Lease) -> Sequence[Result]:
        """The status after a look."""
        if facts.now == facts.before:
            return ()
        status = msgspec.to_builtins(facts.now)
        return (Result(kind=ISSUER, name=facts.name, generation=facts.generation, status=status),)


def _wait_s(refresh_s: float, status: IssuerStatus) -> float:
    """Seconds from one look to the next."""
    if not status.failures:
        return refresh_s
    return min(refresh_s, RETRY_S * 2.0 ** min(status.failures - 1, 20))
