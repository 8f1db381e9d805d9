"""The local executor: each replica a detached process of this machine.

Everything it knows lies in files beside the sockets, so that a restarted control finds its replicas and goes on. A
process is known by its number and its start time, so that a number used again is never killed.
"""

from __future__ import annotations

import asyncio
import glob
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec
import psutil

import andon
from andon.kernel.clock import Clock
from andon.kernel.errors import AndonError, Transient
from andon.kernel.ports import Upstream
from andon.kernel.snapshot import TargetEntry
from andon.serving.executors.port import Observed, Phase
from andon.serving.executors.sockets import socket_path
from andon.serving.replica.model import LastWords, Launch, Pid, Ready, ReplicaSpec

S = TypeVar("S", bound=msgspec.Struct)

_PROBE_S = 1.0
_LOGS_MAX = 200
_PROBES_AT_ONCE = 16
_MISSES_MAX = 3  # probes in a row that a ready replica may miss before it counts as not ready
_UNWRITTEN_S = 10.0  # for a process to write its pid file; after that it was never started
_SAME_START_S = 2.0  # start times are computed from ticks since boot and move a little with the clock

PROGRAM = "andon.serving.replica"  # what each process runs, unless it is told another
# What a replica inherits of the environment that `app` hands down: enough to run Python, no secrets of control.
_INHERITED = (
    "PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "USER", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV",
    "LD_LIBRARY_PATH", "SYSTEMROOT", "SSL_CERT_FILE", "ANDON_PURE",
)  # fmt: skip


class Probes(Upstream, Protocol):
    """What health checks are sent by: an upstream that lets go of targets which are gone."""

    def close_target(self, target_id: str) -> None:
        """Close what is kept for a target."""
        ...


class Stopping(msgspec.Struct, frozen=True, kw_only=True):
    """The file that says a replica was told to stop, and when patience ends."""

    kill_at_ns: int


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """The file that says when an end was first seen and what was known of it."""

    at_ns: int
    code: int | None


class _Health:
    """What probing has shown of one replica, in this life of the executor."""

    __slots__ = ("misses", "unready_since_ns")

    def __init__(self, unready_since_ns: int) -> None:
        self.misses = 0
        self.unready_since_ns = unready_since_ns


