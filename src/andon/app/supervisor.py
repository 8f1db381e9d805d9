"""The supervisor: `andon up` and `andon down`. Starts control and gateway, restarts what dies, stops all in order.

It holds the home's lock. It imports nothing heavy, so that both processes are on their way within milliseconds; it
never touches traffic or the database.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.util
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import psutil

from andon.app.addresses import address, control_address, speaks_tls
from andon.app.home import Home, RunInfo
from andon.app.settings import Settings, load_settings
from andon.kernel.clock import Clock, SystemClock
from andon.kernel.errors import AndonError, Permanent, Refused, Transient

RESTART_DELAY_S = (0.1, 0.5, 2.0, 5.0, 15.0)
STEADY_S = 60.0  # a process that lived this long starts again at the first delay
READY_TIMEOUT_S = 30.0
STOP_GRACE_S = 25.0


class Child:
    """One supervised process."""

    def __init__(self, name: str, command: list[str], log: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.command = command
        self.log = log
        self.environment = dict(environment)
        self.process: subprocess.Popen[bytes] | None = None
        self.failures = 0
        self.started_at = 0.0

    def start(self, clock: Clock) -> None:
        """Start or start again; output goes to the log."""
        self.started_at = clock.monotonic()
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.environment,
                start_new_session=True,
            )

    def exited(self) -> int | None:
        """The exit status, or None while it runs."""
        return self.process.poll() if self.process is not None else None

    def last_words(self) -> str:
        """The end of its log, for an error message."""
        try:
            lines = self.log.read_text(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return "\n".join(lines[-3:])


def port_free(host: str, port: int) -> None:
    """Raises Refused, naming the holder where it can be seen, if `port` is taken."""
    if port == 0:
        return
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise Refused(
                "port_in_use",
                f"Port {port} on {host} cannot be used: {error.strerror}{_holder(port)}.",
                hint="Stop that process, or set gateway_port, gateway_admin_port or control_port in andon.yaml "
                "(or ANDON_GATEWAY_PORT and so on).",
                param="port",
            ) from error


def _holder(port: int) -> str:
    with contextlib.suppress(
        psutil.Error
    ):  # another user's sockets cannot be seen: the answer is then shorter
        for connection in psutil.net_connections("tcp"):
            if connection.laddr and connection.laddr.port == port and connection.pid:
                return f" (held by pid {connection.pid}, {psutil.Process(connection.pid).name()})"
    return ""


def observer_installed() -> bool:
    """Whether the extra that the observer needs is there."""
    return importlib.util.find_spec("duckdb") is not None


def choose_port(host: str, port: int) -> int:
    """`port` itself, or a free one for 0."""
    if port:
        return port
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


class Supervisor:
    """Both processes of one machine, kept running."""

    def __init__(self, home: Home, settings: Settings, files: list[Path], clock: Clock) -> None:
        self._clock = clock
        self._home = home
        host, control_host = settings.host, settings.control_host
        self._settings = msgspec.structs.replace(
            settings,
            gateway_port=choose_port(host, settings.gateway_port),
            gateway_admin_port=choose_port(host, settings.gateway_admin_port),
            control_port=choose_port(control_host, settings.control_port),
            observer_port=choose_port(control_host, settings.observer_port),
        )
        observing = observer_installed()
        self.stopping = asyncio.Event()
        self.info = RunInfo(
            url=control_address(self._settings),
            gateway_url=address(self._settings, host, self._settings.gateway_port),
            gateway_admin_url=address(self._settings, host, self._settings.gateway_admin_port),
            observer_url=address(self._settings, control_host, self._settings.observer_port)
            if observing
            else "",
            pid=os.getpid(),
        )
        self.children = [
            Child(name, [sys.executable, "-m", f"andon.app.{module}", *arguments], log, self._environment())
            for name, module, arguments, log in (
                ("gateway", "gateway_process", ["--home", str(home.root)], home.logs / "gateway.log"),
                (
                    "control",
                    "control_process",
                    ["--home", str(home.root), *(f"--file={path}" for path in files)],
                    home.logs / "control.log",
                ),
            )
        ]
        self.witness = Child(
            "witness",
            [sys.executable, "-m", "andon.app.witness_process", "--home", str(home.root)],
            home.logs / "witness.log",
            self._environment(),
        )
        self.observer = Child(
            "observer",
            [sys.executable, "-m", "andon.app.observer.process", "--home", str(home.root)],
            home.logs / "observer.log",
            self._environment(),
        )

    def _environment(self) -> dict[str, str]:
        ports = {
            "ANDON_GATEWAY_PORT": str(self._settings.gateway_port),
            "ANDON_GATEWAY_ADMIN_PORT": str(self._settings.gateway_admin_port),
            "ANDON_CONTROL_PORT": str(self._settings.control_port),
            "ANDON_OBSERVER_PORT": str(self._settings.observer_port),
        }
        return {**os.environ, **ports, "PYTHONUNBUFFERED": "1"}

    def start(self) -> None:
        """Check ports, say where things are, start both processes. Raises Refused for a port in use."""
        for host, port in (
            (self._settings.host, self._settings.gateway_port),
            (self._settings.host, self._settings.gateway_admin_port),
            (self._settings.control_host, self._settings.control_port),
            (self._settings.control_host, self._settings.observer_port),
        ):
            port_free(host, port)
        if speaks_tls(self._settings):
            # Before anybody listens: processes that start together would each make an authority of their own.
            transport = importlib.import_module("andon.app.transport")
            transport.prepare(self._home, self._settings, self._clock)
        self._home.write_run_info(self.info)
        for child in self.children:
            child.start(self._clock)

    async def ready(self) -> None:
        """Returns when both listeners answer. Raises Permanent with a process's last words if one gives up."""
        deadline = self._clock.monotonic() + READY_TIMEOUT_S
        local = address(self._settings, self._settings.control_host, self._settings.control_port)
        waiting = {"control": local + "/readyz", "gateway": self.info.gateway_admin_url + "/readyz"}
        while waiting:
            for child in self.children:
                if child.exited() is not None:
                    raise Permanent(
                        "process_failed",
                        f"{child.name} ended at once (status {child.exited()}): {child.last_words()}",
                        hint=f"See {child.log}.",
                    )
            for name, url in list(waiting.items()):
                if await answers(url):
                    del waiting[name]
            if waiting and self._clock.monotonic() > deadline:
                raise Transient(
                    "start_timeout",
                    f"{' and '.join(waiting)} did not become ready in {READY_TIMEOUT_S:.0f} s.",
                    hint=f"See the logs in {self._home.logs}.",
                )
            if waiting:
                await self._clock.sleep(0.02)

    def observe(self) -> None:
        """Start the observer, once traffic is served: nobody waits for it."""
        if self.info.observer_url:
            self.observer.start(self._clock)
            self.children.append(self.observer)
            if self._settings.audit_witness:
                self.witness.start(self._clock)
                self.children.append(self.witness)

    async def keep(self, told: Callable[[str], None]) -> None:
        """Restart what dies, with growing delays, until `stopping` is set."""
        due: dict[str, float] = {}
        while not self.stopping.is_set():
            now = self._clock.monotonic()
            for child in self.children:
                status = child.exited()
                if status is None:
                    continue
                if child.name not in due:
                    steady = now - child.started_at > STEADY_S
                    child.failures = 0 if steady else child.failures
                    delay = RESTART_DELAY_S[min(child.failures, len(RESTART_DELAY_S) - 1)]
                    child.failures += 1
                    due[child.name] = now + delay
                    told(f"{child.name} ended (status {status}); starting it again in {delay:g} s")
                elif now >= due[child.name]:
                    del due[child.name]
                    child.start(self._clock)
            with contextlib.suppress(TimeoutError):  # the time-out is the period of the watch
                await asyncio.wait_for(self.stopping.wait(), 0.1)

    async def stop(self) -> None:
        """Drain the gateway, then stop control with its replicas; kill what does not go in time."""
        self.stopping.set()
        for child in self.children:
            if child.process is None or child.exited() is not None:
                continue
            child.process.terminate()
            deadline = self._clock.monotonic() + STOP_GRACE_S
            while child.exited() is None and self._clock.monotonic() < deadline:
                await self._clock.sleep(0.02)
            if child.exited() is None:
                child.process.kill()
                child.process.wait()
        self._home.run_info.unlink(missing_ok=True)


