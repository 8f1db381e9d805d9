"""Server-sent events (WHATWG HTML §9.2), cut into events as bytes arrive, with a bound on what is kept.

Used by `gateway/streams` only. Events keep their bytes: what is not understood is forwarded as it came.
"""

from __future__ import annotations

from andon.kernel.errors import Transient

DONE = b"[DONE]"


class EventSplitter:
    """Cuts a stream of bytes into events; holds at most one unfinished event of `bytes_max`."""

    __slots__ = ("_bytes_max", "_kept")

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._kept = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The events completed by `data`, without their blank line; line ends become LF.

        Raises `Transient` upstream_malformed when an event grows beyond the bound.
        """
        if self._kept:
            data = self._kept + data
        if b"\r" in data:
            # A CR at the very end may be half of a CRLF: it waits for its other half.
            held = b"\r" if data.endswith(b"\r") else b""
            data = data[: len(data) - len(held)].replace(b"\r\n", b"\n").replace(b"\r", b"\n") + held
        events = data.split(b"\n\n")
        kept = events.pop()
        if len(kept) > self._bytes_max:
            raise Transient(
                "upstream_malformed",
                f"The model sent an event of more than {self._bytes_max} bytes.",
                status=502,
            )
        self._kept = kept
        return [event for event in events if event]

    @property
    def unfinished(self) -> bool:
        """Whether bytes of an event are left that never got its blank line."""
        return bool(self._kept.strip())


def data_of(event: bytes) -> bytes | None:
    """The data of an event, its lines joined; None for comments and events without data."""
    if event.startswith(b"data:") and b"\n" not in event:
        return event[5:].strip()
    lines = [line[5:].lstrip(b" ") for line in event.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines).strip() if lines else None
