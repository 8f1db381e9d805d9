"""Proof `merkle`: the audit log takes in rows faster than they come, gives the published answers, and hides no change.

Leaves a second: final rows of a real ledger folder, followed, made into leaves, appended durably, with a signed
checkpoint every second, by the auditor's own parts. Vectors: known answers of RFC 6962 trees and every altered proof of
transparency-dev's suite. Tampering: a log with payloads, a rotated key and a witness; each change on the log as it was.
"""

from __future__ import annotations

import asyncio
import collections
import tempfile
import time
from pathlib import Path

from andon.kernel.clock import SystemClock
from andon.kernel.ids import Ids
from andon.kernel.random import SystemRandom
from andon.ledger.disk import FileDisk
from andon.ledger.folder import open_log
from andon.ledger.row import Outcome
from andon.security.audit.checking import check_log
from andon.security.audit.gathering import Gatherer, JournalPage, LogFollower
from andon.security.audit.keys import load_signing_key
from andon.security.audit.sources import FolderSource
from andon.security.audit.subjects import Subjects
from andon.security.audit.writer import LogWriter
from andon.security.secrets.keyring import FileKeys
from benchmarks.harness import QUICK, conclude, table
from tests.security.audit.tampering import set_up, tamper
from tests.security.audit.trees import vectors

ROWS = 40_000 if QUICK else 400_000
ROUNDS = 3
FLIPS = 900 if QUICK else 6_000
BATCH = 4096
CHECKPOINT_S = 1.0


def row(ids: Ids, at_ns: int, place: int) -> Outcome:
    """A row as a gateway writes it."""
    return Outcome(
        id=ids.next(),
        at_ns=at_ns,
        status=200,
        endpoint="chat",
        release="chat@3",
        arm="stable",
        target="provider-1",
        operation="chat",
        dialect="openai",
        key="4kq2mabc",
        team="risk",
        propensity=0.95,
        duration_us=181_234 + place % 1000,
        overhead_us=640,
        upstream_us=180_100,
        first_byte_us=90_000,
        input_tokens=812,
        output_tokens=place % 300,
        usage_source="provider",
        request_bytes=4_096,
        response_bytes=1_024,
        durability="acknowledged",
        gateway="0",
        traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        response_id=f"chatcmpl-{place}",
        model="gpt-4o-2024-05-13",
        finish_reason="stop",
        principal="key:4kq2mabc",
        policies="role-sender",
        data_class="internal",
    )


async def fill(folder: Path, count: int) -> None:
    """A ledger of so many final rows."""
    clock, random = SystemClock(), SystemRandom()
    ids = Ids(clock, random)
    async with open_log(folder, clock, "0") as log:
        for place in range(count):
            log.append(row(ids, clock.now_ns(), place))
            if place % 1000 == 999:
                await log.committed()
        await log.committed()


def take_in(ledger: Path, audit: Path) -> tuple[float, int]:
    """(seconds until all is durable and signed, checkpoints)."""
    audit.mkdir(parents=True)
    disk, random, clock = FileDisk(audit), SystemRandom(), SystemClock()
    writer = LogWriter(disk, load_signing_key(audit, disk, random, "proof"))
    subjects = Subjects(disk, random, FileKeys(audit / "kek", random))
    gatherer = Gatherer(LogFollower(ledger, "rows/proof", 0), (), subjects, clock)
    nothing, checkpoints = JournalPage(events=(), epoch=1), 0
    began = signed = time.perf_counter()
    complete = False
    while not complete:
        leaves, complete = gatherer.gather(nothing, writer.positions, BATCH)
        if leaves:
            writer.append(leaves)
        if complete or time.perf_counter() - signed >= CHECKPOINT_S:
            writer.checkpoint()
            signed, checkpoints = time.perf_counter(), checkpoints + 1
    seconds = time.perf_counter() - began
    assert writer.signed.size == ROWS
    findings = check_log(FolderSource(audit), writer.signing.vkey)
    assert (findings.faults, findings.size) == ([], ROWS)
    return seconds, checkpoints


def main() -> None:
    """The proof."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        asyncio.run(fill(root / "ledger", ROWS))
        runs = [take_in(root / "ledger", root / f"audit-{number}") for number in range(ROUNDS)]
        seconds = sorted(run[0] for run in runs)[ROUNDS // 2]
        print(f"{ROWS} rows: {', '.join(f'{run[0]:.2f} s ({run[1]} checkpoints)' for run in runs)}")
        answers = vectors()
        kinds: collections.Counter[str] = collections.Counter()
        missed: collections.Counter[str] = collections.Counter()
        for what, found in tamper(set_up(root / "tamper"), FLIPS):
            kind = kind_of(what)
            kinds[kind] += 1
            missed[kind] += not found
    table(
        ("what was done", "tried", "found"), [(kind, n, n - missed[kind]) for kind, n in kinds.most_common()]
    )
    conclude(
        {
            "leaves_per_s": ROWS / seconds,
            "vectors": sum(answers),
            "tamper_detected": sum(kinds.values()) - sum(missed.values()),
            "tamper_tried": sum(kinds.values()),
        }
    )


def kind_of(what: str) -> str:
    """The kind of a change, for the table."""
    for word in (
        "flip",
        "deletion",
        "insertion",
        "reorder",
        "copy",
        "tail cut",
        "removed",
        "longer",
        "cut",
        "swapped",
    ):
        if word in what and "stolen" not in what:
            return word
    return what


if __name__ == "__main__":
    main()
