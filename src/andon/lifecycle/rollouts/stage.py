"""The stage that chooses a release for each request and stops the one that is worse.

Stands in the gateway's chain after validation and before the intent row. `admit` routes, `settle` observes; at a
crossing the arm's weight is zero for the next request already, before anybody is told. Memory only on the path; the one
write is the cut itself, once in a rollout. It must never ask control for permission to stop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import blake2b

from andon.kernel.clock import Clock
from andon.kernel.errors import AndonError, Refused, Transient
from andon.kernel.exchange import Exchange
from andon.kernel.ports import Reports
from andon.kernel.random import Random
from andon.kernel.reports import Cut, Progress
from andon.kernel.snapshot import EndpointEntry, PinEntry, ReleaseEntry, Snapshot
from andon.lifecycle.rollouts.cuts import Cuts, KeptCut
from andon.lifecycle.rollouts.gates import readings
from andon.lifecycle.rollouts.watch import Placed, Watch

WHOLE = 10_000  # basis points
_PROGRESS_S = 1.0
_CLIENT_GONE = 499


def bucket_of(salt: str, unit: str) -> int:
    """Where a unit stands between 0 and 9999, for ever: it is the canary's when this is below its weight, so a unit
    that is in stays in while the weight grows."""
    return int.from_bytes(blake2b(f"{salt}\0{unit}".encode(), digest_size=8).digest(), "big") % WHOLE


class _Line:
    """One endpoint as this stage routes it: everything looked up once, when the snapshot is adopted."""

    def __init__(self, entry: EndpointEntry, watch: Watch | None) -> None:
        self.entry = entry
        self.watch = watch
        rollout = entry.rollout
        found = {release.id: release for release in entry.releases}
        self.arms: dict[str, ReleaseEntry] = {release.arm: release for release in entry.releases}
        self.stable = found.get(rollout.stable) if rollout else None
        if self.stable is None:
            self.stable = self.arms.get("stable") or next(iter(entry.releases), None)
        self.canary = found.get(rollout.canary) if rollout else None
        self.weight = self.canary.weight if self.canary is not None and self.canary is not self.stable else 0
        self.share = self.weight / WHOLE
        self.shadow_share = rollout.shadow_share if rollout else 0
        self.pins: tuple[PinEntry, ...] = rollout.pins if rollout else ()
        self.pin_headers = tuple(
            (pin.header.lower().encode(), pin.value.encode(), pin.arm) for pin in self.pins if pin.header
        )
        self.pin_cohorts = {pin.cohort: pin.arm for pin in self.pins if pin.cohort}
        self.sticky_header = rollout.sticky_header.lower().encode() if rollout else b""
        self.sticky_key = bool(rollout and rollout.sticky_key)
        self.salt = (rollout.salt or rollout.id) if rollout else ""

    def mark_of(self, release: ReleaseEntry) -> str:
        """The release as policies name it in `exchange.barred`."""
        return f"{self.entry.name}/{release.id}"

    def of_arm(self, arm: str) -> ReleaseEntry | None:
        """The release that plays an arm; `preview` and `canary` name the same new release of a rollout."""
        if arm == "stable":
            return self.stable
        return self.canary or self.arms.get(arm)


class RolloutStage:
    """Chooses releases, watches outcomes, pulls the cord. One in each gateway process."""

    name = "release"
    settles_copies = True  # outcomes of shadow copies are shown to this stage too

    def __init__(self, gateway: str, clock: Clock, random: Random, reports: Reports, cuts: Cuts) -> None:
        self._gateway = gateway
        self._clock = clock
        self._now = clock.monotonic
        self._uniform = random.uniform
        self._reports = reports
        self._cuts = cuts
        self._kept = cuts.load()
        self._lines: dict[str, _Line] = {}
        self._watches: dict[str, Watch] = {}
        self.diverted = 0  # requests that were the canary's by chance but found it without targets

    @property
    def watches(self) -> Mapping[str, Watch]:
        """The rollouts being watched, by id: for invariants, which only read."""
        return self._watches

    @property
    def cuts_unwritten(self) -> int:
        """Cuts that the disk refused: they hold until this process ends."""
        return self._cuts.unwritten

    def adopt(self, snapshot: Snapshot) -> Callable[[], None]:
        """Build the routing tables; watches of rollouts that go on are carried over, cuts included."""
        for entry in snapshot.endpoints:
            total = sum(release.weight for release in entry.releases)
            if entry.releases and total != WHOLE:
                raise Refused(
                    "weights_not_whole",
                    f"The weights of endpoint '{entry.name}' add up to {total} basis points, not {WHOLE}.",
                    hint="The last good snapshot stays in force; control must compile a whole one.",
                )

        def enforce() -> None:
            watches: dict[str, Watch] = {}
            lines: dict[str, _Line] = {}
            for entry in snapshot.endpoints:
                line = _Line(entry, self._watch_of(entry, watches))
                for name in (entry.name, *entry.aliases):
                    lines[name] = line
            self._lines, self._watches = lines, watches

        return enforce

    def _watch_of(self, entry: EndpointEntry, watches: dict[str, Watch]) -> Watch | None:
        """The watch over an endpoint's rollout, old or new; a cut kept on disk is in force again and told again."""
        rollout = entry.rollout
        if rollout is None:
            return None
        watch = self._watches.get(rollout.id)
        if watch is not None:
            watch.continue_with(rollout)
        else:
            watch = Watch(rollout)
            kept = self._kept.pop(rollout.id, None)
            if kept is not None and rollout.overrules <= kept.overrules:
                watch.cut, watch.cut_overrules = True, kept.overrules
                self._reports.send(kept.cut)
        watches[rollout.id] = watch
        return watch

    def admit(self, exchange: Exchange) -> AndonError | None:
        """Choose the release: pins, then the sticky unit or chance by weight. Refuses where nothing can serve."""
        name = exchange.endpoint.name if exchange.endpoint is not None else exchange.name
        line = self._lines.get(name)
        if line is None or line.stable is None:
            return _not_served(name, known=line is not None)
        if line.watch is None:
            exchange.release, exchange.arm, exchange.propensity = line.stable, "stable", 1.0
            return None if line.stable.targets else _no_targets(name, line.stable)
        return self._choose(exchange, line, line.watch)

    def _choose(self, exchange: Exchange, line: _Line, watch: Watch) -> AndonError | None:
        stable, canary = line.stable, line.canary
        barred = exchange.barred
        if barred is not None and canary is not None and line.mark_of(canary) in barred:
            return self._keep_away(exchange, line)
        if line.pins:
            pinned = self._pinned(exchange, line, watch)
            if pinned is not None:
                return _no_targets(exchange.name, pinned) if not pinned.targets else None
        open_ = canary is not None and bool(canary.targets) and not watch.cut
        if stable is None or not stable.targets:
            # Nothing serves the stable release: a canary that does is better than an error, though it is no evidence.
            if not open_:
                return _no_targets(exchange.name, stable)
            exchange.release, exchange.arm, exchange.propensity = canary, "canary", 1.0
            return None
        exchange.release, exchange.arm, exchange.propensity = stable, "stable", 1.0
        if line.weight:
            exchange.unit = unit = _unit_of(exchange, line)
            chosen = bucket_of(line.salt, unit) < line.weight if unit else self._uniform() < line.share
            if not open_:
                self.diverted += chosen and not watch.cut
                return None
            if chosen:
                exchange.release, exchange.arm, exchange.propensity = canary, "canary", line.share
            else:
                exchange.propensity = 1.0 - line.share
            if 0 < line.weight < WHOLE:
                exchange.bets = watch.place(chosen, line.share)
        if (
            open_
            and line.shadow_share
            and exchange.arm == "stable"
            and self._uniform() * WHOLE < line.shadow_share
        ):
            exchange.shadow = canary
        return None

    def _keep_away(self, exchange: Exchange, line: _Line) -> AndonError | None:
        """Serve the stable release whatever chance and pins say: a policy decided, so that it is no evidence."""
        stable = line.stable
        if stable is None or not stable.targets:
            return _no_targets(exchange.name, stable)
        exchange.release, exchange.arm = stable, "stable"
        exchange.pinned, exchange.propensity = True, 1.0
        return None

    def _pinned(self, exchange: Exchange, line: _Line, watch: Watch) -> ReleaseEntry | None:
        """The release that a header or the key's cohort demands, filled in; None if none does or it was cut."""
        arm = ""
        for name, value, wanted in line.pin_headers:
            if (name, value) in exchange.headers:
                arm = wanted
                break
        if not arm and line.pin_cohorts and exchange.key is not None:
            arm = next(
                (line.pin_cohorts[name] for name in exchange.key.cohorts if name in line.pin_cohorts), ""
            )
        release = line.of_arm(arm) if arm else None
        if release is None or (release is line.canary and (watch.cut or not release.targets)):
            return None  # a pin to a stopped or absent canary falls back to the weights, which no longer choose it
        exchange.release, exchange.arm = release, "stable" if release is line.stable else arm
        exchange.pinned, exchange.propensity = True, 1.0
        return release

    def settle(self, exchange: Exchange) -> None:
        """Observe an outcome; pull the cord if it makes a gate cross."""
        entry, release = exchange.endpoint, exchange.release
        line = self._lines.get(entry.name if entry is not None else exchange.name)
        if line is None or line.watch is None or release is None:
            return
        watch = line.watch
        rollout = watch.entry
        if (
            entry is not None
            and entry.rollout is not rollout
            and (entry.rollout is None or entry.rollout.id != rollout.id)
        ):
            return  # admitted before this rollout began
        placed: Placed | None = exchange.bets
        canary = release.id == rollout.canary
        if not canary and release.id != rollout.stable:
            if placed is not None:  # the path or a fallback chose otherwise after the draw
                watch.settle(placed, False, False, None)
            return
        if canary:
            self._count(exchange, watch)
        elif exchange.upstream_started_at:
            watch.stable_requests += 1
        if placed is not None:
            exchange.bets = None
            self._observe(exchange, watch, placed)
        elif (
            line.weight == 0
            and (exchange.arm == "shadow" or exchange.shadow is not None)
            and _teaches(exchange)
        ):
            for gate in watch.pair(canary, *_outcome(exchange)):
                self._pull(watch, gate.entry.on_breach, 0.5)
        now = self._now()
        if now - watch.reported_at >= _PROGRESS_S:
            self._progress(watch, line, now)

    def _count(self, exchange: Exchange, watch: Watch) -> None:
        if not exchange.upstream_started_at:
            return
        watch.canary_requests += 1
        watch.step_canary_requests += 1
        if watch.first_canary_at is None:
            watch.first_canary_at = exchange.upstream_started_at

    def _observe(self, exchange: Exchange, watch: Watch, placed: Placed) -> None:
        """Settle the bets. Requests that were never sent, whose client left or whose unit has counted teach nothing."""
        observed = _teaches(exchange) and (not exchange.unit or watch.units.first(exchange.unit))
        failed, latency_s = _outcome(exchange)
        for gate in watch.settle(placed, observed, failed, latency_s):
            self._pull(watch, gate.entry.on_breach, placed.share)

    def _pull(self, watch: Watch, action: str, share: float) -> None:
        """Stop the arm, then write it down, then tell. A warning only tells."""
        stops = action != "warn"
        if stops and watch.cut:
            return
        entry = watch.entry
        if stops:
            watch.cut, watch.cut_overrules = True, entry.overrules
        since = watch.first_canary_at
        cut = Cut(
            rollout=entry.id,
            generation=entry.generation,
            release=entry.canary,
            gateway=self._gateway,
            at_ns=self._clock.now_ns(),
            canary_requests=watch.canary_requests,
            seconds=0.0 if since is None else self._now() - since,
            action=action,  # type: ignore[arg-type]  # GateEntry.on_breach has the same three literals
            readings=readings(watch.gates, watch.lag(share)),
        )
        if stops:
            self._cuts.keep(KeptCut(cut=cut, overrules=entry.overrules))
        self._reports.send(cut)

    def _progress(self, watch: Watch, line: _Line, now: float) -> None:
        watch.reported_at = now
        self._reports.send(
            Progress(
                rollout=watch.entry.id,
                generation=watch.entry.generation,
                gateway=self._gateway,
                at_ns=self._clock.now_ns(),
                canary_requests=watch.canary_requests,
                stable_requests=watch.stable_requests,
                step_canary_requests=watch.step_canary_requests,
                readings=readings(watch.gates, watch.lag(line.share)),
            )
        )

    def tick(self) -> None:
        """Tell how every rollout stands; called about once a second so that silence is reported too."""
        now = self._now()
        for line in self._lines.values():
            if line.watch is not None and now - line.watch.reported_at >= _PROGRESS_S:
                self._progress(line.watch, line, now)


