"""The admin API: one table of routes, each handler parses nothing, decides nothing and calls one verb.

Types, authorisation and the OpenAPI document follow from the table at the end.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec

from andon.app import views
from andon.app.admission_routes import admission_routes
from andon.app.guards_routes import guard_routes
from andon.app.identity_routes import identity_routes
from andon.app.observer.table import observer_routes
from andon.app.policy_routes import policy_routes
from andon.app.secret_routes import secret_routes
from andon.app.services import RolloutVerb, Services
from andon.app.showing import show_event, show_resource, show_revision
from andon.control.documents import Document, Source, parse_sources
from andon.control.explain import Explanation
from andon.control.factory import Query
from andon.control.kinds import Kind
from andon.control.plan import ChangePlan
from andon.control.schemas import schema_of
from andon.kernel.access import OPEN, Resource
from andon.kernel.errors import Refused
from andon.kernel.units import duration_s
from andon.web.routes import Call, Named, Raw, Route, ServerEvent, Stream

FOLLOW_S = 0.25  # how soon a follower sees what happened
HEARTBEAT_S = 15.0
FOLLOW_END_S = 3600.0  # then the stream ends and the follower comes back with Last-Event-ID


class Api:
    """The handlers."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._factory = services.factory

    async def live(self, call: Call) -> views.Alive:
        """The process answers."""
        return views.Alive()

    async def ready(self, call: Call) -> views.Readiness | Raw:
        """200 when every check holds, 503 with the same body when one does not."""
        checks = tuple(await self._services.health.checks())
        readiness = views.Readiness(ready=all(check.ok for check in checks), checks=checks)
        return readiness if readiness.ready else Raw(body=msgspec.json.encode(readiness), status=503)

    async def kinds(self, call: Call) -> views.KindPage:
        """Every kind."""
        return views.KindPage(items=tuple(_kind(kind) for kind in self._factory.catalogue))

    async def schema(self, call: Call) -> dict[str, Any]:
        """JSON Schema of a kind."""
        return schema_of(self._factory.catalogue.find(call.path.kind))

    async def explanation(self, call: Call) -> Explanation:
        """The documentation of a kind or field."""
        return self._factory.explain(call.query.path)

    def resource_asked(self, params: views.ResourcePath) -> Resource:
        """What a path names, by its kind's own name: an abbreviation must not get around a policy."""
        try:
            kind = self._factory.catalogue.find(params.kind)
        except Refused:
            return Resource()  # the handler says so, to those who may read the factory
        return Resource(kind=kind.name, name=params.name)

    async def resources(self, call: Call) -> views.ResourcePage:
        """Every resource of a kind."""
        records = await self._factory.list(call.path.kind)
        return views.ResourcePage(items=tuple(show_resource(record) for record in records))

    async def resource(self, call: Call) -> views.Resource:
        """One resource."""
        return show_resource(await self._factory.get(call.path.kind, call.path.name))

    async def plan(self, call: Call) -> ChangePlan:
        """What apply would do."""
        documents = await self._services.runner.run(lambda: self._documents(call.body))
        await self._services.secrets.look_up([document.content.spec for document in documents])
        return await self._factory.plan(documents, prune=call.body.prune)

    def _documents(self, request: views.PlanRequest) -> list[Document]:
        sources = [Source(file=one.file, text=one.text, layer=one.layer) for one in request.files]
        if request.documents:
            text = msgspec.json.encode(request.documents).decode()
            sources.append(Source(file="documents", text=text))
        if not sources:
            raise Refused(
                "no_documents", "Neither files nor documents were sent.", hint="Send at least one resource."
            )
        return parse_sources(sources, self._factory.catalogue)

    async def apply(self, call: Call) -> views.RevisionView:
        """Do what a plan says."""
        author = call.principal.name
        await self._services.changes.check(call, call.body.plan)
        return show_revision(
            await self._factory.apply(call.body.plan, author=author, message=call.body.message)
        )

    async def revisions(self, call: Call) -> views.RevisionPage:
        """The history."""
        found = await self._factory.revisions(limit=call.query.limit)
        return views.RevisionPage(items=tuple(show_revision(revision) for revision in found))

    async def revision(self, call: Call) -> views.RevisionDetail:
        """One revision."""
        found = await self._factory.revision(call.path.number)
        return views.RevisionDetail(**msgspec.structs.asdict(show_revision(found)), document=found.document)

    async def undo(self, call: Call) -> ChangePlan:
        """The plan that goes back."""
        return await self._factory.undo(call.body.to)

    async def diff(self, call: Call) -> views.Difference:
        """What differs between two revisions."""
        before, after = call.query.before, call.query.after
        if after is None:
            latest = await self._factory.revisions(limit=1)
            after = latest[0].number if latest else 0
        if before is None:
            before = (await self._factory.revision(after)).parent if after else 0
        return views.Difference(before=before, after=after, actions=await self._factory.diff(before, after))

    async def events(self, call: Call) -> views.EventPage | Stream:
        """The journal."""
        asked: views.EventQuery = call.query
        if asked.follow:
            begin = int(call.last_event_id) if call.last_event_id.isdecimal() else asked.after
            return Stream(self._follow_events(asked, min(begin, views.BIGGEST)))
        return await self._events(asked, asked.after)

    async def _events(self, asked: views.EventQuery, after: int) -> views.EventPage:
        newest = asked.newest and not asked.follow
        query = Query(
            after=after, subject=asked.subject, name=asked.name, limit=asked.limit, newest_first=newest
        )
        found = await self._factory.events(query)
        ordered = tuple(show_event(line) for line in (reversed(found) if newest else found))
        return views.EventPage(items=ordered, next=max((line.sequence for line in ordered), default=after))

    async def _follow_events(self, asked: views.EventQuery, after: int) -> AsyncIterator[ServerEvent | None]:
        async for turn in self._turns():
            page = await self._events(asked, after)
            after = page.next
            for item in page.items:
                yield ServerEvent(data=item, id=str(item.sequence), name=item.name)
            if turn and not page.items:
                yield None

    async def _turns(self) -> AsyncIterator[bool]:
        """When a follower looks again, until the stream must end; True where a sign of life is due."""
        clock = self._services.clock
        started = beat = clock.monotonic()
        while (now := clock.monotonic()) - started < FOLLOW_END_S:
            due = now - beat >= HEARTBEAT_S
            beat = now if due else beat
            yield due
            await clock.sleep(FOLLOW_S)

    async def explain_rollout(self, call: Call) -> views.RolloutExplanation:
        """Why a rollout stands where it stands."""
        return await self._services.rollouts.explain(call.path.name)

    async def keys(self, call: Call) -> views.KeyPage:
        """Every key."""
        return views.KeyPage(items=tuple(await self._services.keys.list()))

    async def create_key(self, call: Call) -> views.NewKey:
        """A new key."""
        if call.body.expires_in:
            _duration(call.body.expires_in, "expires_in")
        return await self._services.keys.create(call.body, actor=call.principal)

    async def rotate_key(self, call: Call) -> views.NewKey:
        """A successor of a key."""
        overlap_s = _duration(call.body.overlap, "overlap")
        return await self._services.keys.rotate(call.path.id, overlap_s=overlap_s, actor=call.principal)

    async def revoke_key(self, call: Call) -> views.KeyView:
        """The end of a key."""
        return await self._services.keys.revoke(
            call.path.id, actor=call.principal.name, reason=call.body.reason
        )

    async def requests(self, call: Call) -> views.RequestPage | Stream:
        """The ledger."""
        asked: views.RequestQuery = call.query
        if asked.follow:
            begin = int(call.last_event_id) if call.last_event_id.isdecimal() else asked.after
            return Stream(self._follow_requests(asked, min(begin, views.BIGGEST)))
        return await self._services.ledger.requests(asked)

    async def _follow_requests(
        self, asked: views.RequestQuery, after: int
    ) -> AsyncIterator[ServerEvent | None]:
        async for turn in self._turns():
            page = await self._services.ledger.requests(msgspec.structs.replace(asked, after=after))
            after = page.next
            for item in page.items:
                yield ServerEvent(data=item, id=str(item.position), name="request")
            if turn and not page.items:
                yield None

    async def top(self, call: Call) -> views.TopPage:
        """What is going on."""
        return await self._services.ledger.top(call.query.window_s)

    async def snapshot(self, call: Call) -> Raw:
        """The configuration of gateways."""
        found = await self._services.gateways.snapshot(call.query.have, call.query.wait_s)
        return Raw(status=304) if found is None else Raw(body=found)

    async def reports(self, call: Call) -> views.Receipt:
        """Facts from a gateway."""
        await self._services.gateways.report(call.body.reports, gateway=call.principal.name)
        return views.Receipt(accepted=len(call.body.reports))


