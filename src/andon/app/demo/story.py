"""The story of the demo: train, serve, send real rows; a better release is promoted, two bad ones stop themselves.

Drives a factory exactly as a person would, through factory files and the admin API. It decides nothing: every verdict
in the report is read from the factory.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import msgspec

from andon.app.cli.client import Client
from andon.app.demo import credit
from andon.app.demo.chapter import Chapter
from andon.app.demo.narration import Narration
from andon.app.demo.traffic import Traffic
from andon.app.home import Home, RunInfo
from andon.app.supervisor import down, up
from andon.kernel.clock import SystemClock
from andon.kernel.errors import Refused, Transient

FOLDER = ".demo"
ENDPOINT = "credit"
RATE = 150.0  # applicants a second
WAIT_S = 60.0  # for any one thing to happen
ENDED = ("Succeeded", "Aborted")


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The whole story as data: what `--json` prints."""

    ok: bool
    data: str
    models: tuple[credit.Trained, ...]
    chapters: tuple[Chapter, ...]
    requests: int
    answered: dict[str, int]  # by status; "0" = no answer
    seconds: float
    gateway_url: str
    home: str


class Story:
    """The factory of the demo and the person who runs it."""

    def __init__(self, root: Path, narration: Narration) -> None:
        self._root = root
        self._tell = narration
        self._clock = SystemClock()
        self._models: dict[str, credit.Trained] = {}
        self._chapters: list[Chapter] = []

    def run(self) -> Report:
        """Tell it from the beginning to the end; the factory is left running."""
        began = self._clock.monotonic()
        tell = self._tell
        tell.title("A factory on this machine, on real data: the German Credit set, 1,000 applicants")
        train, unseen = credit.load()
        tell.step("training version 1 and version 2")
        first = self._add(credit.train_first(self._root / "models", train, unseen))
        better = self._add(credit.train_better(self._root / "models", train, unseen))
        self._add(credit.train_broken(self._root / "models", train))
        self._add(credit.write_slow(self._root / "models", better))
        for model in (first, better):
            tell.fact(
                f"version {model.version}: {model.note}; costs {model.cost_per_applicant:.3f} an applicant"
            )
        tell.step("starting the factory: control, gateway, one replica")
        client, info = self._start()
        key = client.post("/v1/keys", {"owner": "demo", "team": "lending"})["secret"]
        self._until(lambda: self._serving(client), "version 1 to serve")
        tell.fact(f"gateway at {info.gateway_url}; one API key made")
        traffic = Traffic(info.gateway_url, key, ENDPOINT, unseen, RATE)
        self._until(lambda: self._answers(traffic), "the first answer")
        tell.step(f"sending {len(unseen)} real applicants round and round, {RATE:.0f} a second")
        try:
            self._release(client, "2")
            self._release(client, "3")
            self._release(client, "4")
        finally:
            traffic.stop()
        failed = sum(count for status, count in traffic.statuses.items() if status != 200)
        tell.fact(
            f"{traffic.sent:,} applicants sent, {failed} of them met an error before the line stopped itself"
        )
        return Report(
            ok=[chapter.verdict for chapter in self._chapters]
            == ["promoted", "stopped itself", "stopped itself"],
            data="Statlog (German Credit Data), H. Hofmann, UCI, CC BY 4.0",
            models=tuple(self._models.values()),
            chapters=tuple(self._chapters),
            requests=traffic.sent,
            answered={str(status): count for status, count in sorted(traffic.statuses.items())},
            seconds=self._clock.monotonic() - began,
            gateway_url=info.gateway_url,
            home=str(self._root),
        )

    def _add(self, model: credit.Trained) -> credit.Trained:
        self._models[model.version] = model
        return model

    def _start(self) -> tuple[Client, RunInfo]:
        """A fresh factory on this home, with version 1. Raises Refused if the home holds somebody's own factory."""
        home = Home(self._root)
        file = self._root / "factory.yaml"
        if file.exists() and not file.read_text().startswith(MARK):
            raise Refused(
                "home_not_demo",
                f"{self._root} holds a factory of its own.",
                hint="Run the demo in another folder: andon demo --home FOLDER.",
            )
        if home.read_run_info() is not None:
            down(self._root, told=lambda text: None)
        shutil.rmtree(home.state, ignore_errors=True)
        file.write_text(factory_file(self._models, "1"))
        started: list[RunInfo] = []
        up(
            self._root,
            [file],
            detach=True,
            ports={"gateway": 0, "gateway_admin": 0, "control": 0},
            on_ready=started.append,
        )
        return Client(started[0].url, home.admin_key.read_text().strip()), started[0]

    def _release(self, client: Client, version: str) -> None:
        """Change one line of the factory file, apply it, and watch what the factory makes of it."""
        model = self._models[version]
        tell = self._tell
        tell.step(f"releasing version {version}: {model.note}")
        file = self._root / "factory.yaml"
        file.write_text(factory_file(self._models, version))
        files = [{"file": str(file), "text": file.read_text()}]
        plan = client.post("/v1/plans", {"files": files})
        client.post("/v1/applies", {"plan": plan, "message": f"release version {version}"})
        name = self._until(lambda: self._rollout(client, version), f"the rollout of version {version}")
        shown = ""

        def ended() -> dict[str, Any] | None:
            nonlocal shown
            explained: dict[str, Any] = client.get(f"/v1/rollouts/{name}/explanation")
            line = progress_line(explained)
            if line != shown:
                shown = line
                tell.progress(line)
            return explained if explained["phase"] in ENDED else None

        chapter = chapter_of(model, self._until(ended, f"the end of rollout {name}"))
        self._chapters.append(chapter)
        tell.verdict(chapter)

    def _serving(self, client: Client) -> bool:
        status = client.get(f"/v1/resources/Endpoint/{ENDPOINT}")["status"]
        return bool(status.get("stable"))

    def _answers(self, traffic: Traffic) -> bool:
        if traffic.sent == 0:
            traffic.start()
        return traffic.statuses[200] > 0

    def _rollout(self, client: Client, version: str) -> str | None:
        for item in client.get("/v1/resources/Rollout")["items"]:
            if item["spec"]["target"]["version"] == version:
                return str(item["metadata"]["name"])
        return None

    def _until(self, look: Any, what: str) -> Any:
        """What `look` returns once it is something; raises Transient after a minute of nothing."""
        deadline = self._clock.monotonic() + WAIT_S
        while self._clock.monotonic() < deadline:
            found = look()
            if found:
                return found
            self._clock.pause(0.05)
        raise Transient(
            "demo_timeout", f"Waited {WAIT_S:.0f} s for {what}.", hint=f"See the logs in {self._root}."
        )


