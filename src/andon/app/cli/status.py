"""`andon status`: whether the factory serves, what runs, and what somebody should look at.

Control answers what is served; the observer, where one runs, adds processes, logs, disks and GPUs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer

from andon.app.cli.client import Client
from andon.app.cli.output import emit
from andon.app.cli.session import Session
from andon.app.cli.table import age, at_path, cell, render_table, tint
from andon.kernel.errors import AndonError

OBSERVER_S = 5.0  # what the observer has at hand it tells at once; one that hangs is said to be away

_AWAY = ("control_unreachable", "observer_unreachable", "observer_missing", "not_found", "unknown_route")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(rich_help_panel="Machine")(status)


def status(context: typer.Context) -> int:
    """Whether the factory serves, and what runs; exits 1 when something does not."""
    session: Session = context.obj
    client = session.client()
    ready = client.get("/readyz")
    endpoints = _listed(client, "Endpoint")
    rollouts = [item for item in _listed(client, "Rollout") if _active(item)]
    brief = client.within(OBSERVER_S)
    infrastructure = _asked(brief, "/v1/infrastructure", seconds=0)
    tables = _asked(brief, "/v1/ledger") if infrastructure is not None else None
    answer = {
        "ready": ready,
        "url": client.url,
        "endpoints": endpoints,
        "rollouts": rollouts,
        "infrastructure": infrastructure,
        "ledger": tables,
    }

    def as_text() -> str:
        lines = [f"Control     {client.url}   {'ready' if ready['ready'] else 'NOT READY'}"]
        lines.extend(f"  {check['name']}: {check['detail']}" for check in ready["checks"] if not check["ok"])
        for title, items in (("Endpoints", endpoints), ("Rollouts", rollouts)):
            lines.append(f"{title:<11} {len(items) or 'none'}")
            lines.extend(f"  {item['metadata']['name']}   {_phase(item)}" for item in items)
        lines.extend(describe(infrastructure, tables, session.now_s(), session.colour))
        return "\n".join(lines)

    emit(session, answer, as_text, [item["metadata"]["name"] for item in endpoints])
    return 0 if ready["ready"] else 1


def describe(
    infrastructure: dict[str, Any] | None, tables: dict[str, Any] | None, now_s: float, colour: bool = False
) -> list[str]:
    """What the observer knows of this machine, as lines."""
    if infrastructure is None:
        return ["Observer    does not answer: no metrics, alerts or queries; traffic and releases go on"]
    now = infrastructure["now"]
    if now is None:
        return ["Observer    has just started"]
    lines = [
        "Processes",
        *_indented(_processes(now["processes"], now_s, colour)),
        f"Host        {_host(now['host'])}",
        f"Ledger      {_ledger(now)}",
    ]
    told = "did not answer in time (andon ledger status)" if tables is None else _tables(tables)
    lines.append(f"Tables      {told}")
    lines += [f"GPU         {text}" for text in _devices(now["devices"])]
    lines += [tint(f"Warning     {text}", "yellow", colour) for text in infrastructure["warnings"]]
    return lines


def _processes(found: Sequence[dict[str, Any]], now_s: float, colour: bool) -> str:
    headings = ("NAME", "PID", "CPU", "MEMORY", "UP", "SERVES")
    rows = [
        (
            one["name"],
            str(one["pid"]),
            "-" if one["cpu_ratio"] is None else f"{one['cpu_ratio']:.0%}",
            size(one["rss_bytes"]),
            age(now_s - one["started_at"]),
            f"{one['endpoint'] or '-'} ({one['release']})" if one["release"] else "-",
        )
        for one in found
    ]
    return render_table(headings, rows, colour) if rows else "none to be seen"


def _host(host: dict[str, Any]) -> str:
    used = host["memory_total_bytes"] - host["memory_available_bytes"]
    held = next((one for one in host["file_systems"] if one["holds_ledger"]), None)
    text = (
        f"load {host['load'][0]:.1f} on {host['cpus']} CPUs, "
        f"memory {size(used)} of {size(host['memory_total_bytes'])}"
    )
    if held is not None:
        text += f", {size(held['free_bytes'])} free for the ledger on {held['mount']}"
    return text


def _ledger(now: dict[str, Any]) -> str:
    logs = ", ".join(
        f"{one['log']} {size(one['bytes'])} in {_segments(one['segments'])}"
        for one in now["logs"]
        if one["segments"]
    )
    gateway = now["gateway"]
    lag = gateway["ledger_lag_s"]
    if not gateway["answers"]:
        told = "the gateway does not answer"
    elif gateway["ledger_in_trouble"]:
        told = "THE GATEWAY CANNOT WRITE"
    else:
        told = "lag unknown" if lag is None else f"lag {lag * 1000:.0f} ms"
    sync = f", sync {gateway['sync_s'] * 1000:.1f} ms" if gateway["sync_s"] is not None else ""
    return f"{told}{sync}{'; ' if logs else ''}{logs}"


def _segments(count: int) -> str:
    return "1 segment" if count == 1 else f"{count} segments"


def _tables(tables: dict[str, Any]) -> str:
    told = [
        f"{one['name']} "
        + (f"sealed up to {one['sealed_position']:,}" if one["sealed_position"] else "not sealed yet")
        + (f" ({_segments(one['waiting'])} waiting, {one['lag_s']:.0f} s)" if one["waiting"] else "")
        for one in tables["logs"]
        if one["segments"] or one["sealed_position"]
    ]
    told += [
        f"{one['name']} CANNOT BE WRITTEN: {one['problem']}" for one in tables["tables"] if one["problem"]
    ]
    if tables["quarantined"]:
        told.append(f"{_segments(len(tables['quarantined']))} damaged (andon ledger status)")
    return "; ".join(told) or "nothing sealed yet"


def _devices(devices: dict[str, Any]) -> list[str]:
    if not devices["readings"]:
        return [f"none: {devices['absent']}" if devices["absent"] else "none"]
    return [_device(one) for one in devices["readings"]]


def _device(one: dict[str, Any]) -> str:
    words = [f"{one['index']} {one['name']}"]
    if one["utilisation"] is not None:
        words.append(f"{one['utilisation']:.0%} busy")
    if one["memory_used_bytes"] is not None:
        words.append(f"{size(one['memory_used_bytes'])} of {size(one['memory_total_bytes'])}")
    if one["power_watts"] is not None:
        words.append(f"{one['power_watts']:.0f} W")
    if one["temperature_celsius"] is not None:
        words.append(f"{one['temperature_celsius']:.0f} C")
    return ", ".join(words)


def _indented(text: str) -> list[str]:
    return [f"  {line}" for line in text.splitlines()]


def size(size_bytes: float) -> str:
    """Bytes as people read them: 512 B, 1.5 MiB, 12 GiB."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size_bytes < 1024 or unit == "TiB":
            break
        size_bytes /= 1024
    return f"{size_bytes:.1f} {unit}" if size_bytes < 10 and unit != "B" else f"{size_bytes:,.0f} {unit}"