async def answers(url: str) -> bool:
    """Whether a listener answers 200 on `url`; one attempt, one second. Nothing is sent that could be stolen."""
    parts = urlsplit(url)
    host, path = parts.hostname or "", parts.path.lstrip("/")
    context = None
    if parts.scheme == "https":
        # Whether it answers is all that is asked: its name may be one that only others know it by.
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(1.0):
            reader, writer = await asyncio.open_connection(host, parts.port, ssl=context)
            writer.write(
                b"GET /%b HTTP/1.1\r\nhost: %b\r\nconnection: close\r\n\r\n" % (path.encode(), host.encode())
            )
            line = await reader.readline()
            writer.close()
            return b" 200 " in line
    except (OSError, TimeoutError):  # ssl.SSLError is an OSError
        return False


async def _supervise(
    home: Home,
    settings: Settings,
    files: list[Path],
    told: Callable[[str], None],
    on_ready: Callable[[RunInfo], None],
) -> None:
    supervisor = Supervisor(home, settings, files, SystemClock())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.stopping.set)
    supervisor.start()
    try:
        await supervisor.ready()
        supervisor.observe()
        on_ready(supervisor.info)
        await supervisor.keep(told)
    finally:
        await supervisor.stop()


def say(text: str) -> None:
    """Progress goes to standard error, results to standard output."""
    print(text, file=sys.stderr, flush=True)


