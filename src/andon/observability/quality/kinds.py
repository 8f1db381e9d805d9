"""The kind `Monitor`, and the rules that no schema can say.

Listed by `app`; read by the factory file reader, `plan`, the API and the reference. Pure; imports no engine.
"""

from __future__ import annotations

from typing import Any

from andon.control.kinds import Kind, Problem, World
from andon.kernel.units import duration_s
from andon.observability.quality.model import METRICS, MONITOR, SLICE_COLUMNS, MonitorSpec
from andon.store.model import Record

CHUNK_S_MIN, CHUNK_S_MAX = 60.0, 30 * 86_400.0
LAG_S_MAX = 400 * 86_400.0


def check_monitor(spec: Any, record: Record, world: World) -> list[Problem]:
    """References that do not exist, and settings that cannot be enforced."""
    assert isinstance(spec, MonitorSpec)
    found = []
    if ("Endpoint", spec.endpoint) not in world:
        found.append(Problem(path="spec.endpoint", message=f"There is no endpoint '{spec.endpoint}'."))
    for path, text, least, most in (
        ("spec.chunk", spec.chunk, CHUNK_S_MIN, CHUNK_S_MAX),
        ("spec.labelsWithin", spec.labels_within, 0.0, LAG_S_MAX),
        ("spec.reference.since", spec.reference.since, CHUNK_S_MIN, LAG_S_MAX),
    ):
        try:
            seconds = duration_s(text)
        except ValueError as error:
            found.append(Problem(path=path, message=f"{error}."))
            continue
        if not least <= seconds <= most:
            message = f"'{text}' is not between {least:g} s and {most / 86_400:g} d."
            found.append(Problem(path=path, message=message))
    known = (*METRICS[spec.problem], *(("cost",) if spec.costs is not None else ()))
    for path, metric in [
        *((f"spec.metrics[{number}]", metric) for number, metric in enumerate(spec.metrics)),
        ("spec.alarm.metric", spec.leading),
    ]:
        if metric not in known:
            message = f"'{metric}' is no figure of a {spec.problem} problem; there are: {', '.join(known)}."
            found.append(Problem(path=path, message=message))
    if spec.leading not in spec.figures:
        found.append(Problem(path="spec.metrics", message=f"'{spec.leading}' alarms, so it must be listed."))
    if spec.costs is not None and spec.problem != "binary":
        found.append(Problem(path="spec.costs", message="Only binary decisions have such costs."))
    found += [
        Problem(
            path=f"spec.slices[{number}]",
            message=f"The ledger has no column '{name}' to slice by.",
            hint="andon query 'DESCRIBE requests' lists them.",
        )
        for number, name in enumerate(spec.slices)
        if name not in SLICE_COLUMNS
    ]
    return found


QUALITY_KIND = Kind(
    name=MONITOR,
    plural="monitors",
    short=("mon",),
    spec=MonitorSpec,
    summary="How good an endpoint's answers are: from labels when they come, from scores before.",
    check=check_monitor,
    columns=(
        ("ENDPOINT", "spec.endpoint"),
        ("CHUNK", "spec.chunk"),
        ("STATE", "status.state"),
        ("REASONS", "status.reasons"),
    ),
)
