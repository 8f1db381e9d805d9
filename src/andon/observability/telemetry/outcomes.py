"""What rows of the ledger mean to people who know only HTTP: error types, status classes, whose fault it was. Pure.

Used by spans, records and metrics alike, so that all three call the same thing by the same name.
"""

from __future__ import annotations

from typing import Final, Literal

from andon.kernel.exchange import Operation
from andon.ledger.row import Outcome

SHADOW: Final = "shadow"
_OPERATIONS: Final = frozenset(Operation)
_ARMS: Final = frozenset(("stable", "canary", "preview", SHADOW))
_CLASSES: Final = {1: "1xx", 2: "2xx", 3: "3xx", 4: "4xx", 5: "5xx"}


def error_of(row: Outcome) -> str:
    """`error.type` of the semantic conventions: our own stable code, the status without one, empty for success.

    A replayed answer carries a code and is no error; an attempt that was not the last has a code and no status.
    """
    if 200 <= row.status < 400:
        return ""
    if row.error_code:
        return row.error_code
    return str(row.status) if row.status else ""


def status_class(row: Outcome) -> str:
    """The first digit of the status told; `none` where nothing was told, as for an attempt that was tried again."""
    return _CLASSES.get(row.status // 100, "none")


def fault_of(row: Outcome) -> Literal["", "error", "fault", "throttle"]:
    """Whose fault it was, in X-Ray's words: the caller's (4xx), a limit's (429), ours or the upstream's."""
    if row.status == 429:
        return "throttle"
    if 400 <= row.status < 500:
        return "error"
    return "fault" if row.status >= 500 or error_of(row) else ""


def operation_of(row: Outcome) -> str:
    """The operation as a label."""
    return row.operation if row.operation in _OPERATIONS else "" if not row.operation else "other"


def arm_of(row: Outcome) -> str:
    """The arm as a label."""
    return row.arm if row.arm in _ARMS else "" if not row.arm else "other"


def was_sent(row: Outcome) -> bool:
    """Whether anything went upstream: what counts as an attempt."""
    return row.upstream_us is not None


def is_replay(row: Outcome) -> bool:
    """Answered from memory for a repeated Idempotency-Key."""
    return row.error_code == "idempotent_replay"
