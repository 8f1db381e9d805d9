"""An executor of imagined replicas for simulations: seeded start times, crashes, models that never become ready.

Stands in for `serving.executors` on virtual time and passes the same suite. It starts no process and opens no socket.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from andon.kernel.clock import Clock
from andon.kernel.errors import Transient
from andon.kernel.random import Random
from andon.kernel.snapshot import Signature, TensorSpec
from andon.serving.executors.port import Observed, Phase
from andon.serving.replica.model import ReplicaSpec

SIGNATURE = Signature(
    inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 4)),),
    outputs=(TensorSpec(name="y", datatype="FP32", shape=(-1, 1)),),
)


class Fate(msgspec.Struct, frozen=True, kw_only=True):
    """What will become of one replica."""

    start_s: float = 0.5  # until it is ready, or until it has failed to be
    never_ready: bool = False
    error: str = ""  # it ends with this error instead of becoming ready
    permanent: bool = False
    crash_after_s: float | None = None  # after it was ready
    stop_s: float = 0.1  # after it was asked to stop; beyond the grace it is killed


class Odds(msgspec.Struct, frozen=True, kw_only=True):
    """How fates are drawn for replicas that no test has decided about. Shares are between 0 and 1."""

    start_s_max: float = 2.0
    start_fails: float = 0.0  # the call itself, with `Transient`
    load_crashes: float = 0.0
    never_ready: float = 0.0
    crashes: float = 0.0
    crash_s_max: float = 60.0


class _Imagined:
    """One replica of the imagination."""

    __slots__ = ("fate", "killed_ns", "spec", "started_ns", "stopping_ns", "stops_ns")

    def __init__(self, spec: ReplicaSpec, fate: Fate, started_ns: int) -> None:
        self.spec = spec
        self.fate = fate
        self.started_ns = started_ns
        self.killed_ns = 0
        self.stopping_ns = 0
        self.stops_ns = 0


class FakeExecutor:
    """Everything is computed when it is looked at; nothing runs in between."""

    def __init__(self, clock: Clock, random: Random, odds: Odds | None = None) -> None:
        self._clock = clock
        self._random = random
        self._odds = odds or Odds()
        self._replicas: dict[str, _Imagined] = {}
        self.fates: dict[str, Fate] = {}  # decided by tests, by replica id; others are drawn
        self.fate_of_versions: dict[str, Fate] = {}  # decided by tests, by deployment
        self.started: list[ReplicaSpec] = []
        self.signature = SIGNATURE

    async def start(self, spec: ReplicaSpec) -> None:
        """Imagine one more."""
        if spec.id in self._replicas:
            return
        if self._random.uniform() < self._odds.start_fails:
            raise Transient("replica_unstarted", f"The process of replica {spec.id} could not be started.")
        fate = self.fates.get(spec.id) or self.fate_of_versions.get(spec.deployment) or self._draw()
        self._replicas[spec.id] = _Imagined(spec, fate, self._clock.now_ns())
        self.started.append(spec)

    async def stop(self, id_: str, grace_s: float) -> None:
        """It ends when its fate says, or when the grace is over."""
        one = self._replicas.get(id_)
        if one is None or one.stopping_ns:
            return
        one.stopping_ns = self._clock.now_ns()
        one.stops_ns = one.stopping_ns + int(min(one.fate.stop_s, grace_s) * 1e9)

    async def list(self, deployment: str = "") -> Sequence[Observed]:
        """What the fates have come to by now."""
        now_ns = self._clock.now_ns()
        for id_, one in list(self._replicas.items()):
            ended = self._ended_ns(one, now_ns)
            if one.stopping_ns and (now_ns >= one.stops_ns or (ended and ended <= now_ns)):
                del self._replicas[id_]
        seen = (self._look(one, now_ns) for _, one in sorted(self._replicas.items()))
        return [one for one in seen if deployment in ("", one.spec.deployment)]

    async def forget(self, id_: str) -> None:
        """Remove one that has exited."""
        one = self._replicas.get(id_)
        if one is not None and self._look(one, self._clock.now_ns()).phase == "exited":
            del self._replicas[id_]

    def ids(self) -> Sequence[str]:
        """Every replica that has not been forgotten."""
        return sorted(self._replicas)

    def serves(self, id_: str) -> bool:
        """Whether a replica would answer a request now."""
        one = self._replicas.get(id_)
        if one is None:
            return False
        now_ns = self._clock.now_ns()
        stopped = one.stopping_ns and now_ns >= one.stops_ns
        return not stopped and self._look(one, now_ns).phase in ("ready", "stopping")

    def kill(self, id_: str) -> None:
        """As kill -9 would."""
        self._replicas[id_].killed_ns = self._clock.now_ns()

    def _draw(self) -> Fate:
        odds, uniform = self._odds, self._random.uniform
        return Fate(
            start_s=uniform() * odds.start_s_max,
            error="load_crashed" if uniform() < odds.load_crashes else "",
            never_ready=uniform() < odds.never_ready,
            crash_after_s=uniform() * odds.crash_s_max if uniform() < odds.crashes else None,
        )

    def _ready_ns(self, one: _Imagined) -> int:
        return one.started_ns + int(one.fate.start_s * 1e9)

    def _ended_ns(self, one: _Imagined, now_ns: int) -> int:
        """When it has ended by itself or by a kill; 0 if it has not by now."""
        ends: list[int] = [one.killed_ns] if one.killed_ns else []
        if one.fate.error:
            ends.append(self._ready_ns(one))
        elif one.fate.crash_after_s is not None and not one.fate.never_ready:
            ends.append(self._ready_ns(one) + int(one.fate.crash_after_s * 1e9))
        first = min(ends, default=0)
        return first if first and first <= now_ns else 0

    def _look(self, one: _Imagined, now_ns: int) -> Observed:
        fate, ended_ns = one.fate, self._ended_ns(one, now_ns)
        is_warm = not fate.never_ready and not fate.error and now_ns > self._ready_ns(one)
        was_ready = is_warm and (not ended_ns or ended_ns > self._ready_ns(one))
        phase: Phase = "ready" if is_warm else "starting"
        if one.stopping_ns:
            phase = "stopping"
        seen = Observed(
            spec=one.spec,
            phase=phase,
            url=f"unix:///fake/{one.spec.id}.sock",
            pid=1,
            started_ns=one.started_ns,
            unready_since_ns=one.started_ns if phase == "starting" else 0,
            was_ready=was_ready,
            signature=self.signature if was_ready else None,
            digest="sha256:" + "f" * 64 if was_ready else "",
        )
        if not ended_ns:
            return seen
        is_own = bool(fate.error) and ended_ns == self._ready_ns(one)
        return msgspec.structs.replace(
            seen,
            phase="exited",
            unready_since_ns=0,
            ended_ns=ended_ns,
            code=65 if is_own else -9,
            error=fate.error if is_own else "killed",
            reason=f"It ended with {fate.error}." if is_own else "It was killed by SIGKILL.",
            permanent=fate.permanent if is_own else False,
        )
