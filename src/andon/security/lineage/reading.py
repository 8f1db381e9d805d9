"""Bodies into OpenLineage events: RunEvent, DatasetEvent and JobEvent of 2-0-2 and before it. Pure.

What the specification requires is required; what it leaves open is kept as it came, within bounds. One bad event of a
batch costs no other. Source: OpenLineage spec/OpenLineage.json.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal
from uuid import UUID

import msgspec

from andon.kernel.errors import Refused

EVENTS_MAX: Final = 1000  # of one body
EVENT_BYTES_MAX: Final = 2**20
NAME_MAX: Final = 1024
FAULTS_TOLD: Final = 100
DATASETS_MAX: Final = 2000  # inputs, and outputs, of one event
FACETS_MAX: Final = 100  # of one thing
FACET_BYTES_MAX: Final = 32 * 2**10  # kept of one facet; a larger one is kept as its address only
FACETS_BYTES_MAX: Final = 256 * 2**10  # kept of one event's facets
AHEAD_NS: Final = 300 * 10**9  # how far a sender's clock may be ahead

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST_NS: Final = 946_684_800 * 10**9  # 2000-01-01
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")

EventType = Literal["START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"]
Facets = dict[str, Any]


class _Run(msgspec.Struct, rename="camel"):
    run_id: str
    facets: Facets | None = None


class _Job(msgspec.Struct, rename="camel"):
    namespace: str
    name: str
    facets: Facets | None = None


class _Dataset(msgspec.Struct, rename="camel"):
    namespace: str
    name: str
    facets: Facets | None = None
    input_facets: Facets | None = None
    output_facets: Facets | None = None


class _Wire(msgspec.Struct, kw_only=True):
    event_time: str = msgspec.field(name="eventTime")
    producer: str
    schema_url: str = msgspec.field(name="schemaURL")
    event_type: EventType | None = msgspec.field(name="eventType", default=None)
    run: _Run | None = None
    job: _Job | None = None
    dataset: _Dataset | None = None
    inputs: list[_Dataset] | None = None
    outputs: list[_Dataset] | None = None


class Thing(msgspec.Struct, frozen=True, array_like=True):
    """A job or a data set as an event names it."""

    namespace: str
    name: str
    facets: Facets = {}


class LineageEvent(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """One event as it is kept in the log."""

    id: str  # digest of what it says
    kind: str  # "run", "job", "dataset"
    at_ns: int  # when it came
    event_ns: int  # when it happened, as the sender says
    source: str  # who sent it
    producer: str
    event_type: str = ""
    run: str = ""
    run_facets: Facets = {}
    job: Thing | None = None
    dataset: Thing | None = None
    inputs: tuple[Thing, ...] = ()
    outputs: tuple[Thing, ...] = ()
    trimmed: int = 0  # facets that were too large to be kept


class Unfit(msgspec.Struct, frozen=True):
    """One event that cannot be taken: where, and why."""

    index: int
    path: str
    message: str


_ONE = msgspec.json.Decoder(_Wire)
_MANY = msgspec.json.Decoder(list[msgspec.Raw])
_WHERE = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<path>[^`]*)`)?$", re.DOTALL)
_FIELD = re.compile(r"missing required field `([^`]*)`")


class Fault(msgspec.Struct, frozen=True):
    """One event of a body that was refused as a whole, as problem details list it."""

    path: str
    message: str
    hint: str = ""


class EventsRefused(Refused):
    """Not one event of a body could be taken."""

    def __init__(self, unfit: Sequence[Unfit]) -> None:
        faults = [
            Fault(path=f"[{one.index}].{one.path}".rstrip("."), message=one.message)
            for one in unfit[:FAULTS_TOLD]
        ]
        super().__init__(
            "lineage_refused",
            f"None of {len(unfit)} events can be taken: {faults[0].path}: {faults[0].message}",
            hint="Correct them as OpenLineage 2-0-2 says, and send them again.",
            status=422,
            param=faults[0].path,
        )
        self.faults = faults


class _Bad(ValueError):
    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path = path
        self.message = message


def read_events(data: bytes, source: str, now_ns: int) -> tuple[list[LineageEvent], list[Unfit]]:
    """The events of a body: one object, or an array of them. Raises `Refused` for a body that is neither."""
    events: list[LineageEvent] = []
    unfit: list[Unfit] = []
    for index, piece in enumerate(_pieces(data)):
        try:
            events.append(_read(bytes(piece), source, now_ns))
        except _Bad as error:
            unfit.append(Unfit(index, error.path, error.message))
    return events, unfit


def _pieces(data: bytes) -> Sequence[bytes | msgspec.Raw]:
    if data.lstrip()[:1] != b"[":
        return [data]
    try:
        found = _MANY.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise Refused(
            "malformed_json", "The body is not JSON.", hint="Send one event, or an array."
        ) from error
    if not found:
        raise Refused("empty_array", "The batch holds no event.", hint="Send at least one.")
    if len(found) > EVENTS_MAX:
        raise Refused(
            "batch_too_large",
            f"The batch holds more than {EVENTS_MAX} events.",
            hint="Send it in several parts.",
            status=413,
        )
    return found


def _read(data: bytes, source: str, now_ns: int) -> LineageEvent:
    if len(data) > EVENT_BYTES_MAX:
        raise _Bad("", f"The event is larger than {EVENT_BYTES_MAX} bytes.")
    try:
        wire = _ONE.decode(data)
    except msgspec.ValidationError as error:
        raise _located(error) from error
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise _Bad("", "The event is not JSON.") from error
    kind = _kind(wire)
    _uri("producer", wire.producer)
    _uri("schemaURL", wire.schema_url)
    keep = _Keeper()
    event = LineageEvent(
        id="",
        kind=kind,
        at_ns=0,
        event_ns=_time(wire.event_time, now_ns),
        source="",
        producer=wire.producer,
        event_type=wire.event_type or "",
        run=_uuid(wire.run.run_id) if wire.run is not None else "",
        run_facets=keep.facets("run.facets", wire.run.facets) if wire.run is not None else {},
        job=None if wire.job is None else keep.thing("job", wire.job, ()),
        dataset=None if wire.dataset is None else keep.thing("dataset", wire.dataset, ()),
        inputs=_datasets("inputs", wire.inputs, keep),
        outputs=_datasets("outputs", wire.outputs, keep),
        trimmed=keep.trimmed,
    )
    said = msgspec.json.encode(event, order="sorted")
    return msgspec.structs.replace(
        event, id=hashlib.sha256(said).hexdigest()[:32], at_ns=now_ns, source=source
    )


class _Keeper:
    """Keeps facets as they came, within bounds."""

    def __init__(self) -> None:
        self.trimmed = 0
        self._room = FACETS_BYTES_MAX

    def thing(self, path: str, wire: _Job | _Dataset, more: Sequence[tuple[str, Facets | None]]) -> Thing:
        """A job or data set with its facets."""
        facets = self.facets(f"{path}.facets", wire.facets)
        for name, others in more:
            facets.update(self.facets(f"{path}.{name}", others))
        return Thing(_name(f"{path}.namespace", wire.namespace), _name(f"{path}.name", wire.name), facets)

    def facets(self, path: str, facets: Facets | None) -> Facets:
        """What is kept of these facets. A facet that is too large is kept as its address and size."""
        if not facets:
            return {}
        if len(facets) > FACETS_MAX:
            raise _Bad(path, f"More than {FACETS_MAX} facets of one thing.")
        kept: Facets = {}
        for name, facet in facets.items():
            at = f"{path}.{_shown(name)}"
            _name(path, name)
            if not isinstance(facet, dict):
                raise _Bad(at, "A facet is an object.")
            for field in ("_producer", "_schemaURL"):
                if not isinstance(facet.get(field), str) or not facet[field]:
                    raise _Bad(
                        f"{at}.{field}",
                        f"A facet needs `{field}`, the address of who made it or of its schema.",
                    )
            size = len(msgspec.json.encode(facet))
            if size > FACET_BYTES_MAX or size > self._room:
                self.trimmed += 1
                facet = {
                    "_producer": facet["_producer"][:NAME_MAX],
                    "_schemaURL": facet["_schemaURL"][:NAME_MAX],
                    "andon_leftOutBytes": size,
                }
                size = 0  # at most a few hundred times two addresses
            self._room -= size
            kept[name] = facet
        return kept


def _kind(wire: _Wire) -> str:
    if wire.dataset is not None:
        if wire.run is not None or wire.job is not None or wire.event_type is not None:
            raise _Bad("dataset", "An event of a data set has neither `run`, `job` nor `eventType`.")
        return "dataset"
    if wire.job is None:
        raise _Bad("job", "The event says neither `job` nor `dataset`.")
    if wire.run is None:
        if wire.event_type is not None:
            raise _Bad("run", "An event with an `eventType` needs a `run`.")
        return "job"
    return "run"


def _datasets(path: str, found: Sequence[_Dataset] | None, keep: _Keeper) -> tuple[Thing, ...]:
    if not found:
        return ()
    if len(found) > DATASETS_MAX:
        raise _Bad(path, f"More than {DATASETS_MAX} data sets.")
    return tuple(
        keep.thing(
            f"{path}[{number}]", one, (("inputFacets", one.input_facets), ("outputFacets", one.output_facets))
        )
        for number, one in enumerate(found)
    )


def _name(path: str, text: str) -> str:
    if not text:
        raise _Bad(path, "It is empty.")
    if len(text) > NAME_MAX:
        raise _Bad(path, f"It is longer than {NAME_MAX} characters.")
    if _CONTROL.search(text):
        raise _Bad(path, "It holds characters that do not print.")
    return text


def _shown(name: str) -> str:
    return _CONTROL.sub("?", name[:100])


def _uri(path: str, text: str) -> None:
    _name(path, text)
    if " " in text or ":" not in text:
        raise _Bad(path, "It is no URI.")


def _uuid(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError as error:
        raise _Bad("run.runId", "It is no UUID.") from error


def _time(text: str, now_ns: int) -> int:
    """RFC 3339; a time without an offset is taken as UTC, as OpenLineage's own clients mean it."""
    try:
        if len(text) > 64 or "T" not in text.upper():
            raise ValueError
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        past = moment - _EPOCH
    except (ValueError, OverflowError) as error:
        raise _Bad("eventTime", "It is no date and time as RFC 3339 writes them.") from error
    at_ns = (past.days * 86_400 + past.seconds) * 10**9 + past.microseconds * 1000
    if at_ns > now_ns + AHEAD_NS:
        raise _Bad("eventTime", f"It lies {(at_ns - now_ns) // 10**9} s in the future.")
    if at_ns < _EARLIEST_NS:
        raise _Bad("eventTime", "It lies before the year 2000.")
    return at_ns


def _located(error: msgspec.ValidationError) -> _Bad:
    match = _WHERE.match(str(error))
    what, path = (match["what"], match["path"] or "") if match else (str(error), "")
    missing = _FIELD.search(what)
    if missing:
        path = f"{path}.{missing[1]}".strip(".")
    return _Bad(_shown(path), f"{_CONTROL.sub('?', what[:200])}.")
