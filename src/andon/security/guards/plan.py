"""From the guards of an endpoint, as a snapshot says them, to what judges its exchanges; and why some cannot be held.

`problems_of` is asked at `plan` by the kinds and at adoption by the gateway, so that what passes one passes the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import msgspec

from andon.kernel.errors import Refused
from andon.kernel.guarding import Kind
from andon.kernel.snapshot import GuardEntry
from andon.security.guards.detectors import Means, Sort, make, sort_of
from andon.security.guards.external import ExternalDetector
from andon.security.guards.model import WHOLE, Detector, Finding
from andon.security.guards.structure import StructureDetector
from andon.security.guards.vault import TOKEN, TOKEN_MAX, Vault
from andon.security.guards.work import Instead, TextGuard

_KINDS_OF: Final[Mapping[str, tuple[Kind, ...]]] = MappingProxyType(
    {"input": ("input",), "context": ("context",), "output": ("output",)}
)
RESTORE_RANK: Final = -1


@dataclass(frozen=True, kw_only=True)
class StructureGuard:
    """A guard that looks at a content as a whole."""

    entry: GuardEntry
    rank: int
    kinds: frozenset[Kind]
    detector: StructureDetector


@dataclass(frozen=True, kw_only=True)
class ExternalGuard:
    """A guard that must be waited for."""

    text: TextGuard
    detector: ExternalDetector | None  # None: it could not be made; it always fails


@dataclass(frozen=True, kw_only=True)
class MarkGuard:
    """A guard that marks every text of its place."""

    entry: GuardEntry
    rank: int
    kinds: frozenset[Kind]
    detector: Any  # `Spotlight`


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """The guards of one endpoint."""

    texts: tuple[TextGuard, ...]
    structures: tuple[StructureGuard, ...]
    externals: tuple[ExternalGuard, ...]
    marks: tuple[MarkGuard, ...]
    kinds: frozenset[Kind]
    on_request: bool
    on_answer: bool
    buffers: bool


class Loaded:
    """Detectors that have been made, kept over adoptions: some take seconds to load. Bounded by what is in force."""

    def __init__(self, means: Means) -> None:
        self.means = means
        self._kept: dict[bytes, Any] = {}
        self._used: set[bytes] = set()

    def get(self, entry: GuardEntry) -> Any:
        """The detector of a guard. Raises Refused."""
        key = msgspec.json.encode((entry.detector, entry.settings), order="deterministic")
        self._used.add(key)
        if key not in self._kept:
            self._kept[key] = make(entry.detector, entry.settings, self.means)
        return self._kept[key]

    def sweep(self) -> bool:
        """Forget what nobody has asked for since the last time; whether there was any."""
        kept = {key: made for key, made in self._kept.items() if key in self._used}
        is_less = len(kept) < len(self._kept)
        self._kept, self._used = kept, set()
        return is_less


def problems_of(entry: GuardEntry, loaded: Loaded, protocol: str) -> Iterator[tuple[str, str]]:
    """What of a guard could not be held: the field, and why. `protocol` is that of an endpoint, or empty."""
    try:
        sort = sort_of(entry.detector)
    except Refused as error:
        yield "detector", str(error)
        return
    if entry.action not in sort.actions:
        yield "action", f"'{entry.detector}' can {_listed(sort.actions)}, not {entry.action}."
    for place in entry.places:
        if place not in sort.places:
            yield (
                "places",
                f"'{entry.detector}' has nothing to judge at {place}: {_listed(sort.places)} only.",
            )
    if not entry.places:
        yield "places", "Name at least one place."
    if sort.scored and entry.threshold is None:
        yield "threshold", f"'{entry.detector}' gives scores: say from which one a finding counts."
    if entry.action == "label" and entry.label == "public":
        yield "label", "Say which class a finding calls for: internal, confidential or restricted."
    try:
        made = loaded.get(entry)
    except Refused as error:
        yield "settings", str(error)
        return
    if entry.action == "tokenise" and loaded.means.vault is None:
        yield "action", "Nothing can be tokenised here: there is no key for it."
    if protocol == "openai" and "output" in entry.places and holds(entry) and not entry.buffer:
        if sort.form != "text" or getattr(made, "reach", 0) >= WHOLE:
            yield (
                "buffer",
                f"'{entry.detector}' needs whole answers, and streams come in parts: set `buffer: true`.",
            )


def holds(entry: GuardEntry) -> bool:
    """Whether a text must wait for its word."""
    return entry.mode == "enforce" and entry.action in ("block", "redact", "tokenise")


def _listed(names: frozenset[str]) -> str:
    return " or ".join(sorted(names))


def compile_guards(entries: Sequence[GuardEntry], loaded: Loaded, protocol: str) -> Compiled:
    """The guards of one endpoint. Raises Refused for the first that cannot be held."""
    texts: list[TextGuard] = []
    structures: list[StructureGuard] = []
    externals: list[ExternalGuard] = []
    marks: list[MarkGuard] = []
    kinds: set[Kind] = set()
    for rank, entry in enumerate(entries):
        for where, why in problems_of(entry, loaded, protocol):
            raise Refused("guard_invalid", f"Guard '{entry.name}' cannot be enforced ({where}): {why}")
        sort, detector = sort_of(entry.detector), loaded.get(entry)
        own = _kinds(entry, sort)
        if sort.counts:
            kinds |= own
        if sort.form == "structure":
            structures.append(StructureGuard(entry=entry, rank=rank, kinds=own, detector=detector))
        elif sort.form == "mark":
            marks.append(MarkGuard(entry=entry, rank=rank, kinds=own, detector=detector))
        else:
            for part, made in _by_place(entry, own, detector, loaded):
                guard = _text_guard(entry, rank, part, made, loaded.means.vault)
                if sort.form == "external":
                    externals.append(ExternalGuard(text=guard, detector=made))
                else:
                    texts.append(guard)
    vault = loaded.means.vault
    if vault is not None and any(entry.action == "tokenise" and entry.mode == "enforce" for entry in entries):
        texts.insert(0, _restorer(vault))
    every: set[Kind] = set()
    every = every.union(
        *(guard.kinds for guard in texts),
        *(guard.kinds for guard in structures),
        *(guard.kinds for guard in marks),
        *(guard.text.kinds for guard in externals),
    )
    return Compiled(
        texts=tuple(texts),
        structures=tuple(structures),
        externals=tuple(externals),
        marks=tuple(marks),
        kinds=frozenset(kinds),
        on_request=bool(every - {"output"}),
        on_answer="output" in every,
        buffers=any(entry.buffer and "output" in entry.places for entry in entries),
    )


def _by_place(
    entry: GuardEntry, kinds: frozenset[Kind], detector: Any, loaded: Loaded
) -> Iterator[tuple[frozenset[Kind], Any]]:
    """A guard's detectors: what was retrieved is judged for injections by other measures than what a caller wrote."""
    context: frozenset[Kind] = kinds & {"context"}
    if entry.detector != "injection" or "channel" in entry.settings or not context:
        yield kinds, detector
        return
    settings = {**entry.settings, "channel": "context"}
    yield context, loaded.get(msgspec.structs.replace(entry, settings=settings))
    if kinds - context:
        yield kinds - context, detector


