"""Findings of any scan as SARIF 2.1.0: what code hosts and editors show beside the line. Pure.

Source: OASIS SARIF 2.1.0. Fingerprints do not depend on the line, so that a finding stays one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Literal

import msgspec

from andon.kernel.admission import AdmissionFinding
from andon.security.supply.scanning import Found

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
Level = Literal["error", "warning", "note"]
_SCORES: Mapping[str, str] = MappingProxyType(
    {"critical": "9.5", "high": "8.0", "moderate": "5.5", "low": "2.0"}
)


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One finding in one place."""

    rule: str
    level: Level
    message: str
    path: str
    line: int = 1
    subject: str = ""  # what tells it from another finding of the rule in the same file
    suppressed: str = ""  # the justification of somebody who judged it
    title: str = ""  # of the rule
    score: str = ""  # security-severity, 0 to 10
    help: str = ""


def of_vulnerabilities(found: Iterable[Found]) -> list[Result]:
    """One result for each vulnerability of each package."""
    return [
        Result(
            rule=one.id,
            level="error" if one.level in ("critical", "high", "") else "warning",
            message=f"{one.package} {one.version}: {one.summary or one.id}."
            + (f" Fixed in {one.fixed}." if one.fixed else " No version fixes it yet."),
            path=one.source,
            line=max(1, one.line),
            subject=one.purl,
            suppressed=one.justification if one.is_silent else "",
            title=one.summary or one.id,
            score=_SCORES.get(one.level, ""),
            help=f"Known also as {', '.join(one.aliases)}." if one.aliases else "",
        )
        for one in found
    ]


def of_admission(source: str, findings: Iterable[AdmissionFinding]) -> list[Result]:
    """One result for each finding of a model's scan."""
    return [
        Result(
            rule=one.rule,
            level="error" if one.severity == "refused" else "warning",
            message=one.message,
            path=f"{source}/{one.path}" if source else one.path,
            subject=one.subject,
            suppressed="Excepted by the version." if one.allowed else "",
        )
        for one in findings
    ]


def document(results: Sequence[Result], version: str) -> dict[str, Any]:
    """The log with one run."""
    rules: dict[str, Result] = {}
    for result in results:
        rules.setdefault(result.rule, result)
    places = {rule: place for place, rule in enumerate(rules)}
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "andon",
                        "version": version,
                        "informationUri": "https://github.com/andon/andon",
                        "rules": [_rule(name, one) for name, one in rules.items()],
                    }
                },
                "columnKind": "utf16CodeUnits",
                "results": [_result(one, places[one.rule]) for one in results],
            }
        ],
    }


def _rule(name: str, one: Result) -> dict[str, Any]:
    rule: dict[str, Any] = {
        "id": name,
        "shortDescription": {"text": (one.title or name)[:1000]},
        "defaultConfiguration": {"level": one.level},
    }
    if one.help:
        rule["help"] = {"text": one.help}
    if one.score:
        rule["properties"] = {"security-severity": one.score, "tags": ["security"]}
    return rule


def _result(one: Result, place: int) -> dict[str, Any]:
    identity = sha256(f"{one.rule}\0{one.path}\0{one.subject}".encode()).hexdigest()
    uri = one.path.replace("\\", "/").lstrip("/") or "."
    result: dict[str, Any] = {
        "ruleId": one.rule,
        "ruleIndex": place,
        "level": one.level,
        "message": {"text": one.message},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": _quoted(uri)},
                    "region": {"startLine": one.line},
                }
            }
        ],
        "partialFingerprints": {"andonFinding/v1": identity},
    }
    if one.subject:
        result["properties"] = {"subject": one.subject}
    if one.suppressed:
        result["suppressions"] = [{"kind": "external", "justification": one.suppressed}]
    return result


def _quoted(path: str) -> str:
    """A path as a URI reference."""
    safe = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/!@+=,:"
    return "".join(
        letter if letter in safe else "".join(f"%{byte:02X}" for byte in letter.encode("utf-8", "replace"))
        for letter in path
    )
