"""Kill -9 of gateway, control and observer while segments are being sealed: is every answered request there once?

A real factory under load, with segments of a few dozen rows, so that a commit is nearly always under way; whichever
process dies is started again on the same home. Afterwards the union of sealed tables and unsealed tail is read twice:
plainly, from the Delta files and the log, and by the product's own engine. Lost: an acknowledged request (or an
acknowledged label) is in neither. Duplicated: it is there more than once. The death of processes, not of a machine.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from andon.app.home import Home
from andon.ledger.disk import FileDisk
from andon.ledger.queries import Bounds
from andon.ledger.reader import Cursor
from andon.ledger.row import Outcome
from andon.ledger.tables.delta import Tables
from andon.ledger.tables.engine import open_engine
from andon.ledger.tables.schema import tables_of
from andon.ledger.tables.sources import position_key, read_source
from benchmarks.crash import SEED, Tally, client, wait_for_port
from benchmarks.factory import ENDPOINT
from benchmarks.harness import LOAD_CORE, QUICK, ROOT, free_port, running

KILLS_EACH = 4 if QUICK else 15
START_S_MAX = 120.0  # three processes start at once, again and again, on whatever cores there are
SECONDS_MAX = 18.0 if QUICK else 600.0  # of killing; what was reached by then counts
CLIENTS = 4
LABELS_EACH = 20
MODULES = {
    "gateway": "andon.app.gateway_process",
    "control": "andon.app.control_process",
    "observer": "andon.app.observer.process",
}
# How long each lives, from its first answer to its death.
LIFE_S = {"gateway": (0.2, 2.0), "control": (0.1, 2.0), "observer": (0.1, 2.5) if QUICK else (0.1, 8.0)}
SETTINGS = {
    "ANDON_SEGMENT_BYTES": "16384",
    "ANDON_SEGMENT_AGE_S": "0.5",
    "ANDON_LEDGER_KEEP_S": "1",  # segments leave the log too, so that most rows are in the tables only
    "ANDON_LEDGER_KEEP_SEGMENTS": "8",
    "ANDON_ALLOW_ANONYMOUS": "true",
}
ROWS_MAX = 1_000_000
AIMED_SHARE = (
    0.7  # of the observer's deaths: at the moment when a commit appears, so that its next ones are missing
)
AIMED_AT = ("attempts", "labels", "feedback", "evaluations")
AIM_S_MAX = 2.0


@dataclass
class Site:
    """One factory on one machine without a supervisor."""

    root: Path
    ports: dict[str, int] = field(default_factory=lambda: {name: free_port() for name in MODULES})
    admin_port: int = field(default_factory=free_port)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def environment(self) -> Mapping[str, str]:
        """Where everything listens, and how small a segment is."""
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("ANDON_")},
            **SETTINGS,
            "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
            "ANDON_GATEWAY_PORT": str(self.ports["gateway"]),
            "ANDON_CONTROL_PORT": str(self.ports["control"]),
            "ANDON_OBSERVER_PORT": str(self.ports["observer"]),
            "ANDON_GATEWAY_ADMIN_PORT": str(self.admin_port),
        }

    @property
    def tables(self) -> Path:
        """Where the tables lie."""
        return Home(self.root).tables

    def andon(self, *words: str) -> None:
        """One command line of a person."""
        command = [sys.executable, "-m", "andon.app.cli.main", *words]
        subprocess.run(command, cwd=self.root, env=self.environment, check=True, capture_output=True)

    def set_up(self, upstream: int) -> None:
        """Apply a factory with one endpoint, and leave nothing running."""
        documents = [
            _resource("Provider", "stub", url=f"http://127.0.0.1:{upstream}/v1", models={"any": "any"}),
            _resource(
                "Endpoint", ENDPOINT, protocol="openai", release={"provider": "stub", "upstreamModel": "any"}
            ),
        ]
        (self.root / "factory.yaml").write_text(yaml.safe_dump_all(documents))
        self.andon("up", "-d", "-f", "factory.yaml")
        self.andon("down")

    def start(self, name: str) -> subprocess.Popen[bytes]:
        """Start one process; its output goes to a log."""
        with (self.root / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", MODULES[name], "--home", str(self.root)],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self.processes[name]

    def end(self) -> None:
        """Kill whatever runs."""
        for process in self.processes.values():
            process.kill()
            process.wait()


@dataclass
class Deaths:
    """What was killed, and until when killing goes on."""

    until: float
    counts: collections.Counter[str] = field(default_factory=collections.Counter)
    torn: int = 0  # deaths of the observer that left the tables of one log at different segments

    def go_on(self, name: str) -> bool:
        """Whether this process is to die once more."""
        return self.counts[name] < KILLS_EACH and time.perf_counter() < self.until


def _resource(kind: str, name: str, **spec: object) -> dict[str, object]:
    return {"apiVersion": "andon/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


async def die_again_and_again(site: Site, name: str, deaths: Deaths, chance: random.Random) -> None:
    """Start, live, die; at the end a life without a death."""
    while True:
        process = site.start(name)
        await wait_for_port(process, site.ports[name], START_S_MAX)
        if not deaths.go_on(name):
            return
        await asyncio.sleep(chance.uniform(*LIFE_S[name]))
        if not deaths.go_on(name):
            return
        if name == "observer" and chance.random() < AIMED_SHARE:
            await asyncio.to_thread(kill_in_a_commit, process, site.tables, chance.choice(AIMED_AT))
        process.send_signal(signal.SIGKILL)
        process.wait()
        deaths.counts[name] += 1
        if name == "observer":
            deaths.torn += is_torn(site)


def kill_in_a_commit(process: subprocess.Popen[bytes], tables: Path, table: str) -> None:
    """Kill as soon as something new appears in a table's log of commits, or after a while. Blocks."""
    log, deadline = tables / table / "_delta_log", time.perf_counter() + AIM_S_MAX
    before = len(os.listdir(log)) if log.exists() else 0
    while time.perf_counter() < deadline:
        if log.exists() and len(os.listdir(log)) != before:
            break
        time.sleep(0.0002)
    process.send_signal(signal.SIGKILL)


