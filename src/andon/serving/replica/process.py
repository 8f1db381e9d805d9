"""The life of a replica process: listen, load, warm up, serve, drain, and say why it ended.

It listens before it loads, so that a health check tells "starting" from "gone". Nothing here knows who started it.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import psutil
import uvloop

from andon.kernel.clock import Clock, SystemClock
from andon.kernel.errors import AndonError, Permanent
from andon.serving.models.digest import expect, take
from andon.serving.models.formats.port import LoadedModel, ModelSource
from andon.serving.models.formats.select import open_model
from andon.serving.replica.application import BODY_BYTES_MAX, ReplicaApplication, Served
from andon.serving.replica.batcher import Batcher, BatchLimits
from andon.serving.replica.model import Exit, LastWords, Launch, Pid, Ready, ReplicaSpec
from andon.serving.replica.warmup import Warm, can_stack, warm
from andon.serving.replica.watch import limit_process, watch
from andon.serving.replica.words import ReplicaLog, write_whole
from andon.wire.limits import ServerLimits
from andon.wire.server import Server

_DRAIN_S = 30.0
_DRAIN_MEMORY_S = 1.0  # beyond its memory limit there is no time for more
_IDLE_GRACE_S = 0.5


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """A model ready to serve and what was learnt on the way."""

    model: LoadedModel
    digest: str
    warm: Warm
    load_s: float


def load(spec: ReplicaSpec, clock: Clock, private: Path) -> Loaded:
    """Copy to `private`, verify, open and warm the model; raises `Permanent` if it cannot be served. Blocks.

    The copy is hashed as it is written and nothing else is opened: what is verified is what is loaded.
    """
    started = clock.monotonic()
    path = Path(spec.source)
    try:
        shutil.rmtree(private, ignore_errors=True)
        taken = take(path, private)
        expect(path, taken.digest, spec.digest)
        model = open_model(
            ModelSource(
                path=taken.path,
                format=spec.format,
                entry=spec.entry,
                allow_pickle=spec.allow_pickle,
                signature=spec.signature,
                threads=spec.cpu_threads,
            )
        )
    except OSError as error:
        raise Permanent(
            "model_unreadable",
            f"{path} cannot be read: {error}.",
            hint="Check the files and their permissions.",
        ) from error
    warmed = warm(model, spec.warmup, spec.rows_max, clock)
    return Loaded(model=model, digest=taken.digest, warm=warmed, load_s=clock.monotonic() - started)


class Replica:
    """One replica from its first to its last moment, on one event loop."""

    def __init__(self, launch: Launch, clock: Clock) -> None:
        self._launch = launch
        self._spec = launch.spec
        # Beside the files by which it is known; whoever forgets the replica removes what a killed one leaves.
        self._private = Path(launch.ready_path).with_name(f"{launch.spec.id}.model")
        self._clock = clock
        self._log = ReplicaLog(launch.spec.id, clock)
        self._application = ReplicaApplication(launch.spec.model, launch.spec.version)
        self._server = Server(
            self._application, ServerLimits(unread_body_bytes_max=8 * BODY_BYTES_MAX), clock
        )
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._ending: asyncio.Future[LastWords] = asyncio.get_running_loop().create_future()

    async def live(self) -> int:
        """Serve until told to stop; the exit code. Last words are written before it returns."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end, _drained())
        try:
            url = await self._listen()
        except (OSError, AndonError) as error:
            return self._last(
                LastWords(
                    code=Exit.LISTEN,
                    error="cannot_listen",
                    reason=f"Cannot listen on {self._launch.listen}: {error}",
                    hint="Another process may hold it.",
                )
            )
        watching = asyncio.create_task(
            watch(self._spec.memory_bytes, self._launch.log_path, self._clock, self._exceeded)
        )
        loading = asyncio.create_task(self._load(url))
        try:
            words = await self._ending
            await self._drain(words)
        finally:
            tasks = (watching, loading)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._thread.shutdown(wait=False, cancel_futures=True)
            shutil.rmtree(self._private, ignore_errors=True)
        return self._last(words)

    async def _listen(self) -> str:
        """The URL it listens on, with the port that was found if any would do."""
        scheme, _, rest = self._launch.listen.partition("://")
        if scheme == "unix":
            await self._server.start_unix(rest)
            return self._launch.listen
        host, _, port = rest.rpartition(":")
        await self._server.start(host, int(port))
        return f"http://{host}:{self._server.port}"

    async def _load(self, url: str) -> None:
        """Load in the thread, then open the application. Any failure becomes the last words."""
        spec = self._spec
        loop = asyncio.get_running_loop()
        try:
            loaded = await loop.run_in_executor(self._thread, load, spec, self._clock, self._private)
        except asyncio.CancelledError:
            raise
        except AndonError as error:
            self._end(
                LastWords(
                    code=Exit.MODEL, error=error.code, reason=error.message, hint=error.hint, permanent=True
                )
            )
            return
        except Exception as error:  # a model's libraries may raise anything; it is told and the process ends
            self._log.failed(error)
            self._end(
                LastWords(code=Exit.CRASH, error="load_crashed", reason=f"{type(error).__name__}: {error}")
            )
            return
        self._open(loaded, url)

    def _open(self, loaded: Loaded, url: str) -> None:
        spec, model = self._spec, loaded.model
        limits = BatchLimits(
            rows_max=spec.rows_max, delay_max_s=spec.delay_max_ms / 1000, can_stack=can_stack(model.signature)
        )
        batcher = Batcher(
            model.predict,
            limits,
            self._thread,
            now=self._clock.monotonic,
            features_ms=getattr(model, "features_ms", None),
        )
        batcher.learn(loaded.warm.predict_s)
        if loaded.warm.warning:
            self._log.say("warmup.warned", reason=loaded.warm.warning)
        self._application.serve(
            Served(
                signature=model.signature,
                platform=model.platform,
                batcher=batcher,
                on_failure=self._log.failed,
            )
        )
        ready = Ready(
            signature=model.signature,
            digest=loaded.digest,
            url=url,
            platform=model.platform,
            load_s=round(loaded.load_s, 3),
            predict_us=round(loaded.warm.predict_s * 1e6, 1),
        )
        write_whole(self._launch.ready_path, ready)
        self._log.say(
            "replica.ready", url=url, digest=ready.digest, load_s=ready.load_s, predict_us=ready.predict_us
        )

    def _exceeded(self, resident_bytes: int) -> None:
        limit = self._spec.memory_bytes
        self._end(
            LastWords(
                code=Exit.MEMORY,
                error="memory_limit",
                reason=f"It used {resident_bytes >> 20} MiB of memory; its limit is {limit >> 20} MiB.",
                hint="Raise spec.resources.memory of the version, or find what grows.",
            )
        )

    def _end(self, words: LastWords) -> None:
        """The first reason to end is the one that is told."""
        if not self._ending.done():
            self._ending.set_result(words)

    async def _drain(self, words: LastWords) -> None:
        """Say "not ready", still accept for a while, answer what is under way, close."""
        self._application.is_draining = True
        if words.code == Exit.DRAINED:
            self._log.say("replica.draining", linger_s=self._spec.linger_s)
            await self._clock.sleep(self._spec.linger_s)
            await self._server.drain(_DRAIN_S, _IDLE_GRACE_S)
        else:
            await self._server.drain(_DRAIN_MEMORY_S)

    def _last(self, words: LastWords) -> int:
        write_whole(self._launch.words_path, words)
        self._log.say(
            "replica.ended", code=words.code, error=words.error, reason=words.reason, hint=words.hint
        )
        return int(words.code)


def _drained() -> LastWords:
    return LastWords(code=Exit.DRAINED, error="drained", reason="It was asked to stop.")


def run(path: str) -> int:
    """Be the replica that a launch file describes; the exit code."""
    try:
        launch = msgspec.json.decode(Path(path).read_bytes(), type=Launch)
    except (OSError, msgspec.DecodeError) as error:
        sys.stderr.write(f"The launch file {path} cannot be read: {error}\n")
        return Exit.SPEC
    process = psutil.Process()
    write_whole(launch.pid_path, Pid(pid=process.pid, started_at=process.create_time()))
    limit_process(launch.spec.memory_bytes)
    sys.dont_write_bytecode = True  # a model's folder stays as its digest says
    clock = SystemClock()

    async def main() -> int:
        return await Replica(launch, clock).live()

    return uvloop.run(main())
