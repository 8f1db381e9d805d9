"""What a scan finds and what it ends with. Frozen; no I/O.

A finding is about one place in one file; its `subject` is what an exception would have to name.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from andon.kernel.admission import Verdict

Severity = Literal["suspicious", "refused"]
FINDINGS_MAX = 1000  # kept of one scan; the rest is counted


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing met in one file."""

    rule: str
    severity: Severity
    path: str
    message: str
    subject: str = ""
    offset: int = 0  # byte in the file or member


class FileEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a model: what was hashed is what was scanned."""

    name: str  # POSIX path inside the model
    size: int
    sha256: str  # hex


class Scanned(msgspec.Struct, frozen=True, kw_only=True):
    """What a scan ends with."""

    formats: dict[str, str]  # by file; members of archives are not listed
    findings: tuple[Finding, ...]
    found: int  # in all, those beyond FINDINGS_MAX included
    bytes_seen: int
    operations: int


def verdict_of(findings: tuple[Finding, ...]) -> Verdict:
    """The worst of the findings; clean if there is none."""
    if any(one.severity == "refused" for one in findings):
        return "refused"
    return "suspicious" if findings else "clean"
