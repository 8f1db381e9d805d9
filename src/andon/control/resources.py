"""One resource as people write it: the envelope, the rules of names, the typed spec, the canonical form, the digest.

Between the reader of factory files, which knows lines, and plan, which knows what is stored. Pure: no I/O, no clock.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

import msgspec

from andon.control.kinds import Kind
from andon.store.model import Record

NAME_LENGTH_MAX = 63
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")  # RFC 1123 §2.1
_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
KEY_LENGTH_MAX = 128
LABEL_LENGTH_MAX = 63
LABELS_MAX = 64
ANNOTATIONS_BYTES_MAX = 64 * 1024


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What people say about one resource, in canonical form: every field present, JSON types only."""

    kind: str
    name: str
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    spec: dict[str, Any] = {}

    @property
    def subject(self) -> str:
        """Its name everywhere: "Endpoint/credit"."""
        return f"{self.kind}/{self.name}"


def name_problem(name: str) -> str | None:
    """Why a string cannot name a resource, or None: RFC 1123 labels, because names become hosts, files and metrics."""
    if len(name) > NAME_LENGTH_MAX:
        return f"is {len(name)} characters long; at most {NAME_LENGTH_MAX} are allowed"
    if _LABEL.fullmatch(name) is None:
        return "must be lower-case letters, digits and '-', and begin and end with a letter or digit"
    return None


def label_problem(key: str, value: str) -> str | None:
    """Why a label cannot be kept, or None."""
    if len(key) > KEY_LENGTH_MAX or _KEY.fullmatch(key) is None:
        return "the key must be letters, digits, '-', '_' and '.', with an optional 'domain/' before it"
    if len(value) > LABEL_LENGTH_MAX:
        return f"the value is {len(value)} characters long; at most {LABEL_LENGTH_MAX} are allowed"
    return None


def annotations_problem(annotations: dict[str, str]) -> str | None:
    """Why annotations cannot be kept, or None."""
    size = sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())
    if size > ANNOTATIONS_BYTES_MAX:
        return f"annotations take {size} bytes; at most {ANNOTATIONS_BYTES_MAX} are allowed"
    return None


def decode_spec(kind: Kind, spec: Any) -> Any:
    """The typed spec of a kind; raises msgspec.ValidationError."""
    return msgspec.convert(spec, kind.spec)


def canonical_spec(kind: Kind, spec: Any) -> dict[str, Any]:
    """The spec with every default written out, as JSON types; raises msgspec.ValidationError."""
    decoded: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(decode_spec(kind, spec)))
    return decoded


def content_of(record: Record, kind: Kind | None = None) -> Content:
    """What people said of a stored resource.

    With its kind the spec is brought to today's canonical form, so that a field that a newer version added with a
    default is no change; a spec that no longer decodes is left as stored, and then differs, as it should.
    """
    spec = record.spec
    if kind is not None:
        try:
            spec = canonical_spec(kind, record.spec)
        except msgspec.ValidationError:
            spec = record.spec
    return Content(
        kind=record.kind, name=record.name, labels=record.labels, annotations=record.annotations, spec=spec
    )


def record_of(content: Content) -> Record:
    """The record that stores what people said; nobody owns it."""
    return Record(
        kind=content.kind,
        name=content.name,
        labels=content.labels,
        annotations=content.annotations,
        spec=content.spec,
    )


def digest_of(value: Any) -> str:
    """SHA-256, in hex, of the canonical JSON of a value: keys sorted, no spaces."""
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()