def _duration(text: str, param: str) -> float:
    try:
        return duration_s(text)
    except ValueError as error:
        raise Refused(
            "invalid_field", f"{error}.", hint="Write it as 30s, 5m or 90d.", param=param
        ) from error


def _kind(kind: Kind) -> views.KindView:
    return views.KindView(
        name=kind.name,
        plural=kind.plural,
        short=kind.short,
        summary=kind.summary,
        generated=kind.generated,
        columns=tuple(views.Column(heading=heading, path=path) for heading, path in kind.columns),
    )


def build_routes(services: Services) -> Sequence[Route]:
    """Every route of the admin API."""
    api = Api(services)
    return (
        *_system_routes(api),
        *_kind_routes(api),
        *_resource_routes(api),
        *_history_routes(api),
        *_rollout_routes(api, services),
        *_key_routes(api),
        *_traffic_routes(api),
        *secret_routes(services.secrets),
        *admission_routes(services.papers),
        *identity_routes(services),
        *policy_routes(services.policies),
        *guard_routes(services),
        *observer_routes(),
    )


def _system_routes(api: Api) -> Sequence[Route]:
    return (
        Route(
            method="GET",
            path="/livez",
            name="getLiveness",
            action=OPEN,
            response=views.Alive,
            handler=api.live,
            summary="The process answers",
        ),
        Route(
            method="GET",
            path="/readyz",
            name="getReadiness",
            action=OPEN,
            response=views.Readiness,
            handler=api.ready,
            summary="Control does its work; 503 with the same body when it does not",
            may_be_unready=True,
        ),
        Route(
            method="GET",
            path="/v1/snapshot",
            name="getSnapshot",
            action="gateway.snapshot",
            query=views.SnapshotQuery,
            response=dict[str, Any],
            handler=api.snapshot,
            summary="The snapshot for gateways, as soon as it is newer than what the caller has",
            may_be_unchanged=True,
        ),
        Route(
            method="POST",
            path="/v1/reports",
            name="sendReports",
            action="gateway.report",
            request=views.ReportBatch,
            response=views.Receipt,
            handler=api.reports,
            summary="Facts from a gateway, at least once",
        ),
    )


