"""All pickles of one file: one after another, with what stands between and behind them.

Says whether bytes are a pickle at all, what it would use, and where it stops being one.
"""

from __future__ import annotations

from andon.security.admission.budget import Budget
from andon.security.admission.machine import Machine
from andon.security.admission.model import Finding
from andon.security.admission.opcodes import Buffer, Malformed

STREAMS_MAX = 10_000
TORCH_MAGIC = 0x1950A86A20F9469CFC6C  # the first object of torch's older files
_TORCH_STREAMS = 5
_MAGIC_BYTES = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."


def is_binary_pickle(data: Buffer) -> bool:
    """Whether it begins as protocols 2 to 5 do."""
    return len(data) > 1 and data[0] == 0x80 and data[1] <= 5


def scan_pickles(data: Buffer, path: str, budget: Budget, *, may_persist: bool = False) -> list[Finding]:
    """What is found in a file that is to be a pickle. Raises `Exhausted`."""
    findings: list[Finding] = []
    is_torch = data[: len(_MAGIC_BYTES)] == _MAGIC_BYTES
    at, count = 0, 0
    while at < len(data):
        if count >= STREAMS_MAX or (is_torch and count >= _TORCH_STREAMS):
            break
        machine = Machine(data, path, budget, may_persist=may_persist or is_torch)
        try:
            at, _ = machine.run(at)
        except (Malformed, RecursionError) as error:
            findings += machine.findings
            findings.append(_broken(path, at, count, machine, str(error)))
            return findings
        findings += machine.findings
        count += 1
    if at < len(data) and not is_torch:
        message = f"There are more than {STREAMS_MAX} pickles in it."
        findings.append(
            Finding(rule="pickle-many", severity="suspicious", path=path, message=message, offset=at)
        )
    if count == 0:
        findings.append(
            Finding(rule="pickle-broken", severity="refused", path=path, message="The file is empty.")
        )
    return findings


def scan_if_pickle(data: Buffer, path: str, budget: Budget) -> list[Finding] | None:
    """What is found if these bytes, which look like text or nothing, are a pickle after all; None if they are not.

    They are one if an unpickler would come to its end, or would have called something on the way.
    """
    machine = Machine(data, path, budget)
    try:
        machine.run()
    except (Malformed, RecursionError):
        return machine.findings if machine.calls and machine.findings else None
    return machine.findings


def _broken(path: str, at: int, count: int, machine: Machine, why: str) -> Finding:
    if count and not machine.calls:
        message = f"After its end come bytes that are no pickle: {why}."
        return Finding(rule="pickle-trailing", severity="suspicious", path=path, message=message, offset=at)
    message = f"It cannot be followed to its end: {why}."
    return Finding(rule="pickle-broken", severity="refused", path=path, message=message, offset=at)
