"""The kind `Guard`: what people write, what of it could not be held, and the entry made from it.

A guard is declared once and named by the endpoints that it protects. Checked at `plan` by the very code that compiles
it in a gateway, so that nothing is refused at night.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec

from andon.control.kinds import Kind, Problem, World
from andon.kernel.clock import SystemClock
from andon.kernel.errors import Refused
from andon.kernel.labels import Label
from andon.kernel.snapshot import ExcuseEntry, GuardEntry
from andon.security.guards.detectors import SORTS, Means
from andon.security.guards.plan import Loaded, problems_of
from andon.security.guards.vault import SealedVault
from andon.store.model import Record, Unit

GUARD = "Guard"
D = msgspec.Meta


class ExceptionSpec(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True
):
    """A finding that is allowed, for a time."""

    until: Annotated[str, D(description="Day or moment (ISO 8601, UTC) from which it is a finding again.")]
    reason: Annotated[str, D(description="Why, for whoever reads this later.", min_length=1)]
    text: Annotated[str, D(description="What is found; in any case. Left out: whatever is found.")] = ""
    entity: Annotated[str, D(description="Its name, such as EMAIL_ADDRESS. Left out: any.")] = ""


class GuardSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What looks at texts on their way to a model and back, and what is done about what it finds."""

    detector: Annotated[str, D(description="What finds: " + ", ".join(SORTS) + ".")]
    places: Annotated[
        tuple[Literal["input", "context", "output"], ...],
        D(description="Where: what callers write, what tools and documents bring in, what models answer."),
    ]
    mode: Annotated[
        Literal["shadow", "enforce"], D(description="shadow: judge and record only; enforce: do it.")
    ] = "shadow"
    action: Annotated[
        Literal["block", "redact", "tokenise", "label", "mark"],
        D(
            description=(
                "What is done: refuse; put the finding's name in its place; put a token in its place that only the "
                "same caller gets back; raise the class of the exchange; mark every text of the place."
            )
        ),
    ] = "block"
    threshold: Annotated[
        Annotated[float, D(ge=0, le=1)] | None,
        D(description="Score from which a finding counts; detectors without scores take none."),
    ] = None
    on_failure: Annotated[
        Literal["block", "pass"], D(description="When it cannot judge: refuse, or let it pass unjudged.")
    ] = "block"
    label: Annotated[Label, D(description="Class that a finding calls for; action label only.")] = "public"
    buffer: Annotated[
        bool, D(description="Hold streams back until they are whole, for what can only be judged whole.")
    ] = False
    settings: Annotated[dict[str, Any], D(description="Of the detector; see the page on guards.")] = {}
    exceptions: Annotated[
        tuple[ExceptionSpec, ...], D(description="Findings that are allowed for a time.")
    ] = ()


def guard_kind() -> Kind:
    """The kind. Detectors that a check has loaded are kept for the next one."""
    loaded = Loaded(Means(clock=SystemClock(), vault=SealedVault(b"only to check with"), secret=b"check"))

    def check(spec: Any, record: Record, world: World) -> list[Problem]:
        assert isinstance(spec, GuardSpec)
        return check_guard(spec, record, world, loaded)

    return Kind(
        name=GUARD,
        plural="guards",
        spec=GuardSpec,
        summary="What looks at texts on their way to models and back, and what is done about what it finds.",
        check=check,
        columns=(
            ("DETECTOR", "spec.detector"),
            ("PLACES", "spec.places"),
            ("MODE", "spec.mode"),
            ("ACTION", "spec.action"),
        ),
    )


def check_guard(spec: GuardSpec, record: Record, world: World, loaded: Loaded) -> list[Problem]:
    """What could not be enforced, by itself and at the endpoints that name it."""
    found = []
    for number, one in enumerate(spec.exceptions):
        at = f"spec.exceptions[{number}]"
        try:
            moment_ns(one.until)
        except ValueError:
            found.append(
                Problem(path=f"{at}.until", message=f"'{one.until}' is no day or moment of ISO 8601.")
            )
        if not one.text and not one.entity:
            found.append(Problem(path=at, message="Say what is allowed: give text, entity or both."))
    if found:
        return found
    entry = guard_entry(record.name, spec)
    protocols = {
        str(other.spec.get("protocol", "oip"))
        for (kind, _), other in world.items()
        if kind == "Endpoint" and record.name in (other.spec.get("guards") or ())
    }
    problems = {}
    for protocol in sorted(protocols) or [""]:
        for where, why in problems_of(entry, loaded, protocol):
            problems[where, why] = Problem(path=f"spec.{where}", message=why)
    loaded.sweep()
    return list(problems.values())


def guard_entry(name: str, spec: GuardSpec) -> GuardEntry:
    """What a snapshot says of a guard. Raises ValueError for an exception without a moment."""
    return GuardEntry(
        name=name,
        detector=spec.detector,
        places=spec.places,
        mode=spec.mode,
        action=spec.action,
        threshold=spec.threshold,
        on_failure=spec.on_failure,
        settings=spec.settings,
        label=spec.label,
        buffer=spec.buffer,
        excuses=tuple(
            ExcuseEntry(
                until_ns=moment_ns(one.until), entity=one.entity, text=" ".join(one.text.casefold().split())
            )
            for one in spec.exceptions
        ),
    )


def guard_entries(unit: Unit, names: Sequence[str]) -> tuple[GuardEntry, ...]:
    """The guards of an endpoint, in its order. Raises Refused for one that is gone: nothing is served unguarded."""
    found = []
    for name in names:
        record = unit.get(GUARD, name)
        if record is None:
            raise Refused("guard_invalid", f"There is no guard '{name}'.")
        found.append(guard_entry(name, msgspec.convert(record.spec, GuardSpec)))
    return tuple(found)


def moment_ns(text: str) -> int:
    """Nanoseconds since 1970 of a day or moment; one without a zone is UTC. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1e9)
