"""The route that asks guards about a text, without any model: for trying them, and for programs that guard elsewhere.

Guards are those of the factory, as they are declared now. The text is judged and forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

from andon.app.services import Services
from andon.app.views import Input, View
from andon.kernel.guarding import Content, Piece
from andon.kernel.snapshot import EndpointEntry, Snapshot
from andon.security.guards.detectors import Means
from andon.security.guards.engine import GuardEngine
from andon.security.guards.kinds import GUARD, GuardSpec, guard_entry
from andon.security.guards.vault import SealedVault
from andon.web.routes import Call, Route

TEXT_MAX = 256 * 1024  # characters; a longer one is asked in parts
GUARDS_MAX = 32


class GuardCheck(Input, frozen=True, kw_only=True):
    """A text, and who is to judge it."""

    guards: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=GUARDS_MAX)]
    text: Annotated[str, msgspec.Meta(max_length=TEXT_MAX)]
    place: Literal["input", "context", "output"] = "input"


class GuardWord(View, frozen=True, kw_only=True):
    """What one guard said."""

    guard: str
    version: str
    mode: str
    action: str  # what is done, or in shadow would be; pass = nothing
    threshold: float | None
    score: float | None
    entities: dict[str, int]
    spans: Sequence[Sequence[int]]  # start and end in the text
    latency_us: int
    failed: str


class GuardAnswer(View, frozen=True, kw_only=True):
    """What became of a text."""

    refused: str  # code of the refusal; empty = it may go on
    text: str  # as it would go on; empty where it may not
    label: str  # class that findings call for
    verdicts: Sequence[GuardWord]


def guard_routes(services: Services) -> Sequence[Route]:
    """The route."""
    # Detectors are kept from one question to the next: the engine forgets those that the last one did not name.
    engine = GuardEngine(
        Means(clock=services.clock, vault=SealedVault(b"only to check with"), secret=b"check")
    )

    async def check(call: Call) -> GuardAnswer:
        asked: GuardCheck = call.body
        entries = []
        for name in dict.fromkeys(asked.guards):
            record = await services.factory.get(GUARD, name)
            entry = guard_entry(name, msgspec.convert(record.spec, GuardSpec))
            # A service outside is asked by gateways only, and its failure is not the text's.
            entries.append(msgspec.structs.replace(entry, on_failure="pass"))
        endpoint = EndpointEntry(name="check", protocol="oip", guards=tuple(entries))
        snapshot = Snapshot(version=1, factory="", revision=0, compiled_at_ns=0, endpoints=(endpoint,))
        engine.adopt(snapshot)()
        plan = engine.plan("check")
        assert plan is not None  # the endpoint has guards
        exam = plan.begin(call.principal.name)
        judgement = await exam.judge(Content([Piece(asked.place, "text", asked.text)]))
        text = asked.text
        for edit in reversed(judgement.edits.get(0, ())):
            text = text[: edit.start] + edit.text + text[edit.end :]
        refusal = judgement.refusal
        return GuardAnswer(
            refused="" if refusal is None else refusal.code,
            text=text if refusal is None else "",
            label=exam.label,
            verdicts=[_word(verdict) for verdict in exam.verdicts()],
        )

    return (
        Route(
            method="POST",
            path="/v1/guards/check",
            name="checkText",
            action="factory.read",
            request=GuardCheck,
            body_bytes_max=8 * TEXT_MAX,
            response=GuardAnswer,
            handler=check,
            summary="What guards say of a text, without any model",
        ),
    )


def _word(verdict: Any) -> GuardWord:
    return GuardWord(
        guard=verdict.guard,
        version=verdict.version,
        mode=verdict.mode,
        action=verdict.action,
        threshold=verdict.threshold,
        score=verdict.score,
        entities=verdict.entities,
        spans=[span[1:] for span in verdict.spans],
        latency_us=verdict.latency_us,
        failed=verdict.failed,
    )
