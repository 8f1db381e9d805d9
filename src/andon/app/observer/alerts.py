"""The part of alerts: looks at rules, tells receivers, answers what fires, makes silences, tries rules on history.

Built after the parts that measure, because a rule may be about any of their metrics.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from andon.app.observer.alerts_routes import (
    AckReceipt,
    AlertInstance,
    AlertPage,
    AlertView,
    BacktestReport,
    SendTestReceipt,
    SilenceReceipt,
    alerts_routes,
)
from andon.app.observer.part import ObserverGround, Part
from andon.control.resources import name_problem
from andon.kernel.errors import Conflict, Refused
from andon.kernel.events import Event
from andon.kernel.units import duration_s
from andon.observability.alerts.backtest import Marked
from andon.observability.alerts.delivery import Delivery
from andon.observability.alerts.groups import Alerted, Notification
from andon.observability.alerts.instances import Instance
from andon.observability.alerts.keeping import Keeper
from andon.observability.alerts.looking import Look, Sources
from andon.observability.alerts.metrics import AlertMetrics
from andon.observability.alerts.model import ALERT, RECEIVER, SILENCE, AlertSpec, ReceiverSpec, SilenceSpec
from andon.observability.alerts.rules import NS
from andon.observability.alerts.sending import Sending
from andon.observability.alerts.sightings import Sightings
from andon.observability.alerts.silencing import matcher_problem, moment_ns
from andon.observability.alerts.trying import Trying
from andon.observability.families import MetricSource
from andon.store.model import Record, Unit
from andon.web.routes import Call

SILENCE_S_MAX = 31 * 86_400.0
SILENCES_MAX = 1000  # made by the API at one time
SILENCE_KEPT_NS = 86_400 * NS  # how long one that has ended is still listed
API_OWNER = "Silences/api"  # so that applying a factory file leaves them alone


class AlertVerbs:
    """What stands behind the routes."""

    def __init__(self, ground: ObserverGround, keeper: Keeper, sending: Sending, trying: Trying) -> None:
        self._ground = ground
        self._store = ground.store
        self._keeper = keeper
        self._sending = sending
        self._trying = trying

    async def list(self, call: Call) -> AlertPage:
        """Every rule."""
        records = await self._store.transact(lambda unit: unit.list(ALERT))
        return AlertPage(
            evaluating=self._keeper.holds,
            turned_ns=self._keeper.turned_ns,
            items=tuple(self._view(record) for record in records),
        )

    async def show(self, call: Call) -> AlertView:
        """One rule; raises `Refused` where there is none."""
        return self._view(await self._record(ALERT, call.path.name, "andon alerts lists them."))

    async def ack(self, call: Call) -> AckReceipt:
        """Somebody has taken it on."""
        await self._record(ALERT, call.path.name, "andon alerts lists them.")
        found = await self._keeper.acknowledge(call.path.name, call.body.fingerprint, call.principal.name)
        if not found:
            raise Refused(
                "alert_quiet",
                f"Nothing of '{call.path.name}' fires that could be acknowledged.",
                hint="andon alerts show tells what does.",
                status=409,
            )
        return AckReceipt(items=tuple(self._instance(one) for one in found))

    async def silence(self, call: Call) -> SilenceReceipt:
        """Make a silence that begins now."""
        asked, now_ns = call.body, self._ground.clock.now_ns()
        for matcher in asked.matchers:
            fault = matcher_problem(matcher)
            if fault:
                raise Refused(
                    "silence_invalid", f"{fault}.", hint="Correct the expression.", param="matchers"
                )
        seconds = _seconds(asked.duration)
        name = asked.name or f"silence-{self._ground.random.bits(40):010x}"
        fault = name_problem(name) or ""
        if fault:
            raise Refused(
                "silence_invalid", f"The name '{name}' {fault}.", hint="Choose another.", param="name"
            )
        ends = _moment(now_ns + round(seconds * NS))
        spec = SilenceSpec(
            matchers=asked.matchers,
            starts=_moment(now_ns),
            ends=ends,
            author=call.principal.name,
            reason=asked.reason,
        )

        def make(unit: Unit) -> None:
            for old in unit.list(SILENCE, owner=API_OWNER):
                ended_ns = moment_ns(old.spec.get("ends", ""))
                if ended_ns and ended_ns + SILENCE_KEPT_NS < now_ns:
                    unit.delete(SILENCE, old.name)
            if len(unit.list(SILENCE, owner=API_OWNER)) >= SILENCES_MAX:
                raise Conflict(
                    "silences_full",
                    f"There are {SILENCES_MAX} silences already.",
                    hint="Let some of them end.",
                )
            record = Record(kind=SILENCE, name=name, spec=msgspec.to_builtins(spec), owner=API_OWNER)
            unit.put(record, expect_version=0)
            data = {"ends": ends, "reason": asked.reason, "matchers": record.spec["matchers"]}
            unit.append(
                Event(
                    name="silence.created", subject=f"{SILENCE}/{name}", actor=call.principal.name, data=data
                )
            )

        await self._store.transact(make)
        return SilenceReceipt(name=name, ends=ends)

    async def unsilence(self, call: Call) -> SilenceReceipt:
        """End a silence now; one of a factory file is ended there."""
        name, now_ns = call.path.name, self._ground.clock.now_ns()
        record = await self._record(SILENCE, name, "andon get silences lists them.")
        if record.owner != API_OWNER:
            raise Conflict(
                "silence_written",
                f"Silence '{name}' stands in a factory file.",
                hint="Remove it there and apply.",
            )
        ends = _moment(now_ns)

        def end(unit: Unit) -> None:
            held = unit.get(SILENCE, name)
            if held is None or moment_ns(held.spec.get("ends", "")) <= now_ns:
                return
            spec = {**held.spec, "ends": ends}
            unit.put(msgspec.structs.replace(held, spec=spec), expect_version=held.version)
            unit.append(
                Event(
                    name="silence.expired",
                    subject=f"{SILENCE}/{name}",
                    actor=call.principal.name,
                    data={"reason": call.body.reason},
                )
            )

        await self._store.transact(end)
        return SilenceReceipt(name=name, ends=ends)

    async def send_test(self, call: Call) -> SendTestReceipt:
        """One attempt with a notification that says that it is a test."""
        record = await self._record(RECEIVER, call.path.name, "andon get receivers lists them.")
        spec, now_ns = msgspec.convert(record.spec, ReceiverSpec), self._ground.clock.now_ns()
        if not spec.way:
            attempt = await self._sending.beat(record.name, spec)
        else:
            attempt = await self._sending.send(record.name, spec, _test_note(record.name, now_ns))
        return SendTestReceipt(receiver=record.name, word=attempt.word, why=attempt.why)

    async def test(self, call: Call) -> BacktestReport:
        """A rule tried on what has been."""
        asked = call.body
        if bool(asked.name) == (asked.spec is not None):
            raise Refused(
                "arguments_conflict", "Give either `name` or `spec`.", hint="One rule is tried.", param="spec"
            )
        raw = asked.spec
        if raw is None:
            raw = (await self._record(ALERT, asked.name, "Or give the spec of one.")).spec
        try:
            spec = msgspec.convert(raw, AlertSpec)
        except msgspec.ValidationError as error:
            raise Refused("alert_invalid", f"{error}.", hint="Correct the rule.", param="spec") from error
        incidents = [
            Marked(starts_ns=one.starts_ns, ends_ns=one.ends_ns, name=one.name) for one in asked.incidents
        ]
        report = await self._trying.test(
            asked.name or "rule", spec, asked.since, incidents, asked.pages_per_week
        )
        return msgspec.convert(report, BacktestReport)

    async def _record(self, kind: str, name: str, hint: str) -> Record:
        record = await self._store.transact(lambda unit: unit.get(kind, name))
        if record is None:
            raise Refused(
                "not_found", f"There is no {kind.lower()} '{name}'.", hint=hint, status=404, param="name"
            )
        return record

    def _view(self, record: Record) -> AlertView:
        spec = msgspec.convert(record.spec, AlertSpec)
        book = self._keeper.book
        found = sorted(
            book.instances.get(record.name, {}).values(),
            key=lambda one: (("firing", "pending", "resolved").index(one.phase), one.active_ns),
        )
        phases = {one.phase for one in found}
        state = "firing" if "firing" in phases else "pending" if "pending" in phases else "inactive"
        return AlertView(
            name=record.name,
            description=spec.description,
            severity=spec.severity,
            condition=spec.when.kind,
            enabled=spec.enabled,
            state=state if spec.enabled else "disabled",
            error=self._keeper.errors.get(record.name, ""),
            looked_ns=self._keeper.looked_ns.get(record.name, 0),
            left_out=book.left_out.get(record.name, 0),
            receivers=spec.receivers,
            instances=tuple(self._instance(one) for one in found),
        )

    def _instance(self, one: Instance) -> AlertInstance:
        return AlertInstance(
            fingerprint=one.fingerprint,
            phase=one.phase,
            labels=one.labels,
            annotations=one.annotations,
            value=one.value,
            active_ns=one.active_ns,
            fired_ns=one.fired_ns,
            ended_ns=one.ended_ns if one.phase == "resolved" else 0,
            muted_by=self._keeper.book.mutes.get(one.fingerprint, ""),
            acked_by=one.acked_by,
        )


def _test_note(receiver: str, now_ns: int) -> Notification:
    labels = {"alertname": "test", "severity": "info"}
    alert = Alerted(
        rule="test",
        fingerprint="0" * 16,
        labels=labels,
        annotations={"summary": "This is a test of Andon: nothing is wrong."},
        severity="info",
        starts_ns=now_ns,
    )
    return Notification(
        id=f"test-{now_ns}",
        group="test",
        receiver=receiver,
        labels={"alertname": "test"},
        reason="test",
        firing=(alert,),
        made_ns=now_ns,
        until_ns=now_ns + 60 * NS,
    )


def _seconds(text: str) -> float:
    try:
        seconds = duration_s(text)
    except ValueError as error:
        raise Refused("duration_invalid", f"{error}.", hint="Such as 2h.", param="duration") from error
    if not 1.0 <= seconds <= SILENCE_S_MAX:
        raise Refused(
            "duration_invalid", f"'{text}' is not between 1s and 31d.", hint="Such as 2h.", param="duration"
        )
    return seconds


def _moment(at_ns: int) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_ns // 1000)
    return moment.isoformat().replace("+00:00", "Z")


def build_alerts(ground: ObserverGround, metrics: Sequence[MetricSource]) -> Part:
    """The part; `metrics` are those of the parts that were built before it."""
    sightings = Sightings()
    sending = Sending(ground.upstream, ground.runner, ground.clock, ground.sealed.value)
    delivery = Delivery(sending.send, ground.clock, ground.random)
    look = Look(
        Sources(
            windows=ground.windows,
            signals=ground.signals,
            metrics=metrics,
            sightings=sightings,
            engine=ground.engine,
            runner=ground.runner,
            store=ground.store,
            clock=ground.clock,
        )
    )
    keeper = Keeper(ground.store, ground.clock, look, delivery, sending, ground.owner)
    trying = Trying(ground.store, ground.engine, ground.runner, ground.clock)
    verbs: Any = AlertVerbs(ground, keeper, sending, trying)
    return Part(
        name="alerts",
        routes=alerts_routes(verbs),
        loops=(keeper.run, keeper.beat),
        consumers=(sightings,),
        metrics=(AlertMetrics(keeper, delivery),),
    )
