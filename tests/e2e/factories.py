"""A whole factory for tests: real processes, started by the real command line, on free ports, in its own folder."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import psutil
import yaml

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 30.0

T = TypeVar("T")


def wait_for(what: str, look: Callable[[], T], patience_s: float = PATIENCE_S) -> T:
    """The first true answer of `look`; fails with the last answer once patience is over."""
    deadline = time.monotonic() + patience_s
    while True:
        seen = look()
        if seen:
            return seen
        assert time.monotonic() < deadline, f"waited {patience_s:.0f} s for {what}; last seen: {seen!r}"
        time.sleep(0.03)


def free_ports(count: int) -> list[int]:
    """Ports that were free together a moment ago."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in sockets]


def resource(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    """One document of a factory file."""
    return {"apiVersion": "andon/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def model(name: str, versions: Mapping[str, str], **more: Any) -> list[dict[str, Any]]:
    """A model with versions from their sources."""
    return [
        resource("Model", name),
        *(
            resource("ModelVersion", f"{name}-{version}", model=name, version=version, source=source, **more)
            for version, source in versions.items()
        ),
    ]


class Factory:
    """One factory: its folder, its ports, and the verbs that a person has."""

    def __init__(self, root: Path, settings: Mapping[str, str] | None = None) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root = root
        self.started_at = 0.0
        self.started: list[subprocess.Popen[bytes]] = []
        self.port, self.control_port, self.admin_port, self.observer_port = free_ports(4)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("ANDON_")},
            "PYTHONPATH": str(ROOT / "src"),
            "NO_COLOR": "1",
            "ANDON_GATEWAY_PORT": str(self.port),
            "ANDON_CONTROL_PORT": str(self.control_port),
            "ANDON_GATEWAY_ADMIN_PORT": str(self.admin_port),
            "ANDON_OBSERVER_PORT": str(self.observer_port),
            **(settings or {}),
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def file(self) -> Path:
        return self.root / "factory.yaml"

    def andon(self, *words: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run one command line in the folder and check its exit code (None: any)."""
        done = subprocess.run(
            [sys.executable, "-m", "andon.app.cli.main", *words],
            cwd=self.root,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if code is not None:
            assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        return done

    def read(self, *words: str) -> Any:
        """What a verb says as JSON."""
        return json.loads(self.andon(*words, "-o", "json").stdout)

    def write(self, documents: Sequence[dict[str, Any]]) -> None:
        """Say what should be."""
        self.file.write_text(yaml.safe_dump_all(documents))

    def apply(self, documents: Sequence[dict[str, Any]]) -> None:
        """Say it, and make it so."""
        self.write(documents)
        self.andon("apply", "--yes")

    def up(self, *words: str) -> None:
        self.andon("up", "-d", *words)
        self.started_at = time.time()

    def down(self) -> None:
        self.andon("down")

    def key(self, *words: str) -> tuple[str, str]:
        """A new key: its public id and its secret."""
        made = self.read("keys", "create", *words)
        return made["key"]["id"], made["secret"]

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """One resource, or nothing."""
        done = self.andon("get", kind, name, "-o", "json", code=None)
        return json.loads(done.stdout) if done.returncode == 0 else {}

    def phase(self, rollout: str) -> str:
        """Where a rollout stands; empty while there is none."""
        return str(self.get("rollout", rollout).get("status", {}).get("phase", ""))

    def events(self, subject: str = "") -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.read("events", *([subject] if subject else []), "--limit", "1000")[
            "items"
        ]
        return items

    def process(self, module: str) -> psutil.Process:
        """The one process of this factory that runs `module`."""
        found = self.processes(module)
        assert len(found) == 1, (module, found)
        return found[0]

    def snapshot(self) -> dict[str, Any]:
        """What the gateway says is in force; empty while it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/debug/snapshot") as answer:
                decoded: dict[str, Any] = json.load(answer)
                return decoded
        except OSError:
            return {}

    def wait_until_served(self, *names: str) -> None:
        """Returns once the gateway has a target for every release of these endpoints."""

        def served() -> bool:
            endpoints = self.snapshot().get("endpoints", {})
            return all(
                endpoints.get(name) and all(release["targets"] for release in endpoints[name].values())
                for name in names
            )

        wait_for(f"{names} being served", served)

    def kill(self, module: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to the one process that runs `module`, and wait until it is gone."""
        process = self.process(module)
        process.send_signal(number)
        wait_for(
            f"the end of {module}", lambda: all(one.pid != process.pid for one in self.processes(module))
        )

    def start(self, module: str) -> None:
        """Start a process by hand, as a machine without a supervisor does; `running_factory` ends it."""
        with (self.root / ".andon" / "logs" / f"{module}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", module, "--home", str(self.root)],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.started.append(process)

    def kept_keys(self) -> set[str]:
        """Public ids of the keys in the newest snapshot that the gateway has kept."""
        kept = [path.read_bytes() for path in (self.root / ".andon" / "snapshots").glob("*.json")]
        snapshots = [json.loads(raw.rpartition(b"\n")[0]) for raw in kept]
        newest = max(snapshots, key=lambda found: found["version"], default={})
        return {key["id"] for key in newest.get("keys", ())}

    def processes(self, module: str = "andon.") -> list[psutil.Process]:
        """Processes of this factory whose command line names `module`."""
        found = []
        for process in psutil.process_iter(["cmdline", "cwd", "status"]):
            words = process.info["cmdline"] or []
            of_us = any(str(self.root) in word for word in words)
            if of_us and any(module in word for word in words) and process.info["status"] != "zombie":
                found.append(process)
        return found

    def words(self) -> str:
        """The ends of all logs, for a failing test."""
        logs = sorted((self.root / ".andon" / "logs").rglob("*.log"))
        return "\n".join(f"== {log.name}\n{log.read_text(errors='replace')[-3000:]}" for log in logs)


@contextlib.contextmanager
def running_factory(
    root: Path, documents: Sequence[dict[str, Any]] = (), settings: Mapping[str, str] | None = None
) -> Iterator[Factory]:
    """A factory that serves; nothing of it is left at the end, whatever a test did to it."""
    factory = Factory(root, settings)
    factory.write(documents)
    try:
        factory.up("-f", "factory.yaml") if documents else factory.up()
        yield factory
    finally:
        factory.andon("down", code=None)
        left = factory.processes()
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):  # it may have gone meanwhile
                process.kill()
        psutil.wait_procs(left, timeout=10)
        for child in factory.started:
            child.wait(timeout=10)


@contextlib.contextmanager
def running_provider(behaviour: str = "") -> Iterator[str]:
    """The dummy provider; the URL of its OpenAI API."""
    process = subprocess.Popen(
        [sys.executable, "-m", "andon.testing.provider", "--port", "0", "--behaviour", behaviour],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
