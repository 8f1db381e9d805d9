"""OpenSLO v1 documents into Objectives: what can be enforced is taken exactly, what cannot is refused by name.

Andon counts the rows of its own ledger, so a metric source must be of type `andon`, its spec a selection: `over`
(column: value or values) and `where` (conditions, all of which hold). A query in another system's language cannot be
translated and is refused. Specification: github.com/OpenSLO/OpenSLO, version v1. Pure; no effect but the answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import yaml

from andon.kernel.errors import Refused
from andon.kernel.units import duration_s

VERSION = "openslo/v1"
KINDS = (
    "SLO",
    "SLI",
    "AlertPolicy",
    "AlertCondition",
    "AlertNotificationTarget",
    "DataSource",
    "Service",
)
DOCUMENTS_MAX = 1_000
SOURCE = "andon"
_OPS = {"lte": "gt", "lt": "ge", "gte": "lt", "gt": "le"}  # what is good → what is bad
_DAYS = {"d": 1, "w": 7}

Document = Mapping[str, Any]
World = Mapping[tuple[str, str], Document]


class Converted(msgspec.Struct, frozen=True):
    """Objectives as documents of a factory file, and what a person should know."""

    documents: tuple[dict[str, Any], ...]
    notes: tuple[str, ...]


def parse(text: str) -> Sequence[Document]:
    """The documents of a file: several, or a list of them. Raises `Refused`."""
    try:
        loaded = [one for one in yaml.safe_load_all(text) if one is not None]
    except yaml.YAMLError as error:
        raise _refused("", f"the file is not YAML: {error}") from error
    documents = [one for part in loaded for one in (part if isinstance(part, list) else [part])]
    if len(documents) > DOCUMENTS_MAX:
        raise _refused("", f"it holds more than {DOCUMENTS_MAX} documents")
    for number, document in enumerate(documents):
        if not isinstance(document, dict) or not isinstance(document.get("spec", {}), dict):
            raise _refused(f"document {number + 1}", "it is not an OpenSLO document")
        if document.get("apiVersion") != VERSION:
            raise _refused(
                _name(document), f"apiVersion is {document.get('apiVersion')!r}; {VERSION} is accepted"
            )
        if document.get("kind") not in KINDS:
            raise _refused(_name(document), f"kind {document.get('kind')!r} is unknown")
    return documents


def convert(documents: Sequence[Document]) -> Converted:
    """Every SLO as an Objective. Raises `Refused` naming everything in a document that cannot be enforced."""
    world: World = {(one["kind"], _name(one)): one for one in documents}
    made: list[dict[str, Any]] = []
    notes: list[str] = []
    for document in documents:
        if document["kind"] == "SLO":
            made += _objectives(document, world, notes)
    if not made:
        raise _refused(
            "", "it holds no SLO", "An SLI, an AlertPolicy or a DataSource alone promises nothing."
        )
    return Converted(tuple(made), tuple(notes))


def _objectives(document: Document, world: World, notes: list[str]) -> list[dict[str, Any]]:
    name, spec = _name(document), document["spec"]
    faults: list[str] = []
    method = spec.get("budgetingMethod", "Occurrences")
    if method != "Occurrences":
        faults.append(
            f"budgetingMethod {method} cannot be enforced: budgets are counted by events (Occurrences)"
        )
    metric = _metric(spec, world, faults)
    period = _period(spec.get("timeWindow"), faults)
    alerting = _alerting(spec.get("alertPolicies", ()), world, faults, notes, name)
    objectives = spec.get("objectives") or []
    if not objectives:
        faults.append("it has no objectives")
    made = []
    for number, objective in enumerate(objectives):
        body = _objective(objective, metric, faults)
        suffix = f"-{number + 1}" if len(objectives) > 1 else ""
        text = spec.get("description") or (document.get("metadata") or {}).get("displayName") or ""
        made.append(
            {
                "apiVersion": "andon/v1",
                "kind": "Objective",
                "metadata": {"name": name + suffix},
                "spec": {
                    **({"description": " ".join(str(text).split())} if text else {}),
                    **({"service": spec["service"]} if spec.get("service") else {}),
                    **body,
                    "period": period,
                    **alerting,
                },
            }
        )
    if faults:
        raise _refused(name, "; ".join(faults))
    return made


def _metric(spec: Document, world: World, faults: list[str]) -> Document:
    """The indicator's own spec, inline or by reference."""
    found = spec.get("indicator")
    reference = spec.get("indicatorRef")
    if (found is None) == (reference is None):
        faults.append("give either indicator or indicatorRef")
        return {}
    if found is None:
        found = world.get(("SLI", str(reference)))
        if found is None:
            faults.append(f"indicatorRef {reference!r} is in no document of the file")
            return {}
    metric: Document = found.get("spec") or {}
    return metric


