"""Andon's own lineage sent to a backend: everything once over, and a backend that is away changes nothing."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from andon.app.home import Home
from andon.app.observer.lineage_sending import HOUR_NS, build_sending, closed_hour
from andon.app.observer.part import ObserverGround
from andon.app.observer.serving import open_ground
from andon.app.settings import Settings
from andon.kernel.clock import SystemClock
from andon.kernel.events import Event
from andon.kernel.redaction import KnownSecrets
from andon.ledger.folder import open_log
from andon.ledger.row import Outcome
from andon.store.model import Record, Unit


class Backend:
    """Takes events as Marquez does; `answers` are the statuses that it gives first."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.answers: list[int] = []
        backend = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status = backend.answers.pop(0) if backend.answers else 201
                backend.keys.add(self.headers.get("authorization", ""))
                if status < 300 and self.path == "/api/v1/lineage":
                    backend.events.append(json.loads(body))
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the name that http.server calls
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def backend() -> Iterator[Backend]:
    made = Backend()
    yield made
    made.close()


@asynccontextmanager
async def sending(root: Path, settings: Settings) -> AsyncIterator[ObserverGround]:
    home = Home(root)
    home.create()
    async with open_ground(home, settings, {"KEY": "ol-secret"}, KnownSecrets()) as ground:
        loops, _, closing = build_sending(ground)
        tasks = [asyncio.ensure_future(loop()) for loop in loops]
        try:
            yield ground
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for close in closing:
                close()


async def until(look: Any) -> None:
    async with asyncio.timeout(30):
        while not look():
            await asyncio.sleep(0.02)


def happen(name: str) -> Any:
    data = {"endpoint": "loans", "source": "credit@1", "target": "credit@2"}

    def work(unit: Unit) -> None:
        now_ns = SystemClock().now_ns()
        unit.append(Event(name=name, subject="Rollout/loans-1", actor="c", data=data, at_ns=now_ns))

    return work


def declare(unit: Unit) -> None:
    spec = {"model": "credit", "version": "2", "source": "m", "digest": "sha256:" + "ab" * 32}
    unit.put(Record(kind="ModelVersion", name="credit-2", spec=spec))


def states(backend: Backend, job: str) -> list[str]:
    return [one["eventType"] for one in backend.events if one.get("job", {}).get("name") == job]


def test_rollouts_and_hours_of_answers_arrive_with_the_key(tmp_path: Path, backend: Backend) -> None:
    async def main() -> None:
        settings = Settings(lineage_url=backend.url, lineage_credential="env:KEY")
        home = Home(tmp_path)
        home.create()
        now_ns = SystemClock().now_ns()
        async with open_log(home.ledger, SystemClock(), "0") as log:
            at_ns = closed_hour(now_ns) * HOUR_NS + 5
            for number in range(3):
                log.append(
                    Outcome(
                        id=f"r{number}", at_ns=at_ns, status=200, endpoint="loans", release="credit@2",
                        data_class="internal" if number else None,
                    )
                )  # fmt: skip
            await log.committed()
        async with sending(tmp_path, settings) as ground:
            await ground.store.transact(declare)
            await ground.store.transact(happen("rollout.started"))
            await until(lambda: states(backend, "release/loans") == ["START"])
            await until(lambda: states(backend, "serve/loans") == ["START", "COMPLETE"])

    asyncio.run(main())
    assert backend.keys == {"Bearer ol-secret"}
    window = next(one for one in backend.events if one["job"]["name"] == "serve/loans")
    assert window["run"]["facets"]["andon_inferenceWindow"]["answers"] == 3
    assert window["run"]["facets"]["tags"]["tags"][0]["value"] == "internal"
    assert window["inputs"][0]["facets"]["version"]["datasetVersion"] == "sha256:" + "ab" * 32


def test_what_happened_while_the_backend_was_away_arrives_later_and_once(
    tmp_path: Path, backend: Backend
) -> None:
    backend.answers = [503, 401, 500]

    async def main() -> None:
        settings = Settings(lineage_url=backend.url)
        async with sending(tmp_path, settings) as ground:
            await ground.store.transact(happen("rollout.started"))
            await until(lambda: states(backend, "release/loans") == ["START"])
        async with sending(tmp_path, settings) as ground:
            await ground.store.transact(happen("rollout.succeeded"))
            await until(lambda: "COMPLETE" in states(backend, "release/loans"))

    asyncio.run(main())
    assert states(backend, "release/loans") == ["START", "COMPLETE"]
    runs = {one["run"]["runId"] for one in backend.events}
    assert len(runs) == 1


def test_what_a_backend_refuses_for_good_is_left_behind(tmp_path: Path, backend: Backend) -> None:
    backend.answers = [422]

    async def main() -> None:
        async with sending(tmp_path, Settings(lineage_url=backend.url)) as ground:
            await ground.store.transact(happen("rollout.started"))
            await ground.store.transact(happen("rollout.aborted"))
            await until(lambda: states(backend, "release/loans") == ["ABORT"])

    asyncio.run(main())
