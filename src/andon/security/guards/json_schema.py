"""JSON Schema (draft 2020-12), as far as it can be held exactly: compiled once, asked on every answer.

A keyword that is not known here refuses the schema: what is declared and not held would be a lie. Formats are
annotations, as the draft has them. Pure; the tests hold it against the `jsonschema` package.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from andon.kernel.errors import Refused
from andon.security.guards.regex_safety import width_of

DEPTH_MAX: Final = 64  # of schemas within schemas, and of values
_ANNOTATIONS: Final = frozenset(
    ("$schema", "$id", "$comment", "title", "description", "default", "examples", "format", "deprecated", "readOnly",
     "writeOnly", "$defs", "definitions", "contentEncoding", "contentMediaType")
)  # fmt: skip
PATTERN_TEXT_MAX: Final = 10_000  # characters of a text that a pattern is held against; a longer one fails it

Check = Callable[[Any, int], bool]


class Schema:
    """A schema, compiled. Raises Refused for one that cannot be held."""

    def __init__(self, schema: Any) -> None:
        self._root = schema
        self._known: dict[int, Check] = {}
        self._check = self._compile(schema, "", 0)

    def accepts(self, value: Any) -> bool:
        """Whether a value of JSON fulfils it. A value nested deeper than the bound does not."""
        return self._check(value, 0)

    def _compile(self, schema: Any, at: str, depth: int) -> Check:
        if schema is True or schema == {}:
            return lambda value, nested: True
        if schema is False:
            return lambda value, nested: False
        if not isinstance(schema, dict) or depth > DEPTH_MAX:
            raise _refused(at, "it is neither an object nor true or false, or nested too deeply")
        checks: list[Check] = []
        for keyword, argument in schema.items():
            if keyword in _ANNOTATIONS:
                continue
            maker = (
                getattr(self, f"_{keyword.replace('$', 'dollar_')}", None) if keyword in _KEYWORDS else None
            )
            if maker is None:
                raise _refused(f"{at}/{keyword}", "this keyword is not known")
            try:
                checks.append(maker(argument, schema, f"{at}/{keyword}", depth + 1))
            except (TypeError, ValueError, AttributeError, LookupError) as error:
                raise _refused(f"{at}/{keyword}", "its value is not what the keyword takes") from error
        return lambda value, nested: nested <= DEPTH_MAX and all(check(value, nested) for check in checks)

    def _dollar_ref(self, reference: str, schema: Mapping[str, Any], at: str, depth: int) -> Check:
        if not reference.startswith("#"):
            raise _refused(at, "only references within the schema can be followed")
        found = self._root
        for step in reference[1:].split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")
            found = found[int(step)] if isinstance(found, list) else found.get(step) if found else None
            if found is None:
                raise _refused(at, f"there is no {reference}")
        key = id(found)
        if key not in self._known:
            self._known[key] = _yes  # while it refers to itself; what is asked later is the whole
            self._known[key] = self._compile(found, reference, depth)
        # What refers to itself at the same value would never end: each step counts as one level.
        return lambda value, nested: nested < DEPTH_MAX and self._known[key](value, nested + 1)

    def _type(self, names: Any, schema: Mapping[str, Any], at: str, depth: int) -> Check:
        tests = tuple(_TYPES[name] for name in ([names] if isinstance(names, str) else names))
        return lambda value, nested: any(test(value) for test in tests)

    def _enum(self, values: list[Any], schema: Mapping[str, Any], at: str, depth: int) -> Check:
        known = [_canonical(one) for one in values]
        return lambda value, nested: _canonical(value) in known

    def _const(self, constant: Any, schema: Mapping[str, Any], at: str, depth: int) -> Check:
        known = _canonical(constant)
        return lambda value, nested: _canonical(value) == known

    def _properties(
        self, schemas: Mapping[str, Any], schema: Mapping[str, Any], at: str, depth: int
    ) -> Check:
        named = {name: self._compile(one, f"{at}/{name}", depth) for name, one in schemas.items()}
        patterns = [
            (_pattern(text, at), self._compile(one, f"{at}/{text}", depth))
            for text, one in schema.get("patternProperties", {}).items()
        ]
        rest = self._compile(schema.get("additionalProperties", True), f"{at}/additionalProperties", depth)

        def check(value: Any, nested: int) -> bool:
            if not isinstance(value, dict):
                return True
            for name, one in value.items():
                tests = [test for pattern, test in patterns if pattern.search(name)]
                if name in named:
                    tests.append(named[name])
                if not all(test(one, nested + 1) for test in tests or [rest]):
                    return False
            return True

        return check

    def _patternProperties(self, schemas: Any, schema: Mapping[str, Any], at: str, depth: int) -> Check:  # noqa: N802  a keyword
        return _yes if "properties" in schema else self._properties({}, schema, at, depth)

    def _additionalProperties(self, rest: Any, schema: Mapping[str, Any], at: str, depth: int) -> Check:  # noqa: N802  a keyword
        together = "properties" in schema or "patternProperties" in schema
        return _yes if together else self._properties({}, schema, at, depth)

    def _propertyNames(self, names: Any, schema: Mapping[str, Any], at: str, depth: int) -> Check:  # noqa: N802  a keyword
        test = self._compile(names, at, depth)
        return lambda value, nested: (
            not isinstance(value, dict) or all(test(name, nested + 1) for name in value)
        )

    def _required(self, names: list[str], schema: Mapping[str, Any], at: str, depth: int) -> Check:
        wanted = tuple(names)
        return lambda value, nested: not isinstance(value, dict) or all(name in value for name in wanted)

    def _items(self, items: Any, schema: Mapping[str, Any], at: str, depth: int) -> Check:
        test = self._compile(items, at, depth)
        first = len(schema.get("prefixItems", ()))
        return lambda value, nested: (
            not isinstance(value, list) or all(test(one, nested + 1) for one in value[first:])
        )

    def _prefixItems(self, items: list[Any], schema: Mapping[str, Any], at: str, depth: int) -> Check:  # noqa: N802  a keyword
        tests = [self._compile(one, f"{at}/{index}", depth) for index, one in enumerate(items)]
        return lambda value, nested: (
            not isinstance(value, list)
            or all(test(one, nested + 1) for test, one in zip(tests, value, strict=False))
        )

    def _uniqueItems(self, wanted: bool, schema: Mapping[str, Any], at: str, depth: int) -> Check:  # noqa: N802  a keyword
        def check(value: Any, nested: int) -> bool:
            return not isinstance(value, list) or len({_canonical(one) for one in value}) == len(value)

        return check if wanted else _yes

    def _allOf(self, schemas: list[Any], schema: Mapping[str, Any], at: str, depth: int) -> Check:  # noqa: N802  a keyword
        tests = self._each(schemas, at, depth)
        return lambda value, nested: all(test(value, nested) for test in tests)

    def _anyOf(self, schemas: list[Any], schema: Mapping[str, Any], at: str, depth: int) -> Check:  # noqa: N802  a keyword
        tests = self._each(schemas, at, depth)
        return lambda value, nested: any(test(value, nested) for test in tests)

    def _oneOf(self, schemas: list[Any], schema: Mapping[str, Any], at: str, depth: int) -> Check:  # noqa: N802  a keyword
        tests = self._each(schemas, at, depth)
        return lambda value, nested: sum(test(value, nested) for test in tests) == 1

    def _not(self, other: Any, schema: Mapping[str, Any], at: str, depth: int) -> Check:
        test = self._compile(other, at, depth)
        return lambda value, nested: not test(value, nested)

    def _each(self, schemas: list[Any], at: str, depth: int) -> list[Check]:
        return [self._compile(one, f"{at}/{index}", depth) for index, one in enumerate(schemas)]

    def _pattern(self, text: str, schema: Mapping[str, Any], at: str, depth: int) -> Check:
        pattern = _pattern(text, at)
        return lambda value, nested: (
            not isinstance(value, str)
            or (len(value) <= PATTERN_TEXT_MAX and pattern.search(value) is not None)
        )

    def _multipleOf(self, step: float, schema: Mapping[str, Any], at: str, depth: int) -> Check:  # noqa: N802  a keyword
        if not step > 0:
            raise ValueError(at)

        def check(value: Any, nested: int) -> bool:
            if not _is_number(value):
                return True
            if isinstance(value, int) and isinstance(step, int):
                return value % step == 0
            quotient = value / step
            return math.isfinite(quotient) and quotient == int(quotient)

        return check

    def _bound(self, keyword: str, argument: float) -> Check:
        applies, measure, within = _BOUNDS[keyword]
        if not _is_number(argument):
            raise ValueError(keyword)
        return lambda value, nested: not applies(value) or within(measure(value), argument)

    def __getattr__(self, name: str) -> Any:
        keyword = name[1:]
        if name.startswith("_") and keyword in _BOUNDS:
            return lambda argument, schema, at, depth: self._bound(keyword, argument)
        raise AttributeError(name)


def _yes(value: Any, nested: int) -> bool:
    return True


def _refused(at: str, why: str) -> Refused:
    return Refused("guard_invalid", f"The JSON Schema cannot be held at '{at or '/'}': {why}.")


def _pattern(text: str, at: str) -> re.Pattern[str]:
    try:
        width_of(text, bounded=False)
    except Refused as error:
        raise _refused(at, error.message) from error
    return re.compile(text)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _canonical(value: Any) -> Any:
    """A value in a form in which equal values of JSON are equal: 1 and 1.0 are, 1 and true are not."""
    if isinstance(value, dict):
        return "object", frozenset((key, _canonical(one)) for key, one in value.items())
    if isinstance(value, list):
        return "list", tuple(_canonical(one) for one in value)
    return ("boolean" if isinstance(value, bool) else "number" if _is_number(value) else "text"), value


def _whole(value: Any) -> bool:
    return _is_number(value) and (isinstance(value, int) or value.is_integer())


_TYPES: Final[Mapping[str, Callable[[Any], bool]]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "integer": _whole,
    "number": _is_number,
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}
_AT_LEAST: Final[Callable[[Any, Any], bool]] = lambda size, bound: bool(size >= bound)  # noqa: E731  a table's entry
_AT_MOST: Final[Callable[[Any, Any], bool]] = lambda size, bound: bool(size <= bound)  # noqa: E731  a table's entry
_BOUNDS: Final[
    Mapping[str, tuple[Callable[[Any], bool], Callable[[Any], Any], Callable[[Any, Any], bool]]]
] = {
    "minimum": (_is_number, lambda value: value, _AT_LEAST),
    "maximum": (_is_number, lambda value: value, _AT_MOST),
    "exclusiveMinimum": (_is_number, lambda value: value, lambda size, bound: bool(size > bound)),
    "exclusiveMaximum": (_is_number, lambda value: value, lambda size, bound: bool(size < bound)),
    "minLength": (_TYPES["string"], len, _AT_LEAST),
    "maxLength": (_TYPES["string"], len, _AT_MOST),
    "minItems": (_TYPES["array"], len, _AT_LEAST),
    "maxItems": (_TYPES["array"], len, _AT_MOST),
    "minProperties": (_TYPES["object"], len, _AT_LEAST),
    "maxProperties": (_TYPES["object"], len, _AT_MOST),
}
_KEYWORDS: Final = frozenset(
    ("$ref", "type", "enum", "const", "properties", "patternProperties", "additionalProperties", "propertyNames",
     "required", "items", "prefixItems", "uniqueItems", "allOf", "anyOf", "oneOf", "not", "pattern", "multipleOf",
     *_BOUNDS)
)  # fmt: skip
