"""The kinds of resources: their names, their typed specs and the rules that no schema can say.

Each capability declares its kinds; `app` lists them; the factory file reader, `plan`, the API, the reference and the
JSON Schemas are all made from this one list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from andon.store.model import Record

API_VERSION = "andon/v1"


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing wrong with one resource, at a path such as `spec.strategy.steps[1].weight`."""

    path: str
    message: str
    hint: str = ""


# The other resources of the same document, by (kind, name), generated ones included.
World = Mapping[tuple[str, str], Record]
Check = Callable[[Any, Record, World], list[Problem]]


def no_check(spec: Any, record: Record, world: World) -> list[Problem]:
    """For kinds whose schema says everything."""
    return []


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of resource."""

    name: str  # "Endpoint"
    plural: str  # "endpoints"
    short: tuple[str, ...] = ()  # abbreviations on the command line: "ep"
    spec: type[msgspec.Struct]  # frozen, camelCase on the wire, unknown fields refused
    summary: str  # one line for the reference
    generated: bool = False  # made by controllers; refused in factory files
    check: Check = no_check  # references that do not exist, settings that cannot be enforced
    # (heading, path) of `andon get`, e.g. ("READY", "status.ready")
    columns: tuple[tuple[str, str], ...] = ()
