"""A rule tried on what has been: the same book under a virtual clock, and what people would have heard. Pure.

History is a grid of moments and, for each set of labels, a value or a verdict at each moment. Between two moments
nothing is known, so delays are exact to one step. Only moments at which something changes are played, and those at
which time alone does something.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from andon.observability.alerts.book import Book, Receiving
from andon.observability.alerts.figures import why_of
from andon.observability.alerts.rules import NS, Evaluation, Observation, Rule, fingerprint_of, labels_of

PLAYED_MAX = 100_000  # moments of one replay; a rule that changes more often flaps, and is told so
CANDIDATES = 32  # thresholds that advice tries
WEEK_S = 7 * 86_400.0
_PAGER = "pager"

Values = NDArray[np.float64]
Truth = NDArray[np.bool_]


class Track(msgspec.Struct, frozen=True, kw_only=True):
    """One set of labels over time: shape (moments,). NaN = no verdict. `truth` decides where it is given."""

    labels: dict[str, str]
    values: Values
    truth: Truth | None = None


class History(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured: moments in nanoseconds, ascending, shape (moments,)."""

    times_ns: NDArray[np.int64]
    tracks: tuple[Track, ...]
    step_s: float
    metric: str = ""
    above: float | None = None
    below: float | None = None
    missing: str = "ok"
    notes: tuple[str, ...] = ()

    @property
    def has_threshold(self) -> bool:
        """Whether advice on a threshold means something."""
        return (self.above is not None or self.below is not None) and any(
            track.truth is None for track in self.tracks
        )


class Marked(msgspec.Struct, frozen=True, kw_only=True):
    """An incident as people marked it: [starts, ends]."""

    starts_ns: int
    ends_ns: int
    name: str = ""


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a person."""

    at_ns: int
    labels: dict[str, str]
    value: float | None
    ended_ns: int | None  # of what was new in it; None where it went on
    alerts: int
    why: str = ""


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """What people would have heard."""

    pages: tuple[Page, ...]
    repeats: int
    share: float  # of the moments, the rule was true of something
    cut: bool  # it changed more often than is played


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How the pages meet the incidents."""

    delays_s: tuple[float | None, ...]  # by incident; None = missed
    belongs: tuple[str | None, ...]  # by page: name of its incident, None = false

    @property
    def detected(self) -> int:
        """Incidents with a page."""
        return sum(delay is not None for delay in self.delays_s)

    @property
    def median_delay_s(self) -> float | None:
        """Of those that were detected."""
        known = [delay for delay in self.delays_s if delay is not None]
        return float(np.median(known)) if known else None


class Advice(msgspec.Struct, frozen=True, kw_only=True):
    """A threshold, and what it would have meant."""

    threshold: float
    pages_per_week: float
    detected: int
    delay_s: float | None


def truths_of(history: History, above: float | None, below: float | None) -> NDArray[np.bool_]:
    """Whether the rule is true, shape (tracks, moments)."""
    found = np.zeros((len(history.tracks), len(history.times_ns)), dtype=bool)
    for at, track in enumerate(history.tracks):
        if track.truth is not None:
            found[at] = track.truth
            continue
        unknown = np.isnan(track.values)
        with np.errstate(invalid="ignore"):
            found[at] = track.values > above if above is not None else track.values < (below or 0.0)
        if history.missing == "fire":
            found[at] |= unknown
        elif history.missing == "keep" and unknown.any():
            last = np.maximum.accumulate(np.where(unknown, -1, np.arange(len(unknown))))
            found[at] = np.where(last >= 0, found[at][np.maximum(last, 0)], False)
    return found


def replay(rule: Rule, history: History, above: float | None = None, below: float | None = None) -> Replay:
    """Play the rule over the history; thresholds of the history where none is given."""
    if above is None and below is None:
        above, below = history.above, history.below
    truths = truths_of(history, above, below)
    book = Book()
    alone = msgspec.structs.replace(rule.spec, receivers=(_PAGER,), inhibited_by=())
    rule = msgspec.structs.replace(rule, spec=alone)
    book.rules[rule.name] = rule
    book.receivers[_PAGER] = Receiving()
    moments = _moments(truths)
    cut = len(moments) > PLAYED_MAX
    moments = moments[:PLAYED_MAX]
    player = _Player(rule, history, truths, (above, below))
    for index, at in enumerate(moments):
        look = player.look(int(at))
        upto = int(history.times_ns[moments[index + 1]]) if index + 1 < len(moments) else player.end_ns
        player.play(book, look, int(history.times_ns[at]), upto)
    share = float(truths.any(axis=0).mean()) if truths.size else 0.0
    return Replay(pages=player.finished(), repeats=player.repeats, share=share, cut=cut)


