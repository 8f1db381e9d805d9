"""Events of a streamed answer that wait until their texts are judged; they leave in the order in which they came.

Each text of each choice has a watch of its own (kernel port `Watch`), so that interleaved choices and tool calls are
judged as if each had come alone. An event leaves once all of its texts are decided: unchanged to the byte, or with the
edits that fall into it. Used by `gateway/streams`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

import msgspec

from andon.gateway.dialects.text_rules import ANSWER
from andon.gateway.dialects.texts import Slot, Walk, apply, rewrite, utf8
from andon.kernel.errors import AndonError, Refused, Transient
from andon.kernel.guarding import Content, Edit, GuardPlan, Judging, Piece, ToolCall, Watch

HELD_BYTES_MAX: Final = 16 * 2**20  # of events that wait; beyond, the answer cannot be judged
_encode = msgspec.json.Encoder().encode


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct):
    index: int = 0
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    tool_calls: list[_Call] | None = None
    function_call: _Function | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    finish_reason: str | None = None
    delta: _Delta | None = None
    text: str | None = None


class _Shape(msgspec.Struct):
    choices: list[_Choice] = []
    id: str | None = None
    object: str | None = None
    created: int | None = None
    model: str | None = None


_shape = msgspec.json.Decoder(_Shape).decode
_NOTHING: Final = _Shape()


class Counts(Protocol):
    """The exchange under its guards; `gateway/guarding` makes it."""

    plan: GuardPlan
    judging: Judging

    def cleared(self, count: int, *, is_answer: bool) -> None:
        """So many bytes of text were judged and may go on."""
        ...

    def streamed(self, events: Sequence[bytes]) -> None:
        """The data of these events goes to the client."""
        ...


Key = tuple[str, tuple[int, ...]]  # pattern, and the indices that the events give, not their places


class _Whole:
    """A text that is judged once all of it is there."""

    __slots__ = ("decided", "edits", "judged", "parts", "piece")

    def __init__(self, piece: Piece) -> None:
        self.piece = piece
        self.parts: list[str] = []
        self.decided = -1
        self.edits: list[Edit] = []
        self.judged = True

    def feed(self, text: str) -> AndonError | None:
        self.parts.append(text)
        return None

    def close(self) -> AndonError | None:
        return None


class _Place(NamedTuple):
    watch: Watch
    start: int
    end: int


class _Held(NamedTuple):
    data: bytes
    slots: list[Slot]
    places: list[_Place]


class Hold:
    """The events of one attempt's answer."""

    def __init__(self, guarded: Counts) -> None:
        self._guarded = guarded
        self._buffers = guarded.plan.buffers
        self.reset()

    def reset(self) -> None:
        """Another attempt begins: nothing of the one before was sent."""
        self._queue: deque[_Held] = deque()
        self._held_bytes = 0
        self._begun = False
        self._watches: dict[Key, tuple[Watch, int]] = {}
        self._wholes: list[_Whole] = []
        self._open: set[int] = set()  # choices that have begun and not ended
        self._first: _Shape | None = None
        self._calls: dict[tuple[int, int], list[str]] = {}
        self._answers: dict[int, list[str]] = {}
        self._ready: list[bytes] = []

    def take(self, data: bytes) -> None:
        """Judge one event's data. Raises `Refused` where the answer ends here, `Transient` for what is unreadable."""
        try:
            slots = Walk(data, ANSWER).run().slots
        except Refused as error:
            raise Transient(
                "upstream_malformed", "The model sent an unreadable event.", status=502
            ) from error
        shape = self._read(data)
        places: list[_Place] = []
        refusal: AndonError | None = None
        for slot in slots:
            place, problem = self._feed(slot, shape)
            places.append(place)
            refusal = refusal or problem
        self._queue.append(_Held(data, slots, places))
        self._held_bytes += len(data)
        for choice in shape.choices:
            if choice.finish_reason is not None and not self._buffers:
                refusal = refusal or self._close(choice.index)
            if choice.finish_reason is not None:
                self._open.discard(choice.index)
        if refusal is not None:
            raise refusal
        self._release()
        if self._held_bytes > HELD_BYTES_MAX:
            raise Transient("upstream_malformed", "The model's answer is too long to be judged.", status=502)

    def ready(self) -> list[bytes]:
        """Data of the events that may go, in order; asked once for each."""
        ready, self._ready = self._ready, []
        if ready:
            self._guarded.streamed(ready)
        return ready

    async def finish(self) -> AndonError | None:
        """The answer is whole: judge what waits. The refusal, if the rest may not go."""
        refusal: AndonError | None = None
        if self._buffers:
            content = Content([whole.piece._replace(text="".join(whole.parts)) for whole in self._wholes])
            content.calls = tuple(ToolCall(name, arguments) for name, arguments in self._calls.values())
            content.answers = tuple("".join(parts) for _, parts in sorted(self._answers.items()))
            judgement = await self._guarded.judging.judge(content)
            refusal = judgement.refusal
            for index, whole in enumerate(self._wholes):
                whole.edits = list(judgement.edits.get(index, ()))
                whole.judged = index not in judgement.unjudged
                whole.decided = len(content.pieces[index].text)
        else:
            for key in list(self._watches):
                watch, _ = self._watches[key]
                refusal = refusal or watch.close()
        if refusal is None:
            self._release(final=True)
        return refusal

    def ending(self) -> bytes:
        """The event that tells every choice under way that its content was filtered, as the dialect has it."""
        first = self._first or _NOTHING
        is_chat = first.object != "text_completion"
        choices = [
            {
                "index": index,
                "finish_reason": "content_filter",
                **({"delta": {}} if is_chat else {"text": ""}),
            }
            for index in sorted(self._open or {0})
        ]
        told = {"id": first.id, "object": first.object, "created": first.created, "model": first.model}
        return _encode({**{name: one for name, one in told.items() if one is not None}, "choices": choices})

    def _read(self, data: bytes) -> _Shape:
        try:
            shape = _shape(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            try:
                msgspec.json.decode(data)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                # Words outside of any text of JSON would be seen by the client and by no guard.
                raise Transient(
                    "upstream_malformed", "The model sent an event that is not JSON.", status=502
                ) from error
            return _NOTHING  # of a shape that nobody knows: each of its texts is judged alone
        if self._first is None:
            self._first = shape
        for choice in shape.choices:
            self._open.add(choice.index)
            delta = choice.delta
            answer = self._answers.setdefault(choice.index, [])
            answer.append(choice.text or (delta.content if delta is not None else None) or "")
            for call in (delta.tool_calls if delta is not None else None) or ():
                self._note_call((choice.index, call.index), call.function)
            if delta is not None and delta.function_call is not None:
                self._note_call((choice.index, -1), delta.function_call)
        return shape

    def _note_call(self, key: tuple[int, int], function: _Function | None) -> None:
        if self._buffers and function is not None:
            call = self._calls.setdefault(key, ["", ""])
            call[0] += function.name or ""
            call[1] += function.arguments or ""

    def _feed(self, slot: Slot, shape: _Shape) -> tuple[_Place, AndonError | None]:
        text = slot.text
        piece = Piece("output", slot.path, "", slot.escaped)
        key = _key(slot, shape) if _flows(slot) else None
        known = self._watches.get(key) if key is not None else None
        if known is None:
            watch = self._watch(piece)
            start = 0
        else:
            watch, start = known
        refusal = watch.feed(text)
        if key is not None:
            self._watches[key] = (watch, start + len(text))
        elif not self._buffers:
            refusal = refusal or watch.close()
        return _Place(watch, start, start + len(text)), refusal

    def _watch(self, piece: Piece) -> Watch:
        if not self._buffers:
            return self._guarded.judging.watch(piece)
        whole = _Whole(piece)
        self._wholes.append(whole)
        return whole

    def _close(self, choice: int) -> AndonError | None:
        """A choice has ended: so have its texts."""
        refusal: AndonError | None = None
        for key in [key for key in self._watches if key[1][:1] == (choice,)]:
            watch, _ = self._watches.pop(key)
            refusal = refusal or watch.close()
        return refusal

    def _release(self, *, final: bool = False) -> None:
        queue = self._queue
        if not self._begun and not final:
            # What says nothing yet waits for the first text: before it, an answer can still be another attempt's.
            first = next((held for held in queue if held.places), None)
            if self._buffers or first is None or not _is_decided(first):
                return
        self._begun = True
        while queue and _is_decided(queue[0]):
            held = queue.popleft()
            self._held_bytes -= len(held.data)
            self._ready.append(self._written(held))

    def _written(self, held: _Held) -> bytes:
        changed: dict[int, str | None] = {}
        for index, (slot, place) in enumerate(zip(held.slots, held.places, strict=True)):
            edits = place.watch.edits
            while edits and edits[0].end <= place.start and edits[0].start < place.start:
                del edits[0]
            text = apply(slot.text, edits, place.start)
            if text != slot.text:
                changed[index] = None if slot.form == "logprobs" else text
        touched = {held.slots[index].indices[:1] for index in changed}
        count = 0
        for index, (slot, place) in enumerate(zip(held.slots, held.places, strict=True)):
            if slot.form == "logprobs" and slot.indices[:1] in touched:
                changed[index] = None  # it would tell the answer as it was
            if place.watch.judged:
                text = changed.get(index, slot.text) or ""
                count += utf8(text)
        if "output" in self._guarded.plan.kinds:
            self._guarded.cleared(count, is_answer=True)
        return rewrite(held.data, held.slots, changed)


def _is_decided(held: _Held) -> bool:
    return all(place.watch.decided >= place.end for place in held.places)


def _flows(slot: Slot) -> bool:
    """Whether a text goes on in later events."""
    if slot.form != "string" or slot.pattern.endswith(".name"):
        return False
    return slot.pattern == "choices.*.text" or slot.pattern.startswith("choices.*.delta.")


def _key(slot: Slot, shape: _Shape) -> Key:
    """The text that a part belongs to, by the indices that events carry."""
    indices = list(slot.indices)
    if indices and indices[0] < len(shape.choices):
        choice = shape.choices[indices[0]]
        calls = (choice.delta.tool_calls if choice.delta is not None else None) or []
        if len(indices) > 1 and ".tool_calls." in slot.pattern and indices[1] < len(calls):
            indices[1] = calls[indices[1]].index
        indices[0] = choice.index
    return slot.pattern, tuple(indices)
