"""A gateway's side of counters that several gateways share: what it holds, what it was lent, whom it must ask.

An authority (`accounts`, or its script in a store) decides. A request is admitted from memory where the gateway was
lent enough; otherwise it asks, in one batch with all that ask at that moment. Everything used is told in order, each
batch with a number, so that nothing is done twice and a gateway that stood still cannot spend what has gone back. While
the authority is away, each limit does what it declares. No request waits beyond `patience_s` for a silent store.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol
from weakref import WeakValueDictionary

import msgspec
import structlog

from andon.kernel.clock import Clock
from andon.kernel.errors import AndonError, Transient
from andon.kernel.random import Random
from andon.kernel.snapshot import LimitEntry
from andon.security.limits import rules
from andon.security.limits.accounts import BUCKET, GRANTED, LENT, PLACES, TOO_LARGE, Definition
from andon.security.limits.model import Counter, Denial, Rule

_logger = structlog.get_logger("andon.limits")
IN_FLIGHT_MAX: Final = 16  # batches without an answer; beyond, what there is to tell gathers for the next
ASKS_MAX: Final = 256  # in one batch
SHARES_MAX: Final = 100_000  # local shares remembered; at the limit idle ones are forgotten
TICK_S: Final = 0.02  # after which what was lent and not touched goes back
HOT: Final = 4.0  # units used within a tick from which some are borrowed ahead
LENT_MAX: Final = 1e6
BACKOFF_S, BACKOFF_MAX_S = 0.05, 1.0
PAUSE_S, PAUSE_MAX_S = 0.004, 0.05  # between two asks for what is lent to others
VALID_SHARE: Final = 0.8  # of a lease in which the gateway trusts it, so that clocks may differ in pace
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder().decode
Verdict = list[int]


class Channel(Protocol):
    """An ordered way to one authority. Every method raises OSError when it is away."""

    async def open(self) -> None: ...
    async def send(self, number: int, keys: Sequence[str], payload: bytes) -> None: ...
    async def receive(self) -> bytes: ...
    async def close(self) -> None: ...


class SharedSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How one gateway shares its counters."""

    factory: str = "andon"  # counters of factories on one store are apart
    gateways: int = 1  # a local share is a limit divided by this
    lease_s: float = 2.0  # after which what a dead gateway held comes back
    patience_s: float = 0.05  # for a store that does not answer
    recall_s: float = (
        2.5  # for units that are lent to others; more than a lease, so that the dead are waited for
    )


class Account:
    """One counter in one unit, as this gateway knows it."""

    __slots__ = ("__weakref__", "at_once", "definition", "heat", "held", "key", "left", "lent", "spent")

    def __init__(self, key: str, definition: Definition, *, at_once: bool) -> None:
        self.key = key
        self.definition = definition
        self.at_once = at_once  # used when granted (requests), not held until the end (tokens, places)
        self.held = 0.0
        self.lent = 0.0  # ours to grant from memory
        self.left = definition[1]  # with everybody, as last heard
        self.spent = 0.0  # in this tick
        self.heat = 0.0  # in the last one


class _Trio:
    """The accounts of one counter under one rule."""

    __slots__ = ("places", "requests", "rule", "tokens")

    def __init__(
        self, rule: Rule, requests: Account | None, tokens: Account | None, places: Account | None
    ) -> None:
        self.rule = rule
        self.requests = requests
        self.tokens = tokens
        self.places = places


Needs = tuple[tuple[Account, float], ...]


class Grant:
    """What one request was given, by the authority or, while that is away, by its limits' declared mode."""

    __slots__ = ("at", "counters", "needs", "outside", "shares", "tokens")

    def __init__(self, counters: Sequence[Counter], needs: Needs, tokens: int, at: float) -> None:
        self.counters = counters
        self.needs = needs
        self.tokens = tokens
        self.at = at
        self.outside = False  # given while the authority was away: told to it later
        self.shares: tuple[Counter, ...] = ()


class _Waiting:
    __slots__ = ("answer", "needs", "since")

    def __init__(self, needs: Needs, answer: asyncio.Future[Verdict | None], since: float) -> None:
        self.needs = needs
        self.answer = answer
        self.since = since