def _kind_routes(api: Api) -> Sequence[Route]:
    return (
        Route(
            method="GET",
            path="/v1/kinds",
            name="listKinds",
            action="factory.read",
            response=views.KindPage,
            handler=api.kinds,
            summary="Every kind of resource",
        ),
        Route(
            method="GET",
            path="/v1/kinds/{kind}/schema",
            name="getKindSchema",
            action="factory.read",
            params=views.KindPath,
            response=dict[str, Any],
            handler=api.schema,
            summary="JSON Schema of a kind",
        ),
        Route(
            method="GET",
            path="/v1/explanations",
            name="explain",
            action="factory.read",
            query=views.TopicQuery,
            response=Explanation,
            handler=api.explanation,
            summary="What a kind or field means",
        ),
    )


def _resource_routes(api: Api) -> Sequence[Route]:
    return (
        Route(
            method="GET",
            path="/v1/resources/{kind}",
            name="listResources",
            action="factory.read",
            params=views.KindPath,
            response=views.ResourcePage,
            handler=api.resources,
            summary="Every resource of a kind",
        ),
        Route(
            method="GET",
            path="/v1/resources/{kind}/{name}",
            name="getResource",
            action="factory.read",
            params=views.ResourcePath,
            resource=api.resource_asked,
            response=views.Resource,
            handler=api.resource,
            summary="One resource",
        ),
        Route(
            method="POST",
            path="/v1/plans",
            name="plan",
            action="factory.plan",
            request=views.PlanRequest,
            response=ChangePlan,
            handler=api.plan,
            summary="What apply would do; nothing is changed",
        ),
        Route(
            method="POST",
            path="/v1/applies",
            name="apply",
            action="factory.apply",
            request=views.ApplyRequest,
            response=views.RevisionView,
            handler=api.apply,
            summary="Do exactly what a plan says, or 409 because the world has moved",
        ),
    )


