"""The part of lineage: takes OpenLineage events in, keeps their graph, and answers what came from what.

The graph belongs to whoever holds `_turn`, and is worked on in threads. What Andon knows by itself is read from the
store at each question; answers are counted by the ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import msgspec
import structlog

from andon.app.observer.lineage_facts import MlflowRuns, gather_native, owned_by
from andon.app.observer.lineage_routes import (
    AnswersPage,
    Impact,
    LabelPage,
    LabelStanding,
    LineageGraph,
    LineagePage,
    LineageReceipt,
    LineageRefusal,
    LineageStanding,
    lineage_routes,
)
from andon.app.observer.lineage_rows import read_answers, read_served, read_windows, release_of
from andon.app.observer.lineage_sending import build_sending
from andon.app.observer.part import ObserverGround, Part
from andon.app.settings import log_settings
from andon.kernel.errors import Refused, Transient
from andon.kernel.events import Event
from andon.kernel.labels import RANKS
from andon.kernel.units import duration_s
from andon.ledger.disk import FileDisk
from andon.ledger.facts.inflate import inflate
from andon.ledger.facts.intake import Doorway
from andon.ledger.facts.times import Unfit as Untimely
from andon.ledger.facts.times import parse_time
from andon.ledger.folder import open_log
from andon.ledger.reader import Cursor
from andon.ledger.scan import Damage
from andon.observability.families import Family, Sample
from andon.security.lineage.folding import fold
from andon.security.lineage.graph import Graph
from andon.security.lineage.log import LineageLog, decode_events
from andon.security.lineage.model import Edge, Node, window_id
from andon.security.lineage.native import build_native
from andon.security.lineage.reading import FAULTS_TOLD, EventsRefused, LineageEvent, read_events
from andon.security.lineage.walking import Found, View, effective_labels, find, in_short, starts, walk
from andon.web.routes import Call

BODY_BYTES_MAX: Final = 16 * 2**20
WINDOWS_MAX: Final = 500
LISTED_MAX: Final = 1000  # ids of each type in an answer about impact; counts are of all
EVERYTHING: Final = 2**31
LABELS_EVERY_S: Final = 30.0
ACTOR: Final = "observer:lineage"

_logger = structlog.get_logger("andon.lineage")

T = TypeVar("T")


class Lineage:
    """The verbs, the loops and the metrics."""

    def __init__(self, ground: ObserverGround) -> None:
        self._ground = ground
        self._events = Graph()
        self._turn = asyncio.Lock()
        self._doorway = Doorway(ground.runner)
        self._mlflow = MlflowRuns(ground.home.root)
        self._log: LineageLog | None = None
        self._told: dict[str, tuple[str, str]] = {}  # endpoints whose class was told to be too low
        self.unreadable = 0
        self.counts = {"accepted": 0, "duplicates": 0, "refused": 0, "trimmed": 0}

    async def run(self) -> None:
        """Read the log, then keep it open for ever."""
        ground = self._ground
        folder = ground.home.lineage
        async with open_log(folder, ground.clock, "lineage", log_settings(ground.settings)) as log:
            before = await ground.runner.run(lambda: sum(one.stat().st_size for one in folder.glob("*.log")))
            written = LineageLog(log, ground.settings.lineage_bytes, before)
            cursor = Cursor(FileDisk(folder), report=self._damaged, decode=decode_events)
            while entries := await self._do(lambda: self._load(cursor, written)):
                _logger.info("lineage_read", events=entries)
            self._log = written
            try:
                await self._watch()
            finally:
                self._log = None

    async def receive(self, call: Call) -> LineageReceipt:
        """Events in. Raises `EventsRefused` where none can be taken, `Transient`."""
        log, body = self._opened(), call.body
        source, now_ns = call.principal.name, self._ground.clock.now_ns()

        def decode() -> Any:
            return read_events(inflate(body.data, body.encoding, BODY_BYTES_MAX), source, now_ns)

        events, unfit = await self._doorway.run(decode)
        self.counts["refused"] += len(unfit)
        if not events:
            raise EventsRefused(unfit)
        fresh = await log.add(events)
        trimmed = sum(event.trimmed for event in fresh)
        await self._do(lambda: self._fold(fresh))
        self.counts["accepted"] += len(fresh)
        self.counts["duplicates"] += len(events) - len(fresh)
        self.counts["trimmed"] += trimmed
        return LineageReceipt(
            accepted=len(fresh),
            duplicates=len(events) - len(fresh),
            trimmed=trimmed,
            refused=tuple(
                LineageRefusal(index=one.index, path=one.path, message=one.message)
                for one in unfit[:FAULTS_TOLD]
            ),
        )

    async def list(self, call: Call) -> LineagePage:
        """Nodes."""
        asked = call.query

        def look(view: View) -> tuple[Sequence[Node], bool]:
            items: list[Node] = []
            for id_ in view:
                if asked.text not in id_ or (asked.type and not owned_by(id_, asked.type)):
                    continue
                if len(items) >= asked.limit:
                    return items, True
                if (node := view.node(id_)) is not None:
                    items.append(_short(node))
            return items, False

        items, truncated = await self._ask("", look)
        return LineagePage(
            items=tuple(sorted(items, key=lambda node: node.id)),
            truncated=truncated,
            standing=LineageStanding(
                nodes=len(self._events),
                edges=self._events.edges,
                dropped=self._events.dropped,
                contradicted=self._events.ends_contradicted,
                log_bytes=self._log.size_bytes if self._log else 0,
                loaded=self._log is not None,
                unreadable=self.unreadable,
            ),
        )

    async def graph(self, call: Call) -> LineageGraph:
        """Up or down from a node, with hours of answers below releases."""
        asked = call.query
        since_ns, as_of_ns = self._since(asked.since), self._moment(asked.as_of)
        node = await self._request_or(asked.node)

        def look(view: View) -> Found:
            return walk(view, starts(view, find(view, node), asked.direction), asked.direction, asked.depth)

        found = await self._ask(asked.as_of, look)
        if asked.direction == "down" and not asked.depth:
            found = await self._with_windows(found, since_ns, as_of_ns)
        elif node != asked.node:
            found = _below_request(found, asked.node, node)
        nodes = found.nodes if asked.facets else tuple(_short(one) for one in found.nodes)
        return LineageGraph(
            start=found.start,
            direction=asked.direction,
            nodes=nodes,
            edges=found.edges,
            truncated=found.truncated,
            as_of_ns=as_of_ns,
        )

    async def impact(self, call: Call) -> Impact:
        """What may come from it."""
        asked = call.query
        since_ns, as_of_ns = self._since(asked.since), self._moment(asked.as_of)
        found = await self._below(asked.node, asked.as_of)
        releases = _releases(found)
        served = await self._ground.runner.run(
            lambda: read_served(self._ground.engine, releases, since_ns, as_of_ns)
        )
        sure = _sure(found)
        below = [node for node in found.nodes if node.id not in found.start]
        by_type: dict[str, list[str]] = {}
        for node in below:
            by_type.setdefault(node.type, []).append(node.id)
        endpoints = {f"endpoint:{one.endpoint}" for one in served} | set(by_type.get("endpoint", ()))
        assumed = [node.id for node in below if node.id not in sure]
        listed = {
            "datasets": by_type.get("dataset", ()),
            "runs": by_type.get("run", ()),
            "models": by_type.get("model", ()),
            "releases": releases,
            "endpoints": sorted(endpoints),
            "assumed": assumed,
        }
        return Impact(
            start=found.start,
            as_of_ns=as_of_ns,
            since_ns=since_ns,
            counts={name: len(ids) for name, ids in listed.items()},
            answers=sum(one.answers for one in served),
            served=tuple(served),
            incomplete=found.truncated or self._events.dropped > 0 or self.unreadable > 0,
            **{name: tuple(ids[:LISTED_MAX]) for name, ids in listed.items()},
        )

    async def answers(self, call: Call) -> AnswersPage:
        """Ids of answers that may come from it."""
        asked = call.query
        since_ns, as_of_ns = self._since(asked.since), self._moment(asked.as_of)
        releases = _releases(await self._below(asked.node, asked.as_of))
        return await self._ground.runner.run(
            lambda: read_answers(
                self._ground.engine, releases, (since_ns, as_of_ns), asked.after, asked.limit
            )
        )

    async def labels(self, call: Call) -> LabelPage:
        """Classes of models and endpoints."""
        return LabelPage(items=tuple(await self._labels()))

    def families(self) -> tuple[Family, ...]:
        """From memory."""
        return (
            Family(
                "andon_lineage_events_total",
                "counter",
                "OpenLineage events by what became of them.",
                tuple(Sample((("result", name),), float(count)) for name, count in self.counts.items()),
            ),
            Family(
                "andon_lineage_nodes",
                "gauge",
                "Nodes of the lineage that events told of.",
                (Sample((), float(len(self._events))),),
            ),
            Family(
                "andon_lineage_dropped_total",
                "counter",
                "Nodes and edges beyond what is held in memory.",
                (Sample((), float(self._events.dropped)),),
            ),
            Family(
                "andon_lineage_labels_below",
                "gauge",
                "Endpoints that declare a lower data class than their lineage says.",
                (Sample((), float(len(self._told))),),
            ),
        )

    async def _below(self, node: str, as_of: str) -> Found:
        return await self._ask(
            as_of,
            lambda view: walk(view, starts(view, find(view, node), "down"), "down", nodes_max=EVERYTHING),
        )

    async def _ask(self, as_of: str, look: Callable[[View], T]) -> T:
        """Look at everything that is known. Raises `Transient` while the log is being read."""
        self._opened()
        as_of_ns = self._moment(as_of) if as_of else 0
        versions, releases, endpoints = await gather_native(self._ground, self._mlflow)
        return await self._do(
            lambda: look(
                View((self._events, build_native(versions, releases, endpoints, self._events)), as_of_ns)
            )
        )

    async def _request_or(self, text: str) -> str:
        """The release that answered, where `text` is the id of a request."""
        found = await self._ground.runner.run(lambda: release_of(self._ground.engine, text))
        return found or text

    async def _with_windows(self, found: Found, since_ns: int, as_of_ns: int) -> Found:
        releases = _releases(found)
        hours = await self._ground.runner.run(
            lambda: read_windows(self._ground.engine, releases, since_ns, as_of_ns, WINDOWS_MAX + 1)
        )
        known = {node.id for node in found.nodes}
        nodes, edges = list(found.nodes), list(found.edges)
        for hour in hours[:WINDOWS_MAX]:
            above = f"release:{hour.endpoint}/{hour.release}"
            if above not in known:
                continue
            id_ = window_id(hour.endpoint, hour.release, hour.hour)
            detail = {"answers": hour.answers, "first_ns": hour.first_ns, "last_ns": hour.last_ns}
            nodes.append(Node(id=id_, type="window", name=hour.hour, detail=detail))
            edges.append(Edge(source=above, target=id_, kind="answered", learnt_ns=hour.last_ns))
        return msgspec.structs.replace(
            found,
            nodes=tuple(nodes),
            edges=tuple(edges),
            truncated=found.truncated or len(hours) > WINDOWS_MAX,
        )

    async def _labels(self) -> Sequence[LabelStanding]:
        def look(view: View) -> Sequence[LabelStanding]:
            found = []
            labels = effective_labels(view)
            for id_ in view:
                if not id_.startswith(("model:", "endpoint:")):
                    continue
                node = view.node(id_)
                effective, because = labels.get(id_, ("public", ""))
                declared = node.detail.get("declared") if node else None
                below = declared is not None and RANKS[effective] > RANKS[declared]
                found.append(
                    LabelStanding(
                        node=id_, declared=declared, effective=effective, because=because, below=below
                    )
                )
            return sorted(found, key=lambda one: one.node)

        return await self._ask("", look)

    async def _watch(self) -> None:
        """Tell, once each time, of endpoints that declare less than their lineage says."""
        while True:
            try:
                standing = await self._labels()
                below = {one.node: (str(one.declared), str(one.effective)) for one in standing if one.below}
                because = {one.node: one.because for one in standing}
                for node, what in below.items():
                    if self._told.get(node) != what:
                        await self._tell(node, what, because[node])
                self._told = below
            except Transient as error:
                _logger.warning("lineage_labels_not_read", code=error.code, message=error.message)
            await self._ground.clock.sleep(LABELS_EVERY_S)

    async def _tell(self, node: str, what: tuple[str, str], because: str) -> None:
        name = node.removeprefix("endpoint:")
        event = Event(
            name="endpoint.underlabelled",
            subject=f"Endpoint/{name}",
            actor=ACTOR,
            data={
                "reason": f"It declares {what[0]} data, and came from {what[1]} data.",
                "declared": what[0],
                "effective": what[1],
                "because": because,
            },
            unique=f"underlabelled/{name}/{what[0]}/{what[1]}",
            at_ns=self._ground.clock.now_ns(),
        )
        _logger.warning("endpoint_underlabelled", endpoint=name, declared=what[0], effective=what[1])
        await self._ground.store.transact(lambda unit: unit.append(event))

    def _load(self, cursor: Cursor, log: LineageLog) -> int:
        entries = cursor.poll()
        for entry in entries:
            event: LineageEvent = entry.row  # type: ignore[assignment]  # decoded as events above
            log.remember(event.id)
            fold(self._events, event)
        return len(entries)

    def _damaged(self, damage: Damage) -> None:
        self.unreadable += damage.rows

    def _fold(self, events: Sequence[LineageEvent]) -> None:
        for event in events:
            fold(self._events, event)

    async def _do(self, work: Callable[[], T]) -> T:
        async with self._turn:
            return await self._ground.runner.run(work)

    def _opened(self) -> LineageLog:
        if self._log is None:
            raise Transient("lineage_starting", "The lineage is being read.", hint="Try again in a moment.")
        return self._log

    def _since(self, text: str) -> int:
        try:
            back_s = duration_s(text)
        except ValueError as error:
            raise Refused(
                "invalid_parameter", str(error), hint="Such as since=30d.", param="since"
            ) from error
        return max(0, self._ground.clock.now_ns() - int(back_s * 1e9))

    def _moment(self, text: str) -> int:
        if not text:
            return self._ground.clock.now_ns()
        try:
            return parse_time(text)
        except Untimely as error:
            raise Refused(
                "invalid_parameter", error.message, hint="Such as as_of=2026-03-01T09:30:00Z.", param="as_of"
            ) from error


def _short(node: Node) -> Node:
    return msgspec.structs.replace(node, detail=in_short(node.detail))


def _releases(found: Found) -> tuple[str, ...]:
    """Releases by the name that rows give them, those included that no resource speaks of any more."""
    names = {node.name for node in found.nodes if node.type == "release"}
    names |= {
        f"{node.name}@{node.version}"
        for node in found.nodes
        if node.type == "model" and node.version and not node.version.startswith("sha256:")
    }
    return tuple(sorted(names))


def _sure(found: Found) -> set[str]:
    """Nodes that are reached without any assumption."""
    near: dict[str, list[str]] = {}
    for edge in found.edges:
        if not edge.assumed:
            near.setdefault(edge.source, []).append(edge.target)
    seen = set(found.start)
    waiting = list(found.start)
    while waiting:
        for other in near.get(waiting.pop(), ()):
            if other not in seen:
                seen.add(other)
                waiting.append(other)
    return seen


def _below_request(found: Found, request: str, release: str) -> Found:
    id_ = f"request:{request}"
    return msgspec.structs.replace(
        found,
        start=(id_,),
        nodes=(Node(id=id_, type="request", name=request), *found.nodes),
        edges=(Edge(source=release, target=id_, kind="answered"), *found.edges),
    )


def build_lineage(ground: ObserverGround) -> Part:
    """The part on its ground."""
    lineage = Lineage(ground)
    loops, exported, closing = build_sending(ground)
    return Part(
        name="lineage",
        routes=lineage_routes(lineage),
        loops=(lineage.run, *loops),
        metrics=(lineage, exported) if loops else (lineage,),
        closing=closing,
    )