def is_torn(site: Site) -> bool:
    """Whether a segment is in one table of a log and not yet in another one."""
    tables, home = Tables(str(site.tables)), Home(site.root)
    for log, folder in (("rows", home.ledger), ("facts", home.facts)):
        key = position_key(log, read_source(folder))
        if len({tables.transaction(table.name, key) for table in tables_of(log)}) > 1:
            return True
    return False


async def keep_asking(site: Site, tally: Tally, stopping: asyncio.Event) -> None:
    """One client after the other on the same port, however often the server dies."""
    while not stopping.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(client(site.ports["gateway"], tally), 5.0)
        await asyncio.sleep(0.02)


async def keep_labelling(site: Site, tally: Tally, labelled: set[str], stopping: asyncio.Event) -> None:
    """Labels of answered requests to the observer, a few at a time; only what it acknowledged counts."""
    key = (site.root / ".andon" / "admin.key").read_text().strip()
    at = 0
    while not stopping.is_set():
        ids = tally.acknowledged[at : at + LABELS_EACH]
        if not ids or not await _label(site.ports["observer"], key, ids):
            await asyncio.sleep(0.05)  # what was not acknowledged is sent again
            continue
        labelled.update(ids)
        at += len(ids)


async def _label(port: int, key: str, ids: list[str]) -> bool:
    items = [{"id": f"label-{id_}", "request": id_, "name": "ok", "value": 1} for id_ in ids]
    body = json.dumps({"items": items}).encode()
    head = (
        f"POST /v1/labels HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\nconnection: close\r\n"
    )
    head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), 2.0)
        try:
            writer.write(head.encode() + body)
            status = await asyncio.wait_for(reader.readline(), 5.0)
            whole = await asyncio.wait_for(reader.read(), 5.0)
        finally:
            writer.close()
    except OSError:
        return False
    return status.split(b" ")[1:2] == [b"200"] and b'"refused_count":0' in whole


async def live(site: Site, tally: Tally, labelled: set[str], deaths: Deaths) -> None:
    """Load and deaths together; then one second of peace and the death of all."""
    stopping = asyncio.Event()
    clients = [asyncio.create_task(keep_asking(site, tally, stopping)) for _ in range(CLIENTS)]
    clients.append(asyncio.create_task(keep_labelling(site, tally, labelled, stopping)))
    chances = {name: random.Random(f"{SEED}/{name}") for name in MODULES}
    try:
        await asyncio.gather(*(die_again_and_again(site, name, deaths, chances[name]) for name in MODULES))
        await asyncio.sleep(1.0)
        stopping.set()
        site.end()  # once more, while everything is at work
        await asyncio.wait(clients)
    finally:
        stopping.set()
        for one in clients:
            one.cancel()


