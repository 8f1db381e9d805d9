"""One text under its guards, whole or as it arrives: what is found, what can go, what takes whose place.

The only place where findings become edits, so that a text in parts ends as the same text whole. A guard decides a
character when nothing within its detector's reach is still to come; the text goes as far as every guard that may change
it has decided. Everything is found in the text as it came: guards do not see one another's edits.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final, NamedTuple

from andon.kernel.errors import AndonError
from andon.kernel.guarding import Edit, Piece
from andon.security.guards.memory import FINDINGS_MAX, Known, said
from andon.security.guards.model import WHOLE, Detector, Finding
from andon.security.guards.views import ESCAPE_MAX, View, clean, escape, plain
from andon.security.guards.work import TextGuard, Work, content_refused

HELD_MAX: Final = 1 << 20  # characters of one text that wait to be decided; beyond, the guard has failed


class _Hit(NamedTuple):
    start: int
    end: int
    rank: int  # of the guard: between two that begin together and are equally long
    guard: TextGuard
    entity: str


class _Course:
    """How far one guard has come in one text."""

    __slots__ = ("before", "decided", "failed", "guard", "seen")

    def __init__(self, guard: TextGuard) -> None:
        self.guard = guard
        self.before = 0  # where the next look begins: what may bear on the first undecided character
        self.decided = 0
        self.seen = 0  # the end of the text at the last look
        self.failed = False


class Window:
    """One text (kernel port `Watch`)."""

    __slots__ = (
        "_base", "_buffer", "_bytes", "_closed", "_courses", "_escaped", "_hits", "_index", "_known", "_piece",
        "_work", "decided", "edits", "judged",
    )  # fmt: skip

    def __init__(self, guards: Sequence[TextGuard], piece: Piece, index: int, work: Work) -> None:
        self._courses = [_Course(guard) for guard in guards]
        self._piece = piece
        self._index = index
        self._work = work
        self._escaped: bool | None = True if piece.escaped else None
        self._buffer = ""
        self._base = 0  # where the buffer begins in the text
        self._bytes = 0
        self._closed = False
        self._known: Known | None = None  # of a text that came whole: what detectors say of it
        self._hits: list[_Hit] = []
        self.decided = 0
        self.edits: list[Edit] = []
        self.judged = True

    def feed(self, text: str) -> AndonError | None:
        """See `Watch`."""
        if self._escaped is None and text:
            self._escaped = text[0] in "{["  # JSON that a tool gave back, most often
        self._buffer += text
        self._bytes += len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        return self._look(final=False)

    def close(self) -> AndonError | None:
        """See `Watch`."""
        if self._closed:
            return None
        self._closed = True
        refusal = self._look(final=True)
        for course in self._courses:
            if not course.failed:
                self._work.tally(course.guard, self._piece.kind).bytes += self._bytes
        return refusal

    def whole(self, text: str, known: Known) -> AndonError | None:
        """Take in all of a text at once: as `feed` and `close` would, with one look. Adds to `known` what it learns."""
        self._known = known
        self._escaped = bool(self._escaped) or text[:1] in ("{", "[")
        self._buffer = text
        self._bytes = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        return self.close()

    def found(self, guard: TextGuard, findings: Sequence[Finding]) -> AndonError | None:
        """Take in what a guard that is not asked here has found in the whole text, before it is fed."""
        text = self._piece.text
        return self._take(_Course(guard), View(text, None), findings, len(text))

    @property
    def _end(self) -> int:
        return self._base + len(self._buffer)

    def _look(self, *, final: bool) -> AndonError | None:
        for course in self._courses:
            # A look costs as much as the reach: an eighth of it comes together before the next.
            due = self._end - course.seen > course.guard.reach >> 3
            if not course.failed and (final or (due and course.guard.reach < WHOLE)):
                refusal = self._scan(course, final=final)
                if refusal is not None:
                    return refusal
            if not course.failed and not final and self._end - course.decided > HELD_MAX:
                refusal = self._fail(course, "too_long")
                if refusal is not None:
                    return refusal
        holding = [course.decided for course in self._courses if course.guard.holds and not course.failed]
        self._decide(min(holding, default=self._end))
        self._forget()
        return None

    def _scan(self, course: _Course, *, final: bool) -> AndonError | None:
        guard, end = course.guard, self._end
        if course.decided >= end:
            return None
        course.seen = end
        detector = guard.detector
        assert detector is not None  # those without one are asked by `found`
        before = course.before
        began = self._work.now()
        try:
            view = self._view(before, detector)
            reach = guard.reach + (ESCAPE_MAX if self._escaped and not final else 0)
            if not final and len(view.text) <= reach:
                return None
            limit = end if final else before + view.place(len(view.text) - reach)
            if limit <= course.decided:
                return None
            findings = self._findings(detector, view)
        except (
            Exception
        ) as bug:  # a detector that breaks must not let a text through that it should have judged
            self._work.broke(guard.entry, bug)
            return self._fail(course, "error")
        finally:
            self._work.spent(guard, self._piece.kind, began)
        refusal = self._take(course, view, findings, limit)
        if not final:
            at = course.decided - before
            if view.offsets is not None:
                at = bisect_left(view.offsets, at)
            course.before = before + view.place(max(0, at - guard.reach))
        return refusal

    def _findings(self, detector: Detector, view: View) -> Sequence[Finding]:
        known = self._known
        if known is None:
            return detector.scan(view.text)
        before = known.get(detector)
        if before is not None:
            return before.findings
        findings = detector.scan(view.text)
        if len(findings) <= FINDINGS_MAX:
            known[detector] = said(findings)
        return findings

    def _view(self, before: int, detector: Detector) -> View:
        view = plain(self._buffer[before - self._base :], escaped=bool(self._escaped))
        return view if getattr(detector, "reads_invisible", False) else clean(view)

    def _take(
        self, course: _Course, view: View, findings: Sequence[Finding], limit: int
    ) -> AndonError | None:
        """Count what is decided, and remember what is to be done about it."""
        guard, work, before = course.guard, self._work, course.before
        placed = []
        for finding in findings:
            start, end = view.span(finding.start, finding.end)
            if before + start >= course.decided:
                placed.append((before + start, before + end, finding))
        threshold = guard.threshold
        hits = [one for one in placed if threshold is None or one[2].score >= threshold]
        moved = True
        while (
            moved
        ):  # a finding that may still grow is decided with what follows it, and so is what it touches
            cut = min((start for start, end, _ in hits if start < limit < end), default=limit)
            moved = cut < limit
            limit = cut
        tally = work.tally(guard, self._piece.kind)
        for start, _, finding in placed:
            if start < limit:
                tally.seen(finding)
        for start, end, finding in hits:
            if start >= limit or guard.excuses(finding.entity, view.text[finding.start : finding.end], work):
                continue
            tally.hit(finding.entity, (self._index, start, end))
            work.act(guard, self._piece.kind)
            if guard.blocks:
                return content_refused()
            if guard.edits:
                self._hits.append(_Hit(start, end, guard.rank, guard, finding.entity))
        course.decided = max(course.decided, limit)
        return None

    def _fail(self, course: _Course, code: str) -> AndonError | None:
        course.failed = True
        self.judged = False
        return self._work.failed(course.guard, self._piece.kind, code)

    def _decide(self, upto: int) -> None:
        """Turn hits into edits as far as `upto`; those that touch become one, said by the first and longest."""
        hits = sorted(_unrestored(self._hits), key=lambda hit: (hit.start, -hit.end, hit.rank))
        kept: list[_Hit] = []
        at = 0
        while at < len(hits):
            first, end = hits[at], hits[at].end
            after = at + 1
            while after < len(hits) and hits[after].start < end:
                end = max(end, hits[after].end)
                after += 1
            if end > upto:
                upto = min(upto, first.start)
                kept = hits[at:]
                break
            part = self._buffer[first.start - self._base : end - self._base]
            escaped = bool(self._escaped)
            text = first.guard.instead(first.entity, plain(part, escaped=escaped).text, self._work.subject)
            self.edits.append(Edit(first.start, end, escape(text) if escaped else text))
            at = after
        self._hits = kept
        self.decided = max(self.decided, upto)

    def _forget(self) -> None:
        """Keep only what a look may begin at, and what is not decided."""
        needed = [course.before for course in self._courses if not course.failed]
        needed.append(self.decided)
        keep = min(needed)
        if keep - self._base > 4096:
            self._buffer = self._buffer[keep - self._base :]
            self._base = keep


def _unrestored(hits: list[_Hit]) -> list[_Hit]:
    """Without what was found in tokens of this factory's own, which are about to be what they stand for."""
    restored = [(hit.start, hit.end) for hit in hits if hit.guard.restores]
    if not restored:
        return hits
    return [
        hit
        for hit in hits
        if hit.guard.restores or not any(start < hit.end and hit.start < end for start, end in restored)
    ]
