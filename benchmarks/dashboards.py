"""Proof `dashboards`: every panel of every board shows data, and no rule of the linter is broken.

A real Prometheus scrapes a live factory with the exported configuration. Each query of each panel is read by promtool,
then run as a range query with its variables set to "All", and so is each of its selectors by itself; a panel is empty
if any of these has no series with a finite value. In full, two devices are told through the devices file, because GPU
time is attributed a minute late; QUICK=1 takes the machine as it is, where panels of GPUs say that there is none.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse
from pathlib import Path

import msgspec
import yaml

from andon.observability.dashboards.boards import BOARDS
from andon.observability.dashboards.grafana import render
from andon.observability.dashboards.lint import lint, panels_of
from andon.observability.dashboards.promql import read_selectors
from benchmarks.collector import collecting
from benchmarks.dashboards_world import Clients, Imagined, Plant, fetch, providing, scraping, wait_for
from benchmarks.harness import QUICK, conclude, table

SECONDS = 20.0 if QUICK else 100.0
STEP_S = 2
INTERVAL = "10s"
# What a machine without a GPU has no series of: there, the other side of the panel's `or` must show something.
OF_DEVICES = ("hw_", "DCGM_", "andon_gpu_attributed_", "andon_gpu_late_")
EVERYTHING = {"job": ".+", "instance": ".+"}


class Shown(msgspec.Struct, frozen=True):
    """One panel and which of its queries showed nothing."""

    board: str
    panel: str
    empty: tuple[str, ...] = ()


def settled(expr: str) -> str:
    """The expression as Grafana sends it with everything chosen."""
    text = expr.replace("$__rate_interval", INTERVAL)
    return re.sub(r"\$\{?([a-z]+)\}?", lambda match: EVERYTHING.get(match.group(1), ".*"), text)


def queries() -> list[tuple[str, str, str]]:
    """Board, panel and settled expression of every query."""
    return [
        (board.uid, str(panel["title"]), settled(target["expr"]))
        for board in BOARDS
        for panel in panels_of(render(board))
        for target in panel["targets"]
    ]


def check_by_promtool(folder: Path) -> str:
    """What promtool says against the expressions, wrapped as recording rules; empty if nothing."""
    rules = [{"record": f"q:{number}", "expr": expr} for number, (_, _, expr) in enumerate(queries())]
    file = folder / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", str(file)], capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr if done.returncode else ""


def parts(expr: str) -> set[str]:
    """Each selector by itself: `(bad or 0 * all) / all` has data though nobody tells of `bad`."""
    return {
        selector.name
        + "{"
        + ",".join(f'{label}{operator}"{value}"' for label, operator, value in selector.matchers)
        + "}"
        for selector in read_selectors(expr)
    }


def has_data(prometheus: str, expr: str, since: float, until: float) -> bool:
    """Whether any series has a finite value."""
    form = urllib.parse.urlencode({"query": expr, "start": since, "end": until, "step": STEP_S}).encode()
    status, body = fetch(f"{prometheus}/api/v1/query_range", form)
    if status != 200:
        raise SystemExit(f"Prometheus refuses {expr}: {body.decode()}")
    found = json.loads(body)["data"]["result"]
    return any(math.isfinite(float(value)) for one in found for _, value in one["values"])


def measure(seconds: float, *, devices: bool) -> list[Shown]:
    """Every panel, after a factory has lived for so long."""
    shown: dict[tuple[str, str], list[str]] = {}
    with contextlib.ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="andon-dashboards-")))
        if said := check_by_promtool(root):
            raise SystemExit(f"promtool: {said}")
        imagined = stack.enter_context(Imagined(root / "devices.json"))
        provider = stack.enter_context(providing())
        collector = stack.enter_context(collecting())
        (root / "plant").mkdir()
        plant = Plant(root / "plant", provider, collector.url, imagined.path if devices else None)
        stack.callback(plant.stop)
        plant.start()
        imagined.pids = wait_for("the replicas to be seen", plant.replicas)
        prometheus = stack.enter_context(scraping(root / "prometheus", plant))
        began = time.time()
        with Clients(plant) as clients:
            time.sleep(seconds)
        print(f"{clients.calls} calls in {seconds:.0f} s")
        ended = time.time()
        known: dict[str, bool] = {}
        for board, panel, expr in queries():
            empty = shown.setdefault((board, panel), [])
            for asked in (expr, *sorted(parts(expr))):
                if asked not in known:
                    known[asked] = has_data(prometheus, asked, began, ended)
                if not known[asked] and (devices or not asked.startswith(OF_DEVICES)):
                    empty.append(asked)
    return [Shown(board, panel, tuple(empty)) for (board, panel), empty in shown.items()]


def main() -> None:
    """Measure, print what is empty, conclude."""
    missing = [program for program in ("prometheus", "promtool") if shutil.which(program) is None]
    if missing:
        sys.exit("This proof needs Prometheus and promtool: install the Debian package prometheus.")
    shown = measure(SECONDS, devices=not QUICK)
    findings = [finding for board in BOARDS for finding in lint(render(board))]
    for one in shown:
        for expr in one.empty:
            print(f"empty: {one.board} / {one.panel}: {expr}")
    for finding in findings:
        print(finding)
    rows = [
        (board.uid, len(board.panels), sum(bool(one.empty) for one in shown if one.board == board.uid))
        for board in BOARDS
    ]
    table(("board", "panels", "empty"), rows)
    empty = sum(bool(one.empty) for one in shown)
    conclude({"panels": len(shown), "empty": empty, "lint": len(findings)})


if __name__ == "__main__":
    main()