def read_plainly(home: Home) -> Iterator[str]:
    """Ids of final outcomes: the files of the table, then the log after the position that the table gives."""
    tables, source = Tables(str(home.tables)), read_source(home.ledger)
    handle = tables.handle("attempts")
    sealed = 0
    if handle is not None:
        found = handle.to_pyarrow_table(columns=["id", "final"])
        yield from (
            id_ for id_, final in zip(*(column.to_pylist() for column in found), strict=True) if final
        )
        sealed = handle.transaction_version(position_key("rows", source)) or 0
    cursor = Cursor(FileDisk(home.ledger), after=sealed)
    while entries := cursor.poll():
        yield from (e.row.id for e in entries if isinstance(e.row, Outcome) and e.row.final)


def read_by_engine(home: Home, sql: str) -> list[str]:
    """One column of an answer of the product's own engine."""
    engine = open_engine(home.ledger, home.facts, home.bodies, str(home.tables))
    try:
        answer = engine.query(sql, (), Bounds(seconds=100.0, memory_bytes=2**31, rows=ROWS_MAX))
        return [str(value) for value in answer.column(0).to_pylist()]
    finally:
        engine.close()


def judge(acknowledged: set[str], found: collections.Counter[str]) -> tuple[int, int]:
    """How many are missing, and how many are there more than once."""
    lost = sum(1 for id_ in acknowledged if id_ not in found)
    return lost, sum(1 for count in found.values() if count > 1)


def seal_the_rest(site: Site, home: Home) -> int:
    """One quiet life of the observer, until the tables have what is closed; rows in them then."""
    process = site.start("observer")
    asyncio.run(wait_for_port(process, site.ports["observer"], START_S_MAX))
    tables, source = Tables(str(home.tables)), read_source(home.ledger)
    position, deadline = -1, time.perf_counter() + (5 if QUICK else 60)
    try:
        while time.perf_counter() < deadline:
            time.sleep(2.0)
            now = tables.transaction("attempts", position_key("rows", source)) or 0
            if now == position:
                break
            position = now
    finally:
        process.terminate()
        process.wait()
    return tables.measure("attempts").rows


def orphans(home: Home) -> int:
    """Files that a killed sealer had written and not committed: deaths in the middle of a commit."""
    known = {Path(uri).name for uri in Tables(str(home.tables)).file_uris("attempts")}
    return sum(1 for path in (home.tables / "attempts").rglob("*.parquet") if path.name not in known)


def main() -> None:
    """Run all lives, then compare what callers were told with what the ledger remembers."""
    tally, labelled = Tally(), set[str]()
    with tempfile.TemporaryDirectory(prefix="andon-ledger-crash-") as name:
        site, upstream = Site(Path(name)), free_port()
        home = Home(site.root)
        stub = [sys.executable, "-m", "benchmarks.stub", str(upstream)]
        with running(stub, upstream, core=LOAD_CORE, cwd=ROOT):
            site.set_up(upstream)
            deaths = Deaths(until=time.perf_counter() + SECONDS_MAX)
            try:
                asyncio.run(live(site, tally, labelled, deaths))
            except BaseException:
                for log in site.root.glob("*.log"):
                    print(f"== {log.name}\n{log.read_text(errors='replace')[-2000:]}", file=sys.stderr)
                raise
            finally:
                site.end()
        findings = {"log and files": judge(set(tally.acknowledged), collections.Counter(read_plainly(home)))}
        left = orphans(home)
        rows = seal_the_rest(site, home)
        sql = "SELECT id FROM attempts WHERE final"
        engine = collections.Counter(read_by_engine(home, sql))
        findings["engine"] = judge(set(tally.acknowledged), engine)
        labels = collections.Counter(read_by_engine(home, "SELECT request FROM labels"))
        findings["labels"] = judge(labelled, labels)
    kills = sum(deaths.counts.values()) + len(MODULES)
    print(f"killed {dict(deaths.counts)}, and all three at the end; seed {SEED}")
    print(
        f"{len(tally.acknowledged)} requests and {len(labelled)} labels acknowledged, {tally.broken} cut off"
    )
    print(
        f"{rows} rows sealed of {sum(engine.values())}; {deaths.torn} deaths tore a segment, {left} files uncommitted"
    )
    for what, (lost, duplicated) in findings.items():
        print(f"{what:<14} lost {lost} duplicated {duplicated}")
    lost = sum(lost for lost, _ in findings.values())
    duplicated = sum(duplicated for _, duplicated in findings.values())
    print(json.dumps({"kills": kills, "lost": lost, "duplicated": duplicated}))
    if lost or duplicated or not tally.acknowledged or not rows or not labelled:
        sys.exit(1)


if __name__ == "__main__":
    main()
