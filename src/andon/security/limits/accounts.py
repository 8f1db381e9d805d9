"""The authority over accounts that several gateways draw on: who holds what, what is used, what is left.

An account is one counter in one unit: requests, tokens, places in flight, micros of money. Pure: time is handed in, in
microseconds. This is the meaning of the script that runs inside the store (`script`), held against it by tests, and the
authority itself where there is no store. It never lets the sum of what is used, held and lent exceed an account's limit
by an ask.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import msgspec

BUCKET: Final = 0  # refills evenly, `rate` units a second, up to `limit`
WINDOW: Final = 1  # `limit` units in each calendar hour, day or month of UTC
PLACES: Final = 2  # `limit` units at one moment
HOUR, DAY, MONTH = 1, 2, 3

GRANTED, REFUSED, LENT, TOO_LARGE = 0, 1, 2, 3  # LENT: what is missing is lent to gateways that may return it
SCARCE_US: Final = 200_000  # after an ask that was not granted, nothing is lent for so long
LENDING_SHARE: Final = 4  # lent only while a quarter is left, and of that a quarter among the gateways
ANSWERS_KEPT: Final = 64  # of each gateway, by number: a batch sent again is answered again, not done again
PLACE_WAIT_US: Final = 1_000_000  # nobody knows when a place comes free
EPSILON: Final = 1e-6

Definition = tuple[int, float, float, int]  # form, limit, rate per second, window


def window_of(kind: int, now_us: int) -> tuple[int, int]:
    """The number of the calendar window of UTC that `now_us` is in, and when it ends."""
    seconds = now_us // 1_000_000
    if kind != MONTH:
        length = 3600 if kind == HOUR else 86_400
        return seconds // length, (seconds // length + 1) * length * 1_000_000
    day = datetime.fromtimestamp(seconds, UTC)
    number = day.year * 12 + day.month - 1
    year, month = divmod(number + 1, 12)
    return number, int(datetime(year, month + 1, 1, tzinfo=UTC).timestamp()) * 1_000_000


class Record:
    """What is known of one account."""

    __slots__ = ("at", "debt", "held", "lent", "unmet_at", "window")

    def __init__(self) -> None:
        self.debt = 0.0  # used and not yet paid for by time
        self.at = 0
        self.held = 0.0  # by requests in flight
        self.lent = 0.0  # to gateways, not yet used
        self.window = 0
        self.unmet_at = 0  # when an ask was last not granted

    def left(self, definition: Definition, now_us: int) -> float:
        """Units that may be granted now; brings the record up to now."""
        form, limit, rate, window = definition
        if form == BUCKET:
            if now_us > self.at:
                self.debt = max(0.0, self.debt - (now_us - self.at) * rate / 1e6)
        elif form == WINDOW:
            number, _ = window_of(window, now_us)
            if number != self.window:
                self.window, self.debt = number, 0.0
        else:
            self.debt = 0.0
        self.at = now_us
        return limit - self.debt - self.held - self.lent

    def wait_us(self, definition: Definition, missing: float, now_us: int) -> int:
        """How long until `missing` more units may be there."""
        form, _, rate, window = definition
        if form == BUCKET:
            return int(missing / rate * 1e6) + 1
        return window_of(window, now_us)[1] - now_us if form == WINDOW else PLACE_WAIT_US


class Authority:
    """All accounts of one factory, in memory. `apply` is one batch of one gateway: all of it at one moment."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.alive: dict[str, int] = {}  # until when each gateway's lease runs
        self.holdings: dict[str, dict[str, list[float]]] = {}  # gateway: account: lent, held
        self.answers: dict[str, tuple[int, dict[int, bytes]]] = {}

    def apply(self, gateway: str, number: int, keys: list[str], payload: bytes, now_us: int) -> bytes:
        """Do a batch and say what came of it; one that was done before is only said again."""
        last, answers = self.answers.get(gateway, (0, {}))
        if number <= last:
            return answers.get(number, b"")
        for other, until in list(self.alive.items()):
            if until < now_us:
                self._reap(other)
        lease_us, *rest = msgspec.msgpack.decode(payload)
        fresh = int(gateway not in self.alive)
        self.alive[gateway] = now_us + lease_us
        answer = msgspec.msgpack.encode(
            [fresh, len(self.alive), *_Batch(self, gateway, keys, now_us).do(rest)]
        )
        answers[number] = answer
        answers.pop(number - ANSWERS_KEPT, None)
        self.answers[gateway] = (number, answers)
        return answer

    def _reap(self, gateway: str) -> None:
        """A lease has run out: what its gateway held and had been lent comes back."""
        del self.alive[gateway]
        for key, (lent, held) in self.holdings.pop(gateway, {}).items():
            record = self.records[key]
            record.lent -= lent
            record.held -= held


