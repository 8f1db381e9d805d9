"""Whether a scanned model may be loaded. Pure: findings, signature, declarations and the day in, a decision out.

Refused findings cannot be excepted; suspicious ones can, by the version, with a reason and until a day.
"""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from andon.kernel.admission import FINDINGS_MAX, Admission, AdmissionFinding, Verdict
from andon.security.admission.kinds import AdmissionSpec
from andon.security.admission.model import Finding, Scanned

_NEUTRAL = frozenset("text empty image table weights zip tar gzip zlib bzip2 xz lzma".split())
_PICKLES = frozenset({"pickle", "torch"})


class Allow(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The exception of a version, as far as admission reads it."""

    findings: tuple[str, ...] = ()
    reason: str = ""
    until: str = ""


class Wanted(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a ModelVersion says that matters here; the rest of its spec belongs to serving."""

    model: str
    source: str
    digest: str = ""
    allow_pickle: bool = False
    allow: Allow | None = None


class Signed(msgspec.Struct, frozen=True, kw_only=True):
    """What verifying the signature gave."""

    signer: str = ""
    problem: str = ""  # of a signature that is there and does not hold
    is_there: bool = False


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the decision needs."""

    wanted: Wanted
    policy: AdmissionSpec
    has_signers: bool
    signed: Signed
    scanned: Scanned
    digest: str
    now_ns: int


def day_of(now_ns: int) -> str:
    """The day in UTC."""
    return datetime.fromtimestamp(now_ns / 1e9, UTC).date().isoformat()


def is_covered(finding: Finding | AdmissionFinding, allow: Allow | None, now_ns: int) -> bool:
    """Whether a version's exception covers a finding today."""
    if allow is None or finding.severity == "refused" or day_of(now_ns) > allow.until:
        return False
    names = {finding.rule, f"{finding.rule}:{finding.subject}", f"{finding.rule}:{finding.path}"}
    return not names.isdisjoint(allow.findings)


def decide(case: Case) -> Admission:
    """The decision; generation and rules are the caller's to add."""
    findings = [
        finding
        for finding in case.scanned.findings
        if not (finding.rule == "pickle-global" and finding.subject in case.policy.globals)
    ]
    findings += _format_findings(case)
    covered = [is_covered(finding, case.wanted.allow, case.now_ns) for finding in findings]
    verdict: Verdict = "clean"
    if findings:
        verdict = "refused" if any(one.severity == "refused" for one in findings) else "suspicious"
    reason = _reason(case, findings, covered)
    excepted = bool(findings) and not reason
    return Admission(
        admitted=not reason,
        verdict=verdict,
        verified=bool(case.signed.signer),
        signer=case.signed.signer,
        digest=case.digest,
        format=_format(case.scanned),
        reason=reason
        or (f"By exception: {case.wanted.allow.reason}" if excepted and case.wanted.allow else ""),
        findings=tuple(
            AdmissionFinding(
                rule=finding.rule,
                severity=finding.severity,
                path=finding.path,
                message=finding.message,
                subject=finding.subject,
                allowed=is_allowed,
            )
            for finding, is_allowed in list(zip(findings, covered, strict=True))[:FINDINGS_MAX]
        ),
        found=max(len(findings), case.scanned.found),
        scanned_at=case.now_ns,
        until=case.wanted.allow.until if excepted and case.wanted.allow else "",
        bytes_seen=case.scanned.bytes_seen,
    )


def _reason(case: Case, findings: list[Finding], covered: list[bool]) -> str:
    """Why it is not admitted; empty if it is."""
    if case.wanted.digest and case.wanted.digest != case.digest:
        return f"Its files have the digest {case.digest}, and {case.wanted.digest} is declared."
    required = case.policy.signatures == "required" or (case.policy.signatures == "auto" and case.has_signers)
    if case.signed.problem and (required or case.has_signers):
        return case.signed.problem
    if required and not case.signed.signer:
        return "It is not signed. Sign it: andon models sign FOLDER --key KEY, by a declared Signer."
    left = [finding for finding, is_covered_ in zip(findings, covered, strict=True) if not is_covered_]
    left.sort(key=lambda finding: finding.severity != "refused")
    if left:
        more = f" (and {len(left) - 1} more)" if len(left) > 1 else ""
        return f"{left[0].path}: {left[0].message}{more}"
    if case.scanned.found > len(case.scanned.findings):
        return "There are more findings than are kept."
    return ""


def _format_findings(case: Case) -> list[Finding]:
    found = []
    for path, form in sorted(case.scanned.formats.items()):
        if form in _NEUTRAL or form in ("native", "unknown", "7z", "rar", "zstd", "lz4"):
            continue
        if form not in case.policy.formats:
            message = f"It is {form}, which this factory does not take."
            found.append(
                Finding(rule="format", severity="suspicious", path=path, message=message, subject=form)
            )
        elif form in _PICKLES and not case.wanted.allow_pickle:
            message = (
                "It is a pickle, and the version does not say allowPickle: true. ONNX needs no permission."
            )
            found.append(
                Finding(
                    rule="pickle-refused", severity="suspicious", path=path, message=message, subject=form
                )
            )
    return found


def _format(scanned: Scanned) -> str:
    """What people would call it: the format of what is loaded."""
    forms = set(scanned.formats.values())
    if "MLmodel" in scanned.formats:
        return "mlflow"
    for form in (
        "onnx",
        "safetensors",
        "torch",
        "pickle",
        "xgboost",
        "lightgbm",
        "keras",
        "hdf5",
        "gguf",
        "python",
    ):
        if form in forms:
            return form
    return next(iter(sorted(forms)), "")
