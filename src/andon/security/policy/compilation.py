"""Conditions of policies as Python functions: what Cedar says of them, without the way to Cedar and back.

Compiled from Cedar's JSON form (docs.cedarpolicy.com/policies/json-format.html), with the semantics of its
specification (Cutler et al., "Cedar", OOPSLA 2024, §3): operands are evaluated from the left, `&&`, `||` and `if` no
further than they must, wrong types and missing attributes are errors, numbers have 64 bits. Whatever is not written
here is not compiled and stays with Cedar: records, decimals, dates, and networks in unusual forms. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from andon.security.policy.facts import LONG_MAX, LONG_MIN, Facts, Value, member, network_of

DEPTH_MAX: Final = 40  # of expressions within one another; chains of && and || count once
Expression = Callable[[Facts], Value]
Condition = Callable[[Facts], bool]


class CannotEvaluateError(Exception):
    """The policy cannot be evaluated for this request: an error in Cedar too."""


class _NotCompiledError(Exception):
    """This stays with Cedar."""


def compile_conditions(conditions: Sequence[Mapping[str, Any]]) -> Condition | None:
    """Whether all of `when` hold and none of `unless`; None where only Cedar can tell.

    The condition raises CannotEvaluateError where Cedar reports an error of the policy.
    """
    if not conditions:
        return _always
    try:
        parts = []
        for condition in conditions:
            part = _compile(condition["body"], 0)
            parts.append(part if condition["kind"] == "when" else _one(_not, part))
    except _NotCompiledError:
        return None
    return _chain(parts, until=False)


def _always(facts: Facts) -> bool:
    return True


def _compile(node: Mapping[str, Any], depth: int) -> Expression:
    if depth > DEPTH_MAX or len(node) != 1:
        raise _NotCompiledError
    ((operator, told),) = node.items()
    build = _BUILDERS.get(operator)
    if build is not None:
        return build(told, depth + 1)
    if operator in _OF_ONE:
        return _one(_OF_ONE[operator], _compile(told["arg"], depth + 1))
    if operator in _OF_TWO:
        return _two(_OF_TWO[operator], *_sides(told, depth))
    if operator in _OF_TWO_THINGS:
        return _two_things(_OF_TWO_THINGS[operator], *_sides(told, depth))
    raise _NotCompiledError


def _sides(told: Mapping[str, Any], depth: int) -> tuple[Expression, Expression]:
    return _compile(told["left"], depth + 1), _compile(told["right"], depth + 1)


def _one(operation: Callable[[Value], Value], operand: Expression) -> Expression:
    return lambda facts: operation(operand(facts))


def _two(operation: Callable[[Value, Value], Value], left: Expression, right: Expression) -> Expression:
    return lambda facts: operation(left(facts), right(facts))


def _two_things(
    operation: Callable[[Facts, Value, Value], Value], left: Expression, right: Expression
) -> Expression:
    return lambda facts: operation(facts, left(facts), right(facts))


# Expressions that are more than an operation on values.


def _constant(told: Any, depth: int) -> Expression:
    value = _literal(told)
    return lambda facts: value


def _literal(told: Any) -> Value:
    if type(told) in (bool, int, str):
        return told
    if isinstance(told, dict) and set(told) == {"__entity"}:
        return told["__entity"]["type"], told["__entity"]["id"]
    raise _NotCompiledError


def _variable(told: str, depth: int) -> Expression:
    if told == "principal":
        return lambda facts: facts.principal
    if told == "resource":
        return lambda facts: facts.resource
    if told == "action":
        return lambda facts: facts.action
    raise _NotCompiledError  # the context as a whole is a record


def _attribute(told: Mapping[str, Any], depth: int) -> Expression:
    name = told["attr"]
    if not isinstance(name, str):
        raise _NotCompiledError
    if told["left"] == {"Var": "context"}:

        def field(facts: Facts) -> Value:
            try:
                return facts.context[name]
            except KeyError:
                raise CannotEvaluateError from None

        return field
    left = _compile(told["left"], depth)

    def attribute(facts: Facts) -> Value:
        try:
            return facts.things[_entity(left(facts))].attributes[name]
        except KeyError:
            raise CannotEvaluateError from None

    return attribute


def _has(told: Mapping[str, Any], depth: int) -> Expression:
    name = told["attr"]
    if not isinstance(name, str):
        raise _NotCompiledError
    if told["left"] == {"Var": "context"}:
        return lambda facts: name in facts.context
    left = _compile(told["left"], depth)

    def has(facts: Facts) -> bool:
        thing = facts.things.get(_entity(left(facts)))
        return thing is not None and name in thing.attributes

    return has


def _operands(operator: str, told: Mapping[str, Any], depth: int) -> list[Expression]:
    """The operands of a chain, from the left, however it is bracketed."""
    found: list[Expression] = []
    rest: list[Mapping[str, Any]] = [told["right"], told["left"]]
    while rest:
        node = rest.pop()
        if operator in node:
            rest += [node[operator]["right"], node[operator]["left"]]
        else:
            found.append(_compile(node, depth))
    return found


def _chain(operands: Sequence[Expression], *, until: bool) -> Condition:
    """The operands one after the other until one is `until`; then that, otherwise its opposite."""

    def chain(facts: Facts) -> bool:
        for operand in operands:
            if _boolean(operand(facts)) is until:
                return until
        return not until

    return chain


def _if(told: Mapping[str, Any], depth: int) -> Expression:
    asked, then, otherwise = (_compile(told[name], depth) for name in ("if", "then", "else"))
    return lambda facts: then(facts) if _boolean(asked(facts)) else otherwise(facts)


def _is(told: Mapping[str, Any], depth: int) -> Expression:
    left, type_ = _compile(told["left"], depth), told["entity_type"]
    if "in" not in told:
        return lambda facts: bool(_entity(left(facts))[0] == type_)
    right = _compile(told["in"], depth)

    def is_in(facts: Facts) -> bool:
        uid = _entity(left(facts))
        return uid[0] == type_ and _in(facts, uid, right(facts))

    return is_in


def _set(told: Sequence[Mapping[str, Any]], depth: int) -> Expression:
    if all(set(node) == {"Value"} for node in told):
        whole = frozenset([member(_literal(node["Value"])) for node in told])
        return lambda facts: whole
    parts = [_compile(node, depth) for node in told]
    return lambda facts: frozenset([member(part(facts)) for part in parts])


def _like(told: Mapping[str, Any], depth: int) -> Expression:
    pieces = [""]
    for part in told["pattern"]:
        if part == "Wildcard":
            pieces.append("")
        else:
            pieces[-1] += part["Literal"]
    left = _compile(told["left"], depth)
    return lambda facts: _matches(_text(left(facts)), pieces)


def _matches(text: str, pieces: Sequence[str]) -> bool:
    """Whether the pieces stand in the text in this order, the first at its beginning, the last at its end."""
    if len(pieces) == 1:
        return text == pieces[0]
    first, *between, last = pieces
    at, end = len(first), len(text) - len(last)
    if at > end or not text.startswith(first) or not text.endswith(last):
        return False
    for piece in between:
        found = text.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True


def _in_range(told: Sequence[Mapping[str, Any]], depth: int) -> Expression:
    """Only in networks that are written out, which are read once and here."""
    left, right = told
    network = None
    if set(right) == {"ip"} and set(right["ip"][0]) == {"Value"}:
        network = network_of(right["ip"][0]["Value"])
    if network is None:
        raise _NotCompiledError
    operand, kind = _compile(left, depth), type(network.network_address)
    base, mask = int(network.network_address), int(network.netmask)

    def in_range(facts: Facts) -> bool:
        address = operand(facts)
        if type(address) in _PLAIN:
            raise CannotEvaluateError
        return type(address) is kind and int(address) & mask == base

    return in_range


# Operations on values, each with the types that it takes.

_PLAIN: Final = frozenset((bool, int, str, tuple, frozenset))


def _boolean(value: Value) -> bool:
    if type(value) is not bool:
        raise CannotEvaluateError
    return value


def _text(value: Value) -> str:
    if type(value) is not str:
        raise CannotEvaluateError
    return value


def _entity(value: Value) -> tuple[str, str]:
    if type(value) is not tuple:
        raise CannotEvaluateError
    return value


def _collection(value: Value) -> frozenset[Value]:
    if type(value) is not frozenset:
        raise CannotEvaluateError
    return value


def _long(value: Value) -> int:
    if type(value) is not int:
        raise CannotEvaluateError
    return value


def _within_64_bits(value: int) -> int:
    if not LONG_MIN <= value <= LONG_MAX:
        raise CannotEvaluateError
    return value


def _not(value: Value) -> bool:
    return not _boolean(value)


def _same(left: Value, right: Value) -> bool:
    return type(left) is type(right) and bool(left == right)


def _in(facts: Facts, left: Value, right: Value) -> bool:
    uid = _entity(left)
    above: Iterable[tuple[str, str]] = (
        [_entity_member(one) for one in right] if type(right) is frozenset else (_entity(right),)
    )
    thing = facts.things.get(uid)
    mine = (uid,) if thing is None else thing.ancestors
    return any(one in mine for one in above)


def _entity_member(one: Value) -> tuple[str, str]:
    if type(one) is not tuple or one[0] is None:  # None marks a boolean: see `member`
        raise CannotEvaluateError
    return one


def _has_tag(facts: Facts, left: Value, right: Value) -> bool:
    uid, name = _entity(left), _text(right)
    thing = facts.things.get(uid)
    return thing is not None and name in thing.tags


def _get_tag(facts: Facts, left: Value, right: Value) -> Value:
    if not _has_tag(facts, left, right):
        raise CannotEvaluateError
    return facts.things[left].tags[right]


_OF_ONE: Final[Mapping[str, Callable[[Value], Value]]] = MappingProxyType(
    {
        "!": _not,
        "neg": lambda value: _within_64_bits(-_long(value)),
        "isEmpty": lambda value: not _collection(value),
    }
)
_OF_TWO: Final[Mapping[str, Callable[[Value, Value], Value]]] = MappingProxyType(
    {
        "==": _same,
        "!=": lambda left, right: not _same(left, right),
        "<": lambda left, right: _long(left) < _long(right),
        "<=": lambda left, right: _long(left) <= _long(right),
        ">": lambda left, right: _long(left) > _long(right),
        ">=": lambda left, right: _long(left) >= _long(right),
        "+": lambda left, right: _within_64_bits(_long(left) + _long(right)),
        "-": lambda left, right: _within_64_bits(_long(left) - _long(right)),
        "*": lambda left, right: _within_64_bits(_long(left) * _long(right)),
        "contains": lambda left, right: member(right) in _collection(left),
        "containsAll": lambda left, right: _collection(left) >= _collection(right),
        "containsAny": lambda left, right: not _collection(left).isdisjoint(_collection(right)),
    }
)
_OF_TWO_THINGS: Final[Mapping[str, Callable[[Facts, Value, Value], Value]]] = MappingProxyType(
    {"in": _in, "hasTag": _has_tag, "getTag": _get_tag}
)
_BUILDERS: Final[Mapping[str, Callable[[Any, int], Expression]]] = MappingProxyType(
    {
        "Value": _constant,
        "Var": _variable,
        ".": _attribute,
        "has": _has,
        "&&": lambda told, depth: _chain(_operands("&&", told, depth), until=False),
        "||": lambda told, depth: _chain(_operands("||", told, depth), until=True),
        "if-then-else": _if,
        "is": _is,
        "Set": _set,
        "like": _like,
        "isInRange": _in_range,
    }
)