class _Batch:
    """One batch being done."""

    def __init__(self, authority: Authority, gateway: str, keys: list[str], now_us: int) -> None:
        self.now_us = now_us
        self.alive = len(authority.alive)
        own = authority.holdings.setdefault(gateway, {})
        self.records = [authority.records.setdefault(key, Record()) for key in keys]
        self.own = [own.setdefault(key, [0.0, 0.0]) for key in keys]
        self.definitions: list[Definition] = []

    def do(self, parts: list[Any]) -> tuple[Any, ...]:
        """Verdicts of the asks; then, for each account: what is left, what was lent, whether it is scarce."""
        self.definitions, restated, moves, asks, wants = parts
        for record, definition in zip(self.records, self.definitions, strict=True):
            record.left(definition, self.now_us)
        for at, lent, held in restated:
            self._move(at, lent - self.own[at][0], held - self.own[at][1], 0.0)
        for at, lent, held, used in moves:
            self._move(at, max(lent, -self.own[at][0]), max(held, -self.own[at][1]), used)
        verdicts = [self._ask(ask) for ask in asks]
        granted = [0.0] * len(self.records)
        for at, wanted in wants:
            granted[at] = self._lend(at, wanted)
        left = [
            record.left(definition, self.now_us)
            for record, definition in zip(self.records, self.definitions, strict=True)
        ]
        return verdicts, left, granted, [int(self._scarce(record)) for record in self.records]

    def _move(self, at: int, lent: float, held: float, used: float) -> None:
        record, own = self.records[at], self.own[at]
        own[0] += lent
        own[1] += held
        record.lent += lent
        record.held += held
        record.debt = max(0.0, record.debt + used)

    def _scarce(self, record: Record) -> bool:
        return record.unmet_at > 0 and self.now_us - record.unmet_at < SCARCE_US

    def _ask(self, needs: list[tuple[int, float, float]]) -> int | tuple[int, int, int]:
        """All of `needs` (account, to hold, to use at once) or nothing."""
        worst: tuple[int, int, int] | None = None
        for at, held, used in needs:
            record, definition, need = self.records[at], self.definitions[at], held + used
            missing = need - record.left(definition, self.now_us)
            if need > definition[1] + EPSILON:
                return (TOO_LARGE, at, 0)
            if missing > EPSILON:
                record.unmet_at = self.now_us
                code = LENT if missing <= record.lent + EPSILON else REFUSED
                wait_us = record.wait_us(definition, missing - record.lent, self.now_us)
                found = (code, at, 0 if code == LENT else wait_us)
                if worst is None or (found[0] == REFUSED, found[2]) > (worst[0] == REFUSED, worst[2]):
                    worst = found
        if worst is not None:
            return worst
        for at, held, used in needs:
            self._move(at, 0.0, held, used)
        return GRANTED

    def _lend(self, at: int, wanted: float) -> float:
        record, definition = self.records[at], self.definitions[at]
        left = record.left(definition, self.now_us)
        if self._scarce(record) or left * LENDING_SHARE < definition[1]:
            return 0.0
        lent = float(min(wanted, left // (LENDING_SHARE * self.alive)))
        self._move(at, lent, 0.0, 0.0)
        return lent
