"""YAML and JSON text to plain values and the line of each: the first thing that touches a factory file.

Built on the parser's events alone, with a stack instead of recursion, so that a hostile file meets a limit and not the
machine. Plain scalars follow YAML 1.2's core schema (`no` and `on` are text). Never constructs an object from a tag.
"""

from __future__ import annotations

import math
import re
from typing import Any, NoReturn

import msgspec
import yaml
from yaml import events as ev

from andon.control.faults import Fault, InvalidDocuments

TEXT_BYTES_MAX = 4 * 2**20
DEPTH_MAX = 64
NODES_MAX = 200_000  # per file, with every alias counted as often as it is expanded
PARSER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader

Path = tuple[str | int, ...]

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"true", "True", "TRUE"})
_FALSE = frozenset({"false", "False", "FALSE"})
_INTEGER = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITY = re.compile(r"[-+]?\.(inf|Inf|INF)")
_NAN = frozenset({".nan", ".NaN", ".NAN"})
_CORE = "tag:yaml.org,2002:"
_PAIR = re.compile(r"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
INTEGER_DIGITS_MAX = 300


class Parsed(msgspec.Struct, frozen=True, kw_only=True):
    """One document of a file."""

    file: str
    value: Any
    lines: dict[Path, int]

    def line(self, path: Path) -> int:
        """The line of a path, or of its nearest ancestor that has one."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


class _Frame:
    """One mapping or sequence that is still open."""

    __slots__ = ("anchor", "key", "path", "size", "value")

    def __init__(self, value: dict[str, Any] | list[Any], path: Path, anchor: str | None) -> None:
        self.value = value
        self.path = path
        self.anchor = anchor
        self.key: str | None = None  # of a mapping: the key whose value comes next
        self.size = 1


def parse_text(file: str, text: str) -> list[Parsed]:
    """The documents of one file, empty ones left out; raises InvalidDocuments at the first thing that is not YAML."""
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > TEXT_BYTES_MAX:
        _refuse(file, 1, f"the file has {size} bytes; at most {TEXT_BYTES_MAX} are read")
    if file.endswith(".json"):
        text = _yaml_of_json(file, text)
    builder = _Builder(file)
    try:
        for event in yaml.parse(text, Loader=PARSER):
            builder.feed(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        hint = "indent with spaces, not tabs" if "\t" in text and "token" in str(error.problem) else ""
        _refuse(file, mark.line + 1 if mark else 1, f"not valid YAML: {error.problem or error.context}", hint)
    except (yaml.YAMLError, UnicodeError) as error:
        _refuse(file, 1, f"not valid YAML: {str(error).splitlines()[0]}")
    return builder.documents


def _yaml_of_json(file: str, text: str) -> str:
    """JSON as YAML with the same lines: YAML knows neither surrogate pairs nor tabs between tokens."""
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        found = re.search(r"byte (\d+)", str(error))
        place = int(found[1]) if found else 0
        line = text.encode("utf-8", "surrogatepass")[:place].count(b"\n") + 1
        _refuse(file, line, f"not valid JSON: {error}")

    def character(match: re.Match[str]) -> str:
        return chr(0x10000 + ((int(match[1], 16) - 0xD800) << 10) + int(match[2], 16) - 0xDC00)

    return _PAIR.sub(character, text).replace("\t", " ")


def _refuse(file: str, line: int, message: str, hint: str = "", path: str = "") -> NoReturn:
    raise InvalidDocuments([Fault(file=file, line=line, path=path, message=message, hint=hint)])


def _line(event: ev.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


class _Builder:
    """Builds values from events, in order."""

    def __init__(self, file: str) -> None:
        self._file = file
        self.documents: list[Parsed] = []
        self._nodes = 0
        self._begin()

    def _begin(self) -> None:
        self._stack: list[_Frame] = []
        self._lines: dict[Path, int] = {}
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._root: Any = None

    def feed(self, event: ev.Event) -> None:
        """Take the next event of the parser."""
        if isinstance(event, ev.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, (ev.MappingStartEvent, ev.SequenceStartEvent)):
            self._open(event)
        elif isinstance(event, (ev.MappingEndEvent, ev.SequenceEndEvent)):
            frame = self._stack.pop()
            if frame.anchor:
                self._anchors[frame.anchor] = (frame.value, frame.size)
            if self._stack:
                self._stack[-1].size += frame.size
        elif isinstance(event, ev.AliasEvent):
            self._alias(event)
        elif isinstance(event, ev.DocumentStartEvent):
            self._begin()
        elif isinstance(event, ev.DocumentEndEvent) and self._root is not None:
            self.documents.append(Parsed(file=self._file, value=self._root, lines=self._lines))

    def _scalar(self, event: ev.ScalarEvent) -> None:
        line = _line(event)
        top = self._stack[-1] if self._stack else None
        if top is not None and isinstance(top.value, dict) and top.key is None:
            self._key(top, event.value, line)
            return
        value = self._resolve(event, line)
        if event.anchor:
            self._anchors[event.anchor] = (value, 1)
        self._attach(value, line, 1)

    def _key(self, frame: _Frame, key: str, line: int) -> None:
        assert isinstance(frame.value, dict)
        shown = spell((*frame.path, key))
        if key == "<<":
            _refuse(self._file, line, "merge keys are not supported", "write the fields out", shown)
        if key in frame.value:
            first = self._lines[(*frame.path, key)]
            _refuse(self._file, line, f"'{key}' stands here twice; first on line {first}", path=shown)
        frame.key = key
        self._lines[(*frame.path, key)] = line

    def _open(self, event: ev.MappingStartEvent | ev.SequenceStartEvent) -> None:
        line = _line(event)
        mapping = isinstance(event, ev.MappingStartEvent)
        if len(self._stack) >= DEPTH_MAX:
            _refuse(self._file, line, f"nested more than {DEPTH_MAX} deep")
        if event.tag not in (None, "!", _CORE + ("map" if mapping else "seq")):
            _refuse(self._file, line, f"the tag {event.tag} is not allowed", "write plain values")
        value: dict[str, Any] | list[Any] = {} if mapping else []
        path = self._attach(value, line, 0)
        self._stack.append(_Frame(value, path, event.anchor))

    def _alias(self, event: ev.AliasEvent) -> None:
        line = _line(event)
        top = self._stack[-1] if self._stack else None
        if top is not None and isinstance(top.value, dict) and top.key is None:
            _refuse(self._file, line, "an alias cannot be a key")
        if event.anchor not in self._anchors:
            _refuse(self._file, line, f"*{event.anchor} refers to nothing complete before it")
        value, size = self._anchors[event.anchor]
        self._attach(value, line, size)

    def _attach(self, value: Any, line: int, size: int) -> Path:
        """Put a value where the parser stands; returns its path."""
        self._nodes += max(size, 1)
        if self._nodes > NODES_MAX:
            _refuse(self._file, line, f"more than {NODES_MAX} values, aliases expanded")
        if not self._stack:
            self._root = value
            self._lines[()] = line
            return ()
        top = self._stack[-1]
        top.size += size
        if isinstance(top.value, list):
            path: Path = (*top.path, len(top.value))
            top.value.append(value)
            self._lines[path] = line
            return path
        if top.key is None:
            _refuse(self._file, line, "a key must be text")
        path = (*top.path, top.key)
        top.value[top.key] = value
        top.key = None
        return path

    def _resolve(self, event: ev.ScalarEvent, line: int) -> Any:
        tag, text = event.tag, event.value
        if tag in ("!", _CORE + "str") or (tag is None and not event.implicit[0]):
            return text
        if tag not in (None, *(_CORE + name for name in ("null", "bool", "int", "float"))):
            _refuse(self._file, line, f"the tag {tag} is not allowed", "write plain values")
        if len(text) > INTEGER_DIGITS_MAX:
            return text
        return plain_scalar(text)


def plain_scalar(text: str) -> Any:
    """The value of an unquoted scalar by YAML 1.2's core schema (§10.3.2)."""
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    for pattern, base in ((_INTEGER, 10), (_OCTAL, 8), (_HEXADECIMAL, 16)):
        if pattern.fullmatch(text):
            return int(text, base)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _INFINITY.fullmatch(text):
        return -math.inf if text[0] == "-" else math.inf
    return math.nan if text in _NAN else text


def spell(path: Path) -> str:
    """A path as people write it: `spec.steps[1].weight`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def unspell(text: str) -> Path:
    """The inverse of `spell`, for keys without dots or brackets."""
    found = re.findall(r"\[(\d+)\]|([^.\[\]]+)", text)
    return tuple(int(index) if index else name for index, name in found)
