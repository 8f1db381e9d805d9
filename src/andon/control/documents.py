"""Factory files: from sources to checked documents, every fault with its file and line.

Read by the command line and the admin API alike. Several layers (`-f base.yaml -f prod.yaml`) become one set of
documents by merging resources of equal kind and name. Decides nothing about what is stored: that is `plan`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path as FilePath
from typing import Any

import msgspec

from andon.control.catalogue import Catalogue
from andon.control.checking import find_wrong
from andon.control.faults import Fault, InvalidDocuments
from andon.control.kinds import API_VERSION, Kind
from andon.control.nearest import nearest
from andon.control.reading import TEXT_BYTES_MAX, Parsed, Path, parse_text, spell, unspell
from andon.control.resources import (
    LABELS_MAX,
    Content,
    annotations_problem,
    canonical_spec,
    label_problem,
    name_problem,
)
from andon.kernel.errors import Refused
from andon.kernel.redaction import calm

FILES_MAX = 200
DOCUMENTS_MAX = 5000
ENDINGS = (".yaml", ".yml", ".json")
_TOP = ("apiVersion", "kind", "metadata", "spec")
_METADATA = ("name", "labels", "annotations")


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """The text of one factory file; `layer` is the place of its `-f` on the command line."""

    file: str
    text: str
    layer: int = 0


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """One checked resource and where it stands."""

    content: Content
    parsed: tuple[Parsed, ...]  # one per layer that speaks of it

    def where(self, path: str) -> tuple[str, int]:
        """File and line of a path such as `spec.retries`, in the last layer that says it."""
        wanted = unspell(path)
        best = max(reversed(self.parsed), key=lambda parsed: _known(parsed, wanted))
        return best.file, best.line(wanted)


def read_sources(paths: Sequence[str]) -> list[Source]:
    """The factory files at these paths, one layer each; a folder means the files directly in it, by name.

    Raises Refused if a path is missing, is no text, or holds too much.
    """
    sources = []
    for layer, given in enumerate(paths):
        place = FilePath(given)
        files = [place]
        if place.is_dir():
            files = sorted(file for file in place.iterdir() if file.suffix in ENDINGS and file.name[0] != ".")
            if not files:
                raise Refused("no_documents", f"The folder '{given}' holds no {', '.join(ENDINGS)} file.")
        sources += [Source(file=str(file), text=_text(file), layer=layer) for file in files]
    if len(sources) > FILES_MAX:
        raise Refused("too_many_files", f"{len(sources)} factory files; at most {FILES_MAX} are read.")
    return sources


def _text(file: FilePath) -> str:
    try:
        size = file.stat().st_size
        if size > TEXT_BYTES_MAX:
            raise Refused("file_too_large", f"'{file}' has {size} bytes; at most {TEXT_BYTES_MAX} are read.")
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        hint = "Name the factory file with -f."
        raise Refused("file_unreadable", f"'{file}' cannot be read: {reason}.", hint=hint) from error


def parse_sources(sources: Iterable[Source], catalogue: Catalogue) -> list[Document]:
    """The resources that the sources describe, in order of dependency; raises InvalidDocuments with every fault."""
    faults: list[Fault] = []
    layers: dict[tuple[str, str], list[tuple[int, Parsed]]] = {}
    for source in sources:
        try:
            parsed = [item for whole in parse_text(source.file, source.text) for item in _split(whole)]
        except InvalidDocuments as error:
            faults += error.faults
            continue
        for item in parsed:
            wrong = _envelope_faults(item, catalogue)
            faults += wrong
            if not wrong:
                _place(layers, source.layer, item, faults)
    if len(layers) > DOCUMENTS_MAX:
        raise Refused("too_many_documents", f"{len(layers)} resources; at most {DOCUMENTS_MAX} are kept.")
    documents = [_document(parts, catalogue, faults) for parts in layers.values()]
    if faults:
        raise InvalidDocuments(faults)
    found = [document for document in documents if document is not None]
    return sorted(found, key=lambda item: (catalogue.rank(item.content.kind), item.content.name))


def _split(parsed: Parsed) -> list[Parsed]:
    """A document that is a list holds one resource an item."""
    if not isinstance(parsed.value, list):
        return [parsed]
    items = []
    for index, value in enumerate(parsed.value):
        lines = {path[1:]: line for path, line in parsed.lines.items() if path[:1] == (index,)}
        items.append(Parsed(file=parsed.file, value=value, lines=lines))
    return items


def _envelope_faults(parsed: Parsed, catalogue: Catalogue) -> list[Fault]:
    """What is wrong around the spec."""
    value = parsed.value
    if not isinstance(value, dict):
        return [_fault(parsed, (), "a resource is a map with apiVersion, kind, metadata and spec")]
    faults = [_unknown(parsed, (key,), key, _TOP) for key in value if key not in _TOP]
    version = value.get("apiVersion")
    if version != API_VERSION:
        said = "is required and missing" if version is None else f"'{calm(str(version))}' is not known"
        faults.append(_fault(parsed, ("apiVersion",), said, f"write apiVersion: {API_VERSION}"))
    faults += _kind_faults(parsed, value.get("kind"), catalogue)
    if not isinstance(value.get("spec", {}), dict):
        faults.append(_fault(parsed, ("spec",), "must be a map"))
    metadata = value.get("metadata")
    if not isinstance(metadata, dict):
        return [*faults, _fault(parsed, ("metadata",), "must be a map with a name")]
    faults += [
        _unknown(parsed, ("metadata", key), key, _METADATA) for key in metadata if key not in _METADATA
    ]
    name = metadata.get("name")
    problem = name_problem(name) if isinstance(name, str) else "is required and must be text"
    if problem:
        faults.append(_fault(parsed, ("metadata", "name"), problem))
    for field in ("labels", "annotations"):
        faults += _words_faults(parsed, field, metadata.get(field))
    return faults


def _kind_faults(parsed: Parsed, name: Any, catalogue: Catalogue) -> list[Fault]:
    kind = catalogue.get(name) if isinstance(name, str) else None
    if kind is not None and not kind.generated:
        return []
    if kind is not None:
        return [_fault(parsed, ("kind",), f"'{name}' is made by the factory and cannot be written in a file")]
    if name is None:
        return [_fault(parsed, ("kind",), "is required and missing")]
    return [_unknown(parsed, ("kind",), str(name), [item.name for item in catalogue.writable()], what="kind")]


def _words_faults(parsed: Parsed, field: str, words: Any) -> list[Fault]:
    if words is None:
        return []
    place: Path = ("metadata", field)
    if not isinstance(words, dict) or not all(
        value is None or isinstance(value, str) for value in words.values()
    ):
        return [
            _fault(parsed, place, "must be a map of text to text", "put numbers and true or false in quotes")
        ]
    given = {key: value for key, value in words.items() if value is not None}
    if field == "annotations":
        problem = annotations_problem(given)
        return [_fault(parsed, place, problem)] if problem else []
    if len(given) > LABELS_MAX:
        return [_fault(parsed, place, f"has {len(given)} labels; at most {LABELS_MAX} are allowed")]
    found = ((key, label_problem(key, value)) for key, value in given.items())
    return [_fault(parsed, (*place, key), problem) for key, problem in found if problem]


def _place(
    layers: dict[tuple[str, str], list[tuple[int, Parsed]]], layer: int, item: Parsed, faults: list[Fault]
) -> None:
    """Put a resource with the others of its kind and name; two in one layer are a fault."""
    key = (item.value["kind"], item.value["metadata"]["name"])
    parts = layers.setdefault(key, [])
    if parts and parts[-1][0] == layer:
        first = parts[-1][1]
        text = f"{'/'.join(key)} is described twice; first at {first.file}:{first.line(())}"
        faults.append(_fault(item, ("metadata", "name"), text, "a second -f may change it; one file may not"))
    else:
        parts.append((layer, item))


def _document(parts: list[tuple[int, Parsed]], catalogue: Catalogue, faults: list[Fault]) -> Document | None:
    """Merge the layers of one resource and check its spec."""
    parsed = tuple(part for _, part in parts)
    merged: Any = {}
    for part in parsed:
        merged = merge(merged, part.value)
    kind = catalogue.get(merged["kind"])
    assert kind is not None, "the envelope was checked"
    metadata = merged["metadata"]
    content = Content(
        kind=kind.name,
        name=metadata["name"],
        labels=metadata.get("labels") or {},
        annotations=metadata.get("annotations") or {},
        spec=merged.get("spec") or {},
    )
    document = Document(content=content, parsed=parsed)
    found = _spec_faults(document, kind)
    if found:
        faults += found
        return None
    canonical = msgspec.structs.replace(content, spec=canonical_spec(kind, content.spec))
    return msgspec.structs.replace(document, content=canonical)


def _spec_faults(document: Document, kind: Kind) -> list[Fault]:
    faults = []
    for wrong in find_wrong(document.content.spec, kind.spec, ("spec",)):
        known = wrong.path if wrong.at_key else wrong.path[:-1]
        best = max(reversed(document.parsed), key=lambda parsed: _known(parsed, known))
        line = best.line(known)
        faults.append(
            Fault(file=best.file, line=line, path=spell(wrong.path), message=wrong.message, hint=wrong.hint)
        )
    return faults


def merge(under: Any, over: Any) -> Any:
    """A later layer over an earlier one.

    Maps merge field by field, and null removes a field; lists whose items all have a `name` merge by it, new names at
    the end; anything else is replaced.
    """
    if isinstance(under, dict) and isinstance(over, dict):
        merged = dict(under)
        for key, value in over.items():
            if value is None:
                merged.pop(key, None)
            else:
                merged[key] = merge(merged.get(key), value)
        return merged
    if _is_named(under) and _is_named(over):
        names = {item["name"]: item for item in under}
        for item in over:
            names[item["name"]] = merge(names.get(item["name"]), item)
        return list(names.values())
    return merge({}, over) if isinstance(over, dict) else over


def _is_named(items: Any) -> bool:
    if not isinstance(items, list) or not items:
        return False
    names = [item.get("name") if isinstance(item, dict) else None for item in items]
    return all(isinstance(name, str) for name in names) and len(set(names)) == len(names)


def _known(parsed: Parsed, path: Path) -> int:
    """How many parts of a path a layer says itself."""
    while path and path not in parsed.lines:
        path = path[:-1]
    return len(path)


def _fault(parsed: Parsed, path: Path, message: str, hint: str = "") -> Fault:
    return Fault(file=parsed.file, line=parsed.line(path), path=spell(path), message=message, hint=hint)


def _unknown(parsed: Parsed, path: Path, word: str, known: Iterable[str], what: str = "field") -> Fault:
    words = list(known)
    near = nearest(word, words)
    hint = f"did you mean {near}?" if near else f"{what}s are {', '.join(words)}"
    return _fault(parsed, path, f"unknown {what} '{calm(word)}'", hint)
