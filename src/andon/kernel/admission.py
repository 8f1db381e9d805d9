"""What security says of a model version: whether its files may be loaded, which bytes these are, and who signed them.

The rooms that scan (security) and that serve (serving) are blind to one another; they meet in the status of the
`ModelVersion`, which holds this under `admission`.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Verdict = Literal["clean", "suspicious", "refused"]
FINDINGS_MAX = 50  # kept in a status; the report of the scan holds more


class AdmissionFinding(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One thing that a scan met."""

    rule: str  # "pickle-global"
    severity: str  # "suspicious", "refused"
    path: str  # inside the model, members of archives after "!": "model.pt!archive/data.pkl"
    message: str
    subject: str = ""  # what an exception would name: "os.system"
    allowed: bool = False  # an exception of the version covers it


class Admission(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The decision on one generation of one version."""

    admitted: bool = False
    verdict: Verdict = "refused"
    verified: bool = False  # a declared signer signed exactly these bytes
    signer: str = ""  # its name in the factory
    digest: str = ""  # of the bytes that were scanned: what a replica must load
    format: str = ""
    reason: str = ""  # why it is not admitted, or by which exception it is
    findings: tuple[AdmissionFinding, ...] = ()
    found: int = 0  # findings in all
    scanned_at: int = 0  # ns since the epoch
    generation: int = 0  # of the version this is about
    rules: str = ""  # digest of what was decided by: signers, formats, lists, the scanner's own version
    until: str = ""  # day after which an exception no longer covers it; empty = no exception is needed
    bytes_seen: int = 0


class Admitted(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The part of a ModelVersion's status that is about admission."""

    admission: Admission | None = None


class Assessment(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How a version stood up to an attack, under stated conditions."""

    digest: str  # of the bytes that were attacked
    attack: str  # "hopskipjump", "zoo"
    norm: str  # "linf", "l2"
    epsilon: float  # share of each feature's range
    budget: int  # queries for each row
    seed: int
    rows: int
    clean_accuracy: float
    robust_accuracy: float
    robust_low: float  # 95 % interval (Wilson)
    robust_high: float
    clean_low: float
    clean_high: float
    queries: int
    data: str = ""  # what it was attacked on: a file's name and digest
    at: int = 0  # ns since the epoch

    def is_like(self, other: Assessment) -> bool:
        """Whether two can be compared: the same attack, at the same strength, on the same data."""
        mine = (self.attack, self.norm, self.epsilon, self.budget, self.data)
        return mine == (other.attack, other.norm, other.epsilon, other.budget, other.data)


class Assessed(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The part of a ModelVersion's status that is about assessments; the newest is last."""

    assessments: tuple[Assessment, ...] = ()
