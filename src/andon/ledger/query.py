"""Which rows a reader wants: the filters of `andon logs`. Pure.

A row must satisfy every filter that is set.
"""

from __future__ import annotations

import msgspec

from andon.ledger.row import Outcome, Row


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Filters; a field left empty asks nothing."""

    id: str = ""  # a request id, or the beginning of one
    endpoint: str = ""
    release: str = ""
    key: str = ""
    status: str = ""  # "429", a class such as "5xx", "error" (400 and above) or "ok"
    since_ns: int = 0  # wall time, inclusive
    until_ns: int = 0  # wall time, exclusive; 0 = open
    intents: bool = False  # intents too, not outcomes only

    def matches(self, row: Row) -> bool:
        """Whether a reader wants this row."""
        if isinstance(row, Outcome):
            if self.status and not _is_status(self.status, row.status):
                return False
        elif self.status or not self.intents:
            return False
        return (
            row.id.startswith(self.id)
            and (not self.endpoint or row.endpoint == self.endpoint)
            and (not self.release or row.release == self.release)
            and (not self.key or row.key == self.key)
            and row.at_ns >= self.since_ns
            and (not self.until_ns or row.at_ns < self.until_ns)
        )


def check_status(text: str) -> str:
    """The text itself if it is a status filter; raises ValueError with the accepted forms."""
    if text in ("ok", "error") or (
        len(text) == 3 and text[0] in "12345" and (text[1:] == "xx" or text.isdigit())
    ):
        return text
    raise ValueError(f"'{text}' is not a status; write 429, 5xx, ok or error")


def _is_status(wanted: str, status: int) -> bool:
    if wanted == "error":
        return status >= 400
    if wanted == "ok":
        return 0 < status < 400
    if wanted.endswith("xx"):
        return status // 100 == int(wanted[0])
    return status == int(wanted)
