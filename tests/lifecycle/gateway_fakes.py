"""What the stage asks of the world, as fakes: a clock that is told the time, a drawer of reports, a disk in a dict."""

from __future__ import annotations

from andon.kernel.exchange import Exchange
from andon.kernel.random import SeededRandom
from andon.kernel.reports import Cut, Progress, Report
from andon.kernel.snapshot import (
    EndpointEntry,
    GateEntry,
    PinEntry,
    ReleaseEntry,
    RolloutEntry,
    Snapshot,
    TargetEntry,
)
from andon.lifecycle.rollouts.cuts import Cuts
from andon.lifecycle.rollouts.stage import RolloutStage


class ToldClock:
    def __init__(self) -> None:
        self.at = 100.0

    def now_ns(self) -> int:
        return int(self.at * 1e9)

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds


class Drawer:
    def __init__(self) -> None:
        self.sent: list[Report] = []

    def send(self, report: Report) -> None:
        self.sent.append(report)

    def cuts(self) -> list[Cut]:
        return [report for report in self.sent if isinstance(report, Cut)]

    def progress(self) -> list[Progress]:
        return [report for report in self.sent if isinstance(report, Progress)]


class DictDisk:
    """A disk in memory; `full` makes every write fail as the operating system would."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.full = False

    def append(self, path: str, data: bytes) -> None:
        self.replace(path, self.files.get(path, b"") + data)

    def sync(self, path: str) -> None: ...

    def read(self, path: str, offset: int = 0, length: int = -1) -> bytes:
        data = self.files[path]
        return data[offset:] if length < 0 else data[offset : offset + length]

    def truncate(self, path: str, length: int) -> None:
        self.files[path] = self.files[path][:length]

    def replace(self, path: str, data: bytes) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self.files[path] = data

    def list(self, folder: str) -> list[str]:
        return sorted(self.files)

    def size(self, path: str) -> int:
        return len(self.files.get(path, b""))

    def remove(self, path: str) -> None:
        self.files.pop(path, None)

    def close(self, path: str) -> None: ...


ERRORS = GateEntry(name="errors", metric="errorRate", alpha=0.008, margin=0.0)
LATENCY = GateEntry(name="latency", metric="latency", alpha=0.002, margin=1.25)


def target(name: str) -> TargetEntry:
    return TargetEntry(id=name, url="http://127.0.0.1:1", protocol="oip")


def snapshot(
    weight: int = 1000,
    *,
    version: int = 1,
    generation: int = 1,
    gates: tuple[GateEntry, ...] = (ERRORS, LATENCY),
    canary_ready: bool = True,
    stable_ready: bool = True,
    rollout: str = "credit-1",
    overrules: int = 0,
    sticky_header: str = "",
    pins: tuple[PinEntry, ...] = (),
    shadow_share: int = 0,
) -> Snapshot:
    releases = (
        ReleaseEntry(
            id="credit@1",
            arm="stable",
            weight=10_000 - weight,
            targets=(target("s"),) if stable_ready else (),
        ),
        ReleaseEntry(
            id="credit@2", arm="canary", weight=weight, targets=(target("c"),) if canary_ready else ()
        ),
    )
    entry = RolloutEntry(
        id=rollout,
        generation=generation,
        overrules=overrules,
        stable="credit@1",
        canary="credit@2",
        gates=gates,
        sticky_header=sticky_header,
        salt="salt",
        pins=pins,
        shadow_share=shadow_share,
    )
    endpoint = EndpointEntry(name="credit", protocol="oip", releases=releases, rollout=entry)
    return Snapshot(version=version, factory="f", revision=1, compiled_at_ns=0, endpoints=(endpoint,))


class Bench:
    """One stage with everything around it."""

    def __init__(self, first: Snapshot, seed: int = 1, disk: DictDisk | None = None) -> None:
        self.clock = ToldClock()
        self.reports = Drawer()
        self.disk = disk or DictDisk()
        self.random = SeededRandom(seed)
        self.cuts = Cuts(self.disk)
        self.stage = RolloutStage("gw-0", self.clock, self.random, self.reports, self.cuts)
        self.adopt(first)

    def adopt(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.stage.adopt(snapshot)()

    def admit(self, headers: list[tuple[bytes, bytes]] | None = None) -> Exchange:
        exchange = Exchange()
        exchange.name = "credit"
        exchange.headers = headers or []
        exchange.endpoint = self.snapshot.endpoints[0]
        refusal = self.stage.admit(exchange)
        if refusal is not None:
            raise refusal
        return exchange

    def settle(
        self, exchange: Exchange, *, failed: bool = False, latency_s: float = 0.05, status: int = 200
    ) -> None:
        self.clock.at += 0.01
        exchange.upstream_started_at = self.clock.at - latency_s
        exchange.upstream_ended_at = self.clock.at
        exchange.status = 502 if failed else status
        exchange.provider_error = failed
        self.stage.settle(exchange)

    def pass_one(self, *, canary_fails: bool = False, canary_latency_s: float = 0.05) -> Exchange:
        exchange = self.admit()
        canary = exchange.arm == "canary"
        self.settle(exchange, failed=canary and canary_fails, latency_s=canary_latency_s if canary else 0.05)
        return exchange
