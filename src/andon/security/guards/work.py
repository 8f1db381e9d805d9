"""One guard compiled, and the work of all guards of one exchange: what was seen, how long it took, what it came to.

Written by `windows` and `engine`, read when the row is written. Holds names and places, never what matched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import structlog

from andon.kernel.clock import Clock
from andon.kernel.errors import AndonError, Refused, Transient
from andon.kernel.guarding import Kind
from andon.kernel.labels import RANKS, Label
from andon.kernel.snapshot import GuardEntry
from andon.security.guards.model import SPANS_MAX, Action, Detector, Finding, Place, Verdict

_logger = structlog.get_logger("andon.guards")
_PLACES: Final[Mapping[Kind, Place]] = {
    "input": "input",
    "history": "input",
    "context": "context",
    "output": "output",
}
ENTITIES_MAX: Final = 64  # names that one verdict counts; beyond, "other"

Instead = Callable[[str, str, str], str]  # entity, what was found, subject


@dataclass(frozen=True, kw_only=True)
class TextGuard:
    """A guard that looks at texts one by one."""

    entry: GuardEntry
    rank: int  # its place among the guards of the endpoint
    version: str
    kinds: frozenset[Kind]
    reach: int
    detector: Detector | None  # None: asked apart, because it must be waited for
    instead: Instead
    allowed: Mapping[tuple[str, str], float]  # (entity or "", text or "") → until when, in seconds
    label: Label = "public"
    restores: bool = False

    @property
    def threshold(self) -> float | None:
        """From which score a finding counts."""
        return self.entry.threshold

    @property
    def enforces(self) -> bool:
        """Whether it changes anything."""
        return self.entry.mode == "enforce"

    @property
    def blocks(self) -> bool:
        """Whether a finding ends the exchange."""
        return self.enforces and self.entry.action == "block"

    @property
    def edits(self) -> bool:
        """Whether a finding is replaced."""
        return self.enforces and self.entry.action in ("redact", "tokenise")

    @property
    def holds(self) -> bool:
        """Whether a text must wait for it."""
        return self.blocks or self.edits

    def excuses(self, entity: str, text: str, work: Work) -> bool:
        """Whether somebody has allowed this very finding, and still does."""
        if not self.allowed:
            return False
        said = " ".join(text.casefold().split())
        until = max(self.allowed.get(key, 0.0) for key in ((entity, said), ("", said), (entity, "")))
        return until > work.now_s()


@dataclass
class Tally:
    """What one guard saw at one place."""

    entities: dict[str, int] = field(default_factory=dict)
    spans: list[tuple[int, int, int]] = field(default_factory=list)
    score: float | None = None
    action: Action | Literal["pass"] = "pass"
    failed: str = ""
    seconds: float = 0.0
    bytes: int = 0

    def seen(self, finding: Finding) -> None:
        """A finding, whatever its score."""
        if self.score is None or finding.score > self.score:
            self.score = finding.score

    def hit(self, entity: str, span: tuple[int, int, int]) -> None:
        """A finding that counts."""
        if entity not in self.entities and len(self.entities) >= ENTITIES_MAX:
            entity = "other"
        self.entities[entity] = self.entities.get(entity, 0) + 1
        if len(self.spans) < SPANS_MAX:
            self.spans.append(span)


class Work:
    """The work on one exchange."""

    __slots__ = ("_clock", "_order", "_tallies", "label", "now", "seconds", "subject")

    def __init__(self, subject: str, clock: Clock) -> None:
        self.subject = subject
        self.now = clock.monotonic
        self._clock = clock
        self._tallies: dict[tuple[int, Place], tuple[GuardEntry, str, Tally]] = {}
        self.label: Label = "public"
        self.seconds = 0.0

    def now_s(self) -> float:
        """The time of day, in seconds since 1970."""
        return self._clock.now_ns() / 1e9

    def tally(self, guard: TextGuard, kind: Kind) -> Tally:
        """What a guard saw of texts of a kind."""
        return self.of(guard.entry, guard.rank, guard.version, kind)

    def of(self, entry: GuardEntry, rank: int, version: str, kind: Kind) -> Tally:
        """As `tally`, for a guard of any form."""
        key = (rank, _PLACES[kind])
        found = self._tallies.get(key)
        if found is None:
            found = self._tallies[key] = (entry, version, Tally())
        return found[2]

    def spent(self, guard: TextGuard, kind: Kind, began: float) -> None:
        """Time since `began` went into a guard."""
        self.took(self.tally(guard, kind), began)

    def took(self, tally: Tally, began: float) -> None:
        """As `spent`."""
        seconds = self.now() - began
        tally.seconds += seconds
        self.seconds += seconds

    def act(self, guard: TextGuard, kind: Kind) -> None:
        """A finding of a guard counts."""
        self.tally(guard, kind).action = guard.entry.action
        if guard.enforces and guard.entry.action == "label":
            self.raise_label(guard.label)

    def raise_label(self, label: Label) -> None:
        """What was found is of this class."""
        if RANKS[label] > RANKS[self.label]:
            self.label = label

    def failed(self, guard: TextGuard, kind: Kind, code: str) -> AndonError | None:
        """A guard cannot judge: what its declaration says of that."""
        return failure(self.tally(guard, kind), guard.entry, code)

    def broke(self, entry: GuardEntry, bug: Exception) -> None:
        """A detector raised: what, but never about which text."""
        _logger.error("a guard failed", guard=entry.name, detector=entry.detector, reason=type(bug).__name__)

    def verdicts(self) -> list[Verdict]:
        """Every guard's word, in the order of the endpoint's guards."""
        return [
            _verdict(entry, version, place, tally)
            for (_, place), (entry, version, tally) in sorted(self._tallies.items())
            if entry.name
        ]


def _verdict(entry: GuardEntry, version: str, place: Place, tally: Tally) -> Verdict:
    return Verdict(
        guard=entry.name,
        version=version,
        place=place,
        mode=entry.mode,
        action=tally.action,
        threshold=entry.threshold,
        score=None if tally.score is None else round(tally.score, 4),
        entities=tally.entities,
        spans=tuple(tally.spans),
        latency_us=int(tally.seconds * 1e6),
        scanned_bytes=tally.bytes,
        failed=tally.failed,
    )


def failure(tally: Tally, entry: GuardEntry, code: str) -> AndonError | None:
    """The refusal of an exchange that a guard could not judge; None where it is declared to pass, or in shadow."""
    tally.failed = code
    if entry.mode != "enforce" or entry.on_failure == "pass":
        return None
    tally.action = "block"
    return Transient(
        "guard_unavailable",
        "What protects this endpoint cannot judge the request now.",
        hint="Try again; if it lasts, tell the operator.",
    )


def content_refused() -> Refused:
    """The refusal of what a guard found. It does not say what was found: that would teach how to hide it."""
    return Refused(
        "content_filter",
        "The endpoint's content policy does not allow this exchange.",
        hint="Change the text; if you think it is a mistake, give the request's id to the operator.",
    )