def factory_file(models: dict[str, credit.Trained], version: str) -> str:
    """The factory file of the demo with `version` released."""
    versions = "".join(
        VERSION.format(version=model.version, path=model.path, format=model.format)
        for model in models.values()
    )
    return HEAD + versions + TAIL.format(version=version)


def progress_line(explained: dict[str, Any]) -> str:
    """Where a rollout stands, in one line."""
    parts = [
        f"{explained['weight'] / 100:.0f} % of the traffic",
        f"{explained['canary_requests']} canary requests",
    ]
    parts += [f"{one['gate']} {one['evidence']:.3g}/{one['threshold']:.0f}" for one in explained["readings"]]
    return " · ".join(parts)


def chapter_of(model: credit.Trained, explained: dict[str, Any]) -> Chapter:
    """The end of a rollout as a chapter."""
    breach = next((one for one in explained["readings"] if one["verdict"] == "breach"), None)
    promoted = explained["phase"] == "Succeeded"
    after = explained["stopped_after_s"]
    return Chapter(
        version=model.version,
        note=model.note,
        verdict="promoted" if promoted else "stopped itself" if breach else "stopped",
        canary_requests=explained["canary_requests"],
        seconds=explained["seconds"] if after is None else after,
        gate=breach["gate"] if breach else "",
        evidence=breach["evidence"] if breach else None,
        threshold=breach["threshold"] if breach else None,
        canary_value=breach["canary_value"] if breach else None,
        stable_value=breach["stable_value"] if breach else None,
        reason=explained["reason"],
    )


def demo(exit_: bool, as_json: bool, home: Path | None) -> int:
    """Run the demo; 0 if every chapter ended as the story says. With `exit_` the factory is stopped at the end."""
    root = (home or Path.cwd() / FOLDER).resolve()
    root.mkdir(parents=True, exist_ok=True)
    narration = Narration(sys.stderr)
    # onnxruntime, sklearn and friends use every core by default; the demo shares this machine with its own factory.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    report: Report | None = None
    try:
        report = Story(root, narration).run()
    finally:
        if exit_ or report is None:
            with contextlib.suppress(Transient):  # it is being stopped already; the report matters more
                down(root, told=lambda text: None)
    if as_json:
        print(msgspec.json.encode(report).decode(), flush=True)
    else:
        narration.report(report.chapters, report.seconds)
    if not exit_:
        narration.next_steps(report.home, report.gateway_url)
    return 0 if report.ok else 1


MARK = "# The factory of the demo."
HEAD = f"""{MARK} Change release.version, then: andon plan, andon apply
apiVersion: andon/v1
kind: Team
metadata: {{name: lending}}
spec: {{description: Decides about credit applications}}
---
apiVersion: andon/v1
kind: Model
metadata: {{name: credit}}
spec: {{description: "Probability that an applicant will not pay back (German Credit)"}}
"""
VERSION = """---
apiVersion: andon/v1
kind: ModelVersion
metadata: {{name: credit-{version}}}
spec: {{model: credit, version: "{version}", source: {path}, format: {format}}}
"""
TAIL = """---
apiVersion: andon/v1
kind: Endpoint
metadata: {{name: credit}}
spec:
  release: {{model: credit, version: "{version}"}}
  strategy:
    type: canary
    canary:
      steps:
        - {{weight: 10, pause: {{requests: 60}}}}
        - {{weight: 50, pause: {{requests: 150}}}}
    gates:
      - {{name: errors, metric: errorRate, margin: 0.0, minimum: 50, onBreach: abort, onMissingData: hold}}
      - {{name: latency, metric: latency, margin: 1.25, slackMs: 2, minimum: 50, onBreach: abort, onMissingData: hold}}
"""
