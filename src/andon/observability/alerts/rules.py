"""A rule as it is evaluated: its spec with every length of time in nanoseconds, and what was seen of it.

Pure. `compile_rule` raises ValueError for a spec that `plan` would refuse.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

import msgspec

from andon.kernel.units import duration_s
from andon.observability.alerts.model import LABELS_MAX, TEXT_MAX, AlertSpec, InhibitedBy

NS = 1_000_000_000
EVENT_HOLD_S = 300.0
EVERY_S = 10.0
QUERY_EVERY_S = 60.0
VALUE_MAX = 256  # characters of a label's value; longer ones are cut

_PLACE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_.]*)\}")


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule, ready to be evaluated."""

    name: str
    spec: AlertSpec
    created_ns: int = 0
    generation: int = 1
    for_ns: int = 0
    keep_ns: int = 0
    every_ns: int = 0
    wait_ns: int = 0
    interval_ns: int = 0
    repeat_ns: int = 0

    @property
    def inhibited_by(self) -> tuple[InhibitedBy, ...]:
        """Alerts that make this one needless."""
        return self.spec.inhibited_by


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is true now: labels that tell it from others of its rule, and how much."""

    labels: dict[str, str] = {}
    value: float | None = None
    why: str = ""


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """One look at one rule."""

    seen: tuple[Observation, ...] = ()
    unknown: bool = False  # what is not seen may still be so: nothing ends by this look
    kept: tuple[dict[str, str], ...] = ()  # labels of what is neither true nor over, such as too few events
    ended: tuple[dict[str, str], ...] = ()  # labels of what is over whatever keepFiringFor says
    error: str = ""  # why nothing could be seen
    left_out: int = 0


def compile_rule(name: str, spec: AlertSpec, created_ns: int = 0, generation: int = 1) -> Rule:
    """The rule of a spec. Raises ValueError for a length of time that is none."""
    kind = spec.when.kind
    hold = spec.keep_firing_for or (f"{EVENT_HOLD_S}s" if kind == "event" else "0s")
    every = spec.every or (f"{QUERY_EVERY_S}s" if kind == "query" else f"{EVERY_S}s")

    def ns(text: str) -> int:
        return round(duration_s(text) * NS)

    return Rule(
        name=name,
        spec=spec,
        created_ns=created_ns,
        generation=generation,
        for_ns=ns(spec.for_),
        keep_ns=ns(hold),
        every_ns=max(NS, ns(every)),
        wait_ns=ns(spec.group_wait),
        interval_ns=ns(spec.group_interval),
        repeat_ns=ns(spec.repeat_interval),
    )


def labels_of(rule: Rule, seen: Mapping[str, str]) -> dict[str, str]:
    """Everything that identifies what fires: of the rule, of the observation, `alertname` and `severity`."""
    given = {**seen, **rule.spec.labels}
    kept = {name: str(value)[:VALUE_MAX] for name, value in sorted(given.items())[:LABELS_MAX]}
    return {**kept, "alertname": rule.name, "severity": rule.spec.severity}


def fingerprint_of(labels: Mapping[str, str]) -> str:
    """16 hexadecimal digits that stand for these labels."""
    return digest("\0".join(f"{name}\0{labels[name]}" for name in sorted(labels)))


def digest(text: str) -> str:
    """16 hexadecimal digits of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def annotations_of(rule: Rule, labels: Mapping[str, str], value: float | None, why: str) -> dict[str, str]:
    """Annotations with {label}, {value} and {why} filled in; a name that is unknown stays as it is written."""
    known = {**labels, "value": "unknown" if value is None else f"{value:.6g}", "why": why}
    found = {
        name: _PLACE.sub(lambda match: known.get(match[1], match[0]), text)[:TEXT_MAX]
        for name, text in rule.spec.annotations.items()
    }
    if "summary" not in found:
        where = ", ".join(
            f"{name}={labels[name]}" for name in labels if name not in ("alertname", "severity")
        )
        found["summary"] = f"{rule.name}{f' ({where})' if where else ''}: {why or rule.spec.description}"[
            :TEXT_MAX
        ]
    if why:
        found.setdefault("why", why[:TEXT_MAX])
    return found