def _asked(client: Client, path: str, **query: Any) -> dict[str, Any] | None:
    """The observer's answer; None where there is none."""
    try:
        answer: dict[str, Any] = client.get(path, **query)
    except AndonError as error:
        if error.code in _AWAY or error.status in (404, 503):
            return None
        raise
    return answer


def _listed(client: Client, kind: str) -> list[dict[str, Any]]:
    try:
        items: list[dict[str, Any]] = client.get(f"/v1/resources/{kind}")["items"]
    except AndonError as error:
        if error.code != "unknown_kind":
            raise
        return []  # a build without this kind has none of it
    return items


def _active(item: dict[str, Any]) -> bool:
    return at_path(item, "status.phase") not in ("Succeeded", "Aborted")


def _phase(item: dict[str, Any]) -> str:
    """A rollout's phase, or the condition of an endpoint that matters most."""
    phase = at_path(item, "status.phase")
    reason = at_path(item, "status.reason")
    conditions = at_path(item, "status.conditions") or []
    holding = {
        one["type"]: one.get("reason", "") for one in conditions if one.get("status") in (True, "true")
    }
    for kind in ("Degraded", "Progressing", "Ready") if not phase else ():
        if kind in holding:
            phase, reason = kind, holding[kind]
            break
    return cell(phase) + (f" ({reason})" if reason else "")
