"""The dead release of proof `rollback`, against real processes: gateway, provider, clients, clock.

Every round starts a gateway on a fresh home whose canary answers nothing but errors, sends 100 requests a second, and
reads from the ledger how many reached the canary, and how long after the first one the last one came.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from andon.kernel.snapshot import Snapshot
from andon.ledger.disk import FileDisk
from andon.ledger.query import Query
from andon.ledger.reader import read
from benchmarks.factory import ENDPOINT, KEY_HEADER, gateway_command, gateway_environment, make_home
from benchmarks.harness import PAYLOADS, ROOT, free_port, running

RATE = 100.0  # requests a second; a tenth of them for the canary
SECONDS = 1.5
DEAD = "dummy?status=500"


def kill_canary(content: Snapshot) -> Snapshot:
    """The same snapshot with a canary that answers 500 to everything."""
    endpoint = content.endpoints[0]
    stable, canary = endpoint.releases
    target = msgspec.structs.replace(canary.targets[0], model=DEAD)
    releases = (stable, msgspec.structs.replace(canary, targets=(target,)))
    return msgspec.structs.replace(content, endpoints=(msgspec.structs.replace(endpoint, releases=releases),))


def one_round(work: Path, provider: int) -> tuple[int, float]:
    """Requests that reached the dead canary, and seconds from the first to the last of them."""
    home = make_home(work, provider, "acknowledged", kill_canary)
    port = free_port()
    with running(gateway_command(home), port, environment=gateway_environment(port)):
        subprocess.run(
            [
                *(sys.executable, "-m", "benchmarks.client", f"--rate={RATE}", f"--seconds={SECONDS}"),
                *(
                    "--url",
                    f"http://127.0.0.1:{port}/v1/chat/completions",
                    "--body",
                    str(PAYLOADS / "chat.json"),
                ),
                *(f"--header={name}: {value}" for name, value in KEY_HEADER.items()),
            ],
            cwd=ROOT,
            capture_output=True,
            check=True,
        )
    rows = read(FileDisk(home.ledger), query=Query(release=f"{ENDPOINT}@2"))
    times = [entry.row.at_ns for entry in rows]
    return len(times), (times[-1] - times[0]) / 1e9 if times else 0.0


def rounds(count: int) -> list[tuple[int, float]]:
    """`count` rounds, one after the other."""
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        provider = free_port()
        command = [sys.executable, "-m", "andon.testing.provider", "--port", str(provider)]
        stack.enter_context(
            running(command, provider, environment={"PYTHONPATH": f"{ROOT / 'src'}"}, cwd=ROOT)
        )
        return [one_round(work / str(place), provider) for place in range(count)]


if __name__ == "__main__":
    for requests, seconds in rounds(3):
        print(requests, seconds)
