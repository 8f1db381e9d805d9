"""What is wrong with factory files, each fault at its file and line, all of them at once.

Raised by the reader and by `plan`; rendered by the command line one fault a line, by the admin API as problem details.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from andon.kernel.errors import Refused

FAULTS_MAX = 100  # the rest is counted, not shown


class Fault(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One thing wrong in one place. `line` counts from 1; 0 = the thing does not come from a file."""

    file: str
    line: int
    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        what = f"{self.path}: {self.message}" if self.path else self.message
        return f"{place}: {what}" + (f" ({self.hint})" if self.hint else "")


class InvalidDocuments(Refused):
    """Factory files that cannot be used; `faults` is sorted by file and line and never empty."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        every = sorted(set(faults))
        self.faults = tuple(every[:FAULTS_MAX])
        self.count = len(every)
        more = f" (and {self.count - 1} more)" if self.count > 1 else ""
        super().__init__(
            "invalid_documents",
            f"{self.faults[0]}{more}",
            hint="Correct the files and plan again; nothing was changed.",
            status=422,
            param=self.faults[0].path or None,
        )
