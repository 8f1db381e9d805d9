"""ONNX files: whether the bytes are a model, which operators it needs and which files it reads beside itself.

Follows graphs in nodes, functions and training steps to a bounded depth. Source of the field numbers: onnx.proto
(ModelProto, GraphProto, NodeProto, AttributeProto, TensorProto).
"""

from __future__ import annotations

from pathlib import PurePosixPath

from andon.security.admission.budget import Budget
from andon.security.admission.model import Finding
from andon.security.admission.opcodes import Buffer
from andon.security.admission.protobuf import Field, Unreadable, fields_of, text_of

DEPTH_MAX = 32
DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "ai.onnx.preview.training", "com.microsoft"})
_IR_VERSION, _PRODUCER, _GRAPH, _OPSETS, _TRAINING, _FUNCTIONS = 1, 2, 7, 8, 20, 25
_MODEL_FIELDS = frozenset((1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26))
_DATA_LOCATION_EXTERNAL = 1


def is_onnx(data: Buffer, budget: Budget) -> bool:
    """Whether the top level reads as a ModelProto with a graph."""
    if len(data) < 8 or data[0] != 0x08:
        return False
    seen: set[int] = set()
    try:
        for field in fields_of(data, 0, len(data), budget):
            if field.number not in _MODEL_FIELDS:
                return False
            seen.add(field.number)
    except Unreadable:
        return False
    return _GRAPH in seen and _IR_VERSION in seen


def scan_onnx(data: Buffer, path: str, budget: Budget) -> tuple[list[Finding], set[str]]:
    """Findings, and the files beside it that it takes its weights from. Raises `Exhausted`."""
    walk = _Walk(data, path, budget)
    try:
        walk.model()
    except Unreadable as error:
        walk.say("onnx-broken", f"It cannot be read: {error}.", severity="refused")
    return walk.findings, walk.beside


class _Walk:
    def __init__(self, data: Buffer, path: str, budget: Budget) -> None:
        self.findings: list[Finding] = []
        self.beside: set[str] = set()
        self._data = data
        self._path = path
        self._budget = budget
        self._said: set[tuple[str, str]] = set()

    def say(self, rule: str, message: str, subject: str = "", severity: str = "suspicious") -> None:
        if (rule, subject) not in self._said:
            self._said.add((rule, subject))
            self.findings.append(
                Finding(
                    rule=rule,
                    severity="refused" if severity == "refused" else "suspicious",
                    path=self._path,
                    message=message,
                    subject=subject,
                )
            )

    def model(self) -> None:
        own: set[str] = set()
        nodes: set[str] = set()
        for field in fields_of(self._data, 0, len(self._data), self._budget):
            if field.start < 0:
                continue
            if field.number == _GRAPH:
                nodes |= self._graph(field, 0)
            elif field.number == _FUNCTIONS:
                own.add(self._function(field, nodes))
            elif field.number == _TRAINING:
                for part in self._inside(field):
                    if part.number in (1, 2) and part.start >= 0:
                        nodes |= self._graph(part, 1)
        for domain in sorted(nodes - DOMAINS - own):
            shown = "".join(letter if letter.isprintable() else "?" for letter in domain[:80])
            self.say("onnx-operator", f"It needs operators of '{shown}', which only a library brings.", shown)

    def _inside(self, field: Field) -> list[Field]:
        return list(fields_of(self._data, field.start, field.end, self._budget))

    def _function(self, field: Field, nodes: set[str]) -> str:
        domain = ""
        for part in self._inside(field):
            if part.number == 7 and part.start >= 0:
                nodes |= self._node(part, 1)
            elif part.number == 10:
                domain = text_of(self._data, part)
        return domain

    def _graph(self, field: Field, depth: int) -> set[str]:
        if depth > DEPTH_MAX:
            raise Unreadable("graphs stand in graphs too deeply")
        domains: set[str] = set()
        for part in self._inside(field):
            if part.start < 0:
                continue
            if part.number == 1:
                domains |= self._node(part, depth)
            elif part.number == 5:
                self._tensor(part)
            elif part.number == 15:
                self._sparse(part)
        return domains

    def _node(self, field: Field, depth: int) -> set[str]:
        domains = {""}
        for part in self._inside(field):
            if part.number == 7 and part.start >= 0:
                domains.add(text_of(self._data, part))
            elif part.number == 5 and part.start >= 0:
                domains |= self._attribute(part, depth)
        return domains

    def _attribute(self, field: Field, depth: int) -> set[str]:
        domains: set[str] = set()
        for part in self._inside(field):
            if part.start < 0:
                continue
            if part.number in (6, 11):
                domains |= self._graph(part, depth + 1)
            elif part.number in (5, 10):
                self._tensor(part)
            elif part.number in (22, 23):
                self._sparse(part)
        return domains

    def _sparse(self, field: Field) -> None:
        for part in self._inside(field):
            if part.number in (1, 2) and part.start >= 0:
                self._tensor(part)

    def _tensor(self, field: Field) -> None:
        external, location = False, ""
        for part in self._inside(field):
            if part.number == 13 and part.start >= 0:
                key, value = "", ""
                for pair in self._inside(part):
                    if pair.number == 1:
                        key = text_of(self._data, pair)
                    elif pair.number == 2:
                        value = text_of(self._data, pair)
                location = value if key == "location" else location
                external = True
            elif part.number == 14 and part.value == _DATA_LOCATION_EXTERNAL:
                external = True
        if external:
            self._external(location)

    def _external(self, location: str) -> None:
        there = PurePosixPath(location.replace("\\", "/"))
        escapes = there.is_absolute() or ".." in there.parts or ":" in location or "\0" in location
        if not location or escapes:
            shown = "".join(letter if letter.isprintable() else "?" for letter in location[:120])
            message = f"It reads weights from '{shown}', outside of its folder."
            self.say("onnx-path", message, shown, "refused")
        else:
            self.beside.add(there.as_posix())
