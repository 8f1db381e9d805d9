"""What a detector is and what it finds; what a guard decides about a text, as rows remember it.

The contract between detectors (pure, this room), the stage that runs them and the ledger. A finding never carries the
text that matched: places and names only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

import msgspec

# Where a text stands: what the caller wrote; what was retrieved or came back from a tool; what the model answered.
Place = Literal["input", "context", "output"]
PLACES: tuple[Place, ...] = ("input", "context", "output")
Mode = Literal["shadow", "enforce"]  # shadow: judged and recorded, nothing is changed
Action = Literal["block", "redact", "tokenise", "label", "mark"]


class Finding(NamedTuple):
    """One thing found in one text."""

    start: int  # in characters of the text
    end: int  # exclusive
    entity: str  # "injection", "EMAIL_ADDRESS", "aws_access_key", …: stable, documented names
    score: float  # 0..1; comparable within one detector only


class Detector(Protocol):
    """Finds things in texts. Pure and synchronous; the same text always gives the same findings."""

    name: str  # "injection", "pii", "secrets", …
    version: str  # changes whenever findings may change
    reach: int  # characters beyond which text cannot change a finding: what a stream holds back, at most

    def scan(self, text: str) -> Sequence[Finding]:
        """Everything found, by place, scores below any threshold included where the detector has scores."""
        ...


class Verdict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one guard said of one exchange at one place: the sum over all texts there."""

    guard: str
    version: str
    place: Place
    mode: Mode
    action: Action | Literal["pass"]  # what was done, or in shadow would have been
    threshold: float | None = None
    score: float | None = None  # the highest
    entities: dict[str, int] = {}  # how many findings of each name
    spans: tuple[tuple[int, int, int], ...] = ()  # (index of the text, start, end), the first SPANS_MAX
    latency_us: int = 0
    scanned_bytes: int = 0  # of UTF-8
    failed: str = ""  # code of why it could not judge; what then happened is `action`


SPANS_MAX = 16
# Reach of a detector that judges a text as a whole: in a stream it needs all of it, so the guard must say `buffer`.
WHOLE = 1 << 30
