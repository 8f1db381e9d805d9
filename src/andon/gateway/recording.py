"""Rows of the ledger as this room writes them: an intent before each attempt, an outcome after it.

Called by `gateway/gateway` and `gateway/dispatch`. The log encodes a row at once, so nothing here is kept. Rows of
refused requests are bounded in rate, so that a flood of bad requests cannot fill the disk.
"""

from __future__ import annotations

from collections.abc import Awaitable
from hashlib import blake2b
from typing import Final, Protocol

import msgspec

from andon.gateway import features
from andon.gateway.course import Course
from andon.gateway.meters import Meters
from andon.gateway.settings import GatewaySettings
from andon.kernel.clock import Clock
from andon.kernel.errors import Transient
from andon.kernel.exchange import Exchange
from andon.kernel.snapshot import KeyEntry
from andon.ledger.row import Intent, Outcome, Row

_encode: Final = msgspec.json.Encoder().encode


class RowLog(Protocol):
    """What this room asks of the ledger; `andon.ledger.log.Log` fulfils it."""

    @property
    def problem(self) -> Transient | None:
        """Why new work should be refused; None while all is well."""
        ...

    @property
    def lag_s(self) -> float:
        """Age of the oldest row that is not durable."""
        ...

    def append(self, row: Row) -> None:
        """Add a row; raises `Transient` when there is no room."""
        ...

    def committed(self) -> Awaitable[None]:
        """Resolved when everything appended so far is durable; raises `Transient` if it cannot be."""
        ...