def _kinds(entry: GuardEntry, sort: Sort) -> frozenset[Kind]:
    found = {kind for place in entry.places for kind in _KINDS_OF[place]}
    if "input" in entry.places and sort.history:
        found.add("history")
    return frozenset(found)


def _text_guard(
    entry: GuardEntry, rank: int, kinds: frozenset[Kind], made: Any, vault: Vault | None
) -> TextGuard:
    detector: Detector | None = None if sort_of(entry.detector).form == "external" else made
    return TextGuard(
        entry=entry,
        rank=rank,
        version=getattr(made, "version", ""),
        kinds=kinds,
        reach=WHOLE if detector is None else detector.reach,
        detector=detector,
        instead=_instead(entry, vault),
        allowed={(one.entity, one.text): one.until_ns / 1e9 for one in entry.excuses},
        label=entry.label,
    )


def _instead(entry: GuardEntry, vault: Vault | None) -> Instead:
    if entry.action == "tokenise" and vault is not None:
        return vault.put
    if entry.detector == "unicode":
        return lambda entity, text, subject: ""
    return lambda entity, text, subject: f"[{entity}]"


class _Tokens:
    """Finds tokens of the vault in an answer (`Detector`)."""

    name = "vault"
    version = "1"
    reach = TOKEN_MAX

    def scan(self, text: str) -> list[Finding]:
        """See `Detector`."""
        if "[[" not in text:
            return []
        return [Finding(match.start(), match.end(), match.group(1), 1.0) for match in TOKEN.finditer(text)]


def _restorer(vault: Vault) -> TextGuard:
    """Puts back what was tokenised, for the one it came from."""
    entry = GuardEntry(name="", detector="vault", places=("output",), mode="enforce", action="redact")

    def instead(entity: str, text: str, subject: str) -> str:
        found = vault.get(text, subject)
        return text if found is None else found

    return TextGuard(
        entry=entry,
        rank=RESTORE_RANK,
        version="1",
        kinds=frozenset(("output",)),
        reach=TOKEN_MAX,
        detector=_Tokens(),
        instead=instead,
        allowed={},
        restores=True,
    )
