"""Tables of expectations about policies: who may do what, checked without a factory.

Read by `andon policies test`. The policies are those of the files that the table names, with the built-in ones, checked
as `plan` checks them; a case says who, what, on what, and what is expected.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from andon.app.kinds import catalogue
from andon.control.documents import parse_sources, read_sources
from andon.control.resources import decode_spec, record_of
from andon.kernel.access import Resource
from andon.kernel.errors import Refused
from andon.kernel.labels import Label
from andon.kernel.principals import Principal
from andon.security.policy.engine import Engine
from andon.security.policy.model import POLICY, PolicySpec, text_of
from andon.store.model import Record

CASES_MAX = 10_000


class Case(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One expectation."""

    principal: str
    action: str
    resource: str = ""
    expect: Literal["allow", "deny"]
    by: tuple[str, ...] | None = None  # the policies that determine it; None = whichever
    context: dict[str, Any] = {}
    attributes: dict[str, Any] = {}
    roles: tuple[str, ...] = ()
    cohorts: tuple[str, ...] = ()
    team: str = ""
    label: Label | None = None
    name: str = ""

    def question(self) -> dict[str, Any]:
        """The case as the route of explanations takes it."""
        told = msgspec.structs.asdict(self)
        return {name: value for name, value in told.items() if name not in ("expect", "by", "name")}

    def judge(self, allowed: bool, policies: Sequence[str]) -> Result:
        """Whether a decision is what was expected."""
        said = "allow" if allowed else "deny"
        ok = said == self.expect and (self.by is None or sorted(self.by) == sorted(policies))
        return Result(case=self, said=said, policies=tuple(policies), ok=ok)


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a case."""

    case: Case
    said: str
    policies: tuple[str, ...]
    ok: bool

    @property
    def as_text(self) -> str:
        """One line for people."""
        case = self.case
        title = case.name or f"{case.principal} {case.action} {case.resource}".strip()
        wanted = case.expect + ("" if case.by is None else f" by {', '.join(case.by) or 'nothing'}")
        found = f"{self.said} by {', '.join(self.policies) or 'nothing'}"
        return f"{title}: expected {wanted}, got {found}"


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """Expectations, and the policies they are about."""

    cases: tuple[Case, ...]
    policies: str | None  # the whole set; None = those of the running factory

    def run(self) -> list[Result]:
        """Every case by the policies of the table."""
        engine = Engine(self.policies or text_of(()))
        return [_run(engine, case) for case in self.cases]


class _Written(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    cases: Annotated[tuple[Case, ...], Meta(min_length=1, max_length=CASES_MAX)]
    policies: tuple[str, ...] | None = None  # factory files, relative to the table


def read_table(text: str, folder: Path) -> Table:
    """A table from YAML; raises Refused for what is none, and for policies that `plan` would refuse."""
    try:
        written = msgspec.yaml.decode(text, type=_Written)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Refused(
            "policy_table_invalid",
            f"The table cannot be read: {error}.",
            hint="cases: [{principal: user:ann, action: release.promote, resource: Rollout/x, expect: deny}]",
        ) from error
    if written.policies is None:
        return Table(cases=written.cases, policies=None)
    kinds = catalogue()
    sources = read_sources([str(folder / name) for name in written.policies])
    documents = parse_sources(sources, kinds)
    records = [record_of(one.content) for one in documents if one.content.kind == POLICY]
    return Table(cases=written.cases, policies=_checked(records))


def _checked(records: Sequence[Record]) -> str:
    kind = catalogue().find(POLICY)
    world = {(record.kind, record.name): record for record in records}
    specs: list[PolicySpec] = []
    for record in sorted(records, key=lambda one: one.name):
        spec = decode_spec(kind, record.spec)
        for problem in kind.check(spec, record, world):
            raise Refused("policy_invalid", f"Policy/{record.name}: {problem.message}", hint=problem.hint)
        specs.append(spec)
    return text_of(specs)


def _run(engine: Engine, case: Case) -> Result:
    kind, _, name = case.principal.partition(":")
    try:
        principal = msgspec.convert(
            {
                "kind": kind,
                "id": name or kind,
                "roles": case.roles,
                "cohorts": case.cohorts,
                "team": case.team,
                "label": case.label or "restricted",
            },
            Principal,
        )
    except msgspec.ValidationError as error:
        raise Refused("principal_unknown", f"'{case.principal}' names nobody: {error}.") from error
    thing, _, named = case.resource.partition("/")
    resource = Resource(kind=thing or "Factory", name=named, attributes=case.attributes)
    decision = engine.decide(principal, case.action, resource, case.context)
    return case.judge(decision.allowed, decision.policies)
