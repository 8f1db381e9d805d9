"""The circuit breaker of one target: closed, open for a while, half-open for one probe.

Kept by `gateway/targets` over snapshots and moved by `gateway/dispatch` and `gateway/health`. Memory only; time is
handed in. A breaker never decides what a client is told.
"""

from __future__ import annotations

from andon.gateway.settings import GatewaySettings


class Breaker:
    """Opens after consecutive failures, for a pause that doubles while probes fail, up to a bound."""

    __slots__ = (
        "_failures",
        "_limit",
        "_open_until",
        "_pause_first_s",
        "_pause_max_s",
        "_pause_s",
        "_probing",
    )

    def __init__(self, settings: GatewaySettings) -> None:
        self._limit = settings.breaker_failures
        self._pause_first_s = settings.breaker_open_s
        self._pause_max_s = settings.breaker_open_max_s
        self._pause_s = settings.breaker_open_s
        self._failures = 0
        self._open_until: float | None = None
        self._probing = False

    @property
    def closed(self) -> bool:
        """Whether requests pass freely."""
        return self._open_until is None

    def admits(self, now: float) -> bool:
        """Whether a request may be sent: always when closed, one probe at a time once the pause is over."""
        until = self._open_until
        return until is None or (now >= until and not self._probing)

    def begin(self) -> None:
        """A request is being sent; on an open breaker it is the probe."""
        if self._open_until is not None:
            self._probing = True

    def abandon(self) -> None:
        """A request ended without saying anything about the target: the client left, or was refused by it."""
        self._probing = False

    def succeed(self) -> bool:
        """A request was answered; True if this closed the breaker."""
        self._failures = 0
        if self._open_until is None:
            return False
        self._close()
        return True

    def fail(self, now: float) -> bool:
        """A request failed by the target's fault; True if this opened the breaker."""
        self._failures += 1
        if self._open_until is not None:
            if self._probing:
                self._probing = False
                self._pause_s = min(self._pause_s * 2, self._pause_max_s)
                self._open_until = now + self._pause_s
            return False
        if self._failures < self._limit:
            return False
        self._open_until = now + self._pause_s
        return True

    def trip(self, now: float) -> bool:
        """Open at once, whatever the count: a health look failed; True if it was closed."""
        was_closed = self._open_until is None
        self._open_until = now + self._pause_s
        self._probing = False
        return was_closed

    def opens_in_s(self, now: float) -> float:
        """Seconds until the next probe may pass; 0 when closed."""
        return 0.0 if self._open_until is None else max(0.0, self._open_until - now)

    def _close(self) -> None:
        self._open_until = None
        self._probing = False
        self._pause_s = self._pause_first_s
