"""The kinds `Model` and `ModelVersion` and what no schema can say about them.

Listed by app; run at `plan` time over the document alone, so nothing here opens a model.
"""

from __future__ import annotations

from datetime import date
from typing import Any

from andon.control.kinds import Kind, Problem, World
from andon.kernel.units import size_bytes
from andon.serving.models.model import (
    MODEL,
    MODEL_VERSION,
    ModelSpec,
    ModelVersionSpec,
    SignatureSpec,
    Tensor,
)
from andon.store.model import Record

_MEMORY_MIN_BYTES = 64 * 2**20  # below this not even the interpreter and numpy fit


def check_version(spec: Any, record: Record, world: World) -> list[Problem]:
    """Name, model, limits and samples of one `ModelVersion`."""
    assert isinstance(spec, ModelVersionSpec)
    problems: list[Problem] = []
    expected = f"{spec.model}-{spec.version}"
    if record.name != expected:
        problems.append(
            Problem(
                path="metadata.name",
                message=f"A ModelVersion is named <model>-<version>, here '{expected}', not '{record.name}'.",
                hint=f"Write name: {expected}.",
            )
        )
    if (MODEL, spec.model) not in world:
        known = sorted(name for kind, name in world if kind == MODEL)
        problems.append(
            Problem(
                path="spec.model",
                message=f"There is no Model '{spec.model}'.",
                hint=f"Declare it; there are: {', '.join(known) or 'none'}.",
            )
        )
    problems += _check_memory(spec.resources.memory)
    if spec.allow is not None and not _is_day(spec.allow.until):
        problems.append(Problem(path="spec.allow.until", message=f"{spec.allow.until} is no day."))
    if spec.entry and spec.format not in ("python", "auto"):
        problems.append(Problem(path="spec.entry", message=f"entry has no meaning for format {spec.format}."))
    if spec.signature is not None:
        problems += _check_signature(spec.signature)
        problems += _check_samples(spec, spec.signature)
    return problems


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _check_memory(memory: str) -> list[Problem]:
    if not memory:
        return []
    try:
        size = size_bytes(memory)
    except ValueError as error:
        return [Problem(path="spec.resources.memory", message=str(error))]
    if size < _MEMORY_MIN_BYTES:
        return [
            Problem(
                path="spec.resources.memory",
                message=f"{memory} is too little to start a replica.",
                hint="Give it 64Mi or more; 256Mi suits most small models.",
            )
        ]
    return []


def _check_signature(signature: SignatureSpec) -> list[Problem]:
    problems: list[Problem] = []
    for side, tensors in (("inputs", signature.inputs), ("outputs", signature.outputs)):
        seen: set[str] = set()
        for place, tensor in enumerate(tensors):
            path = f"spec.signature.{side}[{place}]"
            if tensor.name in seen:
                problems.append(Problem(path=f"{path}.name", message=f"'{tensor.name}' is there twice."))
            seen.add(tensor.name)
            problems += _check_tensor(path, tensor)
    return problems


def _check_tensor(path: str, tensor: Tensor) -> list[Problem]:
    problems: list[Problem] = []
    if any(size < -1 for size in tensor.shape):
        problems.append(Problem(path=f"{path}.shape", message="A dimension is -1 (free), 0 or more."))
    low, high = tensor.minimum, tensor.maximum
    if low is not None and high is not None and low > high:
        problems.append(Problem(path=f"{path}.minimum", message=f"minimum {low} is above maximum {high}."))
    if tensor.datatype in ("BYTES", "BOOL") and (low is not None or high is not None):
        problems.append(Problem(path=path, message=f"{tensor.datatype} has no range that could be enforced."))
    return problems


def _check_samples(spec: ModelVersionSpec, signature: SignatureSpec) -> list[Problem]:
    names = {tensor.name for tensor in signature.inputs}
    if not names:
        return []
    return [
        Problem(
            path=f"spec.warmup[{place}].{name}",
            message=f"'{name}' is no input of the signature.",
            hint=f"Inputs are: {', '.join(sorted(names))}.",
        )
        for place, sample in enumerate(spec.warmup)
        for name in sample
        if name not in names
    ]


MODEL_KIND = Kind(
    name=MODEL,
    plural="models",
    spec=ModelSpec,
    summary="A model as people speak of it: what it predicts and who owns it.",
    columns=(("TASK", "spec.task"), ("OWNER", "spec.owner")),
)
MODEL_VERSION_KIND = Kind(
    name=MODEL_VERSION,
    plural="modelversions",
    short=("mv",),
    spec=ModelVersionSpec,
    summary="One immutable version of a model: its files, digest, signature, batching and limits.",
    check=check_version,
    columns=(
        ("MODEL", "spec.model"),
        ("VERSION", "spec.version"),
        ("FORMAT", "spec.format"),
        ("VERDICT", "status.admission.verdict"),
    ),
)
