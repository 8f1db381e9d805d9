"""What policies may ask of a resource, read from the resource itself and from the models it is made of.

Pure but for the look-up that is handed in. What is not known is left out, and then has the value that a policy refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from andon.kernel.labels import RANKS
from andon.store.model import Record

Look = Callable[[str, str], Record | None]  # kind, name


def describe(record: Record, look: Look) -> Mapping[str, Any]:
    """Attributes of the schema, and the resource's own labels as tags."""
    spec = record.spec
    found: dict[str, Any] = dict(record.labels)
    written = spec.get("attributes")
    if isinstance(written, dict):
        found |= {name: value for name, value in written.items() if isinstance(value, str)}
    found["team"] = _text(spec.get("team")) or record.labels.get("team", "")
    found["riskTier"] = _text(spec.get("riskTier")) or found.get("risk-tier", "")
    if record.kind == "Endpoint":
        found["label"] = RANKS.get(_text(spec.get("label")) or "internal", 3)
        found["labelMax"] = RANKS.get(_text(spec.get("labelMax")) or "restricted", 0)
        found["protocol"] = _text(spec.get("protocol")) or "oip"
        found["priority"] = spec.get("priority", 0)
    endpoint = _text(spec.get("endpoint"))
    if record.kind == "Rollout":
        found["endpoint"] = endpoint
        above = look("Endpoint", endpoint)
        if above is not None:  # what is said of an endpoint is said of its releases
            inherited = describe_labels(above)
            found = {**inherited, **{name: value for name, value in found.items() if value != ""}}
    version = _version(record, look)
    if version is not None:
        found |= _admission(version)
        found["riskTier"] = found["riskTier"] or version.labels.get("risk-tier", "")
    return found


def describe_labels(record: Record) -> dict[str, Any]:
    """What a resource passes on to what belongs to it."""
    found: dict[str, Any] = dict(record.labels)
    found["team"] = record.labels.get("team", "")
    found["riskTier"] = record.labels.get("risk-tier", "")
    return found


def _version(record: Record, look: Look) -> Record | None:
    """The model version that a resource is about; None where it is about none of this factory."""
    if record.kind == "ModelVersion":
        return record
    spec = record.spec
    if record.kind == "Deployment":
        return look("ModelVersion", record.name)
    release = spec.get("release" if record.kind == "Endpoint" else "target")
    if record.kind in ("Endpoint", "Rollout") and isinstance(release, dict) and release.get("model"):
        return look("ModelVersion", f"{release['model']}-{release.get('version', '')}")
    return None


def _admission(version: Record) -> dict[str, Any]:
    """What the scan of a version said of the generation that is there now; anything else is no verdict."""
    told = version.status.get("admission")
    if not isinstance(told, dict) or told.get("generation", version.generation) != version.generation:
        return {}
    verdict = told.get("verdict")
    return {
        "signatureVerified": told.get("verified") is True,
        "scanVerdict": verdict if isinstance(verdict, str) else "",
    }


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
