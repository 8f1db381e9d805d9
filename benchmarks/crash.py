"""Kill -9 under load, again and again: is every answered request in the ledger, exactly once?

Clients keep requests in flight; the gateway is killed at a random moment and started again on the same home.
Acknowledged: the client holds the whole answer with its `x-request-id`. Lost: no final outcome row has that id.
Duplicated: more than one has. This is the death of a process, not of a machine: what a power loss takes is proven on
the simulated disk (`tests/ledger/test_recovery.py`), which loses whatever was not synced.
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
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from andon.app.home import Home
from andon.ledger.disk import FileDisk
from andon.ledger.reader import read
from andon.ledger.row import Outcome
from andon.ledger.scan import Damage
from andon.ledger.segment import parse_name
from benchmarks.factory import ENDPOINT, KEY_HEADER, make_home, start_gateway
from benchmarks.harness import LOAD_CORE, QUICK, ROOT, free_port, running

KILLS = 50 if QUICK else 100
CLIENTS = 16
LIFE_S = (0.02, 0.35) if QUICK else (0.02, 0.8)  # of the server, from its first answer to its death
START_S_MAX = 20.0
SEED = int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(2**31)
REQUEST = b"POST /v1/chat/completions HTTP/1.1\r\nhost: crash\r\ncontent-type: application/json\r\n"
AUTHORIZATION = b"".join(b"%b: %b\r\n" % (n.encode(), v.encode()) for n, v in KEY_HEADER.items())
BODY = b'{"model":"%b","messages":[{"role":"user","content":"which spindle is due?"}]}' % ENDPOINT.encode()


@dataclass
class Tally:
    """What the clients saw."""

    acknowledged: list[str] = field(default_factory=list)
    refused: int = 0  # whole answers that are not 2xx
    broken: int = 0  # requests whose answer never came whole


def start_server_under_test(home: Path, port: int) -> subprocess.Popen[bytes]:
    """The one place that says what is killed: a gateway that serves HTTP on `port` and keeps its log below `home`."""
    return start_gateway(Home(home), port)


async def client(port: int, tally: Tally, extra_headers: bytes = b"") -> None:
    """One keep-alive connection, one request at a time, until the server dies."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            while True:
                writer.write(REQUEST + extra_headers + b"content-length: %d\r\n\r\n%b" % (len(BODY), BODY))
                tally.broken += 1
                head = await reader.readuntil(b"\r\n\r\n")
                fields = dict(
                    line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line
                )
                await reader.readexactly(int(fields[b"content-length"]))
                tally.broken -= 1
                if head.split(b" ", 2)[1][:1] == b"2":
                    tally.acknowledged.append(fields[b"x-request-id"].decode())
                else:
                    tally.refused += 1
        finally:
            writer.close()


async def wait_for_port(process: subprocess.Popen[bytes], port: int, patience_s: float = START_S_MAX) -> None:
    """Until the server answers; ends the proof if it does not."""
    deadline = time.perf_counter() + patience_s
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            if process.poll() is not None or time.perf_counter() > deadline:
                raise RuntimeError(f"the server did not start again (exit code {process.poll()})") from None
            await asyncio.sleep(0.005)
            continue
        writer.close()
        return


async def live_and_die(home: Path, life_s: float, tally: Tally) -> None:
    """One life: start, load, kill."""
    port = free_port()
    process = start_server_under_test(home, port)
    try:
        await wait_for_port(process, port)
        clients = [asyncio.create_task(client(port, tally, AUTHORIZATION)) for _ in range(CLIENTS)]
        await asyncio.sleep(life_s)
        process.send_signal(signal.SIGKILL)
        await asyncio.wait(clients)
    finally:
        process.kill()
        process.wait()


def final_outcomes(home: Path, damages: list[Damage]) -> Iterator[str]:
    """Ids of all final outcome rows in every log below `home`."""
    folders = {path.parent for path in home.rglob("*.log") if parse_name(path.name)}
    for folder in sorted(folders):
        for entry in read(FileDisk(folder), report=damages.append):
            if isinstance(entry.row, Outcome) and entry.row.final:
                yield entry.row.id


async def live(home: Path, tally: Tally) -> None:
    """All lives, one after the other, on one home."""
    chance = random.Random(SEED)
    for number in range(1, KILLS + 1):
        await live_and_die(home, chance.uniform(*LIFE_S), tally)
        if number % 10 == 0:
            print(f"{number:>4} kills {len(tally.acknowledged):>8} acknowledged {tally.broken:>5} cut off")


def main() -> None:
    """Run all lives, then compare what clients were told with what the ledger remembers."""
    tally, damages = Tally(), list[Damage]()
    with tempfile.TemporaryDirectory(prefix="andon-crash-") as name:
        home, upstream = Path(name), free_port()
        make_home(home, upstream, "acknowledged")
        started = time.perf_counter()
        stub = [sys.executable, "-m", "benchmarks.stub", str(upstream)]
        with running(stub, upstream, core=LOAD_CORE, cwd=ROOT):
            asyncio.run(live(home, tally))
        counts = collections.Counter(final_outcomes(home, damages))
        lost = sum(1 for id_ in tally.acknowledged if id_ not in counts)
        duplicated = sum(1 for count in counts.values() if count > 1)
        seconds = time.perf_counter() - started
    missing = sum(damage.rows for damage in damages)
    print(f"{len(counts)} rows read, {len(damages)} torn ends, {missing} rows missing before them, ", end="")
    print(f"{tally.refused} answers refused, seed {SEED}, {seconds:.0f} s")
    result = {
        "kills": KILLS,
        "acknowledged": len(tally.acknowledged),
        "lost": lost,
        "duplicated": duplicated,
    }
    print(json.dumps(result))
    if lost or duplicated or not tally.acknowledged:
        sys.exit(1)


if __name__ == "__main__":
    main()