class _Batch:
    __slots__ = ("accounts", "asks", "keys", "payload", "sent_at")

    def __init__(self, accounts: list[Account], asks: list[_Waiting], payload: bytes, sent_at: float) -> None:
        self.accounts = accounts
        self.keys = [account.key for account in accounts]
        self.asks = asks
        self.payload = payload
        self.sent_at = sent_at


class SharedCounters:
    """Counters of one gateway under an authority that it shares with others. `run` must run beside the requests."""

    def __init__(
        self,
        channel: Channel,
        settings: SharedSettings,
        *,
        clock: Clock,
        random: Random,
        told: Callable[[bool, str], None] = lambda away, why: None,
    ) -> None:
        self._channel = channel
        self._settings = settings
        self._clock = clock
        self._now = clock.monotonic
        self._random = random
        self.told = told  # when it is lost, and why; and when it is back
        # Whatever refers to an account keeps it: a counter, a grant, something to be told.
        self._accounts: WeakValueDictionary[str, Account] = WeakValueDictionary()
        self._holding: dict[Account, None] = {}  # those with anything held or lent
        self._touched: set[Account] = set()
        self._hot: set[Account] = set()
        self._moves: dict[Account, list[float]] = {}  # lent, held, used: not told yet
        self._asks: list[_Waiting] = []
        self._unanswered: OrderedDict[int, _Batch] = OrderedDict()
        self._number = 0
        self._answers = 0
        self._restate = False
        self._beat = False
        self._wake = asyncio.Event()
        self._valid_until = float("-inf")
        self._shares: dict[tuple[str, str], Counter] = {}
        self.away = True  # until the authority has answered once
        self.counts = {
            "asked": 0,
            "lent": 0,
            "recalled": 0,
            "outside": 0,
            "closed": 0,
            "lost": 0,
            "fenced": 0,
        }

    # What a stage does.

    def reserve(
        self, counters: Sequence[Counter], tokens: int, now: float
    ) -> Grant | Denial | AndonError | None:
        """From memory, if that suffices; None if the authority must be asked."""
        if self.away:
            return self._without(counters, tokens, now)
        needs = self._needs(counters, tokens)
        if now >= self._valid_until:
            return None
        for account, units in needs:
            if account.lent < units:
                return None
        for account, units in needs:
            account.lent -= units
            if account.at_once:
                self._move(account, -units, 0.0, units)
            else:
                account.held += units
                self._move(account, -units, units, 0.0)
            self._touch(account, units)
        self.counts["lent"] += 1
        return self._granted(counters, needs, tokens)

    async def ask(self, counters: Sequence[Counter], tokens: int) -> Grant | Denial | AndonError:
        """What the authority decides; what the limits declare where it does not answer in time."""
        needs = self._needs(counters, tokens)
        began, pause_s = self._now(), PAUSE_S
        self.counts["asked"] += 1
        while not self.away:
            answer: asyncio.Future[Verdict | None] = asyncio.get_running_loop().create_future()
            self._asks.append(_Waiting(needs, answer, self._now()))
            self._wake.set()
            try:
                verdict = await answer
            except asyncio.CancelledError:
                # An answer that came in this very turn was a grant that nobody will use.
                if answer.done() and not answer.cancelled() and answer.result() == [GRANTED]:
                    self._undo(needs, 0.0)
                raise
            if verdict is None:
                break
            if verdict[0] == GRANTED:
                return self._granted(counters, needs, tokens)
            if verdict[0] == LENT and self._now() - began < self._settings.recall_s:
                self.counts["recalled"] += 1
                await self._clock.sleep(pause_s)
                pause_s = min(pause_s * 2, PAUSE_MAX_S)
                continue
            return self._denied(counters, needs, verdict)
        return self._without(counters, tokens, self._now())

    def settle(self, grant: Grant, used: int, now: float) -> None:
        """The request has ended: what it held goes back, the tokens it used are charged."""
        for account, units in grant.needs:
            if not account.at_once:
                account.held -= units
                self._move(account, 0.0, -units, 0.0 if account.definition[0] == PLACES else float(used))
        if grant.outside:
            rules.settle(grant.shares, grant.tokens, used, now)
            for counter in grant.counters:
                trio = self._trio(counter)
                if used and trio.tokens is not None:
                    self._move(trio.tokens, 0.0, 0.0, float(used))
        self._ended(grant)

    def cancel(self, grant: Grant, now: float) -> None:
        """The request was refused later on: nothing of it counts."""
        self._undo(grant.needs, now - grant.at)
        if grant.outside:
            rules.cancel(grant.shares, grant.tokens, grant.at, now)
            for counter in grant.counters:
                requests = self._trio(counter).requests
                if requests is not None:
                    self._move(requests, 0.0, 0.0, -1.0)
        self._ended(grant)

    # What both sides share.

    def _needs(self, counters: Sequence[Counter], tokens: int) -> Needs:
        needs: list[tuple[Account, float]] = []
        for counter in counters:
            trio = self._trio(counter)
            if trio.requests is not None:
                needs.append((trio.requests, 1.0))
            if trio.tokens is not None and tokens:
                needs.append((trio.tokens, float(tokens)))
            if trio.places is not None:
                needs.append((trio.places, 1.0))
        return tuple(needs)

    def _trio(self, counter: Counter) -> _Trio:
        trio: _Trio | None = counter.accounts
        if trio is None or trio.rule is not counter.rule:
            rule = counter.rule
            entry, subject = rule.entry, counter.subject
            trio = counter.accounts = _Trio(
                rule,
                self._bucket(rule, subject, "requests", entry.requests_per_minute, entry.burst_requests),
                self._bucket(rule, subject, "tokens", entry.tokens_per_minute, entry.burst_tokens),
                None
                if entry.concurrency is None
                else self._account(rule, subject, "places", (PLACES, float(entry.concurrency), 0.0, 0)),
            )
        return trio

    def _bucket(
        self, rule: Rule, subject: str, unit: str, per_minute: int | None, burst: int | None
    ) -> Account | None:
        if per_minute is None:
            return None
        return self._account(rule, subject, unit, (BUCKET, float(burst or per_minute), per_minute / 60.0, 0))

    def _account(self, rule: Rule, subject: str, unit: str, definition: Definition) -> Account:
        whose = hashlib.blake2b(f"{rule.name}\0{rule.scope}\0{subject}".encode(), digest_size=12).hexdigest()
        key = f"andon:{{{self._settings.factory}}}:limit:{whose}:{unit}"
        found = self._accounts.get(key)
        if found is None:
            found = self._accounts[key] = Account(key, definition, at_once=unit == "requests")
        found.definition = definition
        return found

    def _move(self, account: Account, lent: float, held: float, used: float) -> None:
        move = self._moves.get(account)
        if move is None:
            self._moves[account] = [lent, held, used]
            self._wake.set()
        else:
            move[0] += lent
            move[1] += held
            move[2] += used

    def _touch(self, account: Account, units: float) -> None:
        account.spent += units
        self._touched.add(account)

    def _granted(self, counters: Sequence[Counter], needs: Needs, tokens: int) -> Grant:
        for counter in counters:
            counter.active += 1
            self._mirror(counter)
        return Grant(counters, needs, tokens, self._now())

    def _mirror(self, counter: Counter) -> None:
        """Let the counter tell clients what is left, as the authority last said it."""
        trio, rule, now = self._trio(counter), counter.rule, self._now()
        if trio.requests is not None:
            counter.request_paid_at = now + _gone(trio.requests) * rule.request_s
        if trio.tokens is not None:
            counter.token_paid_at = now + _gone(trio.tokens) * rule.token_s

    def _ended(self, grant: Grant) -> None:
        for counter in grant.counters:
            counter.active -= 1

    def _undo(self, needs: Needs, elapsed_s: float) -> None:
        """As `rules.cancel`: what time has paid meanwhile is not given back twice."""
        for account, units in needs:
            if account.at_once:
                unpaid = units - elapsed_s * account.definition[2]
                if unpaid > 0:
                    self._move(account, 0.0, 0.0, -unpaid)
            else:
                account.held -= units
                self._move(account, 0.0, -units, 0.0)

    def _denied(self, counters: Sequence[Counter], needs: Needs, verdict: Verdict) -> Denial:
        code, place, wait_us = verdict
        short = needs[place][0]
        for counter in counters:
            trio = self._trio(counter)
            if short in (trio.requests, trio.tokens, trio.places):
                self._mirror(counter)
                if code == TOO_LARGE:
                    return Denial(counter, "request size", float("inf"))
                wait_s = max(wait_us / 1e6, PAUSE_MAX_S)
                if short is trio.requests:
                    return Denial(counter, "requests", wait_s)
                return Denial(counter, "tokens" if short is trio.tokens else "concurrency", wait_s)
        raise AssertionError("a verdict names one of the accounts that were asked for")

    # Without the authority.

    def _without(self, counters: Sequence[Counter], tokens: int, now: float) -> Grant | Denial | AndonError:
        """What each limit declares for this case; the strictest decides."""
        shares = []
        for counter in counters:
            mode = counter.rule.entry.on_store_down
            if mode == "closed":
                self.counts["closed"] += 1
                return Transient(
                    "limits_unavailable",
                    f"Limit '{counter.rule.name}' cannot be counted at the moment, so nothing is let through.",
                    hint="Try again shortly; the operator finds the reason in andon status.",
                    retry_after_s=BACKOFF_MAX_S,
                )
            if mode == "localShare":
                shares.append(self._share(counter))
        denial = rules.reserve(shares, tokens, now) if shares else None
        if denial is not None:
            return denial
        grant = self._granted(counters, (), tokens)
        grant.outside, grant.shares = True, tuple(shares)
        for counter in counters:
            requests = self._trio(counter).requests
            if requests is not None:
                self._move(requests, 0.0, 0.0, 1.0)
        self.counts["outside"] += 1
        return grant

    def _share(self, counter: Counter) -> Counter:
        """This gateway's part of a limit, counted here alone; kept, so that a store that flaps grants it once."""
        key = (counter.rule.name, counter.subject)
        share = self._shares.get(key)
        if share is None or share.accounts is not counter.rule:
            if len(self._shares) >= SHARES_MAX:
                now = self._now()
                self._shares = {at: one for at, one in self._shares.items() if not rules.idle(one, now)}
            share = self._shares[key] = Counter(
                Rule(divided(counter.rule.entry, self._settings.gateways)), counter.subject
            )
            share.accounts = counter.rule  # what it was made from
        return share

    # The conversation.

    async def run(self) -> None:
        """Keep in touch with the authority until cancelled; reconnect with backoff."""
        failures = 0
        while True:
            answered = self._answers
            why = "closed"
            try:
                async with asyncio.timeout(max(1.0, self._settings.patience_s)):
                    await self._channel.open()
                await self._converse()
            except (OSError, ValueError) as error:
                why = str(error) or type(error).__name__
            finally:
                self._lost(why)
                await self._channel.close()
            failures = 0 if self._answers > answered else min(failures + 1, 10)
            ceiling = min(BACKOFF_S * 2**failures, BACKOFF_MAX_S)
            await self._clock.sleep(ceiling * (0.5 + self._random.uniform() / 2))

    async def _converse(self) -> None:
        tasks = [asyncio.ensure_future(one) for one in (self._write(), self._read(), self._watch())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _lost(self, why: str) -> None:
        """Whoever waits is told that nobody will answer; batches are kept, to be sent again."""
        waiting = [one for batch in self._unanswered.values() for one in batch.asks] + self._asks
        self._asks = []
        for one in waiting:
            if not one.answer.done():
                one.answer.set_result(None)
        if not self.away:
            self.away = True
            self.counts["lost"] += 1
            _logger.warning("counters are away", reason=why)
            self.told(True, why)

    async def _write(self) -> None:
        for number, batch in list(self._unanswered.items()):
            batch.sent_at = self._now()
            await self._channel.send(number, batch.keys, batch.payload)
        self._beat = True
        while True:
            if len(self._unanswered) < IN_FLIGHT_MAX and not (self._restate and self._unanswered):
                composed = self._compose()
                if composed is not None:
                    self._number += 1
                    self._unanswered[self._number] = composed
                    await self._channel.send(self._number, composed.keys, composed.payload)
                    continue
            self._wake.clear()
            await self._wake.wait()

    def _compose(self) -> _Batch | None:
        restate, moves = self._restate, self._moves
        asks, self._asks = self._asks[:ASKS_MAX], self._asks[ASKS_MAX:]
        asks = [one for one in asks if not one.answer.done()]
        if not (asks or moves or restate or self._beat):
            return None
        self._moves, self._restate, self._beat = {}, False, False
        places: dict[Account, int] = {}
        stated = [
            (places.setdefault(account, len(places)), account.lent, account.held)
            for account in (self._holding if restate else ())
        ]
        told = []
        for account, (lent, held, used) in moves.items():
            place = places.setdefault(account, len(places))
            told.append((place, 0.0, 0.0, used) if restate else (place, lent, held, used))
        asked = []
        for one in asks:
            needs = []
            for account, units in one.needs:
                place = places.setdefault(account, len(places))
                needs.append((place, 0.0, units) if account.at_once else (place, units, 0.0))
            asked.append(needs)
        wants = [
            (place, min(account.heat, LENT_MAX))
            for account, place in places.items()
            if account.heat >= HOT and account.lent * 2 < account.heat
        ]
        accounts = list(places)
        definitions = [account.definition for account in accounts]
        payload = _encode((int(self._settings.lease_s * 1e6), definitions, stated, told, asked, wants))
        return _Batch(accounts, asks, payload, self._now())

    async def _read(self) -> None:
        while True:
            raw = await self._channel.receive()
            if not self._unanswered:
                raise ValueError("an answer to nothing")
            _, batch = self._unanswered.popitem(last=False)
            self._answers += 1
            if raw:
                self._answered(batch, _decode(raw))
            self._wake.set()
            if self.away:
                self.away = False
                self.told(False, "")

    def _answered(self, batch: _Batch, answer: Any) -> None:
        fresh, _, verdicts, left, lent, scarce = answer
        self._valid_until = batch.sent_at + self._settings.lease_s * VALID_SHARE
        if fresh and self._holding:
            # Our lease had run out, or the store has forgotten: what was lent is void, what is held is said again.
            self.counts["fenced"] += 1
            for account in self._holding:
                account.lent = 0.0
            self._restate = True
        for one, verdict in zip(batch.asks, verdicts, strict=True):
            if verdict == GRANTED:
                for account, units in one.needs:
                    if not account.at_once:
                        account.held += units
                        self._holding[account] = None
                    self._touch(account, units)
                if one.answer.done():  # it waits no longer
                    self._undo(one.needs, 0.0)
                else:
                    one.answer.set_result([GRANTED])
            elif not one.answer.done():
                names = [account.key for account, _ in one.needs]
                one.answer.set_result([verdict[0], names.index(batch.keys[verdict[1]]), verdict[2]])
        for account, rest, got, short in zip(batch.accounts, left, lent, scarce, strict=True):
            account.lent += got
            account.left = rest
            if account.lent or account.held:
                self._holding[account] = None
            if short and account.lent:
                self._return(account)

    def _return(self, account: Account) -> None:
        self._move(account, -account.lent, 0.0, 0.0)
        account.lent = 0.0

    async def _watch(self) -> None:
        """Time's part: heartbeats, what lies unused, and a store that does not answer."""
        settings = self._settings
        beat_at = self._now()
        while True:
            await self._clock.sleep(min(TICK_S, settings.patience_s / 4))
            now = self._now()
            self._sweep()
            if now - beat_at > settings.lease_s / 4:
                beat_at, self._beat = now, True
                self._wake.set()
            if self._silent(now):
                # Two turns of the loop, so that an answer that lies in the socket counts: we may be what is slow.
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                if self._silent(now):
                    raise OSError(f"no answer within {settings.patience_s:g} s")

    def _silent(self, now: float) -> bool:
        for batch in self._unanswered.values():
            return now - batch.sent_at > self._settings.patience_s
        return False

    def _sweep(self) -> None:
        touched, self._touched = self._touched, set()
        for account in self._hot - touched:
            account.heat = 0.0
        for account in touched:
            account.heat, account.spent = account.spent, 0.0
        self._hot = touched
        for account in list(self._holding):
            if account.lent and account not in touched:
                self._return(account)
            if not account.lent and not account.held:
                del self._holding[account]


def _gone(account: Account) -> float:
    """Units of an account that nobody can have now."""
    return max(0.0, account.definition[1] - max(0.0, account.left) - account.lent)


def divided(entry: LimitEntry, gateways: int) -> LimitEntry:
    """A limit's share for one of so many gateways: rounded down, at least one."""

    def part(value: int | None) -> int | None:
        return None if value is None else max(1, value // gateways)

    return msgspec.structs.replace(
        entry,
        requests_per_minute=part(entry.requests_per_minute),
        tokens_per_minute=part(entry.tokens_per_minute),
        concurrency=part(entry.concurrency),
        burst_requests=part(entry.burst_requests),
        burst_tokens=part(entry.burst_tokens),
    )
