"""The verbs of policies: explain a decision, tell the words, replay the past, take approvals.

Behind `policy_routes`. Explanations and replays decide with the engine that decides for real; nothing is judged here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import msgspec

from andon.app.policies import PolicyBook, approvals_in
from andon.app.policy_routes import (
    AccessExplanation,
    AccessQuestion,
    ApprovalView,
    PolicyText,
    PolicyWords,
    ReplayReport,
    ReplayRequest,
)
from andon.control.catalogue import Catalogue
from andon.kernel.access import Resource
from andon.kernel.clock import Clock
from andon.kernel.errors import Refused
from andon.kernel.labels import RANKS
from andon.kernel.ports import Disk, Runner
from andon.kernel.principals import NOBODY, Principal
from andon.kernel.units import duration_s
from andon.ledger.query import Query
from andon.ledger.reader import tail
from andon.ledger.row import Outcome
from andon.security.policy.approvals import ApprovalSpec, approve, digest_of
from andon.security.policy.describing import describe
from andon.security.policy.engine import Engine
from andon.security.policy.entities import roles_of
from andon.security.policy.model import POLICY, PolicySpec, text_of
from andon.security.policy.people import Known, known_in
from andon.security.policy.replaying import Past, replay
from andon.security.policy.text import built_in, statements
from andon.security.policy.vocabulary import DATA_ACTIONS, Vocabulary, schema_of
from andon.security.policy.whynot import nearest
from andon.store.model import Record, Store, Unit
from andon.web.routes import Call


class PolicyDesk:
    """A `policy_routes.PolicyVerbs`."""

    def __init__(
        self,
        store: Store,
        book: PolicyBook,
        catalogue: Catalogue,
        words: Vocabulary,
        *,
        clock: Clock,
        ledger: Disk,
        runner: Runner,
    ) -> None:
        self._store = store
        self._book = book
        self._catalogue = catalogue
        self._words = words
        self._clock = clock
        self._ledger = ledger
        self._runner = runner

    async def words(self, call: Call) -> PolicyWords:
        """The schema and the built-in policies."""
        await self._book.refresh()
        entry = self._book.entry
        return PolicyWords(
            schema=schema_of(self._words),
            built_in=built_in(),
            digest="" if entry is None else entry.digest,
        )

    async def explain(self, call: Call) -> AccessExplanation:
        """The decision on a question; raises Refused 400 for words that policies do not have."""
        question: AccessQuestion = call.body
        await self._book.refresh()
        if question.action not in {*DATA_ACTIONS, *(action.name for action in self._words.actions)}:
            raise Refused(
                "action_unknown",
                f"There is no action '{question.action}'.",
                hint=_nearest_words(question.action, self._words) + "All of them: andon policies schema",
                param="action",
            )
        resource = self._resource(question.resource)
        now_ns = self._clock.now_ns()
        looked = await self._store.transact(lambda unit: _look(unit, resource, now_ns))
        principal, is_known = _principal(question, looked.known, data=question.action in DATA_ACTIONS)
        resource = Resource(
            kind=resource.kind, name=resource.name, attributes={**looked.attributes, **question.attributes}
        )
        context = self._context(question, looked, principal, resource, now_ns)
        engine = self._book.engine
        decision = engine.decide(principal, question.action, resource, context)
        known = _written(looked.policies)
        wanted = nearest(engine, principal, question.action, resource) if not decision.policies else ()
        return AccessExplanation(
            allowed=decision.allowed,
            principal=_named(principal),
            action=question.action,
            resource=f"{resource.kind}/{resource.name}" if resource.name else resource.kind,
            roles=roles_of(principal),
            context=context,
            attributes=dict(resource.attributes),
            policies=tuple(known[id_] for id_ in decision.policies if id_ in known),
            errors=decision.errors,
            would_permit=tuple(
                msgspec.structs.replace(known[id_], why=why) for id_, why in wanted if id_ in known
            ),
            policies_digest="" if self._book.entry is None else self._book.entry.digest,
            unknown=_unknown(principal, is_known, resource, looked),
        )

    def _resource(self, text: str) -> Resource:
        kind, _, name = text.partition("/")
        if kind in ("", "Factory"):
            return Resource()
        if kind == "Release":
            return Resource(kind=kind, name=name)
        return Resource(kind=self._catalogue.find(kind).name, name=name)

    def _context(
        self,
        question: AccessQuestion,
        looked: _Looked,
        principal: Principal,
        resource: Resource,
        now_ns: int,
    ) -> dict[str, Any]:
        context: dict[str, Any] = {"hour": now_ns // 3_600_000_000_000 % 24}
        if question.action in DATA_ACTIONS:
            label = resource.attributes.get("label", 1)
            context |= {"labelRank": label, "stream": False, "estimatedTokens": 0, "pathPinned": False}
        else:
            context["change"] = ""
            context |= self._book.approval_context(looked.approvals, looked.digest, principal)
        for name, value in question.context.items():
            context[name] = RANKS.get(value, value) if name == "labelRank" else value
        return context

    async def replay(self, call: Call) -> ReplayReport:
        """What the rows of the past would have been told; raises Refused where the policies cannot be read."""
        asked: ReplayRequest = call.body
        now_ns = self._clock.now_ns()
        looked = await self._store.transact(lambda unit: _look(unit, Resource(), now_ns))
        kept = {
            record.name: msgspec.convert(record.spec, PolicySpec)
            for record in looked.policies
            if record.name not in asked.replaces
        }
        built = tuple(one.id for one in statements(built_in()) if one.id in asked.replaces)
        engine = Engine(text_of([*kept.values(), PolicySpec(cedar=asked.cedar, replaces=built)]))
        past = Past(known=looked.known, endpoints=looked.endpoints)

        def work() -> ReplayReport:
            found = tail(self._ledger, asked.limit, query=Query(endpoint=asked.endpoint))
            rows = [entry.row for entry in found if isinstance(entry.row, Outcome) and entry.row.final]
            return msgspec.convert(replay(engine, rows, past), ReplayReport, from_attributes=True)

        return await self._runner.run(work)

    async def approve_rollout(self, call: Call) -> ApprovalView:
        """A yes to a rollout as it stands."""
        return await self._approve(call, f"Rollout/{call.path.name}")

    async def approve_plan(self, call: Call) -> ApprovalView:
        """A yes to a plan."""
        return await self._approve(call, f"Plan/{call.path.id}")

    async def _approve(self, call: Call, subject: str) -> ApprovalView:
        try:
            life_ns = int(duration_s(call.body.expires_in) * 1e9)
        except ValueError as error:
            raise Refused(
                "invalid_field", f"{error}.", hint="Write it as 30m or 24h.", param="expires_in"
            ) from error
        now_ns = self._clock.now_ns()
        record = await self._store.transact(
            lambda unit: approve(
                unit, call.principal, subject, reason=call.body.reason, now_ns=now_ns, life_ns=life_ns
            )
        )
        spec = msgspec.convert(record.spec, ApprovalSpec)
        return ApprovalView(
            name=record.name,
            subject=spec.subject,
            digest=spec.digest,
            approver=spec.approver,
            expires_ns=spec.expires_ns,
        )


class _Looked(msgspec.Struct, frozen=True, kw_only=True):
    """What the store knew at one moment."""

    policies: tuple[Record, ...]
    known: Known
    endpoints: Mapping[str, Mapping[str, Any]]
    attributes: Mapping[str, Any]
    digest: str
    approvals: tuple[ApprovalSpec, ...]


def _look(unit: Unit, resource: Resource, now_ns: int) -> _Looked:
    record = unit.get(resource.kind, resource.name) if resource.name else None
    return _Looked(
        policies=tuple(unit.list(POLICY)),
        known=known_in(unit, now_ns),
        endpoints={one.name: describe(one, unit.get) for one in unit.list("Endpoint")},
        attributes={} if record is None else describe(record, unit.get),
        digest="" if record is None else digest_of(record),
        approvals=approvals_in(unit),
    )


def _principal(question: AccessQuestion, known: Known, *, data: bool) -> tuple[Principal, bool]:
    """Whoever is named, with what is known of them and what the question adds; and whether they are known."""
    try:
        found, is_known = known.find(question.principal, data=data)
    except ValueError as error:
        raise Refused(
            "principal_unknown",
            f"'{question.principal}' names nobody.",
            hint="Write user:NAME, service:NAME, key:ID, gateway:NAME or anonymous.",
            param="principal",
        ) from error
    asked = msgspec.structs.replace(
        found,
        roles=tuple(dict.fromkeys((*found.roles, *question.roles))),
        cohorts=tuple(dict.fromkeys((*found.cohorts, *question.cohorts))),
        team=question.team or found.team,
        label=question.label or found.label,
    )
    return asked, is_known


def _named(principal: Principal) -> str:
    """As people write them."""
    return NOBODY.kind if principal.kind == NOBODY.kind else principal.name


def _unknown(principal: Principal, is_known: bool, resource: Resource, looked: _Looked) -> tuple[str, ...]:
    """What was asked about and is not there, so that nobody takes an answer about a slip of the pen for one."""
    missing = [] if is_known else [_named(principal)]
    if resource.name and not looked.digest and resource.kind != "Release":
        missing.append(f"{resource.kind}/{resource.name}")
    return tuple(missing)


def _nearest_words(action: str, words: Vocabulary) -> str:
    """Actions that are written alike, as the beginning of a hint."""
    near = get_close_matches(action, [*DATA_ACTIONS, *(one.name for one in words.actions)], n=3)
    return f"Did you mean {' or '.join(near)}? " if near else ""


def _written(records: Sequence[Record]) -> dict[str, PolicyText]:
    """Every policy by its id, with the place where it was written."""
    sources = [("built in", built_in())]
    sources += [(f"{POLICY}/{record.name}", str(record.spec.get("cedar", ""))) for record in records]
    return {
        one.id: PolicyText(
            id=one.id,
            effect="forbid" if "forbid" in one.text.partition("(principal")[0] else "permit",
            source=source,
            line=one.line,
            text=one.text,
        )
        for source, text in sources
        for one in statements(text)
    }