def _objective(objective: Document, metric: Document, faults: list[str]) -> dict[str, Any]:
    """What is measured and how much of it is promised."""
    never = ("timeSliceTarget", "timeSliceWindow", "compositeWeight", "indicator", "indicatorRef")
    faults += [f"objectives[].{field} cannot be enforced" for field in never if field in objective]
    target = objective.get("target")
    if target is None and objective.get("targetPercent") is not None:
        target = round(float(objective["targetPercent"]) / 100, 12)
    if not isinstance(target, float) or not 0 < target < 1:
        faults.append("objectives[].target must lie between 0 and 1")
    ratio, threshold = metric.get("ratioMetric"), metric.get("thresholdMetric")
    body: dict[str, Any] = {}
    if ratio is not None:
        body = _ratio(ratio, faults)
    elif threshold is not None:
        body = _threshold(threshold, objective, faults)
    elif not faults:
        faults.append("the indicator has neither ratioMetric nor thresholdMetric")
    return {**body, "objective": target}


def _ratio(ratio: Document, faults: list[str]) -> dict[str, Any]:
    if "raw" in ratio:
        faults.append(
            "ratioMetric.raw cannot be enforced: a ratio that is already one cannot be counted by events"
        )
        return {}
    side = "good" if "good" in ratio else "bad"
    if ("good" in ratio) == ("bad" in ratio) or "total" not in ratio:
        faults.append("ratioMetric needs total, and either good or bad")
        return {}
    total = _selection(ratio["total"], "ratioMetric.total", faults)
    part = _selection(ratio[side], f"ratioMetric.{side}", faults)
    if total is None or part is None:
        return {}
    conditions = [*_conditions(part["over"]), *part["where"]]
    raw: dict[str, Any] = {side: {"all": conditions}}
    if total["where"]:
        raw["total"] = {"all": total["where"]}
    return {"over": total["over"], "indicator": {"raw": raw}}


def _threshold(threshold: Document, objective: Document, faults: list[str]) -> dict[str, Any]:
    selection = _selection(threshold, "thresholdMetric", faults, column=True)
    op, value = objective.get("op"), objective.get("value")
    if op not in _OPS or not isinstance(value, int | float):
        faults.append("a thresholdMetric needs objectives[].op (lte, lt, gte, gt) and objectives[].value")
        return {}
    if selection is None:
        return {}
    column = selection["column"]
    bad = {"column": column, "op": _OPS[op], "value": value}
    total = [*selection["where"], {"column": column, "op": "present"}]
    return {"over": selection["over"], "indicator": {"raw": {"bad": {"all": [bad]}, "total": {"all": total}}}}


def _selection(metric: Any, where: str, faults: list[str], *, column: bool = False) -> dict[str, Any] | None:
    """`over`, `where` and, for thresholds, `column` of a metric source of our own."""
    source = metric.get("metricSource") if isinstance(metric, dict) else None
    if not isinstance(source, dict):
        faults.append(f"{where} has no metricSource")
        return None
    kind = source.get("type")
    if str(kind).lower() != SOURCE:
        faults.append(
            f"{where}: a metric source of type {kind!r} cannot be enforced, because Andon counts the rows of its own "
            f"ledger; write type: {SOURCE}, spec: {{over: {{…}}, where: […]}}"
        )
        return None
    spec = source.get("spec") or {}
    unknown = set(spec) - {"over", "where", *(("column",) if column else ())}
    if unknown or (column and "column" not in spec):
        faults.append(
            f"{where}.metricSource.spec holds {sorted(spec)}; it takes over, where{', column' if column else ''}"
        )
        return None
    return {"over": spec.get("over", {}), "where": list(spec.get("where", ())), "column": spec.get("column")}


