"""What OCSF 1.8 asks of the events that are exported: required attributes, types and constraints, by class.

Written from the standard's own requirements for the classes used here; the export checks every event by it, so a
mapping that drifts is found by us and not by somebody's SIEM. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

_BASE: Final = ("activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time", "type_uid")
_REQUIRED: Final[Mapping[int, Sequence[str]]] = MappingProxyType(
    {
        2004: ("finding_info",),
        2005: ("finding_info_list", "status_id"),
        2006: ("finding_info",),
        3002: ("user",),
        3003: ("user",),
        3004: ("entity",),
        3005: ("privileges", "user"),
        6002: ("app",),
        6003: ("actor", "api", "src_endpoint"),
    }
)
_ACTIVITIES: Final[Mapping[int, Sequence[int]]] = MappingProxyType(
    {
        2004: (0, 1, 2, 3, 99),
        2005: (0, 1, 2, 3, 99),
        2006: (0, 1, 2, 3, 4, 99),
        3002: (0, 1, 2, 3, 4, 5, 6, 7, 99),
        3003: (0, 1, 2, 99),
        3004: (*range(14), 99),
        3005: (0, 1, 2, 99),
        6002: (*range(9), 99),
        6003: (0, 1, 2, 3, 4, 99),
    }
)
# By attribute: required inside, and of which at least one.
_OBJECTS: Final[Mapping[str, tuple[Sequence[str], Sequence[str]]]] = MappingProxyType(
    {
        "metadata": (("product", "version"), ()),
        "product": ((), ("name", "uid")),
        "actor": (
            (),
            ("process", "user", "invoked_by", "session", "app_name", "app_uid", "idp", "authorizations"),
        ),
        "user": ((), ("account", "name", "uid")),
        "api": (("operation",), ()),
        "request": (("uid",), ()),
        "http_response": (("code",), ()),
        "src_endpoint": ((), ("ip", "uid", "name", "hostname", "svc_name", "instance_uid", "interface_uid")),
        "ai_model": (("ai_provider", "name"), ()),
        "message_context": ((), ("application", "service")),
        "finding_info": (("title", "uid"), ()),
        "analytic": (("type_id",), ("name", "uid")),
        "entity": ((), ("name", "uid")),
        "app": ((), ("name", "uid")),
        "trace": (("uid",), ()),
        "span": (("uid", "start_time", "end_time"), ()),
        "fingerprint": (("algorithm_id", "value"), ()),
    }
)
_WHOLE: Final = ("_id", "_uid", "time", "duration", "_tokens")
_TEXT_UIDS: Final = (
    "correlation_uid",
    "authority_uid",
    "chain_uid",
    "app_uid",
    "instance_uid",
    "interface_uid",
)


def check_event(event: Mapping[str, Any]) -> list[str]:
    """What is wrong with an event; empty if nothing is."""
    class_uid: Any = event.get("class_uid")
    if class_uid not in _REQUIRED:
        return [f"class {class_uid} is not one that is exported"]
    faults = [f"{name} is missing" for name in (*_BASE, *_REQUIRED[class_uid]) if name not in event]
    if faults:
        return faults
    if event["type_uid"] != class_uid * 100 + event["activity_id"]:
        faults.append("type_uid is not class_uid * 100 + activity_id")
    if event["category_uid"] != class_uid // 1000:
        faults.append("category_uid is not that of the class")
    if event["activity_id"] not in _ACTIVITIES[class_uid]:
        faults.append(f"activity_id {event['activity_id']} is none of the class")
    if event["severity_id"] not in (0, 1, 2, 3, 4, 5, 6, 99):
        faults.append("severity_id is not one")
    if event["activity_id"] == 99 and not event.get("activity_name"):
        faults.append("an activity of another kind has a name")
    if class_uid == 3002 and not ({"service", "dst_endpoint"} & event.keys()):
        faults.append("service or dst_endpoint is missing")
    return faults + _check_object(event, "")


def _check_object(value: Mapping[str, Any], path: str) -> list[str]:
    faults = []
    for name, inner in value.items():
        place = f"{path}{name}"
        if name == "unmapped":
            continue  # anything may stand there
        if name.endswith(_WHOLE) and name not in _TEXT_UIDS and not (isinstance(inner, int) and inner >= 0):
            faults.append(f"{place} is no whole number")
        if isinstance(inner, Mapping):
            required, either = _OBJECTS.get(name, ((), ()))
            faults += [f"{place}.{one} is missing" for one in required if one not in inner]
            if either and not any(one in inner for one in either):
                faults.append(f"{place} needs one of {', '.join(either)}")
            faults += _check_object(inner, f"{place}.")
        elif isinstance(inner, list):
            for at, one in enumerate(inner):
                if isinstance(one, Mapping):
                    faults += _check_object(one, f"{place}[{at}].")
        elif inner is None:
            faults.append(f"{place} is null; leave it out")
    return faults