def _history_routes(api: Api) -> Sequence[Route]:
    return (
        Route(
            method="POST",
            path="/v1/undo",
            name="planUndo",
            action="factory.plan",
            request=views.UndoRequest,
            response=ChangePlan,
            handler=api.undo,
            summary="The plan that returns the factory to an earlier revision; apply it to go back",
        ),
        Route(
            method="GET",
            path="/v1/revisions",
            name="listRevisions",
            action="factory.read",
            query=views.RevisionQuery,
            response=views.RevisionPage,
            handler=api.revisions,
            summary="The history, newest first",
        ),
        Route(
            method="GET",
            path="/v1/revisions/{number}",
            name="getRevision",
            action="factory.read",
            params=views.RevisionPath,
            response=views.RevisionDetail,
            handler=api.revision,
            summary="One revision with its document",
        ),
        Route(
            method="GET",
            path="/v1/diff",
            name="diff",
            action="factory.read",
            query=views.DiffQuery,
            response=views.Difference,
            handler=api.diff,
            summary="What differs between two revisions",
        ),
        Route(
            method="GET",
            path="/v1/events",
            name="listEvents",
            action="factory.read",
            query=views.EventQuery,
            response=views.EventPage,
            handler=api.events,
            summary="The journal",
            streaming=True,
        ),
    )


def _rollout_routes(api: Api, services: Services) -> Sequence[Route]:
    verbs: tuple[tuple[RolloutVerb, str], ...] = (
        ("promote", "Give the canary all traffic now"),
        ("abort", "Give the stable version all traffic now"),
        ("pause", "Hold the weight as it is"),
        ("resume", "Go on after a pause"),
    )
    return (
        *(_verb_route(services, verb, summary) for verb, summary in verbs),
        Route(
            method="GET",
            path="/v1/rollouts/{name}/explanation",
            name="explainRollout",
            action="release.read",
            params=views.NamePath,
            resource=Named("Rollout"),
            response=views.RolloutExplanation,
            handler=api.explain_rollout,
            summary="Why a rollout stands where it stands",
        ),
    )


def _key_routes(api: Api) -> Sequence[Route]:
    return (
        Route(
            method="GET",
            path="/v1/keys",
            name="listKeys",
            action="key.read",
            response=views.KeyPage,
            handler=api.keys,
            summary="Every API key, without secrets",
        ),
        Route(
            method="POST",
            path="/v1/keys",
            name="createKey",
            action="key.write",
            request=views.KeyRequest,
            response=views.NewKey,
            handler=api.create_key,
            summary="Make an API key; its secret is told this once",
        ),
        Route(
            method="POST",
            path="/v1/keys/{id}/rotate",
            name="rotateKey",
            action="key.write",
            params=views.KeyPath,
            resource=Named("ApiKey", "id"),
            request=views.RotateRequest,
            response=views.NewKey,
            handler=api.rotate_key,
            summary="Make a successor; the old key works for a while",
        ),
        Route(
            method="POST",
            path="/v1/keys/{id}/revoke",
            name="revokeKey",
            action="key.write",
            params=views.KeyPath,
            resource=Named("ApiKey", "id"),
            request=views.Reason,
            response=views.KeyView,
            handler=api.revoke_key,
            summary="Stop a key from working, at once and for good",
        ),
    )


def _verb_route(services: Services, verb: RolloutVerb, summary: str) -> Route:
    async def act(call: Call) -> views.RolloutView:
        actor, reason = call.principal.name, call.body.reason
        return await services.rollouts.act(verb, call.path.name, actor=actor, reason=reason)

    return Route(
        method="POST",
        path=f"/v1/rollouts/{{name}}/{verb}",
        name=f"{verb}Rollout",
        action=f"release.{verb}",
        params=views.NamePath,
        resource=Named("Rollout"),
        request=views.Reason,
        response=views.RolloutView,
        handler=act,
        summary=summary,
    )


def _traffic_routes(api: Api) -> Sequence[Route]:
    return (
        Route(
            method="GET",
            path="/v1/requests",
            name="listRequests",
            action="ledger.read",
            query=views.RequestQuery,
            response=views.RequestPage,
            handler=api.requests,
            summary="Rows of the ledger, oldest first",
            streaming=True,
        ),
        Route(
            method="GET",
            path="/v1/top",
            name="getTop",
            action="ledger.read",
            query=views.TopQuery,
            response=views.TopPage,
            handler=api.top,
            elsewhere=True,
            here_otherwise=True,
            summary="What each endpoint and release is doing now",
        ),
    )
