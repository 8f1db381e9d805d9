"""The part of metrics out: the families of every part on `/metrics`, pushed by OTLP, and sent to CloudWatch.

Built last, from the sources of all other parts. Families are gathered on the event loop, where the parts live;
writing them down and sending them happens in threads.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final

import msgspec
import structlog

from andon import __version__
from andon.adapters.otel.metrics import MetricExporter
from andon.app.observer.metrics_routes import metrics_action, metrics_routes
from andon.app.observer.part import Loop, ObserverGround, Part
from andon.app.observer.telemetry import CLOSE_S, FOLDER, destination, log_stream, resource
from andon.kernel.errors import AndonError
from andon.kernel.ports import Runner
from andon.ledger.disk import FileDisk
from andon.ledger.thread import WorkThread
from andon.observability.exposition import expose, gather
from andon.observability.families import Family, MetricSource, Sample
from andon.observability.telemetry.counting import Counting
from andon.observability.telemetry.mapping import SCHEMA_URL
from andon.observability.telemetry.outgoing import Totals, added, metrics_of, totals_of
from andon.web.routes import Call, Raw

CLOUDWATCH_PERIOD_S: Final = 60.0
TOTALS: Final = "cloudwatch-totals.json"

_logger = structlog.get_logger("andon.metrics")


class Verbs:
    """What stands behind the route."""

    def __init__(self, sources: Sequence[MetricSource], runner: Runner) -> None:
        self._sources = sources
        self._runner = runner

    async def metrics(self, call: Call) -> Raw:
        """Every family of every part."""
        families = gather(self._sources)
        text, content_type = await self._runner.run(lambda: expose(families, call.accept))
        return Raw(body=text, headers={"content-type": content_type})


class Pushes:
    """How pushing fares: one of the sources itself."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}

    def count(self, exporter: str, result: str) -> None:
        """One push."""
        self._counts[exporter, result] = self._counts.get((exporter, result), 0) + 1

    def families(self) -> tuple[Family, ...]:
        """Pushes by exporter and result."""
        samples = tuple(
            Sample((("exporter", exporter), ("result", result)), count)
            for (exporter, result), count in sorted(self._counts.items())
        )
        return (
            Family(
                "andon_telemetry_pushes_total",
                "counter",
                "Pushes of metrics, by exporter and result.",
                samples,
            ),
        )


def build_metrics(ground: ObserverGround, sources: Sequence[MetricSource]) -> Part:
    """The part, over the sources of all others."""
    pushes = Pushes()
    everything = (*sources, pushes)
    loops: list[Loop] = []
    closing: list[Callable[[], None]] = []
    for make in (_otlp, _cloudwatch):
        thread = WorkThread(
            f"metrics{make.__name__}"
        )  # each its own: a backend that hangs holds up nobody else
        closing.append(partial(thread.close, CLOSE_S))
        try:
            made = make(ground, everything, thread)
        # A backend that cannot be set up must not cost `/metrics`: told with its traceback.
        except Exception:
            _logger.exception("telemetry_unavailable", backend=make.__name__.strip("_"))
            continue
        if made is not None:
            push, close, period_s = made
            loops.append(_every(ground, period_s, push, pushes, make.__name__.strip("_")))
            closing.insert(0, close)
    return Part(
        name="metrics",
        routes=metrics_routes(Verbs(everything, ground.runner), metrics_action(ground.settings)),
        loops=loops,
        metrics=(pushes,),
        closing=closing,
    )


Push = Callable[[], Coroutine[Any, Any, None]]
Made = tuple[Push, Callable[[], None], float]


def _every(ground: ObserverGround, period_s: float, push: Push, pushes: Pushes, name: str) -> Loop:
    async def run() -> None:
        while True:
            await ground.clock.sleep(period_s)
            try:
                await push()
                pushes.count(name, "ok")
            except AndonError as error:
                pushes.count(name, "failed")
                _logger.warning("metrics_not_pushed", exporter=name, code=error.code, reason=error.message)
            # A third party's bug must not end the observer: counted, told with its traceback.
            except Exception:
                pushes.count(name, "failed")
                _logger.exception("metrics_not_pushed", exporter=name)

    return run


def _otlp(ground: ObserverGround, sources: Sequence[MetricSource], runner: Runner) -> Made | None:
    to = destination(ground.settings, ground.environment)
    if to is None:
        return None
    exporter = MetricExporter(to, resource(ground.environment), __version__, SCHEMA_URL)
    began_ns = ground.clock.now_ns()
    counting = next((source for source in sources if isinstance(source, Counting)), None)

    async def push() -> None:
        since_ns = (counting.metrics.started_ns if counting is not None else 0) or began_ns
        metrics = metrics_of(gather(sources), since_ns, began_ns)
        now_ns = ground.clock.now_ns()
        await runner.run(lambda: exporter.send(metrics, now_ns))

    return push, exporter.close, ground.settings.telemetry_period_s


def _cloudwatch(ground: ObserverGround, sources: Sequence[MetricSource], runner: Runner) -> Made | None:
    """Sends what was added since the totals that were written down last.

    A crash between sending and writing sends that minute twice: CloudWatch has no way to be told the same once.
    """
    space = ground.settings.cloudwatch_metrics
    if not space:
        return None
    if not ground.settings.cloudwatch_group:
        raise ValueError("cloudwatch_metrics needs cloudwatch_group: metrics travel as lines of a log group")
    stream = log_stream(ground, "metrics")
    disk = FileDisk(ground.home.observer / FOLDER)

    async def push() -> None:
        now = totals_of(gather(sources))
        at_ms = ground.clock.now_ns() // 1_000_000
        if now:
            await runner.run(lambda: _send(now, at_ms))

    def _send(now: Totals, at_ms: int) -> None:
        before = _read_totals(disk)
        measured = added(before, now)
        if measured:
            stream.send_measures(space, at_ms, measured)
            disk.replace(TOTALS, msgspec.json.encode(now))

    return push, stream.close, CLOUDWATCH_PERIOD_S


def _read_totals(disk: FileDisk) -> Totals:
    try:
        return msgspec.json.decode(disk.read(TOTALS), type=Totals)
    except FileNotFoundError:
        return {}
