"""An upstream's answer to one attempt: checked to be whole, and what it says of itself taken in for the ledger.

Called by `gateway/dispatch` with what arrived. Each answer is read once; what only the ledger wants is never a reason
to refuse one.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from andon.gateway import features, predictions
from andon.gateway.course import Course, Sink
from andon.gateway.dialects import oip, openai
from andon.kernel.errors import Transient
from andon.kernel.exchange import Dialect, Exchange, Operation, Told, UsageSource
from andon.kernel.ports import Answer, Opening
from andon.wire.model import Header


class Received(msgspec.Struct):
    """An answer as this room passes it on (kernel port `Answer`)."""

    status: int
    headers: Sequence[Header]
    body: bytes
    opening: Opening | None = None


def whole(course: Course, answer: Answer, sink: Sink | None) -> Answer:
    """The answer, checked to be one; raises `Transient` upstream_malformed or upstream_reset."""
    x = course.exchange
    if sink is not None:
        return _whole_stream(x, answer, sink)
    if answer.status != 200:
        return answer
    length: int | None = None
    is_encoded = False
    for name, value in answer.headers:
        if name == b"server-timing":
            _note_features(x, value)
        elif name == b"content-encoding":
            is_encoded = value != b"identity"
        elif name == b"inference-header-content-length":
            length = int(value) if value.isdigit() else -1
    try:
        if x.dialect is Dialect.OIP:
            _read_inference(course, answer, length)
        elif not is_encoded:
            _read_generation(x, openai.read_answer(answer.body))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Transient(
            "upstream_malformed", f"The model's answer is not JSON: {error}.", status=502
        ) from error
    return answer


def _whole_stream(x: Exchange, answer: Answer, sink: Sink) -> Answer:
    if sink.status != 200:
        return Received(sink.status, sink.headers, sink.body)
    sink.check_end()
    for name, value in sink.headers:
        if name == b"server-timing":
            _note_features(x, value)
    return answer


def note_opening(x: Exchange, opening: Opening) -> None:
    """Remember what an attempt had to wait for before it could be sent."""
    x.queue_us = opening.queue_us
    if opening.connect_us is not None:
        told = x.told = x.told or Told()
        told.connect_us, told.tls_us = opening.connect_us, opening.tls_us


def _read_inference(course: Course, answer: Answer, length: int | None) -> None:
    """Raises msgspec.MsgspecError for what is no answer; takes the prediction where the endpoint records it.

    A fallback's outputs may mean something else, so that they are checked only.
    """
    recording = course.assigned.endpoint.recording
    if (
        recording is None
        or recording.prediction is None
        or course.served.endpoint.name != course.assigned.endpoint.name
    ):
        oip.check_answer(answer.body, length)
        return
    found = predictions.read(answer.body, length, recording.prediction)
    if found is not None:
        x = course.exchange
        told = x.told = x.told or Told()
        told.prediction, told.score = found


def _read_generation(x: Exchange, answer: openai.AnswerParts) -> None:
    """Token counts, and what the answer calls itself."""
    told = x.told = x.told or Told()
    told.response_id, told.model = openai.short(answer.id), openai.short(answer.model)
    told.finish_reason = openai.finish_of(answer.choices)
    usage = answer.usage
    if usage is not None:
        x.input_tokens, x.output_tokens = usage.prompt_tokens, usage.completion_tokens
        if x.operation is Operation.EMBEDDING and x.output_tokens is None:
            x.output_tokens = 0
        x.usage_source = UsageSource.PROVIDER


def _note_features(x: Exchange, value: bytes) -> None:
    """Take in the features of a Server-Timing header, if it tells of any."""
    if b"feature" in value:
        told = x.told = x.told or Told()
        told.features = features.add(told.features, features.read_timing(value))
