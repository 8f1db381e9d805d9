"""What guards remember of a text changes nothing but the work: same verdicts, own callers, bounded, no text kept."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence

import msgspec

from andon.kernel.clock import SystemClock
from andon.kernel.guarding import Content, Piece
from andon.kernel.snapshot import EndpointEntry, GuardEntry, Snapshot
from andon.security.guards import memory
from andon.security.guards.detectors import Means
from andon.security.guards.engine import SLICE, GuardEngine
from andon.security.guards.memory import Memory, mark_of, owner_of, said
from andon.security.guards.model import Finding, Verdict

MAIL = "write to ann.smith@example.com about the torque"
CLEAN = "the torque of the second spindle"


class Counting:
    """A detector that finds the word zebra and counts how often it was asked."""

    name, version, reach = "counting", "1", 10

    def __init__(self) -> None:
        self.asked: list[str] = []

    def scan(self, text: str) -> list[Finding]:
        self.asked.append(text)
        at = text.find("zebra")
        return [Finding(at, at + 5, "ZEBRA", 0.9)] if at >= 0 else [Finding(0, len(text), "ZEBRA", 0.1)]


def engine(*guards: GuardEntry) -> GuardEngine:
    found = GuardEngine(Means(clock=SystemClock(), secret=b"s" * 32))
    endpoint = EndpointEntry(name="a", protocol="openai", guards=guards)
    found.adopt(Snapshot(version=1, factory="", revision=1, compiled_at_ns=0, endpoints=(endpoint,)))()
    return found


def judged(made: GuardEngine, texts: Sequence[str], subject: str = "a\nann") -> tuple[object, list[Verdict]]:
    plan = made.plan("a")
    assert plan is not None
    judging = plan.begin(subject)
    judgement = asyncio.run(
        judging.judge(Content([Piece("input", f"m[{n}]", one) for n, one in enumerate(texts)]))
    )
    code = None if judgement.refusal is None else judgement.refusal.code
    verdicts = [msgspec.structs.replace(one, latency_us=0) for one in judging.verdicts()]
    return (code, dict(judgement.edits)), verdicts


def test_the_second_time_everything_is_said_as_the_first_time() -> None:
    everything = ("input", "context", "output")
    for mode in ("shadow", "enforce"):
        made = engine(
            GuardEntry(name="p", detector="pii", places=everything, mode=mode, action="redact"),
            GuardEntry(name="s", detector="secrets", places=everything, mode=mode, action="redact"),
            GuardEntry(name="i", detector="injection", places=("input",), mode="shadow", threshold=0.5),
            GuardEntry(name="u", detector="unicode", places=everything, mode=mode, action="redact"),
        )
        texts = [MAIL, CLEAN, "a\u200bnn \u200b", '{"to": "ann.smith\\u0040example.com"}', ""]
        first = judged(made, texts)
        assert first[0] != (None, {}) or mode == "shadow"
        assert judged(made, texts) == first
        assert judged(made, list(reversed(texts)))[1][0].entities == first[1][0].entities


def counted() -> tuple[Counting, GuardEngine]:
    """An engine whose only detector counts."""
    made = engine(GuardEntry(name="z", detector="pii", places=("input",), threshold=0.5))
    plan = made.plan("a")
    assert plan is not None
    counting = Counting()
    guard = dataclasses.replace(plan.compiled.texts[0], detector=counting, reach=counting.reach)
    plan.guards = {**plan.guards, "input": (guard,)}
    return counting, made


def test_a_text_is_looked_at_once_for_each_caller() -> None:
    counting, made = counted()
    for _ in range(3):
        judged(made, [CLEAN, "a zebra"])
    assert counting.asked == [CLEAN, "a zebra"]
    judged(made, [CLEAN], subject="a\nbob")
    assert counting.asked[2:] == [CLEAN]


def test_long_texts_are_not_remembered() -> None:
    counting, made = counted()
    long = "x" * (SLICE + 1)
    judged(made, [long])
    before = len(counting.asked)
    judged(made, [long])
    assert len(counting.asked) == 2 * before


def test_memory_is_bounded_and_keeps_what_is_used() -> None:
    kept = Memory(weight_max=10)
    counting = Counting()
    for number in range(1000):
        kept.keep(b"used", {counting: said(())})
        kept.keep(b"%d" % number, {counting: said([Finding(0, 1, "E", 0.5)])})
        assert len(kept) <= 22
    assert kept.recall(b"used") is not None
    assert kept.recall(b"0") is None
    kept.clear()
    assert kept.recall(b"used") is None


def test_marks_differ_by_caller_text_and_how_it_is_read() -> None:
    owners = [owner_of(one) for one in ("", "a", "a\nb", "1:a")]
    marks = [
        mark_of(owner, text, escaped=escaped)
        for owner in owners
        for text in ("", "0", "a", "1:a", "\ud800")
        for escaped in (False, True)
    ]
    assert len(set(marks)) == len(marks)
    assert memory.WEIGHT_MAX < 100_000