def announce(info: RunInfo, home: Home) -> None:
    """What a person who has just started a factory wants to know."""
    say(f"gateway  {info.gateway_url}   (OpenAI clients: /v1, Open Inference Protocol clients: the root)")
    say(f"control  {info.url}")
    if home.setup_code.exists():
        say(f"nobody can sign in yet: `andon users setup NAME` uses the code in {home.setup_code}")


def up(
    root: Path,
    files: list[Path],
    detach: bool = False,
    ports: Mapping[str, int] | None = None,
    on_ready: Callable[[RunInfo], None] | None = None,
) -> int:
    """Run a factory until it is told to stop; with `detach`, return once it serves.

    `ports` may give "gateway" and "control"; they win over settings. Raises Conflict if the home is in use, Refused
    for ports and settings, Permanent if a process will not start.
    """
    home = Home(root)
    home.create()
    told = on_ready or (lambda info: announce(info, home))
    given = {f"ANDON_{name.upper()}_PORT": str(port) for name, port in (ports or {}).items()}
    environment = {**os.environ, **given}
    settings = load_settings(home.root, environment)
    if files and home.has_state():
        say("this factory was applied before: changes in the file wait for `andon plan` and `andon apply`")
    if detach:
        _detach(home, files, environment)
        info = home.read_run_info()
        if info is not None:
            told(info)
        return 0
    home.lock()
    try:
        asyncio.run(_supervise(home, settings, files, say, told))
    finally:
        home.unlock()
    return 0


def _detach(home: Home, files: list[Path], environment: Mapping[str, str]) -> None:
    """Start a supervisor in a session of its own and wait until it serves."""
    log = home.logs / "supervisor.log"
    ready, ready_write = os.pipe()
    with log.open("ab") as output:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "andon.app.supervisor",
                str(home.root),
                str(ready_write),
                *(str(path) for path in files),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,
            pass_fds=(ready_write,),
        )
    os.close(ready_write)
    with os.fdopen(ready, "rb") as pipe:
        word = pipe.read()  # closed by the child when it is ready or gone
    if word != b"ready":
        process.wait(timeout=STOP_GRACE_S)
        raise Permanent("start_failed", word.decode() or "The factory did not start.", hint=f"See {log}.")


def down(root: Path, told: Callable[[str], None] = say) -> int:
    """Stop the factory on a home; 0 also if none was running. Raises Transient if it does not go in time."""
    home = Home(root)
    clock = SystemClock()
    info = home.read_run_info()
    if info is None or not psutil.pid_exists(info.pid):
        told(f"no factory is running on {home.state}")
        return 0
    os.kill(info.pid, signal.SIGTERM)
    told(f"stopping the factory (pid {info.pid})")
    deadline = clock.monotonic() + 2 * STOP_GRACE_S + 5
    while clock.monotonic() < deadline:
        try:
            home.lock()
        except AndonError:
            asyncio.run(clock.sleep(0.05))
            continue
        home.unlock()
        return 0
    raise Transient(
        "stop_timeout", f"The factory (pid {info.pid}) is still running.", hint="Try again in a moment."
    )


def main() -> None:
    """The detached supervisor: `python -m andon.app.supervisor HOME READY_FD FILE…`."""
    root, ready, *files = sys.argv[1:]
    pipe = os.fdopen(int(ready), "wb", buffering=0)
    os.set_inheritable(pipe.fileno(), False)

    def tell_ready(info: RunInfo) -> None:
        pipe.write(b"ready")
        pipe.close()

    try:
        up(Path(root), [Path(path) for path in files], on_ready=tell_ready)
    except AndonError as error:
        if not pipe.closed:
            pipe.write(str(error).encode())
        sys.exit(1)


if __name__ == "__main__":
    main()
