"""The guards at work: plans of all endpoints, adopted with each snapshot, and the judging of one exchange.

Implements the kernel's port `Guards`. Texts are judged by `windows`, in one way whether they come whole or in parts;
what must be waited for is asked first, what looks at the whole last. A guard that breaks does what it was declared to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from andon.kernel.errors import AndonError, Transient
from andon.kernel.guarding import KINDS, Content, Edit, Judgement, Kind, Offer, Piece
from andon.kernel.labels import Label
from andon.kernel.snapshot import Snapshot
from andon.security.guards.detectors import Means
from andon.security.guards.external import TEXTS_MAX, failure_code
from andon.security.guards.memory import Known, Memory, mark_of, owner_of
from andon.security.guards.model import Finding, Place, Verdict
from andon.security.guards.plan import (
    Compiled,
    ExternalGuard,
    Loaded,
    MarkGuard,
    StructureGuard,
    compile_guards,
)
from andon.security.guards.windows import Window
from andon.security.guards.work import Tally, TextGuard, Work, content_refused, failure

SLICE: Final = 16_384  # characters judged between two looks at other requests


class GuardEngine:
    """All plans (kernel port `Guards`)."""

    def __init__(self, means: Means) -> None:
        self._loaded = Loaded(means)
        self._means = means
        self._memory = Memory()
        self._plans: Mapping[str, Plan] = {}

    def adopt(self, snapshot: Snapshot) -> Callable[[], None]:
        """See `Guards`."""
        plans = {
            endpoint.name: Plan(
                compile_guards(endpoint.guards, self._loaded, endpoint.protocol), self._means, self._memory
            )
            for endpoint in snapshot.endpoints
            if endpoint.guards
        }

        def put() -> None:
            self._plans = plans
            if self._loaded.sweep():
                self._memory.clear()  # it holds detectors that are gone

        return put

    def plan(self, endpoint: str) -> Plan | None:
        """See `Guards`."""
        return self._plans.get(endpoint)


class Plan:
    """The guards of one endpoint (kernel port `GuardPlan`)."""

    def __init__(self, compiled: Compiled, means: Means, memory: Memory) -> None:
        self.compiled = compiled
        self.reads_tools = bool(compiled.structures)
        self.kinds = compiled.kinds
        self.on_request = compiled.on_request
        self.on_answer = compiled.on_answer
        self.buffers = compiled.buffers
        self._means = means
        self._memory = memory
        self.guards = {
            kind: tuple([guard for guard in compiled.texts if kind in guard.kinds]) for kind in KINDS
        }

    def begin(self, subject: str) -> Exam:
        """See `GuardPlan`."""
        return Exam(self.compiled, self.guards, Work(subject, self._means.clock), self._memory)


class Exam:
    """The guards at work on one exchange (kernel port `Judging`)."""

    def __init__(
        self,
        compiled: Compiled,
        guards: Mapping[Kind, tuple[TextGuard, ...]],
        work: Work,
        memory: Memory,
    ) -> None:
        self._compiled = compiled
        self._guards = guards
        self._work = work
        self._memory = memory
        self._owner = owner_of(work.subject)
        self._watched = 0
        self._offers: Sequence[Offer] = ()

    @property
    def label(self) -> Label:
        """See `Judging`."""
        return self._work.label

    @property
    def spent_us(self) -> int:
        """See `Judging`."""
        return int(self._work.seconds * 1e6)

    def verdicts(self) -> list[Verdict]:
        """See `Judging`."""
        return self._work.verdicts()

    def watch(self, piece: Piece) -> Window:
        """See `Judging`."""
        self._watched += 1
        return Window(self._guards[piece.kind], piece, self._watched - 1, self._work)

    async def judge(self, content: Content) -> Judgement:
        """See `Judging`. What it costs grows with the texts alone."""
        compiled = self._compiled
        is_answer = any(piece.kind == "output" for piece in content.pieces) or bool(
            content.calls or content.answers
        )
        if is_answer:
            content.offers = content.offers or self._offers
        else:
            self._offers = content.offers
        for structure in compiled.structures:
            refusal = self._structure(structure, content, is_answer=is_answer)
            if refusal is not None:
                return Judgement(refusal)
        unjudged: set[int] = set()
        found: dict[int, list[tuple[ExternalGuard, Sequence[Finding]]]] = {}
        for external in compiled.externals:
            refusal = await self._external(external, content, found, unjudged)
            if refusal is not None:
                return Judgement(refusal)
        edits: dict[int, Sequence[Edit]] = {}
        for index, piece in enumerate(content.pieces):
            window, refusal = await self._text(index, piece, found.get(index))
            if refusal is not None:
                return Judgement(refusal)
            if window is not None and not window.judged:
                unjudged.add(index)
            own = () if window is None else window.edits
            if own:
                edits[index] = own
            marked = self._marked(index, piece, own) if compiled.marks else None
            if marked is not None:
                edits[index] = (marked,)
        return Judgement(None, edits, frozenset(unjudged))

    async def _text(
        self, index: int, piece: Piece, found: Sequence[tuple[ExternalGuard, Sequence[Finding]]] | None
    ) -> tuple[Window | None, AndonError | None]:
        """One text, a slice at a time, so that a long one does not keep other requests waiting."""
        guards, text = self._guards[piece.kind], piece.text
        if found is None and len(text) <= SLICE:
            return self._whole(guards, index, piece)
        window = Window(guards, piece, index, self._work)
        refusal: AndonError | None = None
        for external, findings in found or ():
            refusal = refusal or window.found(external.text, findings)
        for at in range(0, len(text), SLICE):
            if refusal is not None:
                return window, refusal
            if at:
                await asyncio.sleep(0)
            refusal = window.feed(text[at : at + SLICE])
        return window, refusal or window.close()

    def _whole(
        self, guards: Sequence[TextGuard], index: int, piece: Piece
    ) -> tuple[Window | None, AndonError | None]:
        """A text of one slice, by what is remembered of it. No window where nothing that was said of it counts."""
        if not guards:
            return None, None
        work = self._work
        began = work.now()
        mark = mark_of(self._owner, piece.text, escaped=piece.escaped)
        known = self._memory.recall(mark)
        if known is not None and _recall(guards, piece, known, work):
            work.seconds += work.now() - began
            return None, None
        learnt: Known = {} if known is None else dict(known)
        count = len(learnt)
        window = Window(guards, piece, index, work)
        refusal = window.whole(piece.text, learnt)
        if len(learnt) > count:
            self._memory.keep(mark, learnt)
        return window, refusal

    def _structure(self, guard: StructureGuard, content: Content, *, is_answer: bool) -> AndonError | None:
        pieces = [piece for piece in content.pieces if piece.kind in guard.kinds]
        place: Place = "output" if is_answer else "input"
        if place not in guard.entry.places and not pieces:
            return None
        kind: Kind = "output" if is_answer else "input" if "input" in guard.kinds else "context"
        tally = self._work.of(guard.entry, guard.rank, guard.detector.version, kind)
        began = self._work.now()
        try:
            part = Content(pieces)
            part.messages, part.depth = content.messages, content.depth
            part.offers, part.calls, part.answers = content.offers, content.calls, content.answers
            wrong = guard.detector.check(part, place)
        except Exception as bug:  # a guard that breaks must not let through what it should have judged
            self._work.broke(guard.entry, bug)
            return failure(tally, guard.entry, "error")
        finally:
            self._work.took(tally, began)
        tally.bytes += _bytes_of(pieces)
        for name in wrong:
            tally.hit(name, (0, 0, 0))
        if not wrong:
            return None
        tally.spans.clear()  # these stand at no place of a text
        tally.action = guard.entry.action
        return content_refused() if guard.entry.mode == "enforce" else None

    async def _external(
        self,
        guard: ExternalGuard,
        content: Content,
        found: dict[int, list[tuple[ExternalGuard, Sequence[Finding]]]],
        unjudged: set[int],
    ) -> AndonError | None:
        own = [index for index, piece in enumerate(content.pieces) if piece.kind in guard.text.kinds]
        for first in range(0, len(own), TEXTS_MAX):
            part = own[first : first + TEXTS_MAX]
            pieces = [content.pieces[index] for index in part]
            tally = self._work.tally(guard.text, pieces[0].kind)
            began = self._work.now()
            answers: Sequence[Sequence[Finding]] | None = None
            refusal: AndonError | None = None
            try:
                if guard.detector is None:
                    raise Transient("guard_unavailable", "Services are asked by gateways only.")
                answers = await guard.detector.judge([piece.text for piece in pieces])
            except Exception as error:  # whatever an outside classifier raises, the guard has not judged
                self._work.broke(guard.text.entry, error)
                unjudged.update(part)
                refusal = failure(tally, guard.text.entry, failure_code(error))
            finally:
                self._work.took(tally, began)
            if refusal is not None:
                return refusal
            for index, findings in zip(part, answers, strict=True) if answers is not None else ():
                found.setdefault(index, []).append((guard, findings))
                self._work.tally(guard.text, content.pieces[index].kind).bytes += _bytes_of(
                    (content.pieces[index],)
                )
        return None

    def _marked(self, index: int, piece: Piece, edits: Sequence[Edit]) -> Edit | None:
        """The whole text of a place that is marked, with its edits in it."""
        marks = [guard for guard in self._compiled.marks if piece.kind in guard.kinds]
        if not marks or not piece.text:
            return None
        text = piece.text
        for edit in reversed(edits):
            text = text[: edit.start] + edit.text + text[edit.end :]
        changed = False
        for guard in marks:
            text, changed = self._mark(guard, piece, text), changed or guard.entry.mode == "enforce"
        return Edit(0, len(piece.text), text) if changed else None

    def _mark(self, guard: MarkGuard, piece: Piece, text: str) -> str:
        tally: Tally = self._work.of(guard.entry, guard.rank, guard.detector.version, piece.kind)
        began = self._work.now()
        marked: str = guard.detector.mark(text)
        self._work.took(tally, began)
        tally.action = "mark"
        tally.bytes += _bytes_of((piece,))
        return marked if guard.entry.mode == "enforce" else text


def _recall(guards: Sequence[TextGuard], piece: Piece, known: Known, work: Work) -> bool:
    """Count a text as judged if every guard's detector is remembered to have found nothing that counts in it."""
    for guard in guards:
        said = None if guard.detector is None else known.get(guard.detector)
        if said is None or (said.findings and (guard.threshold is None or said.top >= guard.threshold)):
            return False
    size = _bytes_of((piece,))
    for guard in guards:
        tally = work.tally(guard, piece.kind)
        tally.bytes += size
        assert guard.detector is not None  # it was asked for above
        top = known[guard.detector].top
        if top >= 0 and (tally.score is None or top > tally.score):
            tally.score = top
    return True


def _bytes_of(pieces: Sequence[Piece]) -> int:
    return sum(
        [
            len(piece.text) if piece.text.isascii() else len(piece.text.encode("utf-8", "surrogatepass"))
            for piece in pieces
        ]
    )
