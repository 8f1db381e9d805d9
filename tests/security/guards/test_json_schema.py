"""JSON Schema as guards hold it, against the reference implementation."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andon.kernel.errors import Refused
from andon.security.guards.json_schema import DEPTH_MAX, Schema

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.sampled_from([0.5, 1.0, -2.0]),
    st.sampled_from(["", "a", "ab", "b1"]),
)
NAMES = st.sampled_from(["a", "b", "ab"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
LEAVES = st.one_of(
    st.booleans(),
    st.builds(
        lambda name: {"type": name},
        st.sampled_from(["null", "boolean", "integer", "number", "string", "array", "object"]),
    ),
    st.builds(
        lambda names: {"type": names},
        st.lists(st.sampled_from(["integer", "string"]), min_size=1, unique=True),
    ),
    st.builds(lambda values: {"enum": values}, st.lists(VALUES, min_size=1, max_size=3)),
    st.builds(lambda value: {"const": value}, VALUES),
    st.builds(
        lambda key, bound: {key: bound},
        st.sampled_from(["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"]),
        st.integers(-3, 3),
    ),
    st.builds(
        lambda key, bound: {key: bound},
        st.sampled_from(["minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"]),
        st.integers(0, 2),
    ),
    st.builds(lambda text: {"pattern": text}, st.sampled_from(["^a", "b$", "[0-9]", "^a{1,2}$"])),
    st.builds(lambda step: {"multipleOf": step}, st.sampled_from([1, 2, 0.5])),
    st.builds(lambda names: {"required": names}, st.lists(NAMES, max_size=2, unique=True)),
    st.just({"uniqueItems": True}),
)


def nested(inner: Any) -> Any:
    return st.one_of(
        st.builds(
            lambda key, some: {key: some},
            st.sampled_from(["allOf", "anyOf", "oneOf", "prefixItems"]),
            st.lists(inner, min_size=1, max_size=3),
        ),
        st.builds(
            lambda key, one: {key: one},
            st.sampled_from(["not", "items", "additionalProperties", "propertyNames"]),
            inner,
        ),
        st.builds(lambda some: {"properties": some}, st.dictionaries(NAMES, inner, max_size=2)),
        st.builds(
            lambda some, patterns, rest: {
                "properties": some,
                "patternProperties": patterns,
                "additionalProperties": rest,
            },
            st.dictionaries(NAMES, inner, max_size=2),
            st.dictionaries(st.sampled_from(["^a", "b"]), inner, max_size=2),
            inner,
        ),
        st.builds(
            lambda first, rest: {"prefixItems": first, "items": rest},
            st.lists(inner, min_size=1, max_size=2),
            inner,
        ),
    )


@settings(max_examples=400, deadline=None)
@given(st.recursive(LEAVES, nested, max_leaves=6), VALUES)
def test_what_is_accepted_is_what_the_reference_accepts(schema: Any, value: Any) -> None:
    expected = jsonschema.Draft202012Validator(schema).is_valid(value)
    assert Schema(schema).accepts(value) == expected


def test_references_and_what_refers_to_itself() -> None:
    tree = {
        "$ref": "#/$defs/node",
        "$defs": {
            "node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}, "required": ["v"]}
        },
    }
    assert Schema(tree).accepts({"v": 1, "next": {"v": 2}})
    assert not Schema(tree).accepts({"v": 1, "next": {}})
    deep: dict[str, Any] = {"v": 1}
    for _ in range(DEPTH_MAX):
        deep = {"v": 1, "next": deep}
    assert not Schema(tree).accepts(deep)
    assert not Schema({"$ref": "#"}).accepts(1)  # it never ends, and is not accepted


@pytest.mark.parametrize(
    "schema",
    [
        {"if": True},
        {"type": "text"},
        {"type": 3},
        {"$ref": "http://x"},
        {"$ref": "#/nothing"},
        {"minimum": "1"},
        {"multipleOf": 0},
        3,
        {"pattern": "(a+)+b"},
        {"allOf": 3},
    ],
)
def test_a_schema_that_cannot_be_held_is_refused(schema: Any) -> None:
    with pytest.raises(Refused):
        Schema(schema)
