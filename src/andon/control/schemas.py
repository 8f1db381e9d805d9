"""JSON Schemas of the kinds, envelope included: what editors complete and check factory files with.

Made from the same types that the reader checks by; written nowhere by hand.
"""

from __future__ import annotations

from typing import Any

import msgspec

from andon.control.catalogue import Catalogue
from andon.control.kinds import API_VERSION, Kind
from andon.control.resources import LABEL_LENGTH_MAX, NAME_LENGTH_MAX

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def schema_of(kind: Kind) -> dict[str, Any]:
    """The schema of one resource of a kind (JSON Schema 2020-12)."""
    (spec,), definitions = msgspec.json.schema_components([kind.spec], ref_template="#/$defs/{name}")
    return {"$schema": DRAFT, "title": kind.name, **_envelope(kind, spec), "$defs": definitions}


def schema_of_all(catalogue: Catalogue) -> dict[str, Any]:
    """One schema for any resource that people write, chosen by its kind."""
    kinds = catalogue.writable()
    specs, definitions = msgspec.json.schema_components(
        [kind.spec for kind in kinds], ref_template="#/$defs/{name}"
    )
    options = [_envelope(kind, spec) for kind, spec in zip(kinds, specs, strict=True)]
    return {"$schema": DRAFT, "title": "Andon resource", "oneOf": options, "$defs": definitions}


def _envelope(kind: Kind, spec: dict[str, Any]) -> dict[str, Any]:
    words = {"type": "object", "additionalProperties": {"type": "string"}}
    labels = {"type": "object", "additionalProperties": {"type": "string", "maxLength": LABEL_LENGTH_MAX}}
    name = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": NAME_LENGTH_MAX}
    required = ["apiVersion", "kind", "metadata"]
    if any(field.required for field in msgspec.structs.fields(kind.spec)):
        required.append("spec")
    return {
        "type": "object",
        "description": kind.summary,
        "properties": {
            "apiVersion": {"const": API_VERSION},
            "kind": {"const": kind.name},
            "metadata": {
                "type": "object",
                "properties": {"name": name, "labels": labels, "annotations": words},
                "required": ["name"],
                "additionalProperties": False,
            },
            "spec": spec,
        },
        "required": required,
        "additionalProperties": False,
    }
