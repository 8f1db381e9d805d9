"""Conditions over columns, once as SQL and once as a function of a row, with the same two-valued logic in both.

A leaf that meets null is false, so `Not` of it is true: no third value reaches a count. Values travel as parameters,
columns come from the closed list of the schema; nothing that a person wrote becomes SQL text.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import msgspec

from andon.observability.objectives.model import COLUMNS, Condition, Predicate

Test = Callable[[Any], bool]

_SYMBOLS = {"eq": "=", "ne": "<>", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}


class Leaf(msgspec.Struct, frozen=True):
    """A comparison of one column; `in`, `null` and `present` too."""

    column: str
    op: str
    value: Any = None


class All(msgspec.Struct, frozen=True):
    """Every part holds; true without parts."""

    parts: tuple[Expression, ...]


class Some(msgspec.Struct, frozen=True):
    """Some part holds; false without parts."""

    parts: tuple[Expression, ...]


class Not(msgspec.Struct, frozen=True):
    """The part does not hold."""

    part: Expression


Expression = Leaf | All | Some | Not
TRUE = All(())
FALSE = Some(())


def expression_of(predicate: Predicate) -> Expression:
    """A written predicate as an expression."""
    parts: tuple[Expression, ...] = tuple(_leaf(condition) for condition in predicate.all)
    if predicate.any:
        parts = (*parts, Some(tuple(_leaf(condition) for condition in predicate.any)))
    return All(parts)


def _leaf(condition: Condition) -> Leaf:
    return Leaf(condition.column, condition.op, condition.value)


def sql_of(expression: Expression, parameters: list[Any], prefix: str = "") -> str:
    """The expression as SQL that is true or false; values are appended to `parameters` (positional, `?`)."""
    if isinstance(expression, All):
        return _joined(" AND ", "true", expression.parts, parameters, prefix)
    if isinstance(expression, Some):
        return _joined(" OR ", "false", expression.parts, parameters, prefix)
    if isinstance(expression, Not):
        return f"(NOT {sql_of(expression.part, parameters, prefix)})"
    if expression.column not in COLUMNS:
        raise ValueError(f"'{expression.column}' is not a column that may be compared")
    column = prefix + expression.column
    if expression.op == "null":
        return f"({column} IS NULL)"
    if expression.op == "present":
        return f"({column} IS NOT NULL)"
    if expression.op == "in":
        values = list(expression.value)
        if not values:
            return "false"
        parameters += values
        return f"coalesce({column} IN ({', '.join('?' * len(values))}), false)"
    parameters.append(expression.value)
    return f"coalesce({column} {_SYMBOLS[expression.op]} ?, false)"


def _joined(word: str, empty: str, parts: tuple[Expression, ...], parameters: list[Any], prefix: str) -> str:
    return f"({word.join(sql_of(part, parameters, prefix) for part in parts)})" if parts else empty


def test_of(expression: Expression) -> Test:
    """The expression as a function of anything that has the columns as attributes."""
    if isinstance(expression, All):
        return _test_of_all([test_of(part) for part in expression.parts])
    if isinstance(expression, Some):
        return _test_of_any([test_of(part) for part in expression.parts])
    if isinstance(expression, Not):
        part = test_of(expression.part)
        return lambda row: not part(row)
    get = operator.attrgetter(expression.column)
    if expression.op == "null":
        return lambda row: get(row) is None
    if expression.op == "present":
        return lambda row: get(row) is not None
    if expression.op == "in":
        values = frozenset(expression.value)
        return lambda row: get(row) in values  # null is in no list
    compare, value = _OPERATORS[expression.op], expression.value

    def compared(row: Any) -> bool:
        found = get(row)
        return found is not None and compare(found, value)

    return compared


def _test_of_all(tests: list[Test]) -> Test:
    if not tests:
        return lambda row: True
    if len(tests) == 1:
        return tests[0]
    if len(tests) == 2:
        first, second = tests
        return lambda row: first(row) and second(row)
    return lambda row: all(test(row) for test in tests)


def _test_of_any(tests: list[Test]) -> Test:
    if not tests:
        return lambda row: False
    if len(tests) == 1:
        return tests[0]
    if len(tests) == 2:
        first, second = tests
        return lambda row: first(row) or second(row)
    return lambda row: any(test(row) for test in tests)
