"""What stands behind the admin API: the rooms' own verbs, in the shapes that the API promises.

Adapters only: each method calls one verb of one room and renames what comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from andon.app import views
from andon.app.publishing import Publisher
from andon.app.services import RolloutVerb
from andon.kernel.clock import Clock
from andon.kernel.ports import Disk, Runner
from andon.kernel.principals import Principal
from andon.kernel.reports import GateReading
from andon.kernel.units import duration_s
from andon.ledger.query import Query
from andon.ledger.reader import Entry, position_before, read, tail
from andon.ledger.row import Outcome
from andon.ledger.summary import Reading, summarise
from andon.lifecycle.rollouts.explanation import Explanation
from andon.lifecycle.rollouts.service import RolloutService
from andon.security.identity.model import CreatedKey, KeyRequest, KeyView
from andon.security.identity.service import Keys
from andon.security.identity.uses import KeyUses


class KeyVerbs:
    """API keys, as the API speaks of them."""

    def __init__(self, keys: Keys, uses: KeyUses) -> None:
        self._keys = keys
        self._uses = uses

    async def create(self, request: views.KeyRequest, *, actor: Principal) -> views.NewKey:
        """A new key with its secret."""
        wanted = KeyRequest(
            owner=request.owner or actor.name,
            team=request.team,
            endpoints=request.endpoints,
            cohorts=request.cohorts,
            expires_in_s=duration_s(request.expires_in) if request.expires_in else None,
            service=request.service,
            roles=request.roles,
            label=request.label,
        )
        return _new_key(await self._keys.create(wanted, actor=actor.name, by=actor))

    async def list(self) -> Sequence[views.KeyView]:
        """Every key, newest first."""
        return [_key(key) for key in await self._keys.list_keys(await self._uses.last_used_ns())]

    async def rotate(self, id_: str, *, overlap_s: float, actor: Principal) -> views.NewKey:
        """A successor."""
        return _new_key(await self._keys.rotate(id_, overlap_s=overlap_s, actor=actor.name, by=actor))

    async def revoke(self, id_: str, *, actor: str, reason: str) -> views.KeyView:
        """The end of a key."""
        return _key(await self._keys.revoke(id_, actor=actor, reason=reason))


def _key(key: KeyView) -> views.KeyView:
    return views.KeyView(
        id=key.id,
        team=key.team,
        owner=key.owner,
        endpoints=key.endpoints,
        cohorts=key.cohorts,
        state=key.state,
        created_ns=key.created_ns,
        expires_ns=key.expires_at_ns,
        service=key.service,
        roles=key.roles,
        label=key.label,
        last_used_ns=key.last_used_ns,
    )


def _new_key(made: CreatedKey) -> views.NewKey:
    return views.NewKey(key=_key(made.key), secret=made.secret)


class RolloutVerbs:
    """Rollouts, as the API speaks of them."""

    def __init__(self, service: RolloutService) -> None:
        self._service = service

    async def act(self, verb: RolloutVerb, name: str, *, actor: str, reason: str) -> views.RolloutView:
        """One verb."""
        if verb == "promote":
            done = await self._service.promote(name, actor, full=True)
        elif verb == "abort":
            done = await self._service.abort(name, actor, reason)
        elif verb == "pause":
            done = await self._service.pause(name, actor, reason)
        else:
            done = await self._service.resume(name, actor)
        return views.RolloutView(name=done.name, phase=done.phase)

    async def explain(self, name: str) -> views.RolloutExplanation:
        """The verdict table."""
        return _explanation(await self._service.explain(name))


def _explanation(found: Explanation) -> views.RolloutExplanation:
    cut = found.cut
    readings: tuple[GateReading, ...] = (
        cut.readings if cut else tuple(gate.reading for gate in found.gates if gate.reading is not None)
    )
    return views.RolloutExplanation(
        name=found.name,
        endpoint=found.endpoint,
        stable=found.source,
        canary=found.target,
        phase=found.phase,
        step=f"{found.step} of {found.steps}",
        weight=found.weight,
        reason=found.reason or found.because,
        seconds=found.seconds,
        canary_requests=cut.canary_requests if cut else found.canary_requests,
        # What a gateway told last is up to a second old; a cut carries the counts of its own moment.
        stable_requests=max([found.stable_requests, *(reading.stable_n for reading in readings)]),
        stopped_after_s=cut.seconds if cut else None,
        readings=readings,
    )


class LedgerVerbs:
    """Rows of the log, as the API speaks of them. Reading runs away from the event loop."""

    def __init__(self, disk: Disk, clock: Clock, runner: Runner) -> None:
        self._disk = disk
        self._clock = clock
        self._runner = runner

    async def requests(self, query: views.RequestQuery) -> views.RequestPage:
        """Outcomes after a position, or the latest."""
        return await self._runner.run(lambda: self._requests(query))

    def _requests(self, query: views.RequestQuery) -> views.RequestPage:
        wanted = Query(
            id=query.id, endpoint=query.endpoint, release=query.release, key=query.key, status=query.status
        )
        if query.after == 0:
            found = tail(self._disk, query.limit, query=wanted)
        else:
            found = []
            for entry in read(self._disk, after=query.after, query=wanted):
                found.append(entry)
                if len(found) >= query.limit:
                    break
        items = tuple(_request(entry, entry.row) for entry in found if isinstance(entry.row, Outcome))
        return views.RequestPage(
            items=items, next=max((item.position for item in items), default=query.after)
        )

    async def top(self, window_s: int) -> views.TopPage:
        """Counts and quantiles."""
        return await self._runner.run(lambda: self._top(window_s))

    def _top(self, window_s: int) -> views.TopPage:
        now_ns = self._clock.now_ns()
        since_ns = now_ns - window_s * 10**9
        place = position_before(self._disk, "", since_ns)
        rows = (entry.row for entry in read(self._disk, after=place, query=Query(since_ns=since_ns)))
        return top_page(window_s, summarise(rows, since_ns, now_ns + 1))


def top_page(window_s: int, readings: Sequence[Reading]) -> views.TopPage:
    """Readings as `andon top` shows them; who knows what is in flight and weighed adds it."""
    return views.TopPage(window_s=window_s, items=tuple(_top_row(reading) for reading in readings))


def _top_row(reading: Reading) -> views.TopRow:
    duration, first = reading.duration, reading.first_token
    return views.TopRow(
        endpoint=reading.endpoint,
        release=reading.release,
        arm=reading.arm,
        requests=reading.requests,
        requests_per_s=reading.requests_per_s,
        attempts=reading.attempts,
        errors=reading.errors,
        error_rate=reading.error_rate,
        refused=reading.refused,
        cancelled=reading.cancelled,
        p50_ms=duration.p50_ms if duration else None,
        p95_ms=duration.p95_ms if duration else None,
        p99_ms=duration.p99_ms if duration else None,
        first_token_p95_ms=first.p95_ms if first else None,
        tokens=reading.input_tokens + reading.output_tokens,
        tokens_per_s=reading.tokens_per_s,
    )


def _request(entry: Entry, row: Outcome) -> views.RequestView:
    return views.RequestView(
        position=entry.position,
        id=row.id,
        attempt=row.attempt,
        at_ns=row.at_ns,
        status=row.status,
        endpoint=row.endpoint,
        release=row.release,
        arm=row.arm,
        target=row.target,
        team=row.team,
        key=row.key,
        operation=row.operation,
        dialect=row.dialect,
        error_code=row.error_code,
        duration_us=row.duration_us,
        upstream_us=row.upstream_us,
        first_byte_us=row.first_byte_us,
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
    )


class ControlHealth:
    """Whether control does its work."""

    def __init__(self, publisher: Publisher, bugs: Callable[[], int]) -> None:
        self._publisher = publisher
        self._bugs = bugs

    async def checks(self) -> Sequence[views.Check]:
        """The snapshot is current; what controllers failed at by bugs is told, and is no reason to be taken out."""
        problem = self._publisher.problem
        return (
            views.Check(
                name="snapshot", ok=not problem, detail=problem or f"version {self._publisher.version}"
            ),
            views.Check(name="controllers", ok=True, detail=f"{self._bugs()} failed turns"),
        )
