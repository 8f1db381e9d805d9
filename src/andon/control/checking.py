"""Everything wrong with a value against a type, at once and each at its path.

`msgspec.convert` judges but stops at its first complaint; this walks the same types to find the others, and to name the
nearest valid field. What it lets pass is still converted as a whole at the end: msgspec has the last word.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from andon.control.nearest import nearest
from andon.control.reading import Path
from andon.kernel.redaction import calm

_AT = re.compile(r" - at `\$(.*)`$")


class Wrong(msgspec.Struct, frozen=True, kw_only=True):
    """One complaint."""

    path: Path
    message: str
    hint: str = ""
    at_key: bool = True  # whether the path itself is in the file (a missing field is not)


def find_wrong(value: Any, expected: Any, path: Path = ()) -> list[Wrong]:
    """Every complaint about a value; empty if and only if msgspec converts it."""
    found = list(_walk(value, expected, path))
    if not found:
        complaint = _convert(value, expected)
        if complaint is not None:
            text, below = complaint
            found.append(Wrong(path=path + below, message=text))
    return found


def _walk(value: Any, expected: Any, path: Path) -> Iterator[Wrong]:
    bare = get_args(expected)[0] if get_origin(expected) is Annotated else expected
    origin, arguments = get_origin(bare), get_args(bare)
    if origin in (Union, types.UnionType):
        yield from _walk_union(value, expected, arguments, path)
    elif isinstance(bare, type) and issubclass(bare, msgspec.Struct) and isinstance(value, dict):
        yield from _walk_struct(value, bare, path)
    elif (
        origin in (list, tuple, set, frozenset) and isinstance(value, list) and _is_uniform(origin, arguments)
    ):
        below = [
            wrong for index, item in enumerate(value) for wrong in _walk(item, arguments[0], (*path, index))
        ]
        yield from below or _leaf(value, expected, path)
    elif origin is dict and isinstance(value, dict):
        below = [wrong for key, item in value.items() for wrong in _walk(item, arguments[1], (*path, key))]
        yield from below or _leaf(value, expected, path)
    else:
        yield from _leaf(value, expected, path)


def _walk_struct(value: dict[str, Any], struct: type[msgspec.Struct], path: Path) -> Iterator[Wrong]:
    config = struct.__struct_config__
    tag_field = config.tag_field if config.tag is not None else None
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    for name, item in value.items():
        if name in fields:
            yield from _walk(item, fields[name].type, (*path, name))
        elif config.forbid_unknown_fields and name != tag_field:
            near = nearest(name, [known for known in fields if known not in value] or fields)
            listed = ", ".join(fields) or "none at all"
            hint = f"did you mean {near}?" if near else f"fields here are {listed}"
            yield Wrong(path=(*path, name), message=f"unknown field '{calm(name)}'", hint=hint)
    for name, field in fields.items():
        if field.required and name not in value:
            yield Wrong(path=(*path, name), message="is required and missing", at_key=False)


def _walk_union(value: Any, expected: Any, arguments: tuple[Any, ...], path: Path) -> Iterator[Wrong]:
    """A value of one of several types: go down into the one that the value means to be, if that is clear."""
    if value is None and type(None) in arguments:
        return
    options = [argument for argument in arguments if argument is not type(None)]
    structs = [
        option for option in options if isinstance(option, type) and issubclass(option, msgspec.Struct)
    ]
    if len(options) == 1:
        yield from _walk(value, options[0], path)
    elif isinstance(value, dict) and len(structs) == 1:
        yield from _walk_struct(value, structs[0], path)
    elif isinstance(value, dict) and structs:
        configs = [(struct, struct.__struct_config__) for struct in structs]
        chosen = [struct for struct, config in configs if value.get(config.tag_field or "") == config.tag]
        yield from _walk_struct(value, chosen[0], path) if chosen else _leaf(value, expected, path)
    else:
        yield from _leaf(value, expected, path)


def _leaf(value: Any, expected: Any, path: Path) -> Iterator[Wrong]:
    complaint = _convert(value, expected)
    if complaint is None:
        return
    text, below = complaint
    bare = get_args(expected)[0] if get_origin(expected) is Annotated else expected
    hint = ""
    if get_origin(bare) is Literal:
        allowed = [str(word) for word in get_args(bare)]
        near = nearest(str(value), allowed)
        text = f"'{calm(str(value))}' is not allowed"
        hint = f"did you mean {near}?" if near else f"one of {', '.join(allowed)}"
    yield Wrong(path=path + below, message=text, hint=hint)


def _is_uniform(origin: Any, arguments: tuple[Any, ...]) -> bool:
    return bool(arguments) and (origin is not tuple or (len(arguments) == 2 and arguments[1] is Ellipsis))


def _convert(value: Any, expected: Any) -> tuple[str, Path] | None:
    """msgspec's own complaint and where, or None."""
    try:
        msgspec.convert(value, expected)
    except msgspec.ValidationError as error:
        text = str(error)
        found = _AT.search(text)
        text = text[: found.start()] if found else text
        plain = (
            text.replace("`", "").replace("Object ", "").replace("str", "text")
            if "Expected" in text
            else text
        )
        return _first_lower(plain.replace("`", "'")), _path_of(found[1]) if found else ()
    return None


def _path_of(text: str) -> Path:
    parts = re.findall(r"\[(\d+)\]|\.([^.\[]+)", text)
    return tuple(int(index) if index else name for index, name in parts)


def _first_lower(text: str) -> str:
    return text[:1].lower() + text[1:]
