"""Entries of the audit log as events of the Open Cybersecurity Schema Framework 1.8, for any SIEM.

Pure. Model calls are API Activity (6003) with the profiles `ai_operation` and `trace`; what guards found are findings
(2004, 2006); changes of the factory are the classes of identity and of applications. The `attestation` of the profile
`record_integrity`, which comes with 1.9, stands under `unmapped`: 1.8 does not know the attribute.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Final

from andon.security.audit.canonical import canonicalise
from andon.security.audit.reading import Told

SCHEMA_VERSION: Final = "1.8.0"
CLASSES: Final[Mapping[str, int]] = MappingProxyType(
    {
        "detection_finding": 2004,
        "incident_finding": 2005,
        "data_security_finding": 2006,
        "authentication": 3002,
        "authorize_session": 3003,
        "entity_management": 3004,
        "user_access": 3005,
        "application_lifecycle": 6002,
        "api_activity": 6003,
    }
)
_CATEGORIES: Final = {2: "Findings", 3: "Identity & Access Management", 6: "Application Activity"}
_OTHER: Final = 99
_NS_PER_MS: Final = 1_000_000

# The first prefix that fits names the class: journal events are called <noun>.<past participle>.
_BY_NAME: Final = (
    ("audit.interrupted", 2005),
    ("incident.", 2005),
    ("session.", 3002),
    ("user.signed_in", 3002),
    ("user.granted", 3005),
    ("user.revoked", 3005),
    ("key.", 3005),
    ("policy.", 3005),
    ("grant.", 3003),
    ("rollout.", 6002),
    ("release.", 6002),
    ("endpoint.", 6002),
    ("deployment.", 6002),
    ("model.", 6002),
    ("modelversion.", 6002),
)
_ENTITY: Final = {
    "created": 1,
    "read": 2,
    "updated": 3,
    "applied": 3,
    "changed": 3,
    "deleted": 4,
    "removed": 4,
    "enabled": 8,
    "disabled": 9,
}
_LIFECYCLE: Final = {"created": 1, "deleted": 2, "removed": 2, "started": 3, "stopped": 4, "restarted": 5}
_REVOKING: Final = ("revoked", "deleted", "removed", "expired", "disabled")
_DATA_DETECTORS: Final = ("pii", "secrets")


def from_entry(told: Told, origin: str) -> Iterator[dict[str, Any]]:
    """The event of a change or of a decision on the admin plane; none for entries that say nothing to a SIEM."""
    if told.header.kind == "access":
        yield _attested(_decision(told), told, origin)
    elif told.header.kind in ("journal", "shred", "key", "gap"):
        yield _attested(_change(told), told, origin)


def from_row(told: Told, row: Mapping[str, Any], origin: str) -> Iterator[dict[str, Any]]:
    """The event of one request, and one finding for each guard that found something."""
    yield _attested(_call(row), told, origin)
    for at, verdict in enumerate(_verdicts(row)):
        if verdict.get("action", "pass") != "pass" or verdict.get("failed"):
            yield _attested(_finding(row, verdict, at), told, origin)


def _base(class_uid: int, activity: tuple[int, str], at_ns: int, uid: str) -> dict[str, Any]:
    category = class_uid // 1000
    name = next(name for name, number in CLASSES.items() if number == class_uid)
    return {
        "activity_id": activity[0],
        "activity_name": activity[1],
        "category_uid": category,
        "category_name": _CATEGORIES[category],
        "class_uid": class_uid,
        "class_name": name.replace("_", " ").title().replace("Api", "API"),
        "type_uid": class_uid * 100 + activity[0],
        "time": at_ns // _NS_PER_MS,
        "severity_id": 1,
        "severity": "Informational",
        "metadata": {
            "version": SCHEMA_VERSION,
            "product": {"name": "Andon", "vendor_name": "Andon"},
            "uid": uid,
            "log_provider": "andon audit",
        },
    }


def _call(row: Mapping[str, Any]) -> dict[str, Any]:
    at_ns, status = int(row["at_ns"]), int(row.get("status") or 0)
    event = _base(6003, (_OTHER, "Invoke"), at_ns, str(row["id"]))
    event["metadata"] |= {"correlation_uid": str(row["id"]), "profiles": ["ai_operation", "trace"]}
    event |= _status(200 <= status < 400, row.get("error_code"))
    tokens = {"prompt_tokens": row.get("input_tokens"), "completion_tokens": row.get("output_tokens")}
    known = {name: value for name, value in tokens.items() if value is not None}
    endpoint = str(row.get("endpoint") or "unknown")
    event |= {
        "actor": _actor(str(row.get("principal") or "anonymous:anonymous"), row.get("team")),
        "src_endpoint": _origin_of(row.get("address")),
        "api": {
            "operation": str(row.get("operation") or "unknown"),
            "service": {"name": endpoint},
            "request": {"uid": str(row["id"])},
            "response": {"code": status, **({"error": row["error_code"]} if row.get("error_code") else {})},
        },
        "http_request": {"http_method": "POST", "uid": str(row["id"])},
        "http_response": {"code": status},
        "resources": [{"name": endpoint, "type": "Endpoint", "uid": str(row.get("release") or endpoint)}],
        "ai_model": _model(row, endpoint),
        "message_context": {
            "uid": str(row["id"]),
            "application": {"name": str(row.get("team") or "unknown")},
            "service": {"name": endpoint},
            "ai_role_id": 2,
            "ai_role": "Assistant",
            **known,
            **({"total_tokens": sum(known.values())} if len(known) == len(tokens) else {}),
        },
    }
    if row.get("duration_us") is not None:
        event["duration"] = int(row["duration_us"]) // 1000
    trace = _trace(row, at_ns)
    if trace is not None:
        event["trace"] = trace
    names = (
        "cost_micros",
        "currency",
        "data_class",
        "policies",
        "arm",
        "refused_by",
        "gateway",
        "usage_source",
    )
    event["unmapped"] = {f"andon_{name}": row[name] for name in names if row.get(name) is not None}
    return event


def _model(row: Mapping[str, Any], endpoint: str) -> dict[str, Any]:
    name, _, version = str(row.get("release") or endpoint).partition("@")
    told = {"ai_provider": str(row.get("target") or "Internal"), "name": str(row.get("model") or name)}
    return {**told, "uid": str(row.get("release") or endpoint), **({"version": version} if version else {})}


def _trace(row: Mapping[str, Any], at_ns: int) -> dict[str, Any] | None:
    parts = str(row.get("traceparent") or "").split("-")
    if len(parts) < 4:
        return None
    begin_ns = at_ns - 1000 * int(row.get("duration_us") or 0)
    times = {"start_time": begin_ns // _NS_PER_MS, "end_time": at_ns // _NS_PER_MS}
    return {"uid": parts[1], "span": {"uid": parts[2], **times}, **times}


def _verdicts(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    try:
        found = json.loads(row.get("verdicts") or "[]")
    except ValueError:
        return []
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _finding(row: Mapping[str, Any], verdict: Mapping[str, Any], at: int) -> dict[str, Any]:
    guard = str(verdict.get("guard", "guard"))
    entities = verdict.get("entities") or {}
    data = any(part in guard.lower() for part in _DATA_DETECTORS) or any(
        str(name).isupper() for name in entities
    )
    uid = f"{row['id']}/{at}"
    event = _base(2006 if data else 2004, (1, "Create"), int(row["at_ns"]), uid)
    failed, place = bool(verdict.get("failed")), verdict.get("place", "text")
    enforced = verdict.get("mode") == "enforce"
    event |= {"severity_id": 4, "severity": "High"} if enforced else {"severity_id": 3, "severity": "Medium"}
    event["metadata"] |= {"correlation_uid": str(row["id"])}
    event |= {
        "status_id": 1,
        "status": "New",
        "finding_info": {
            "uid": uid,
            "title": f"Guard {guard} {'could not judge' if failed else 'found something in'} {place}",
            "types": [str(name) for name in entities],
            "analytic": {
                "name": guard,
                "type_id": 1,
                "type": "Rule",
                "version": str(verdict.get("version", "")),
                "uid": guard,
            },
        },
        # What matched is never in a row, so it is in no finding either.
        "evidences": [{"actor": _actor(str(row.get("principal") or "anonymous:anonymous"), row.get("team"))}],
        "unmapped": {
            f"andon_{name}": verdict[name]
            for name in ("action", "mode", "place", "score", "threshold", "scanned_bytes", "failed")
            if verdict.get(name) not in (None, "")
        },
    }
    if data:
        event["data_security"] = {
            "detection_pattern": ", ".join(map(str, entities)) or guard,
            "category_id": 0,
        }
    return event


def _decision(told: Told) -> dict[str, Any]:
    content = told.content or {}
    at_ns, action = int(told.header.at), str(content.get("action", told.header.name or "unknown"))
    verb = action.rpartition(".")[2]
    activity = {"read": (2, "Read"), "write": (3, "Update")}.get(verb, (_OTHER, verb or "Other"))
    event = _base(6003, activity, at_ns, str(told.index))
    event |= _status(bool(content.get("allowed", False)), None if content else "erased")
    event |= {
        "actor": _actor(str(content.get("principal", "erased:erased"))),
        "src_endpoint": _origin_of(content.get("address")),
        "api": {"operation": action, "service": {"name": str(content.get("process") or "andon")}},
        "resources": [
            {"name": str(content.get("resource", "unknown")), "uid": str(content.get("resource", ""))}
        ],
        "unmapped": {"andon_policies": ",".join(content.get("policies", ()))},
    }
    event["api"]["request"] = {"uid": told.header.id or str(told.index)}
    return event


def _change(told: Told) -> dict[str, Any]:
    content = told.content or {}
    name = str(content.get("name") or told.header.name or f"audit.{told.header.kind}")
    class_uid = next((number for prefix, number in _BY_NAME if name.startswith(prefix)), 3004)
    past = name.rpartition(".")[2]
    actor, subject = (
        str(content.get("actor", "erased:erased")),
        str(content.get("subject") or told.header.source),
    )
    event = _base(class_uid, _activity(class_uid, past), int(told.header.at), str(told.index))
    event |= _status(True, None)
    event["unmapped"] = {"andon_event": name, "andon_data": content.get("data", dict(told.header.data))}
    kind, _, entity = subject.partition("/")
    user = {"name": entity or subject, "uid": subject}
    if class_uid == 6002:
        event |= {"actor": _actor(actor), "app": {"name": subject, "vendor_name": "Andon", "uid": subject}}
    elif class_uid == 3004:
        event |= {"actor": _actor(actor), "entity": {"name": entity or subject, "type": kind, "uid": subject}}
    elif class_uid == 3005 or class_uid == 3003:
        event |= {"actor": _actor(actor), "user": user, "privileges": [name]}
    elif class_uid == 3002:
        event |= {"actor": _actor(actor), "user": _user(actor), "service": {"name": "andon"}}
    else:
        event |= {"status_id": 1, "status": "New", "severity_id": 4, "severity": "High"}
        event["finding_info_list"] = [{"uid": str(told.index), "title": name}]
    return event


def _activity(class_uid: int, past: str) -> tuple[int, str]:
    if class_uid == 2005:
        return 1, "Create"
    if class_uid == 3005:
        return (2, "Revoke Privileges") if past in _REVOKING else (1, "Assign Privileges")
    if class_uid == 3003:
        return 1, "Assign Privileges"
    if class_uid == 3002:
        return (2, "Logoff") if past in ("ended", "revoked", "signed_out") else (1, "Logon")
    numbers = _LIFECYCLE if class_uid == 6002 else _ENTITY
    number = numbers.get(past)
    if number is None and class_uid == 6002:
        return 8, "Update"
    return (_OTHER, past.title()) if number is None else (number, past.title())


def _status(fine: bool, detail: Any) -> dict[str, Any]:
    told = {"status_id": 1, "status": "Success"} if fine else {"status_id": 2, "status": "Failure"}
    if not fine:
        told |= {"severity_id": 2, "severity": "Low"}
    return told | ({"status_detail": str(detail)} if detail else {})


def _actor(principal: str, team: Any = None) -> dict[str, Any]:
    return {
        "user": _user(principal) | ({"groups": [{"name": str(team)}]} if team else {}),
        "app_name": "andon",
    }


def _user(principal: str) -> dict[str, Any]:
    kind, _, id_ = principal.partition(":")
    types = {"user": (1, "User"), "service": (3, "System"), "key": (3, "System"), "gateway": (3, "System")}
    type_id, type_ = types.get(kind, (0, "Unknown"))
    return {"name": principal, "uid": id_ or principal, "type_id": type_id, "type": type_}


def _origin_of(address: Any) -> dict[str, Any]:
    return {"ip": str(address)} if address else {"name": "not recorded"}


def _attested(event: dict[str, Any], told: Told, origin: str) -> dict[str, Any]:
    """With the place in the Merkle log, and the fingerprint of the event's canonical form (record_integrity)."""
    attestation: dict[str, Any] = {"uid": str(told.index), "authority_uid": origin, "chain_uid": origin}
    more = {"andon_leaf_index": told.index, "andon_leaf_hash": told.fingerprint, "attestation": attestation}
    event["unmapped"] = {**event.get("unmapped", {}), **more}
    value = sha256(canonicalise(event)).hexdigest()
    attestation["fingerprint"] = {"algorithm_id": 3, "algorithm": "SHA-256", "value": value}
    return event