class LocalExecutor:
    """Replicas as processes below one `.andon` folder: sockets and files in `run/`, output in `logs/replicas/`."""

    def __init__(
        self,
        home: Path,
        clock: Clock,
        upstream: Probes,
        environment: Mapping[str, str] | None = None,
        program: str = PROGRAM,
    ) -> None:
        self._program = program
        self._run = home / "run" / "replicas"
        self._logs = home / "logs" / "replicas"
        self._clock = clock
        self._upstream = upstream
        given = environment or {}
        self._environment = {name: given[name] for name in _INHERITED if name in given}
        self._children: dict[
            str, subprocess.Popen[bytes]
        ] = {}  # of this life; as many as there are launch files
        self._health: dict[str, _Health] = {}

    async def start(self, spec: ReplicaSpec) -> None:
        """Write the launch file and start the process."""
        if self._file(spec.id, "launch").exists():
            return
        try:
            await asyncio.to_thread(self._spawn, spec)
        except OSError as error:
            raise Transient(
                "replica_unstarted",
                f"The process of replica {spec.id} could not be started: {error}.",
                hint="Check free memory, processes and disk of this machine.",
            ) from error

    def _spawn(self, spec: ReplicaSpec) -> None:
        self._run.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        _shorten_history(self._logs)
        log = self._logs / f"{spec.id}.log"
        launch = Launch(
            spec=spec,
            listen=f"unix://{socket_path(self._run, spec.id)}",
            ready_path=str(self._file(spec.id, "ready")),
            words_path=str(self._file(spec.id, "words")),
            pid_path=str(self._file(spec.id, "pid")),
            log_path=str(log),
            created_ns=self._clock.now_ns(),
        )
        path = self._file(spec.id, "launch")
        self._write(path, launch)
        try:
            # Opened for appending, so that the replica can shorten the file under its own output.
            with log.open("ab") as output:
                self._children[spec.id] = subprocess.Popen(
                    [sys.executable, "-P", "-m", self._program, str(path)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    cwd=self._run,
                    env=_environment(spec, self._environment),
                    start_new_session=True,
                )
        except OSError:
            path.unlink(missing_ok=True)
            raise

    async def stop(self, id_: str, grace_s: float) -> None:
        """SIGTERM now; SIGKILL by a later `list` when the grace is over, also after a restart of control."""
        stopping = self._file(id_, "stopping")
        if not self._file(id_, "launch").exists() or stopping.exists():
            return
        self._write(stopping, Stopping(kill_at_ns=self._clock.now_ns() + int(grace_s * 1e9)))
        self._signal(id_, signal.SIGTERM)

    async def list(self, deployment: str = "") -> Sequence[Observed]:
        """Look at launch files and their processes, and probe those that live, a few at a time."""
        paths = sorted(self._run.glob(f"{glob.escape(deployment)}*.launch.json"))
        launches = [
            launch
            for path in paths
            if (launch := _read(path, Launch)) and deployment in ("", launch.spec.deployment)
        ]
        gate = asyncio.Semaphore(_PROBES_AT_ONCE)
        seen = await asyncio.gather(*(self._look(launch, gate) for launch in launches))
        return [one for one in seen if one is not None]

    async def forget(self, id_: str) -> None:
        """Remove the files of a replica that has exited; its log stays until the next one is written."""
        launch = _read(self._file(id_, "launch"), Launch)
        if launch is not None and not self._is_living(launch):
            self._remove(launch)

    async def _look(self, launch: Launch, gate: asyncio.Semaphore) -> Observed | None:
        id_ = launch.spec.id
        stopping = _read(self._file(id_, "stopping"), Stopping)
        if not self._is_living(launch):
            if stopping is not None:
                self._remove(launch)
                return None
            return self._exited(launch)
        if stopping is not None:
            if self._clock.now_ns() >= stopping.kill_at_ns:
                self._signal(id_, signal.SIGKILL)
            return self._seen(launch, "stopping", 0, "")
        async with gate:
            problem = await self._probe(launch)
        health = self._health.get(id_)
        if health is None:
            # An adopted replica that had been ready gets its time to answer anew.
            is_adopted = self._file(id_, "ready").exists() and id_ not in self._children
            health = _Health(self._clock.now_ns() if is_adopted else launch.created_ns)
            self._health[id_] = health
        if not problem:
            health.misses, health.unready_since_ns = 0, 0
        else:
            health.misses += 1
            # One late answer is no illness; a replica that was ready is trusted for a few probes.
            if not health.unready_since_ns and health.misses >= _MISSES_MAX:
                health.unready_since_ns = self._clock.now_ns()
        phase: Phase = "starting" if health.unready_since_ns else "ready"
        return self._seen(launch, phase, health.unready_since_ns, problem)

    async def _probe(self, launch: Launch) -> str:
        """Empty if it is ready to serve, else why not. An adopted replica has been ready if it has said so."""
        ready = _read(self._file(launch.spec.id, "ready"), Ready)
        if ready is None:
            return "the model is being loaded"
        target = TargetEntry(id=_probe_id(launch.spec.id), url=launch.listen, protocol="oip")
        try:
            answer = await self._upstream.send(
                target,
                b"GET",
                b"/v2/health/ready",
                (),
                b"",
                connect_timeout_s=_PROBE_S,
                first_byte_timeout_s=_PROBE_S,
                idle_timeout_s=_PROBE_S,
                deadline_at=self._clock.monotonic() + _PROBE_S,
            )
        except AndonError as error:
            return f"its health check failed: {error.message}"
        return "" if answer.status == 200 else f"its health check said {answer.status}"

    def _seen(self, launch: Launch, phase: Phase, unready_since_ns: int, reason: str) -> Observed:
        ready = _read(self._file(launch.spec.id, "ready"), Ready)
        pid = _read(self._file(launch.spec.id, "pid"), Pid)
        return Observed(
            spec=launch.spec,
            phase=phase,
            url=launch.listen,
            pid=pid.pid if pid else 0,
            started_ns=launch.created_ns,
            unready_since_ns=unready_since_ns,
            was_ready=ready is not None,
            reason=reason,
            signature=ready.signature if ready else None,
            digest=ready.digest if ready else "",
        )

    def _exited(self, launch: Launch) -> Observed:
        id_ = launch.spec.id
        child = self._children.get(id_)
        path = self._file(id_, "ended")
        ended = _read(path, Ended)
        if ended is None:
            ended = Ended(at_ns=self._clock.now_ns(), code=child.poll() if child else None)
            self._write(path, ended)
        words = _read(self._file(id_, "words"), LastWords)
        code = ended.code if ended.code is not None else words.code if words else None
        return msgspec.structs.replace(
            self._seen(launch, "exited", 0, ""),
            ended_ns=ended.at_ns,
            code=code,
            error=words.error if words else "killed",
            reason=f"{words.reason} {words.hint}".strip() if words else _unspoken(code),
            permanent=words.permanent if words else False,
        )

    def _is_living(self, launch: Launch) -> bool:
        """Whether its process runs; a child that has ended is reaped on the way."""
        child = self._children.get(launch.spec.id)
        if child is not None:
            return child.poll() is None
        pid = _read(self._file(launch.spec.id, "pid"), Pid)
        if pid is None:
            # Control may have died between starting the process and its first lines.
            return self._clock.now_ns() - launch.created_ns < _UNWRITTEN_S * 1e9
        return _process(pid) is not None

    def _signal(self, id_: str, number: signal.Signals) -> None:
        child = self._children.get(id_)
        if child is not None:
            child.send_signal(number)
            return
        pid = _read(self._file(id_, "pid"), Pid)
        process = _process(pid) if pid else None
        if process is not None:
            try:
                process.send_signal(number)
            except psutil.NoSuchProcess:
                return  # it ended between the look and the signal, which is what was wanted

    def _remove(self, launch: Launch) -> None:
        id_ = launch.spec.id
        self._children.pop(id_, None)
        self._health.pop(id_, None)
        self._upstream.close_target(_probe_id(id_))
        Path(launch.listen.removeprefix("unix://")).unlink(missing_ok=True)
        shutil.rmtree(self._run / f"{id_}.model", ignore_errors=True)  # its private copy, if it was killed
        # The launch file goes last: as long as it is there, the rest is found and removed by the next turn.
        for what in ("ready", "words", "pid", "ended", "stopping", "launch"):
            self._file(id_, what).unlink(missing_ok=True)

    def _file(self, id_: str, what: str) -> Path:
        return self._run / f"{id_}.{what}.json"

    def _write(self, path: Path, value: msgspec.Struct) -> None:
        temporary = path.with_suffix(".tmp")
        temporary.write_bytes(msgspec.json.encode(value))
        os.replace(temporary, path)


def _probe_id(id_: str) -> str:
    return f"probe-{id_}"


def _environment(spec: ReplicaSpec, inherited: Mapping[str, str]) -> dict[str, str]:
    # The replica runs the very code that starts it, wherever this was imported from.
    source = os.pathsep.join(
        filter(None, (str(Path(andon.__file__).parent.parent), inherited.get("PYTHONPATH")))
    )
    threads = str(spec.cpu_threads)
    bounds = {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    return {**inherited, **bounds, "PYTHONPATH": source, "PYTHONUNBUFFERED": "1", **spec.env}


def _process(pid: Pid) -> psutil.Process | None:
    """The very process that wrote the file, if it still runs."""
    try:
        process = psutil.Process(pid.pid)
        is_same = abs(process.create_time() - pid.started_at) < _SAME_START_S
        return process if is_same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def _unspoken(code: int | None) -> str:
    """Why a replica without last words ended, as far as its exit code tells."""
    if code is None:
        return "It ended without last words; see its log."
    if code < 0:
        name = signal.Signals(-code).name if -code in signal.valid_signals() else str(-code)
        return f"It was killed by {name}."
    return f"It ended with code {code} and without last words; see its log."


def _read(path: Path, kind: type[S]) -> S | None:
    """A file of ours, or None if it is not there (any more) or is not what we write.

    Ours are written whole; another's file with such a name must not keep the rest from being looked after.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _shorten_history(logs: Path) -> None:
    """Keep the newest logs of ended replicas, so that a crash loop cannot fill the disk."""
    found = sorted(logs.glob("*.log*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in found[_LOGS_MAX:]:
        path.unlink(missing_ok=True)
