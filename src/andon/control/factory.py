"""The verbs of a factory: plan, apply, undo, get, list, describe, revisions, diff, events, explain.

Called by the admin API and by the command line; every verb is one unit of work over the store. After a verb that
changed something the driver is signalled. Never waits for what the change leads to: that is the controllers' work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from andon.control.catalogue import Catalogue
from andon.control.documents import Document
from andon.control.explain import Explanation, explain_path
from andon.control.faults import Fault, InvalidDocuments
from andon.control.kinds import Problem
from andon.control.plan import (
    Action,
    Base,
    ChangePlan,
    compare,
    load_plan,
    make_plan,
    moved_since,
    plan_id,
    resulting,
)
from andon.control.resources import Content, content_of, decode_spec, digest_of, record_of
from andon.kernel.errors import Conflict, Refused
from andon.kernel.events import Event
from andon.store.model import Journaled, Record, Revision, Store, Unit

EVENT_CHANGES_MAX = 50  # fields that one event of the journal names
MESSAGE_LENGTH_MAX = 1000
EVENTS_PAGE_MAX = 1000
REVISIONS_PAGE_MAX = 500


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """One resource with what belongs to it."""

    record: Record
    owned: tuple[Record, ...]
    events: tuple[Journaled, ...]  # newest first


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Which lines of the journal are asked for."""

    after: int = 0
    subject: str = ""
    name: str = ""
    limit: int = 100
    newest_first: bool = False


# Problems that any resource may have whatever its kind, such as a secret in it; found inside the unit of work.
Inspect = Callable[[Unit, Record], Sequence[Problem]]


def _nothing(unit: Unit, record: Record) -> Sequence[Problem]:
    return ()


