"""The kind `DriftMonitor`, and the rules that no schema can say.

Listed by `app`; read by the factory file reader, `plan`, the API and the reference. Pure; imports no engine.
"""

from __future__ import annotations

from typing import Any

from andon.control.kinds import Kind, Problem, World
from andon.kernel.units import duration_s
from andon.observability.quality.drift.model import KNOWN_COLUMNS, MONITOR, DriftMonitorSpec
from andon.store.model import Record

PERIOD_S_MIN, PERIOD_S_MAX = 60.0, 30 * 86_400.0


def check_monitor(spec: Any, record: Record, world: World) -> list[Problem]:
    """References that do not exist, and settings that cannot be enforced."""
    assert isinstance(spec, DriftMonitorSpec)
    found = []
    if ("Endpoint", spec.endpoint) not in world:
        found.append(Problem(path="spec.endpoint", message=f"There is no endpoint '{spec.endpoint}'."))
    for path, text in (("spec.period", spec.period), ("spec.baseline.since", spec.baseline.since)):
        try:
            seconds = duration_s(text)
        except ValueError as error:
            found.append(Problem(path=path, message=f"{error}."))
            continue
        if not PERIOD_S_MIN <= seconds <= 12 * PERIOD_S_MAX:
            found.append(Problem(path=path, message=f"'{text}' is not between 1m and 360d."))
        elif path == "spec.period" and seconds > PERIOD_S_MAX:
            found.append(Problem(path=path, message=f"'{text}' is longer than the 30d of the alarm budget."))
    if spec.source == "rows":
        found += [
            Problem(
                path=f"spec.columns[{number}]",
                message=f"The ledger has no column '{name}' to watch.",
                hint="andon query 'DESCRIBE requests' lists them.",
            )
            for number, name in enumerate(spec.columns)
            if name not in KNOWN_COLUMNS
        ]
    return found


MONITOR_KIND = Kind(
    name=MONITOR,
    plural="driftmonitors",
    short=("drift",),
    spec=DriftMonitorSpec,
    summary="Compares each period of an endpoint's traffic with a reference, within one budget of false alarms.",
    check=check_monitor,
    columns=(
        ("ENDPOINT", "spec.endpoint"),
        ("PERIOD", "spec.period"),
        ("STATE", "status.state"),
        ("DRIFTED", "status.drifted"),
        ("BASELINE", "status.baseline"),
    ),
)