def _conditions(over: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"column": column, "op": "in" if isinstance(value, list) else "eq", "value": value}
        for column, value in over.items()
    ]


def _period(windows: Any, faults: list[str]) -> str:
    if not isinstance(windows, list) or len(windows) != 1:
        faults.append("timeWindow must be a list of exactly one window")
        return ""
    window = windows[0]
    text = str(window.get("duration", ""))
    number, unit = text[:-1], text[-1:]
    if window.get("isRolling", "calendar" not in window):
        if unit in _DAYS and number.isdigit():
            return f"{int(number) * _DAYS[unit]}d"
        if unit in ("m", "h") and number.isdigit():
            return text
        faults.append(
            f"a rolling window of {text!r} cannot be enforced: give days or weeks, such as 28d or 4w"
        )
        return ""
    calendar = window.get("calendar") or {}
    if text == "1M" and calendar.get("timeZone", "UTC") in ("UTC", "Etc/UTC"):
        if " 00:00" in (start := str(calendar.get("startTime", "-01 00:00"))) and "-01 " in start:
            return "month"
    faults.append("a calendar window can be enforced only as 1M from the first of a month, 00:00, UTC")
    return ""


def _alerting(
    policies: Sequence[Any], world: World, faults: list[str], notes: list[str], name: str
) -> dict[str, Any]:
    """Burn-rate conditions as windows of one's own; the derived windows where there is none."""
    windows: list[dict[str, Any]] = []
    missing = ""
    for item in policies:
        reference = item if isinstance(item, str) else item.get("alertPolicyRef")
        policy = world.get(("AlertPolicy", str(reference))) if reference else item
        if policy is None:
            faults.append(f"alert policy {reference!r} is in no document of the file")
            continue
        spec = policy.get("spec") or {}
        if spec.get("alertWhenNoData"):
            missing = "bad"
        if spec.get("alertWhenBreaching") is False:
            faults.append(f"alert policy {_name(policy)!r}: alertWhenBreaching: false cannot be enforced")
        if spec.get("notificationTargets"):
            notes.append(
                f"{name}: notificationTargets are not part of an objective; an alert's receivers say who is told"
            )
        for condition in spec.get("conditions", ()):
            _condition(condition, world, windows, faults)
    found: dict[str, Any] = {"missingData": missing} if missing else {}
    return found | ({"alerting": {"windows": windows}} if windows else {})


def _condition(item: Document, world: World, windows: list[dict[str, Any]], faults: list[str]) -> None:
    reference = item.get("conditionRef")
    found = world.get(("AlertCondition", str(reference))) if reference else item
    if found is None:
        faults.append(f"alert condition {reference!r} is in no document of the file")
        return
    spec = found.get("spec") or {}
    condition = spec.get("condition") or {}
    name = _name(found)
    if condition.get("kind") != "burnrate" or condition.get("op", "gte") not in ("gte", "gt"):
        faults.append(f"alert condition {name!r}: only a burnrate that is reached (op gte) can be enforced")
        return
    if not all(field in condition for field in ("threshold", "lookbackWindow")):
        faults.append(f"alert condition {name!r} needs threshold and lookbackWindow")
        return
    try:
        duration_s(str(condition["lookbackWindow"]))
    except ValueError as error:
        faults.append(f"alert condition {name!r}: {error}")
        return
    severity = str(spec.get("severity", "page")).lower()
    window: dict[str, Any] = {
        "severity": "page" if severity in ("page", "critical", "high") else "ticket",
        "long": str(condition["lookbackWindow"]),
        # A condition of OpenSLO looks at one window only: its short window is the same one.
        "short": str(condition["lookbackWindow"]),
        "burn": float(condition["threshold"]),
    }
    if condition.get("alertAfter") not in (None, "0m", "0s"):
        window["after"] = str(condition["alertAfter"])
    windows.append(window)


def _name(document: Document) -> str:
    metadata = document.get("metadata")
    return str(metadata.get("name", "")) if isinstance(metadata, dict) else ""


def _refused(name: str, why: str, hint: str = "") -> Refused:
    subject = f"The OpenSLO document '{name}'" if name else "The OpenSLO file"
    return Refused(
        "openslo_refused",
        f"{subject} cannot be taken: {why}.",
        hint=hint or "docs/objectives.md says what is accepted.",
    )