class _Player:
    """One replay as it goes on."""

    def __init__(
        self,
        rule: Rule,
        history: History,
        truths: NDArray[np.bool_],
        bounds: tuple[float | None, float | None],
    ) -> None:
        self._rule = rule
        self._history = history
        self._truths = truths
        self._bounds = bounds
        self._pages: list[tuple[Page, frozenset[str]]] = []
        self._ended: dict[str, list[int]] = {}
        self._known: set[str] = set()
        self._marks = [fingerprint_of(labels_of(rule, track.labels)) for track in history.tracks]
        self.end_ns = int(history.times_ns[-1]) if len(history.times_ns) else 0
        self.repeats = 0

    def look(self, at: int) -> Evaluation:
        """What is true at one moment."""
        seen = []
        for row in np.flatnonzero(self._truths[:, at]):
            track = self._history.tracks[row]
            value = float(track.values[at])
            known = None if np.isnan(value) else value
            why = ""
            if known is not None and track.truth is None:
                why = why_of(self._history.metric or "value", known, *self._bounds, "")
            seen.append(Observation(labels=track.labels, value=known, why=why))
        return Evaluation(seen=tuple(seen))

    def play(self, book: Book, look: Evaluation, now_ns: int, upto_ns: int) -> None:
        """One moment, and all that time alone does before the next one."""
        self._tick(book, look, now_ns)
        while (due_ns := book.due_ns(now_ns)) is not None and due_ns < upto_ns:
            now_ns = due_ns
            self._tick(book, look, now_ns)

    def _tick(self, book: Book, look: Evaluation, now_ns: int) -> None:
        book.tick({self._rule.name: look}, now_ns)
        for note in book.waiting():
            if note.reason == "repeat":
                self.repeats += 1
            elif note.reason == "new":
                new = [one for one in note.firing if one.fingerprint not in self._known]
                first = (new or note.firing)[0]
                page = Page(
                    at_ns=now_ns,
                    labels=first.labels,
                    value=first.value,
                    ended_ns=None,
                    alerts=len(note.firing),
                    why=first.annotations.get("why", ""),
                )
                self._pages.append((page, frozenset(one.fingerprint for one in new or note.firing)))
            self._known |= {one.fingerprint for one in note.firing}
            self._known -= {one.fingerprint for one in note.resolved}
            book.deliver(note, now_ns)
        for event in book.take().events:
            if event.name == "alert.resolved":
                self._ended.setdefault(event.data["fingerprint"], []).append(event.at_ns)

    def finished(self) -> tuple[Page, ...]:
        """The pages, each with its end."""
        found = []
        for page, marks in self._pages:
            ends = [
                next((at for at in self._ended.get(mark, ()) if at >= page.at_ns), None) for mark in marks
            ]
            last = None if None in ends else max((at for at in ends if at is not None), default=None)
            found.append(msgspec.structs.replace(page, ended_ns=last))
        return tuple(found)


def _moments(truths: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Indexes at which something changes, the ones just before (what was last true), and both ends."""
    count = truths.shape[1]
    if not count:
        return np.zeros(0, dtype=np.int64)
    changed = np.flatnonzero((truths[:, 1:] != truths[:, :-1]).any(axis=0)).astype(np.int64) + 1
    return np.unique(np.concatenate(([0], changed, changed - 1, [count - 1])).astype(np.int64))


def compare(pages: Sequence[Page], incidents: Sequence[Marked], end_ns: int) -> Outcome:
    """Which page belongs to which incident: it was sent within it, or went on into it."""
    delays: list[float | None] = []
    belongs: list[str | None] = [None] * len(pages)
    for incident in incidents:
        delay = None
        for at, page in enumerate(pages):
            until_ns = page.ended_ns if page.ended_ns is not None else end_ns
            if page.at_ns <= incident.ends_ns and until_ns >= incident.starts_ns:
                if belongs[at] is None:
                    belongs[at] = incident.name or "incident"
                found = max(0.0, (page.at_ns - incident.starts_ns) / NS)
                delay = found if delay is None else min(delay, found)
        delays.append(delay)
    return Outcome(delays_s=tuple(delays), belongs=tuple(belongs))


def advise(
    rule: Rule, history: History, incidents: Sequence[Marked], pages_per_week: float, weeks: float
) -> Advice | None:
    """The threshold with at most so many pages that misses fewest incidents, then is the most sensitive one.

    Tried from the dullest on, and no further once pages are three times too many. None where no threshold is compared.
    """
    if not history.has_threshold or not weeks:
        return None
    end_ns = int(history.times_ns[-1])
    best: tuple[tuple[int, int], Advice] | None = None
    for rank, threshold in enumerate(_candidates(history)):
        bounds = (threshold, None) if history.above is not None else (None, threshold)
        played = replay(rule, history, *bounds)
        rate = len(played.pages) / weeks
        if played.cut or rate > max(3 * pages_per_week, 3 / weeks):
            break
        if rate > pages_per_week * (1 + 1e-9):
            continue
        outcome = compare(played.pages, incidents, end_ns)
        advice = Advice(
            threshold=threshold,
            pages_per_week=rate,
            detected=outcome.detected,
            delay_s=outcome.median_delay_s,
        )
        key = (outcome.detected, rank)
        if best is None or key > best[0]:
            best = (key, advice)
    return best[1] if best else None


def _candidates(history: History) -> Iterator[float]:
    """Thresholds from the dullest to the most sensitive."""
    values = np.concatenate([track.values[~np.isnan(track.values)] for track in history.tracks])
    if not len(values):
        return
    shares = 1 - np.geomspace(1 / max(2, len(values)), 0.5, CANDIDATES - 1)
    upper = history.above is not None
    points = np.quantile(
        values, np.concatenate(([1.0], shares)) if upper else 1 - np.concatenate(([1.0], shares))
    )
    given = history.above if upper else history.below
    assert given is not None
    found = np.unique([*(_rounded(float(point)) for point in points), given])
    yield from (float(one) for one in (found[::-1] if upper else found))


def _rounded(value: float) -> float:
    """Four digits: a threshold that a person can write."""
    return float(f"{value:.4g}")
