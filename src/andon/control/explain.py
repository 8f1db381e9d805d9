"""The documentation of kinds and fields, read from the types themselves: `andon explain endpoint.spec.retries`.

The reference pages and the command line are made from this, so that what is documented is what is accepted.
"""

from __future__ import annotations

import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from andon.control.catalogue import Catalogue
from andon.control.kinds import Kind
from andon.control.nearest import nearest
from andon.kernel.errors import Refused


class FieldDoc(msgspec.Struct, frozen=True, kw_only=True):
    """One field as a person may write it."""

    name: str
    type: str  # "text", "list of Step", "one of: abort, pause"
    description: str = ""
    required: bool = False
    default: Any = None


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """A kind or one of its fields, with the fields below it."""

    kind: str
    path: str  # "Endpoint.spec.retries"
    type: str
    description: str
    required: bool = False
    default: Any = None
    fields: tuple[FieldDoc, ...] = ()


def explain_path(catalogue: Catalogue, path: str) -> Explanation:
    """The documentation at a path: `endpoint`, `ep.strategy.steps`; `spec` may be left out. Raises Refused (404)."""
    word, *steps = path.strip(".").split(".")
    kind = catalogue.find(word)
    steps = steps[1:] if steps[:1] == ["spec"] else steps
    here = Explanation(
        kind=kind.name,
        path=kind.name,
        type="resource",
        description=kind.summary,
        fields=fields_of(kind.spec),
    )
    below: Any = kind.spec
    for step in steps:
        name = step.split("[")[0]
        found = {field.encode_name: field for field in _fields(below)}
        if name not in found:
            raise _no_field(kind, here.path, name, list(found))
        below = found[name].type
        doc = _doc(found[name])
        here = Explanation(
            kind=kind.name,
            path=f"{here.path}.spec.{name}" if here.path == kind.name else f"{here.path}.{name}",
            type=doc.type,
            description=doc.description,
            required=doc.required,
            default=doc.default,
            fields=fields_of(below),
        )
    return here


def fields_of(kind: Any) -> tuple[FieldDoc, ...]:
    """The fields of a struct, or of the structs inside an optional, list or union; empty for leaves."""
    return tuple(_doc(field) for field in _fields(kind))


def structs_in(annotation: Any) -> list[type[msgspec.Struct]]:
    """The structs that a value of this type is made of, one level down."""
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return [annotation]
    inner = get_args(annotation)[:1] if get_origin(annotation) is Annotated else get_args(annotation)
    return [struct for argument in inner for struct in structs_in(argument)]


def spelled(annotation: Any) -> str:
    """A type in words that a person who writes YAML knows."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return spelled(arguments[0])
    if origin is Literal:
        return "one of: " + ", ".join(str(value) for value in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(spelled(argument) for argument in arguments if argument is not type(None))
    if origin in (list, tuple, set, frozenset):
        return f"list of {spelled(arguments[0])}" if arguments else "list"
    if origin is dict:
        return f"map of {spelled(arguments[1])}"
    names = {
        str: "text",
        int: "integer",
        float: "number",
        bool: "true or false",
        Any: "anything",
        dict: "map",
    }
    return names.get(annotation) or str(getattr(annotation, "__name__", annotation))


def _fields(annotation: Any) -> list[msgspec.structs.FieldInfo]:
    found: dict[str, msgspec.structs.FieldInfo] = {}
    for struct in structs_in(annotation):
        for field in msgspec.structs.fields(struct):
            found.setdefault(field.encode_name, field)
    return list(found.values())


def _doc(field: msgspec.structs.FieldInfo) -> FieldDoc:
    default = field.default
    if default is msgspec.NODEFAULT and field.default_factory is not msgspec.NODEFAULT:
        default = field.default_factory()
    return FieldDoc(
        name=field.encode_name,
        type=spelled(field.type),
        description=_description(field.type),
        required=field.required,
        default=None if default is msgspec.NODEFAULT else msgspec.to_builtins(default),
    )


def _description(annotation: Any) -> str:
    if get_origin(annotation) is Annotated:
        for extra in get_args(annotation)[1:]:
            if isinstance(extra, msgspec.Meta) and extra.description:
                return str(extra.description)
    for struct in structs_in(annotation):
        return str(struct.__doc__ or "").strip().split("\n", maxsplit=1)[0]
    return ""


def _no_field(kind: Kind, path: str, name: str, known: list[str]) -> Refused:
    near = nearest(name, known)
    hint = (
        f"Did you mean {near}?"
        if near
        else f"Fields are {', '.join(known)}."
        if known
        else "It has no fields."
    )
    return Refused("unknown_field", f"{path} has no field '{name}'.", hint=hint, status=404, param="path")