class Recorder:
    """Writes the rows of exchanges."""

    def __init__(self, log: RowLog, clock: Clock, settings: GatewaySettings, meters: Meters) -> None:
        self.log = log
        self._append = log.append
        self._clock = clock
        self._now_ns = clock.now_ns
        self._monotonic = clock.monotonic
        self._settings = settings
        self._gateway = settings.gateway
        self._meters = meters
        self._refusals_left = float(settings.refusal_rows_per_s)
        self._refusals_at = clock.monotonic()
        self._refusals_over = 0

    def intent(self, course: Course) -> None:
        """Say that an attempt is about to be sent.

        Raises `Transient` when the ledger has no room, unless the endpoint sheds rows rather than requests.
        """
        try:
            self._append(self._intent(course))
        except Transient:
            if not self._sheds(course):
                raise

    def outcome(self, course: Course, *, final: bool, blamed: bool) -> None:
        """Say how an attempt ended. Raises as `intent` does."""
        try:
            self._append(self._outcome(course, final, blamed))
        except Transient:
            if not self._sheds(course):
                raise

    async def committed(self, course: Course) -> None:
        """Return when all rows so far are durable. Raises as `intent` does."""
        try:
            await self.log.committed()
        except Transient:
            if not self._sheds(course):
                raise

    def admits(self, course: Course) -> Transient | None:
        """Why a new exchange cannot be recorded; None if it can or its endpoint sheds rows."""
        problem = self.log.problem
        if problem is None or course.assigned.endpoint.on_full_disk == "shed":
            return None
        return Transient(
            problem.code, problem.message, hint=problem.hint, retry_after_s=problem.retry_after_s
        )

    def _sheds(self, course: Course) -> bool:
        """Whether the endpoint would rather lose a row than a request; the loss is counted."""
        if course.assigned.endpoint.on_full_disk != "shed":
            return False
        self._meters.count("ledger_shed")
        return True

    def _intent(self, course: Course) -> Intent:
        x = course.exchange
        key, served, snapshot = x.key, course.served, x.snapshot
        # In the order of the schema, without names: passing names would double what a row costs.
        return Intent(
            x.id,
            x.attempt,
            self._now_ns(),
            course.assigned.endpoint.name,
            x.operation,
            x.dialect,
            _key_id(key),
            None if key is None else key.team or None,
            served.id,
            served.arm,
            x.propensity,
            x.pinned,
            unit_hash(x.unit) if x.unit else None,
            x.stream,
            None,  # reserved_tokens
            len(x.body),
            x.client_retry,
            None if x.trace is None else x.traceparent,
            None if snapshot is None else snapshot.version,
        )

    def _outcome(self, course: Course, final: bool, blamed: bool) -> Outcome:
        x = course.exchange
        key, served, endpoint = x.key, course.served, course.assigned.endpoint
        duration_s = self._monotonic() - x.started_at
        started, first = x.upstream_started_at, x.first_byte_at
        told, snapshot = x.told, x.snapshot
        measured = _measured(x)
        row = Outcome(
            x.id,
            x.attempt,
            final,
            self._now_ns(),
            x.status,
            x.error_code or None,
            blamed,
            endpoint.name,
            served.id,
            served.arm,
            x.target or None,
            x.operation,
            x.dialect,
            _key_id(key),
            None if key is None else key.team or None,
            x.propensity,
            x.pinned,
            unit_hash(x.unit) if x.unit else None,
            x.stream,
            int(duration_s * 1e6),
            int((duration_s - course.upstream_s) * 1e6),
            x.queue_us,
            int((x.upstream_ended_at - started) * 1e6) if started else None,
            int((first - started) * 1e6) if first else None,
            x.input_tokens,
            x.output_tokens,
            x.usage_source,
            len(x.body),
            course.response_bytes,
            None,  # refused_by
            endpoint.durability,
            None,  # cost_micros
            None,  # currency
            None,  # price_version
            self._gateway,
            x.traceparent,
            x.reference or None,
            None if told is None else told.response_id,
            None if told is None else told.model,
            None if told is None else told.finish_reason,
            None if told is None else told.prediction,
            None if told is None else told.score,
            None if measured is None else sum(measured.values()),
            measured,
            None,  # guard_us
            None if told is None else told.connect_us,
            None if told is None else told.tls_us,
            x.client_retry,
            None if snapshot is None else snapshot.version,
        )
        _note_security(row, x)
        return row

    def shadow(self, row: Outcome) -> None:
        """The outcome of a copy; lost without harm when the ledger has no room."""
        row.gateway = self._gateway
        try:
            self._append(row)
        except Transient:
            self._meters.count("shadow_row_lost")

    def refusal(self, x: Exchange, stage: str) -> None:
        """Say that a request was refused before dispatch: in full up to a rate, beyond it a sample."""
        if not self._refusal_due():
            self._meters.count("refusal_row_sampled_out")
            return
        key, snapshot = x.key, x.snapshot
        row = Outcome(
            id=x.id,
            at_ns=self._clock.now_ns(),
            status=x.status,
            error_code=x.error_code,
            endpoint=None if x.endpoint is None else x.endpoint.name,
            operation=x.operation,
            dialect=x.dialect,
            key=_key_id(key),
            team=None if key is None else key.team or None,
            duration_us=int((self._clock.monotonic() - x.started_at) * 1e6),
            request_bytes=len(x.body),
            refused_by=stage,
            durability="relaxed",
            gateway=self._gateway,
            traceparent=x.traceparent or None,
            reference=x.reference or None,
            client_retry=x.client_retry,
            snapshot=None if snapshot is None else snapshot.version,
        )
        _note_security(row, x)
        try:
            self._append(row)
        except Transient:
            self._meters.count("refusal_row_lost")

    def _refusal_due(self) -> bool:
        now, rate = self._clock.monotonic(), self._settings.refusal_rows_per_s
        self._refusals_left = min(rate, self._refusals_left + (now - self._refusals_at) * rate)
        self._refusals_at = now
        if self._refusals_left >= 1.0:
            self._refusals_left -= 1.0
            return True
        self._refusals_over += 1
        return self._refusals_over % self._settings.refusal_sample == 0


def _key_id(key: KeyEntry | None) -> str | None:
    """The public id of the API key; none for a token, whose holder stands in the row as its principal."""
    return key.id if key is not None and key.digest else None


def _note_security(row: Outcome, x: Exchange) -> None:
    """Who it was, what let it through or stopped it, and what was looked at on the way."""
    if x.principal is not None:
        row.principal = x.principal.name
    if x.policies:
        row.policies = ",".join(x.policies)
    row.data_class = x.label
    if x.verdicts is not None:
        row.verdicts = _encode(x.verdicts).decode()
        row.guard_us = x.guard_us
        row.scanned_bytes, row.delivered_bytes = x.scanned_bytes, x.delivered_bytes


def _measured(x: Exchange) -> dict[str, int] | None:
    """Microseconds by feature, as the client and the upstream told; those of both are added up."""
    told = x.told
    if told is None or told.features is None:
        return x.features
    return features.add(x.features, told.features)


def unit_hash(unit: str) -> int:
    """63 bits that stand for a unit in the ledger, so that rows hold no client's header value."""
    return int.from_bytes(blake2b(unit.encode(), digest_size=8).digest(), "big") >> 1
