"""What is wrong with a factory's policies, before they are in force: found at `plan`, with the line.

Pure. The whole set is looked at together, because ids must be unique in it and because nobody may be locked out by it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import cedarpy
import msgspec

from andon.control.kinds import Kind, Problem, World
from andon.kernel.access import Resource
from andon.kernel.errors import Refused
from andon.kernel.principals import Principal
from andon.security.policy.engine import Engine
from andon.security.policy.model import POLICY, PolicySpec, text_of
from andon.security.policy.text import Statement, built_in, statements
from andon.security.policy.vocabulary import Vocabulary, schema_of
from andon.store.model import Record

ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
ADMINISTRATOR: Final = Principal(kind="user", id="admin", roles=("administrator",))
_PATH: Final = "spec.cedar"
_GENERATED_ID = re.compile(r"for policy `[^`]*`, ")


def policy_kind(vocabulary: Vocabulary) -> Kind:
    """The kind `Policy`, which knows the words of this version."""
    schema = schema_of(vocabulary)

    def check(spec: PolicySpec, record: Record, world: World) -> list[Problem]:
        return check_policy(spec, record, world, schema)

    return Kind(
        name=POLICY,
        plural="policies",
        short=("pol",),
        spec=PolicySpec,
        summary="Who may do what, on both planes, in Cedar.",
        check=check,
        columns=(("DESCRIPTION", "spec.description"),),
    )


def check_policy(spec: PolicySpec, record: Record, world: World, schema: str) -> list[Problem]:
    """Everything wrong with one resource; what is wrong with all together is told of the first by name."""
    built = {one.id for one in statements(built_in())}
    problems = [
        Problem(
            path="spec.replaces",
            message=f"There is no built-in policy '{id_}'.",
            hint="There are: " + ", ".join(sorted(built)),
        )
        for id_ in spec.replaces
        if id_ not in built
    ]
    others = _specs(world, but=record.name)
    taken = {one.id: "a built-in policy" for one in statements(text_of(()))}
    for name, other in others.items():
        taken |= {one.id: f"{POLICY}/{name}" for one in statements(other.cedar)}
        for id_ in other.replaces:
            taken.pop(id_, None)
    for id_ in spec.replaces:
        taken.pop(id_, None)
    seen: dict[str, int] = {}
    found = list(statements(spec.cedar))
    for statement in found:
        problems += _check_one(statement, schema, taken, seen)
    if not found:
        problems.append(Problem(path=_PATH, message="There is no policy in it."))
    if not problems and record.name == min([record.name, *others]):
        problems += locked_out({**others, record.name: spec})
    return problems


def _check_one(
    statement: Statement, schema: str, taken: Mapping[str, str], seen: dict[str, int]
) -> list[Problem]:
    def problem(message: str, hint: str = "") -> Problem:
        return Problem(path=_PATH, message=f"line {statement.line}: {message}", hint=hint)

    try:
        read = Engine(statement.text)
        told = cedarpy.validate_policies(statement.text, schema)
    except (Refused, ValueError, RecursionError) as error:
        return [problem(str(error), hint='Every policy has the form: @id("name") permit (…) when { … };')]
    id_ = read.heads[0].id
    if not ID.fullmatch(id_):
        return [problem(f"'{id_}' is no id.", hint="Use a-z, 0-9, dots, hyphens and underscores.")]
    if id_ in seen or id_ in taken:
        where = f"line {seen[id_]}" if id_ in seen else taken[id_]
        return [problem(f"The id '{id_}' is taken by {where}.", hint="Give every policy its own @id.")]
    seen[id_] = statement.line
    return [
        problem(f"{id_}: {_GENERATED_ID.sub('', error.error)}", _hint(error.error)) for error in told.errors
    ]


def _hint(error: str) -> str:
    if "applicable action" in error:
        return 'Groups are written with `in`: action in Action::"infer". The words: `andon policies schema`.'
    if "optional attribute" in error:
        return "Ask first whether it is there: context has address && …"
    return "The words that policies may use: `andon policies schema`."


def locked_out(specs: Mapping[str, PolicySpec]) -> Sequence[Problem]:
    """Whether the factory's administrator could still change what these policies say."""
    engine = Engine(text_of(specs[name] for name in sorted(specs)))
    context = {"hour": 12, "approvals": 0, "approvers": (), "change": "update", "address": "127.0.0.1"}
    things = [Resource(), *(Resource(kind=POLICY, name=name) for name in specs)]
    for action in ("factory.plan", "factory.apply"):
        for thing in things if action == "factory.apply" else things[:1]:
            decision = engine.decide(ADMINISTRATOR, action, thing, context)
            if not decision.allowed:
                why = (
                    f"forbidden by {', '.join(decision.policies)}"
                    if decision.policies
                    else "permitted by nothing"
                )
                what = f"{action} on {thing.kind}" + (f"/{thing.name}" if thing.name else "")
                return [
                    Problem(
                        path=_PATH,
                        message=f"It would lock everybody out: {what} would be {why} for the factory's"
                        " own administrator.",
                        hint='Exempt it: unless { principal == User::"admin" }.',
                    )
                ]
    return ()


def _specs(world: World, but: str) -> dict[str, PolicySpec]:
    found = {}
    for (kind, name), record in world.items():
        if kind == POLICY and name != but:
            try:
                found[name] = msgspec.convert(record.spec, PolicySpec)
            except msgspec.ValidationError:
                continue  # its own check says so
    return found
