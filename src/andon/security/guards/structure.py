"""Guards that look at a request or an answer as a whole: its size, its tools, the schema of what it says.

Each names what is wrong, by a stable word, and never quotes it. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Protocol

import msgspec

from andon.kernel.errors import Refused
from andon.kernel.guarding import Content
from andon.security.guards.json_schema import Schema
from andon.security.guards.model import Place


class StructureDetector(Protocol):
    """Judges a content as a whole."""

    name: str
    version: str

    def check(self, content: Content, place: Place) -> Sequence[str]:
        """Names of what is wrong; nothing if all is well."""
        ...


class SizeSettings(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True
):
    """Settings of the detector `size`."""

    max_characters: Annotated[
        Annotated[int, msgspec.Meta(ge=1)] | None,
        msgspec.Meta(description="Of all texts at the guard's places together."),
    ] = None
    max_messages: Annotated[
        Annotated[int, msgspec.Meta(ge=1)] | None, msgspec.Meta(description="Of a chat.")
    ] = None
    max_depth: Annotated[
        Annotated[int, msgspec.Meta(ge=2)] | None,
        msgspec.Meta(description="How deep the JSON may be nested."),
    ] = None


class SizeDetector:
    """Finds what is too large."""

    name = "size"
    version = "1"

    def __init__(self, settings: SizeSettings) -> None:
        self._settings = settings

    def check(self, content: Content, place: Place) -> Sequence[str]:
        """See `StructureDetector`."""
        settings = self._settings
        found = []
        characters = sum(len(piece.text) for piece in content.pieces)
        if settings.max_characters is not None and characters > settings.max_characters:
            found.append("characters")
        if settings.max_messages is not None and content.messages > settings.max_messages:
            found.append("messages")
        if settings.max_depth is not None and content.depth > settings.max_depth:
            found.append("depth")
        return found


class ToolSettings(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True
):
    """Settings of the detector `tools`."""

    allow: Annotated[
        tuple[str, ...], msgspec.Meta(description="Names of tools that may be offered and called.")
    ]
    schemas: Annotated[
        dict[str, dict[str, Any]],
        msgspec.Meta(
            description="JSON Schema of a tool's arguments, by name; left out: the schema of the request's own offer."
        ),
    ] = {}


class ToolDetector:
    """Finds tools that are not allowed, and calls whose arguments are not what the tool takes."""

    name = "tools"
    version = "1"

    def __init__(self, settings: ToolSettings) -> None:
        self._allowed = frozenset(settings.allow)
        self._schemas = {name: Schema(schema) for name, schema in settings.schemas.items()}

    def check(self, content: Content, place: Place) -> Sequence[str]:
        """See `StructureDetector`."""
        if place != "output":
            return ["tool_offered" for offer in content.offers if offer.name not in self._allowed]
        found = []
        for call in content.calls:
            schema = self._schemas.get(call.name) or _offered(content, call.name)
            if call.name not in self._allowed:
                found.append("tool_called")
            elif schema is not None and not _fulfils(schema, call.arguments):
                found.append("tool_arguments")
        return found


def _offered(content: Content, name: str) -> Schema | None:
    """The schema that the request gave with its tool; None for one that cannot be held: it is the caller's own."""
    for offer in content.offers:
        if offer.name == name:
            try:
                return Schema(offer.parameters)
            except Refused:
                return None
    return None


class OutputSettings(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True
):
    """Settings of the detector `schema`."""

    schema: Annotated[
        dict[str, Any], msgspec.Meta(description="JSON Schema that every choice of an answer must fulfil.")
    ]


class OutputDetector:
    """Finds answers that are not what the schema says."""

    name = "schema"
    version = "1"

    def __init__(self, settings: OutputSettings) -> None:
        self._schema = Schema(settings.schema)

    def check(self, content: Content, place: Place) -> Sequence[str]:
        """See `StructureDetector`."""
        return ["schema" for answer in content.answers if not _fulfils(self._schema, answer)]


def _fulfils(schema: Schema, text: str) -> bool:
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return False
    return schema.accepts(value)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
