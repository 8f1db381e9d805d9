"""Inputs and outputs of requests, where an endpoint records them: drawn, cut and handed on after the answer has left.

Called by `gateway/gateway`. It never waits and never fails an exchange: what the store does not take is dropped and
counted, and the request and its facts go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from andon.gateway.course import Course
from andon.gateway.meters import Meters
from andon.kernel.clock import Clock
from andon.ledger.bodies import Body
from andon.wire.model import Header

_CHANCES: Final = 1 << 48
_SUBJECT: Final = b"x-andon-subject"
SUBJECT_BYTES_MAX: Final = 512
_EVENTS: Final = "text/event-stream"


class BodySink(Protocol):
    """What this room asks of the store of bodies; `andon.ledger.body_store.BodyStore` fulfils it."""

    def put(self, body: Body, subject: str = "") -> str:
        """Take a body about a subject; why not, if it was dropped: `limit`, `disk` or `pending`."""
        ...


class Bodies:
    """Records bodies. One per gateway."""

    def __init__(self, sink: BodySink, clock: Clock, meters: Meters) -> None:
        self._sink = sink
        self._clock = clock
        self._meters = meters

    def keep(self, course: Course) -> None:
        """Hand on what is recorded of an exchange that has been answered, or whose client has left."""
        entry, x = course.keeping, course.exchange
        if entry is None:
            return
        if x.label == "restricted" and not entry.restricted:
            self._meters.count("body_withheld")
            return
        if entry.inputs:
            media_type = x.content_type.decode("latin-1")
            self._put(course, "input", x.body, len(x.body), (media_type, x.header_length))
        stream = course.stream
        if entry.outputs and stream is not None and stream.kept is not None and stream.committed:
            self._put(course, "output", bytes(stream.kept), stream.sent_bytes, (_EVENTS, None))
        elif entry.outputs and course.sent:
            self._put(course, "output", course.sent, len(course.sent), _described(course.sent_headers))

    def _put(
        self, course: Course, part: str, data: bytes, size: int, form: tuple[str | None, int | None]
    ) -> None:
        entry, x = course.keeping, course.exchange
        assert entry is not None  # asked by `keep`
        body = Body(
            id=x.id,
            attempt=x.attempt,
            at_ns=self._clock.now_ns(),
            endpoint=course.assigned.endpoint.name,
            release=course.served.id,
            part=part,
            media_type=form[0],
            header_length=form[1],
            size_bytes=size,
            truncated=size > entry.bytes_max,
            data=data[: entry.bytes_max],
            share=entry.share,
        )
        dropped = self._sink.put(body, subject_of(x.headers))
        self._meters.count(f"body_dropped_{dropped}" if dropped else "body_recorded")


def subject_of(headers: Sequence[Header]) -> str:
    """Whose data a request holds, as its sender says; empty where it does not. Longer names are cut."""
    for name, value in headers:
        if name == _SUBJECT:
            return value[:SUBJECT_BYTES_MAX].decode("utf-8", "replace").strip()
    return ""


def is_drawn(id_: str, share: float) -> bool:
    """Whether a request is among the share recorded: the same answer for the same id, everywhere and for ever."""
    return share >= 1.0 or int(id_[24:], 16) < share * _CHANCES


def _described(headers: Sequence[Header]) -> tuple[str | None, int | None]:
    """Media type and length of the JSON head, as the answer's headers say."""
    media_type: str | None = None
    length: int | None = None
    for name, value in headers:
        if name == b"content-type":
            media_type = value.decode("latin-1")
        elif name == b"inference-header-content-length" and value.isdigit():
            length = int(value)
    return media_type, length