def _teaches(exchange: Exchange) -> bool:
    """Whether an upstream was asked and the client stayed to hear."""
    return exchange.upstream_started_at > 0.0 and exchange.status != _CLIENT_GONE and not exchange.pinned


def _outcome(exchange: Exchange) -> tuple[bool, float | None]:
    """Whether the release is to blame, and its latency in seconds: of a stream, to its first byte."""
    if exchange.provider_error or exchange.status >= 400:
        return exchange.provider_error, None
    ended = exchange.first_byte_at if exchange.stream else exchange.upstream_ended_at
    return False, ended - exchange.upstream_started_at if ended else None


def _unit_of(exchange: Exchange, line: _Line) -> str:
    """What assignment sticks to; empty = this request alone."""
    if line.sticky_header:
        for name, value in exchange.headers:
            if name == line.sticky_header:
                return value.decode("latin-1")
    elif line.sticky_key and exchange.key is not None:
        return exchange.key.id
    return ""


def _not_served(name: str, known: bool) -> AndonError:
    if known:
        return Transient(
            "no_release",
            f"Endpoint '{name}' has no release that is ready.",
            hint="See: andon describe endpoint.",
        )
    return Refused(
        "model_not_found",
        f"There is no endpoint '{name}'.",
        hint="GET /v1/models lists what is served.",
        status=404,
    )


def _no_targets(name: str, release: ReleaseEntry | None) -> AndonError:
    wanted = release.id if release is not None else "none"
    return Transient(
        "no_ready_target",
        f"Nothing is ready to serve release '{wanted}' of '{name}'.",
        hint="It is being started.",
    )