class Factory:
    """What people do to the desired state. `changed` is called after each verb that changed something."""

    def __init__(
        self,
        store: Store,
        catalogue: Catalogue,
        changed: Callable[[], None],
        inspect: Inspect = _nothing,
    ) -> None:
        self._inspect = inspect
        self._store = store
        self._changed = changed
        self.catalogue = catalogue

    async def plan(self, documents: Sequence[Document], *, prune: bool = True) -> ChangePlan:
        """What `apply` would do; raises InvalidDocuments with every fault that a kind's check finds."""
        return await self._store.transact(lambda unit: self._plan(unit, documents, prune=prune))

    async def apply(self, plan: ChangePlan, *, author: str, message: str = "") -> Revision:
        """Do exactly what the plan says; raises Conflict if the world has moved since it was made.

        A plan that changes nothing makes no revision: the latest is returned.
        """
        if plan_id(plan) != plan.id:
            raise Refused(
                "plan_tampered", "The plan is not what was made: its id does not match its content."
            )
        if len(message) > MESSAGE_LENGTH_MAX:
            raise Refused("message_too_long", f"A message has at most {MESSAGE_LENGTH_MAX} characters.")
        revision = await self._store.transact(lambda unit: self._apply(unit, plan, author, message))
        self._changed()
        return revision

    async def apply_saved(self, data: bytes, *, author: str, message: str = "") -> Revision:
        """Apply a plan from a file; raises Refused if it is not what was saved, Conflict if the world has moved."""
        return await self.apply(load_plan(data), author=author, message=message)

    async def undo(self, to: int) -> ChangePlan:
        """The plan that returns the whole factory to revision `to`; 0 means the one before the latest."""
        return await self._store.transact(lambda unit: self._undo(unit, to))

    async def get(self, kind: str, name: str) -> Record:
        """One resource; raises Refused (404) if it is not there. `kind` may be an abbreviation."""
        found = self.catalogue.find(kind)
        record = await self._store.transact(lambda unit: unit.get(found.name, name))
        if record is None:
            raise Refused(
                "not_found",
                f"There is no {found.name} '{name}'.",
                hint=f"andon get {found.plural} lists those that there are.",
                status=404,
                param="name",
            )
        return record

    async def list(self, kind: str, *, labels: Mapping[str, str] | None = None) -> tuple[Record, ...]:
        """Every resource of a kind that carries all these labels, by name."""
        found = self.catalogue.find(kind)
        records = await self._store.transact(lambda unit: unit.list(found.name))
        wanted = (labels or {}).items()
        return tuple(record for record in records if wanted <= record.labels.items())

    async def describe(self, kind: str, name: str) -> Description:
        """One resource, what it owns and its latest events; raises Refused (404) if it is not there."""
        record = await self.get(kind, name)
        subject = f"{record.kind}/{record.name}"

        def read(unit: Unit) -> Description:
            owned = [row for item in self.catalogue for row in unit.list(item.name, owner=subject)]
            events = unit.events(subject=subject, limit=20, newest_first=True)
            return Description(record=record, owned=tuple(owned), events=tuple(events))

        return await self._store.transact(read)

    async def revisions(self, *, limit: int = 50) -> tuple[Revision, ...]:
        """The latest revisions, newest first."""
        most = min(limit, REVISIONS_PAGE_MAX)
        return tuple(await self._store.transact(lambda unit: unit.revisions(limit=most)))

    async def revision(self, number: int) -> Revision:
        """One revision; raises Refused (404) if it is not there."""
        return await self._store.transact(lambda unit: _revision(unit, number))

    async def diff(self, a: int, b: int) -> tuple[Action, ...]:
        """What differs from revision `a` to revision `b`; 0 is the empty factory."""

        def read(unit: Unit) -> tuple[Action, ...]:
            before, after = (self._document(_revision(unit, number)) if number else {} for number in (a, b))
            return compare(before, after)

        return await self._store.transact(read)

    async def events(self, query: Query) -> tuple[Journaled, ...]:
        """Lines of the journal."""
        fields = msgspec.structs.asdict(query) | {"limit": min(query.limit, EVENTS_PAGE_MAX)}
        return tuple(await self._store.transact(lambda unit: unit.events(**fields)))

    def explain(self, path: str) -> Explanation:
        """The documentation of a kind or field, such as `endpoint.spec.retries`; raises Refused (404)."""
        return explain_path(self.catalogue, path)

    def _plan(self, unit: Unit, documents: Sequence[Document], *, prune: bool) -> ChangePlan:
        base = self._base(unit)
        plan = make_plan([document.content for document in documents], base, self.catalogue, prune=prune)
        self._check(unit, plan, base, {document.content.subject: document for document in documents})
        return plan

    def _undo(self, unit: Unit, to: int) -> ChangePlan:
        latest = unit.latest_revision()
        number = to or (latest.parent if latest else 0)
        if number < 1:
            raise Refused("no_revision", "There is no earlier revision to return to.", status=404)
        base = self._base(unit)
        desired = list(self._document(_revision(unit, number)).values())
        plan = make_plan(desired, base, self.catalogue, undo_of=number)
        self._check(unit, plan, base, {})
        return plan

    def _apply(self, unit: Unit, plan: ChangePlan, author: str, message: str) -> Revision:
        base = self._base(unit)
        moved = moved_since(plan, base)
        if moved:
            shown = "; ".join(moved[:10]) + (f"; and {len(moved) - 10} more" if len(moved) > 10 else "")
            raise Conflict("world_moved", f"The world has moved since the plan: {shown}.", hint="Plan again.")
        # The state is what the plan saw, but a check may have become stricter or a generated resource may have gone.
        self._check(unit, plan, base, {})
        document = [msgspec.to_builtins(content) for content in resulting(plan, base).values()]
        digest = digest_of(document)
        latest = unit.latest_revision()
        if plan.empty and latest is not None and latest.digest == digest:
            return latest
        for action in plan.changes:
            self._do(unit, action, author)
        text = message or (f"undo to revision {plan.undo_of}" if plan.undo_of else "")
        revision = unit.add_revision(document, parent=plan.parent, author=author, message=text, digest=digest)
        data = {"plan": plan.id, "message": text, "undoOf": plan.undo_of}
        data |= {verb: plan.count(verb) for verb in ("create", "update", "delete")}
        unit.append(
            Event(name="factory.applied", subject=f"Revision/{revision.number}", actor=author, data=data)
        )
        return revision

    def _do(self, unit: Unit, action: Action, author: str) -> None:
        if action.content is None:
            unit.delete(action.kind, action.name)
            event = Event(name="resource.deleted", subject=action.subject, actor=author)
        else:
            unit.put(record_of(action.content))
            paths = [change.path for change in action.changes[:EVENT_CHANGES_MAX]]
            name = "resource.created" if action.verb == "create" else "resource.updated"
            event = Event(name=name, subject=action.subject, actor=author, data={"fields": paths})
        unit.append(event)

    def _base(self, unit: Unit) -> Base:
        stored = {}
        for kind in self.catalogue.writable():
            for record in unit.list(kind.name, owner=""):
                content = content_of(record, kind)
                stored[content.subject] = content
        latest = unit.latest_revision()
        managed = self._document(latest) if latest else {}
        return Base(stored=stored, managed=managed, revision=latest.number if latest else 0)

    def _document(self, revision: Revision) -> dict[str, Content]:
        contents = [msgspec.convert(item, Content) for item in revision.document]
        today = [content_of(record_of(content), self.catalogue.get(content.kind)) for content in contents]
        return {content.subject: content for content in today}

    def _check(self, unit: Unit, plan: ChangePlan, base: Base, documents: Mapping[str, Document]) -> None:
        """Run every kind's check against the world as it will be; raises InvalidDocuments with all faults."""
        world = self._world(unit, plan, base)
        faults: list[Fault] = []
        for action in plan.actions:
            if action.content is not None:
                held = unit.get(action.kind, action.name)
                if held is not None and held.owner:
                    text = f"is made and kept by {held.owner}; give this one another name"
                    faults.append(
                        _fault(action.subject, documents, Problem(path="metadata.name", message=text))
                    )
        changing = {action.subject for action in plan.changes}
        for (kind_name, name), record in sorted(world.items()):
            kind = self.catalogue.get(kind_name)
            if record.owner or (kind is not None and kind.generated):
                continue
            subject = f"{kind_name}/{name}"
            problems = list(self._problems(record, world))
            if (
                subject in changing
            ):  # what stands already is not held against somebody who mends something else
                problems += self._inspect(unit, record)
            faults += [_fault(subject, documents, problem) for problem in problems]
        if faults:
            raise InvalidDocuments(sorted(faults))

    def _problems(self, record: Record, world: Mapping[tuple[str, str], Record]) -> Sequence[Problem]:
        kind = self.catalogue.get(record.kind)
        if kind is None or kind.generated:
            return [Problem(path="kind", message=f"'{record.kind}' is not a kind that people write")]
        try:
            spec = decode_spec(kind, record.spec)
        except msgspec.ValidationError as error:
            return [Problem(path="spec", message=str(error))]
        return kind.check(spec, record, world)

    def _world(self, unit: Unit, plan: ChangePlan, base: Base) -> dict[tuple[str, str], Record]:
        world = {(row.kind, row.name): row for kind in self.catalogue for row in unit.list(kind.name)}
        gone = {action.subject for action in plan.actions if action.verb == "delete"}
        for action in plan.actions:
            key = (action.kind, action.name)
            if action.content is None:
                world.pop(key, None)
            else:
                spoken = record_of(action.content)
                before = world.get(key)
                kept = {} if before is None else {"status": before.status, "generation": before.generation}
                world[key] = msgspec.structs.replace(spoken, **kept)
        while gone:  # ends: each turn removes at least one resource from a finite world, or finds none
            owned = [key for key, row in world.items() if row.owner in gone]
            gone = {f"{kind}/{name}" for kind, name in owned}
            for key in owned:
                del world[key]
        return world


def _revision(unit: Unit, number: int) -> Revision:
    revision = unit.revision(number)
    if revision is None:
        raise Refused("no_revision", f"There is no revision {number}.", status=404, param="revision")
    return revision


def _fault(subject: str, documents: Mapping[str, Document], problem: Problem) -> Fault:
    document = documents.get(subject)
    if document is None:
        return Fault(file=subject, line=0, path=problem.path, message=problem.message, hint=problem.hint)
    file, line = document.where(problem.path)
    return Fault(file=file, line=line, path=problem.path, message=problem.message, hint=problem.hint)
