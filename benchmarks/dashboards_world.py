"""The factory that the proof `dashboards` looks at: with a past, with models of both protocols, with all that happens.

Its past is written as a gateway and an observer write it, before they start: two days of decisions with late labels.
Then it is started, and clients of both dialects, applications that tell facts, a collector and a Prometheus live with
it. Nothing is told to `/metrics` by any other way than through the factory.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import os
import random
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import msgspec
import yaml

from andon.app.home import Home
from andon.kernel.clock import SystemClock
from andon.kernel.devices import DeviceReading, Devices
from andon.ledger.facts.model import Fact, Label
from andon.ledger.folder import open_log
from andon.ledger.log import Log
from andon.ledger.row import Outcome
from andon.observability.dashboards.export import Places, scrape_config
from benchmarks.harness import ROOT, free_port
from benchmarks.predict import FEATURES, save_model

PATIENCE_S = 60.0
HOUR_NS = 3600 * 10**9
PAST_HOURS = 48
PAST_ROWS_PER_HOUR = 150
TOLD_AFTER = 24  # answers of one client later, about two seconds
MODELS = {"fluent": "dummy?gap_ms=3&tokens=12", "flaky": "dummy?fail_every=3", "failing": "dummy?status=500"}
CHATS = ("fluent", "flaky", "failing")


def wait_for(what: str, look: Any, patience_s: float = PATIENCE_S) -> Any:
    """The first true answer."""
    deadline = time.monotonic() + patience_s
    while not (seen := look()):
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {patience_s:.0f} s for {what}")
        time.sleep(0.1)
    return seen


def fetch(url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
    """Status and body; 0 where nobody answers."""
    status, answer, _ = exchange(url, body, headers)
    return status, answer


def exchange(
    url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> tuple[int, bytes, str]:
    """Status, body and request id; 0 where nobody answers."""
    request = urllib.request.Request(url, body, dict(headers or {}))
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read(), answer.headers.get("x-request-id", "")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), error.headers.get("x-request-id", "")
    except (OSError, ValueError):
        return 0, b"", ""


def documents(provider: str) -> list[dict[str, Any]]:
    """What the factory serves, promises and watches."""

    def resource(kind: str, name: str, **spec: Any) -> dict[str, Any]:
        return {"apiVersion": "andon/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}

    def chat(name: str) -> dict[str, Any]:
        release = {"provider": "dummy", "upstreamModel": name}
        return resource("Endpoint", name, protocol="openai", release=release, retries=1)

    prediction = {"output": "probabilities", "classes": ["bad", "good"]}
    return [
        resource("Team", "crew"),
        resource("Provider", "dummy", url=f"{provider}/v1", models=MODELS),
        *(chat(name) for name in CHATS),
        resource("Model", "credit"),
        resource("ModelVersion", "credit-1", model="credit", version="1", source="credit.onnx"),
        resource(
            "Endpoint",
            "credit",
            release={"model": "credit", "version": "1"},
            recording={"prediction": prediction},
        ),
        resource("Objective", "answers", over={"endpoint": ["fluent", "flaky", "failing"]}, by=["endpoint"],
                 indicator={"availability": {}}, objective=0.99, period="28d"),
        # The provider answers whatever is posted there: somebody who hears of the alert.
        resource("Receiver", "desk", webhook={"url": f"{provider}/v1/chat/completions"}),
        resource("Alert", "failing", receivers=["desk"], groupWait="1s",
                 when={"window": {"metric": "errorRate", "above": 0.05, "over": "1m", "minimumEvents": 5}}),
        resource("DriftMonitor", "credit-rows", endpoint="credit", period="1h", minRows=50),
        resource("Monitor", "credit-quality", endpoint="credit", positive="good", chunk="6h", minRows=50,
                 reference={"minLabels": 200}),
    ]  # fmt: skip


def past(chance: random.Random, now_ns: int) -> tuple[list[Outcome], list[Fact]]:
    """Two days of decisions; nine of ten have a label, between a minute and an hour later."""
    rows: list[Outcome] = []
    labels: list[Fact] = []
    count = PAST_HOURS * PAST_ROWS_PER_HOUR
    for number in range(count):
        at_ns = now_ns - (count - number) * HOUR_NS // PAST_ROWS_PER_HOUR
        score = chance.betavariate(2, 2)
        rows.append(
            Outcome(
                id=f"past-{number}", at_ns=at_ns, status=200, endpoint="credit", release="credit@1", arm="stable",
                operation="infer", dialect="oip", team="crew", duration_us=chance.randrange(900, 4_000),
                overhead_us=chance.randrange(100, 400), upstream_us=chance.randrange(500, 3_000),
                first_byte_us=chance.randrange(400, 900), request_bytes=chance.randrange(200, 300),
                response_bytes=chance.randrange(100, 140), prediction="good" if score >= 0.5 else "bad",
                score=score,
            )
        )  # fmt: skip
        known_ns = at_ns + chance.randrange(60, 3_600) * 10**9
        if chance.random() < 0.9 and known_ns < now_ns:
            truth = "good" if chance.random() < score else "bad"
            labels.append(
                Label(
                    id=f"l-{number}", at_ns=known_ns, event_ns=known_ns, request=f"past-{number}", text=truth
                )
            )
    labels.sort(key=lambda label: label.at_ns)
    return rows, labels


def write_past(home: Home, chance: random.Random) -> None:
    """Append it to the logs of a home that nobody runs yet."""

    async def append(log: Log, items: list[Any]) -> None:
        for start in range(0, len(items), 1_000):
            for item in items[start : start + 1_000]:
                log.append(item)
            await log.committed()

    async def write() -> None:
        rows, facts = past(chance, SystemClock().now_ns())
        home.create()
        for folder, name, items in ((home.ledger, "0", rows), (home.facts, "facts", facts)):
            folder.mkdir(parents=True, exist_ok=True)
            async with open_log(folder, SystemClock(), name) as log:
                await append(log, list(items))

    asyncio.run(write())


class Plant:
    """The factory, its ports and its key."""

    def __init__(self, root: Path, provider: str, collector: str, devices: Path | None) -> None:
        self.root = root
        self.port, self.admin_port, self.control_port, self.observer_port = (free_port() for _ in range(4))
        self.key = ""
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("ANDON_", "OTEL_"))},
            "PYTHONPATH": str(ROOT / "src"),
            "ANDON_GATEWAY_PORT": str(self.port),
            "ANDON_GATEWAY_ADMIN_PORT": str(self.admin_port),
            "ANDON_CONTROL_PORT": str(self.control_port),
            "ANDON_OBSERVER_PORT": str(self.observer_port),
            "ANDON_OTLP_ENDPOINT": collector,
            **({"ANDON_DEVICES_FILE": str(devices)} if devices else {}),
        }
        save_model(root / "credit.onnx")
        (root / "factory.yaml").write_text(yaml.safe_dump_all(documents(provider)))
        write_past(Home(root), random.Random(7))

    def andon(self, *words: str) -> str:
        """Run one command line; its output."""
        done = subprocess.run(
            [sys.executable, "-m", "andon.app.cli.main", *words],
            cwd=self.root, env=self._environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"andon {' '.join(words)}: {done.stderr}{done.stdout}")
        return done.stdout

    def start(self) -> None:
        """Start it, and wait until everything is served and counted."""
        self.andon("up", "-d", "-f", "factory.yaml")
        self.key = json.loads(self.andon("keys", "create", "--team", "crew", "-o", "json"))["secret"]
        wait_for("the endpoints", self._serves)
        wait_for("the metrics", lambda: b"andon_requests_total{" in self._metrics())
        time.sleep(0.5)  # the key reaches the gateway with the next snapshot
        self.andon("drift", "baseline", "credit-rows", "--since", "2d")

    def replicas(self) -> tuple[int, ...]:
        """Process ids of the models that this machine serves."""
        status, body = fetch(
            f"http://127.0.0.1:{self.control_port}/v1/infrastructure",
            headers={"authorization": f"Bearer {(self.root / '.andon/admin.key').read_text().strip()}"},
        )
        processes = (json.loads(body).get("now") or {}).get("processes", ()) if status == 200 else ()
        return tuple(one["pid"] for one in processes if one["role"] == "replica")

    def stop(self) -> None:
        """End it."""
        with contextlib.suppress(SystemExit):  # what could not be started cannot be stopped
            self.andon("down")

    def _metrics(self) -> bytes:
        return fetch(f"http://127.0.0.1:{self.observer_port}/metrics")[1]

    def _serves(self) -> bool:
        status, body = fetch(f"http://127.0.0.1:{self.admin_port}/debug/snapshot")
        endpoints = json.loads(body).get("endpoints", {}) if status == 200 else {}
        return all(
            endpoints.get(name) and all(release["targets"] for release in endpoints[name].values())
            for name in (*CHATS, "credit")
        )


class Clients:
    """Everybody who calls and tells, until stopped."""

    def __init__(self, plant: Plant) -> None:
        self._plant = plant
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(seed,)) for seed in range(2)]
        self.calls = 0

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *why: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _run(self, seed: int) -> None:
        chance = random.Random(seed)
        number = 0
        answers: collections.deque[str] = collections.deque()
        while not self._stopping.wait(0.05):
            number += 1
            name = chance.choice((*CHATS, "fluent", "fluent"))
            answers += (self._chat(name, stream=number % 2 == 0), self._predict(chance))
            while len(answers) > TOLD_AFTER:  # nobody judges an answer before the ledger has it
                self._tell(answers.popleft(), chance, f"{seed}-{number}")
            if number % 7 == 0:
                self._call("/v1/chat/completions", {"model": "nobody", "messages": []})
                self._leave()
            self.calls += 2

    def _call(self, path: str, body: Any, **headers: str) -> str:
        """One call; its request id, if it was answered well."""
        sent = {
            "authorization": f"Bearer {self._plant.key}",
            "content-type": "application/json",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        url = f"http://127.0.0.1:{self._plant.port}{path}"
        status, _, request = exchange(url, json.dumps(body).encode(), sent)
        return request if status == 200 else ""

    def _chat(self, name: str, *, stream: bool) -> str:
        body = {"model": name, "messages": [{"role": "user", "content": "which spindle is due?"}]}
        return self._call("/v1/chat/completions", {**body, **({"stream": True} if stream else {})})

    def _predict(self, chance: random.Random) -> str:
        data = [chance.gauss(0, 1) for _ in range(FEATURES)]
        tensor = {"name": "x", "shape": [1, FEATURES], "datatype": "FP32", "data": data}
        return self._call(
            "/v2/models/credit/infer", {"inputs": [tensor]}, x_andon_features="age=1200,income=340"
        )

    def _leave(self) -> None:
        """A client that closes amid a stream."""
        body = {
            "model": "fluent",
            "stream": True,
            "messages": [{"role": "user", "content": "go on"}],
            "max_tokens": 500,
        }
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._plant.port}/v1/chat/completions",
            json.dumps(body).encode(),
            {"authorization": f"Bearer {self._plant.key}", "content-type": "application/json"},
        )
        with contextlib.suppress(OSError):  # the gateway may be quicker
            urllib.request.urlopen(request, timeout=30).close()

    def _tell(self, request: str, chance: random.Random, number: str) -> None:
        about = {"request": request or f"unknown-{number}"}
        kinds = ({"kind": "thumb", "value": chance.randrange(2)}, {"kind": "rating", "value": chance.randrange(1, 6)},
                 {"kind": "regenerate"})  # fmt: skip
        for path, item in (
            ("labels", {**about, "text": "good"}),
            ("labels", {**about, "text": "good"}),  # told twice
            ("labels", {"value": 1}),  # about nothing: refused
            ("feedback", {**about, **chance.choice(kinds)}),
            ("kpi-events", {**about, "name": "sale", "value": chance.randrange(-5, 50), "currency": "EUR"}),
        ):
            fetch(
                f"http://127.0.0.1:{self._plant.control_port}/v1/{path}",
                json.dumps(item).encode(),
                {"authorization": f"Bearer {self._plant.key}", "content-type": "application/json"},
            )


class Imagined:
    """Two devices that work, as another program would write them to the devices file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.pids: tuple[int, ...] = ()  # that compute on the first one
        self._began = time.monotonic()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._write()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *why: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(1.0):
            self._write()

    def _write(self) -> None:
        age_s = time.monotonic() - self._began
        readings = tuple(
            DeviceReading(
                index=index, uuid=f"GPU-{index}", name="An imagined GPU", utilisation=0.6, memory_utilisation=0.3,
                memory_used_bytes=20 * 2**30, memory_total_bytes=80 * 2**30, power_watts=300.0,
                energy_joules=300.0 * age_s, temperature_celsius=55.0, sm_clock_hertz=1_500_000_000,
                memory_clock_hertz=1_200_000_000, ecc_uncorrected=0, ecc_corrected=3, pcie_replays=0,
                pids=() if index else self.pids,
            )
            for index in range(2)
        )  # fmt: skip
        fresh = self.path.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(Devices(readings=readings)))
        fresh.replace(self.path)


@contextlib.contextmanager
def providing() -> Iterator[str]:
    """The dummy provider; its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "andon.testing.provider", "--port", "0"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@contextlib.contextmanager
def scraping(root: Path, plant: Plant) -> Iterator[str]:
    """A real Prometheus with the exported scrape configuration, only faster; its address."""
    places = Places(
        dashboards="",
        observers=(f"127.0.0.1:{plant.observer_port}",),
        gateways=(f"127.0.0.1:{plant.admin_port}",),
    )
    config = scrape_config(places)
    for job in config["scrape_configs"]:
        job["scrape_interval"] = job["scrape_timeout"] = "1s"
    root.mkdir()
    (root / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    with (root / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={root / 'prometheus.yml'}",
                f"--storage.tsdb.path={root / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--log.level=warn",
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for("Prometheus", lambda: fetch(f"{url}/-/ready")[0] == 200)
        yield url
    finally:
        process.terminate()
        process.wait()
