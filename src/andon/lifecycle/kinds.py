"""The kinds of this room, `Endpoint` and `Rollout`, and the rules that no schema can say.

Listed by `app`; read by the factory file reader, `plan`, the API and the reference. Pure; never reads the store.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from andon.control.kinds import Kind, Problem, World
from andon.kernel.labels import RANKS
from andon.kernel.units import duration_s, size_bytes
from andon.lifecycle.endpoints.model import EndpointSpec
from andon.lifecycle.rollouts.strategy import PinSpec, RolloutSpec, StrategySpec
from andon.store.model import Record

RECORDED_BYTES_MAX = 8 * 2**20  # of one body


def check_endpoint(spec: Any, record: Record, world: World) -> list[Problem]:
    """References that do not exist and settings that cannot be enforced."""
    assert isinstance(spec, EndpointSpec)
    found = _release(spec, world)
    strategy, at = spec.strategy, "spec.strategy"
    texts = {
        f"{at}.deadline": strategy.deadline,
        f"{at}.progressDeadline": strategy.progress_deadline,
        f"{at}.rollbackWindow": strategy.rollback_window,
        f"{at}.blueGreen.scaleDownDelay": strategy.blue_green.scale_down_delay,
        "spec.timeouts.total": spec.timeouts.total,
        "spec.timeouts.connect": spec.timeouts.connect,
        "spec.timeouts.firstByte": spec.timeouts.first_byte,
        "spec.timeouts.idle": spec.timeouts.idle,
    }
    for number, step in enumerate(strategy.canary.steps):
        if step.pause.duration:
            texts[f"{at}.canary.steps[{number}].pause.duration"] = step.pause.duration
    for path, text in texts.items():
        found += _parsed(path, text, duration_s)
    found += _parsed("spec.bodyMax", spec.body_max, size_bytes)
    found += _steps(strategy) + _gates(strategy)
    found += _pins(f"{at}.canary.pins", strategy.canary.pins) + _pins(
        f"{at}.blueGreen.pins", strategy.blue_green.pins
    )
    if strategy.canary.sticky.by == "header" and not strategy.canary.sticky.header:
        found.append(
            Problem(path=f"{at}.canary.sticky.header", message="`by: header` needs the header's name.")
        )
    for number, name in enumerate(spec.fallbacks):
        if name == record.name or (record.kind, name) not in world:
            found.append(
                Problem(
                    path=f"spec.fallbacks[{number}]",
                    message=f"There is no other endpoint '{name}' to fall back to.",
                )
            )
    return found + _recording(spec, world) + _aliases(spec, record, world) + _guards(spec, world)


def _guards(spec: EndpointSpec, world: World) -> list[Problem]:
    """Guards that do not exist, and fallbacks that would be a way around theirs, or to where the data may not go."""
    found = []
    for number, name in enumerate(spec.guards):
        at = f"spec.guards[{number}]"
        if ("Guard", name) not in world:
            found.append(Problem(path=at, message=f"There is no guard '{name}'."))
        elif name in spec.guards[:number]:
            found.append(Problem(path=at, message=f"Guard '{name}' is named twice."))
    if RANKS[spec.label] > RANKS[spec.label_max]:
        message = f"Its own data is {spec.label}, and it takes data up to {spec.label_max} only."
        found.append(Problem(path="spec.labelMax", message=message))
    for number, name in enumerate(spec.fallbacks):
        other = world.get(("Endpoint", name))
        missing = [
            guard for guard in (other.spec.get("guards") or () if other else ()) if guard not in spec.guards
        ]
        if missing:
            message = (
                f"'{name}' is guarded by '{missing[0]}', and a request that falls back to it would not be."
            )
            hint = "Name the guard here too."
            found.append(Problem(path=f"spec.fallbacks[{number}]", message=message, hint=hint))
    return found


def _recording(spec: EndpointSpec, world: World) -> list[Problem]:
    recording, at = spec.recording, "spec.recording"
    path = f"{at}.bodies.maxBytes"
    found = _parsed(path, recording.bodies.max_bytes, size_bytes)
    if not found and not 0 < size_bytes(recording.bodies.max_bytes) <= RECORDED_BYTES_MAX:
        found.append(
            Problem(path=path, message=f"A body is recorded up to {RECORDED_BYTES_MAX // 2**20}Mi, not 0.")
        )
    prediction, at = recording.prediction, f"{at}.prediction"
    if prediction is None:
        return found
    if spec.protocol != "oip":
        hint = "Leave it out; answers of language models are recorded with spec.recording.bodies."
        found.append(Problem(path=at, message="Only answers of protocol oip hold a prediction.", hint=hint))
    if len(set(prediction.classes)) < len(prediction.classes):
        found.append(Problem(path=f"{at}.classes", message="Two classes have the same name."))
    if prediction.classes and prediction.index is not None and prediction.index >= len(prediction.classes):
        message = f"There is no class {prediction.index}: {len(prediction.classes)} are named, from 0."
        found.append(Problem(path=f"{at}.index", message=message))
    outputs = _outputs(spec, world)
    if outputs and prediction.output not in outputs:
        message = f"The model has no output '{prediction.output}'; it has: {', '.join(outputs)}."
        found.append(Problem(path=f"{at}.output", message=message))
    return found


def _outputs(spec: EndpointSpec, world: World) -> list[str]:
    """Names of the outputs that people have declared for the model; empty where they left it to the model."""
    version = world.get(("ModelVersion", spec.release.deployment))
    signature = version.spec.get("signature") if version is not None else None
    return [str(output.get("name")) for output in (signature or {}).get("outputs") or ()]


def _release(spec: EndpointSpec, world: World) -> list[Problem]:
    release, at = spec.release, "spec.release"
    if bool(release.model) == bool(release.provider):
        return [
            Problem(path=at, message="Give either `model` and `version`, or `provider` and `upstreamModel`.")
        ]
    if release.provider:
        found = []
        if ("Provider", release.provider) not in world:
            found.append(
                Problem(path=f"{at}.provider", message=f"There is no provider '{release.provider}'.")
            )
        if not release.upstream_model:
            found.append(
                Problem(
                    path=f"{at}.upstreamModel", message="A provider's release needs the model's name there."
                )
            )
        return found
    if not release.version:
        return [Problem(path=f"{at}.version", message="A model's release needs a version.")]
    if ("ModelVersion", release.deployment) not in world:
        return [
            Problem(
                path=f"{at}.version",
                message=f"Model '{release.model}' has no version '{release.version}'.",
                hint=f"Declare ModelVersion '{release.deployment}'.",
            )
        ]
    return []


def _parsed(path: str, text: str, parse: Callable[[str], float]) -> list[Problem]:
    try:
        parse(text)
    except ValueError as error:
        return [Problem(path=path, message=str(error))]
    return []


def _steps(strategy: StrategySpec) -> list[Problem]:
    found = []
    before = 0.0
    for number, step in enumerate(strategy.canary.steps):
        path = f"spec.strategy.canary.steps[{number}].weight"
        if step.weight < before:
            found.append(
                Problem(path=path, message=f"{step.weight:g} is below the step before ({before:g}).")
            )
        if step.weight >= 100 and strategy.in_force:
            hint = "Leave the step out: promotion follows the last one."
            found.append(Problem(path=path, message="At 100 nothing is left to compare with.", hint=hint))
        before = step.weight
    return found


def _gates(strategy: StrategySpec) -> list[Problem]:
    found = []
    names: set[str] = set()
    for number, gate in enumerate(strategy.gates or ()):
        at = f"spec.strategy.gates[{number}]"
        if gate.name in names:
            found.append(Problem(path=f"{at}.name", message=f"Two gates are called '{gate.name}'."))
        names.add(gate.name)
        if gate.metric != "latency" and gate.margin is not None and gate.margin >= 0.5:
            what = "An error rate's" if gate.metric == "errorRate" else "This gate's"
            found.append(Problem(path=f"{at}.margin", message=f"{what} margin is a difference below 0.5."))
        if gate.at_least is not None and gate.metric != "robustness":
            found.append(Problem(path=f"{at}.atLeast", message=f"A gate on {gate.metric} has no such bound."))
        if gate.metric == "drift" and gate.direction != "increase":
            found.append(
                Problem(
                    path=f"{at}.direction", message="Scores that move either way are drift: leave it out."
                )
            )
        if gate.metric == "latency" and gate.margin is not None and gate.margin < 1.0:
            hint = "1.25 allows a quarter more."
            found.append(
                Problem(
                    path=f"{at}.margin", message="A latency's margin is a ratio of at least 1.", hint=hint
                )
            )
    shares = [gate.alpha_share for gate in strategy.in_force]
    asked = sum(share for share in shares if share is not None)
    if asked > 1.0 + 1e-9 or (None in shares and asked >= 1.0):
        found.append(
            Problem(
                path="spec.strategy.gates",
                message=f"The shares of alpha add up to {asked:g}: nothing is left.",
            )
        )
    return found


def _pins(path: str, pins: tuple[PinSpec, ...]) -> list[Problem]:
    found = []
    for number, pin in enumerate(pins):
        if bool(pin.cohort) == bool(pin.header) or (pin.header and not pin.value):
            found.append(
                Problem(path=f"{path}[{number}]", message="Give a header and its value, or a cohort.")
            )
    return found


def _aliases(spec: EndpointSpec, record: Record, world: World) -> list[Problem]:
    found = []
    for number, alias in enumerate(spec.aliases):
        for (kind, name), other in world.items():
            taken = (
                kind == record.kind
                and name != record.name
                and alias in (name, *other.spec.get("aliases", ()))
            )
            if taken:
                path = f"spec.aliases[{number}]"
                found.append(Problem(path=path, message=f"'{alias}' is already a name of endpoint '{name}'."))
    return found


ENDPOINT_KIND = Kind(
    name="Endpoint",
    plural="endpoints",
    short=("ep",),
    spec=EndpointSpec,
    summary="A name that clients call, the release it serves, and how a new release takes over.",
    check=check_endpoint,
    columns=(
        ("STABLE", "status.stable.model"),
        ("VERSION", "status.stable.version"),
        ("ROLLOUT", "status.rollout"),
        ("PROTOCOL", "spec.protocol"),
    ),
)
ROLLOUT_KIND = Kind(
    name="Rollout",
    plural="rollouts",
    short=("ro",),
    spec=RolloutSpec,
    summary="One release taking over from another, with the evidence for and against it.",
    generated=True,
    columns=(
        ("ENDPOINT", "spec.endpoint"),
        ("PHASE", "status.phase"),
        ("STEP", "status.step"),
        ("WEIGHT", "status.weight"),
        ("REASON", "status.reason"),
    ),
)
KINDS = (ENDPOINT_KIND, ROLLOUT_KIND)
