"""Where guards are enforced: on what goes to a model and on what comes back, below every dialect.

Asked by `gateway/gateway` for endpoints that have guards, and by nobody else. A request is judged and edited before
anything is made of it, so that attempts, copies, repetitions and records all have the text as it was let through. What
was judged and what was delivered are counted apart: the first from what guards let go, the second from the bytes sent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from andon.gateway.answers import Received
from andon.gateway.course import Course
from andon.gateway.dialects.documents import Document
from andon.gateway.dialects.text_rules import ANSWER, INFERRED, REQUESTS
from andon.gateway.dialects.texts import Rules, utf8
from andon.gateway.egress import JSON
from andon.gateway.guarded_streams import Hold
from andon.gateway.meters import Meters
from andon.kernel.clearance import label_refusal
from andon.kernel.errors import AndonError, Refused, Transient
from andon.kernel.exchange import Dialect, Exchange
from andon.kernel.guarding import GuardPlan, Guards, Judgement, Kind
from andon.kernel.labels import RANKS
from andon.kernel.ports import Answer
from andon.kernel.snapshot import Snapshot
from andon.wire.model import Header

_LENGTH: Final = b"inference-header-content-length"
_OUTPUT: Final[frozenset[Kind]] = frozenset(("output",))


class Guarded:
    """One exchange under its guards."""

    __slots__ = (
        "_counted", "_in_delivered", "_in_scanned", "_out_delivered", "_out_scanned", "judging", "plan", "rules",
    )  # fmt: skip

    def __init__(self, plan: GuardPlan, x: Exchange) -> None:
        who = x.key.id if x.principal is None and x.key is not None else ""
        who = x.principal.name if x.principal is not None else who
        self.plan = plan
        self.judging = plan.begin(f"{x.endpoint.name if x.endpoint else ''}\n{who}")
        self.rules: Rules = REQUESTS[x.operation]
        self._counted: tuple[bytes, int] | None = None  # a body whose texts were read, and their bytes
        self._in_scanned = self._in_delivered = 0
        self._out_scanned = self._out_delivered = 0

    def cleared(self, count: int, *, is_answer: bool) -> None:
        """So many bytes of text were judged and may go on."""
        if is_answer:
            self._out_scanned += count
        else:
            self._in_scanned += count

    def read(self, body: bytes, document: Document) -> None:
        """These very bytes were read as `document`: what delivers them need not read them again to count."""
        self._counted = body, document.bytes_of(self.plan.kinds)

    def sent(self, x: Exchange, body: bytes) -> None:
        """These bytes go to a model. An attempt after another delivers the same again: the most counts."""
        if self.plan.kinds - _OUTPUT:
            self._in_delivered = max(
                self._in_delivered, self._bytes_in(body, self.rules, x.header_length, self.plan.kinds)
            )

    def answered(self, x: Exchange, body: bytes, headers: Sequence[Header]) -> None:
        """These bytes go to the client."""
        if "output" in self.plan.kinds:
            rules = ANSWER if x.dialect is Dialect.OPENAI else INFERRED
            self._out_delivered += self._bytes_in(body, rules, _length_of(headers), _OUTPUT)

    def _bytes_in(self, body: bytes, rules: Rules, length: int | None, kinds: frozenset[Kind]) -> int:
        counted = self._counted
        if counted is not None and counted[0] is body:
            return counted[1]
        return Document(body, rules, length).bytes_of(kinds)

    def streamed(self, events: Sequence[bytes]) -> None:
        """The data of these events goes to the client."""
        if "output" in self.plan.kinds:
            for data in events:
                self._out_delivered += Document(data, ANSWER, None).bytes_of(_OUTPUT)

    def label(self, x: Exchange) -> None:
        """Raise the class of the exchange to what was found in it."""
        label = self.judging.label
        if RANKS[label] > RANKS[x.label]:
            x.label = label

    def note(self, x: Exchange) -> None:
        """Put what is known on the exchange, for its row."""
        judging = self.judging
        x.verdicts = judging.verdicts()
        x.guard_us = judging.spent_us
        x.scanned_bytes = self._in_scanned + self._out_scanned
        x.delivered_bytes = self._in_delivered + self._out_delivered
        self.label(x)


class Guarding:
    """The guards of one gateway."""

    def __init__(self, guards: Guards | None, meters: Meters) -> None:
        self._guards = guards
        self._meters = meters

    def adopt(self, snapshot: Snapshot) -> Callable[[], None]:
        """Compile the plans of a snapshot. Raises `Refused` where one cannot be enforced."""
        if self._guards is not None:
            return self._guards.adopt(snapshot)
        for endpoint in snapshot.endpoints:
            if endpoint.guards:
                raise Refused(
                    "guard_invalid", f"Endpoint '{endpoint.name}' has guards and this gateway none."
                )
        return _nothing

    async def request(self, x: Exchange) -> AndonError | None:
        """Judge a request and edit it; the refusal if it may not go on. Nothing has been sent anywhere yet."""
        plan = None
        if self._guards is not None and x.endpoint is not None:
            plan = self._guards.plan(x.endpoint.name)
        if plan is None:
            return Transient("guard_unavailable", "What protects this endpoint is not there.")
        guarded = x.guarded = Guarded(plan, x)
        if not plan.on_request:
            return None
        try:
            document = Document(x.body, guarded.rules, x.header_length)
            content = document.content(tools=plan.reads_tools and x.dialect is Dialect.OPENAI)
        except Refused as error:
            return error
        except (msgspec.MsgspecError, RecursionError) as error:
            return Refused("invalid_json", f"The body cannot be read: {error}.")
        judgement = await guarded.judging.judge(content)
        guarded.label(x)
        refusal = judgement.refusal or label_refusal(x)
        if refusal is not None:
            return refusal
        changed = document.edited(judgement.edits)
        guarded.cleared(_bytes(document, changed, judgement, plan), is_answer=False)
        x.body, x.header_length = document.write(changed)
        # It was read as JSON in UTF-8. A caller's charset could make a model read other words in the same bytes.
        x.content_type = JSON if x.header_length is None else x.content_type.partition(b";")[0]
        if not changed:
            guarded.read(x.body, document)
        return None

    async def answer(self, course: Course, answer: Answer) -> Answer:
        """Judge an answer and edit it. Raises `Refused` if it may not be given, `Transient` if it cannot be read."""
        x = course.exchange
        guarded: Guarded = x.guarded
        if not guarded.plan.on_answer:
            return answer
        stream = course.stream
        if stream is not None and answer.status < 300:
            hold = stream.hold
            assert hold is not None  # made with the stream
            refusal = await hold.finish()
            self._check(x, guarded, refusal)
            stream.forward_held()
            return answer
        if answer.status >= 300:
            return Received(
                answer.status, answer.headers, b""
            )  # an upstream's error may repeat what it was sent
        if any(name == b"content-encoding" and value != b"identity" for name, value in answer.headers):
            raise Transient(
                "upstream_malformed", "The model's answer is compressed and cannot be judged.", status=502
            )
        if sum(name == _LENGTH for name, _ in answer.headers) > 1:
            # Of two lengths a client may take either, and one of them was not judged by.
            raise Transient(
                "upstream_malformed", "The model's answer cannot be read by its guards.", status=502
            )
        rules = ANSWER if x.dialect is Dialect.OPENAI else INFERRED
        try:
            document = Document(answer.body, rules, _length_of(answer.headers))
            content = document.content(tools=guarded.plan.reads_tools and x.dialect is Dialect.OPENAI)
        except (Refused, msgspec.MsgspecError, RecursionError) as error:
            raise Transient(
                "upstream_malformed", "The model's answer cannot be read by its guards.", status=502
            ) from error
        judgement = await guarded.judging.judge(content)
        self._check(x, guarded, judgement.refusal)
        changed = document.edited(judgement.edits)
        guarded.cleared(_bytes(document, changed, judgement, guarded.plan), is_answer=True)
        body, length = document.write(changed)
        headers = answer.headers
        if not changed:
            guarded.read(body, document)
        else:
            headers = [one for one in headers if one[0] not in (_LENGTH, b"content-length")]
            if length is not None:
                headers.append((_LENGTH, b"%d" % length))
            if x.told is not None:
                x.told.prediction = None  # it was read before it was edited
        guarded.answered(x, body, headers)
        return Received(answer.status, headers, body, answer.opening)

    def hold(self, x: Exchange) -> Hold | None:
        """Where the events of a streamed answer wait to be judged; None if its guards do not look at answers."""
        guarded: Guarded = x.guarded
        return Hold(guarded) if guarded.plan.on_answer else None

    def settle(self, x: Exchange) -> None:
        """The exchange is over: what guards said of it goes on its row and is counted."""
        guarded: Guarded | None = x.guarded
        if guarded is None:
            return
        guarded.note(x)
        for verdict in x.verdicts or ():
            self._meters.judged(
                verdict.guard, verdict.place, verdict.mode, verdict.action, verdict.latency_us
            )

    def _check(self, x: Exchange, guarded: Guarded, refusal: AndonError | None) -> None:
        guarded.label(x)
        refusal = refusal or label_refusal(x)
        if refusal is not None:
            if x.told is not None:
                x.told.prediction = None
            raise refusal


def _bytes(
    document: Document, changed: dict[int, str | None] | object, judgement: Judgement, plan: GuardPlan
) -> int:
    """UTF-8 bytes of the texts that go on, of those that every guard has judged."""
    assert isinstance(changed, dict)  # as `Document.edited` made it
    count = 0
    for index, slot in enumerate(document.slots):
        if slot.kind in plan.kinds and index not in judgement.unjudged:
            text = changed.get(index, slot.text)
            count += utf8(text) if text is not None else 0
    return count


def _length_of(headers: Sequence[Header]) -> int | None:
    for name, value in headers:
        if name == _LENGTH and value.isdigit():
            return int(value)
    return None


def _nothing() -> None:
    """Nothing is to be put in force."""
