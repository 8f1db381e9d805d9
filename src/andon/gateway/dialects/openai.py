"""The OpenAI dialect: typed reading of requests, usage of answers, edits of bodies, the shape of errors.

Reads only the fields that decisions need; the original bytes are what is forwarded, so unknown fields survive.
Raises nothing but `Refused`.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from andon.kernel.errors import AndonError, Refused
from andon.kernel.exchange import Exchange

CAP_MAX: Final = 2**53  # tokens that a request can ask for, as it is reckoned with
NAME_MAX: Final = 128  # characters of an id, model or reason of the upstream that a row keeps


class Part(msgspec.Struct):
    """One part of a message's content; what images and audio hold is skipped, not built."""

    type: str = ""
    text: str | None = None


class Message(msgspec.Struct):
    """One message of a chat."""

    role: str
    content: str | list[Part] | None = None
    name: str | None = None


class StreamOptions(msgspec.Struct):
    """How the client wants its stream."""

    include_usage: bool | None = None


class ChatRequest(msgspec.Struct):
    """POST /v1/chat/completions, as far as the gateway must understand it."""

    model: str
    messages: list[Message]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None


class CompletionRequest(msgspec.Struct):
    """POST /v1/completions."""

    model: str
    prompt: str | list[Any] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    n: int | None = None
    best_of: int | None = None


class EmbeddingRequest(msgspec.Struct):
    """POST /v1/embeddings."""

    model: str
    input: str | list[Any]


class Usage(msgspec.Struct):
    """Token counts as a provider reports them; absent stays unknown."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Finish(msgspec.Struct, gc=False):
    """Why one choice of an answer ended."""

    finish_reason: str | None = None


class AnswerParts(msgspec.Struct, gc=False):
    """The fields of an answer that the ledger needs."""

    usage: Usage | None = None
    id: str | None = None
    model: str | None = None
    choices: list[Finish] | None = None


class AnswerUsage(msgspec.Struct):
    """What is still read of an answer whose other fields have types that nobody knows."""

    usage: Usage | None = None


class Delta(msgspec.Struct):
    """What one event of a stream adds."""

    content: str | None = None


class Choice(msgspec.Struct):
    """One choice of an event; `text` is what completions call their content."""

    delta: Delta | None = None
    text: str | None = None
    finish_reason: str | None = None


class Chunk(msgspec.Struct):
    """One event of a stream."""

    choices: list[Choice] = []
    usage: Usage | None = None
    error: msgspec.Raw = msgspec.Raw(b"")
    id: Any = None  # a string; another type must not keep the rest from being read
    model: Any = None


class ErrorBody(msgspec.Struct):
    """An answer that is an error in this dialect."""

    error: dict[str, Any]


_chat = msgspec.json.Decoder(ChatRequest).decode
_completion = msgspec.json.Decoder(CompletionRequest).decode
_embedding = msgspec.json.Decoder(EmbeddingRequest).decode
_parts = msgspec.json.Decoder(AnswerParts).decode
_usage = msgspec.json.Decoder(AnswerUsage).decode
_chunk = msgspec.json.Decoder(Chunk).decode
_error = msgspec.json.Decoder(ErrorBody).decode
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


def refusal_of(error: Exception) -> Refused:
    """The refusal for a body that could not be read; `param` is the path that was at fault."""
    if isinstance(error, msgspec.ValidationError):
        text, _, path = str(error).partition(" - at `$")
        param = path.rstrip("`").lstrip(".") or None
        where = f" at '{param}'" if param else ""
        return Refused("invalid_value", f"The body is not a valid request{where}: {text}.", param=param)
    if isinstance(error, RecursionError):
        return Refused("invalid_json", "The body is nested too deeply.", hint="Flatten it.")
    return Refused(
        "invalid_json", f"The body is not valid JSON: {error}.", hint="Send one JSON object in UTF-8."
    )


def read_chat(exchange: Exchange) -> Refused | None:
    """Decode a chat request into `exchange`; the refusal if it cannot be read."""
    try:
        request = _chat(exchange.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return refusal_of(error)
    exchange.request = request
    exchange.name = request.model
    if request.stream:
        exchange.stream = True
        exchange.wants_usage = _asks_usage(request.stream_options)
    exchange.max_output_tokens = highest_cap(
        (request.max_tokens, request.max_completion_tokens), (request.n,)
    )
    return None


def read_completion(exchange: Exchange) -> Refused | None:
    """Decode a completion request into `exchange`; the refusal if it cannot be read."""
    try:
        request = _completion(exchange.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return refusal_of(error)
    exchange.request = request
    exchange.name = request.model
    if request.stream:
        exchange.stream = True
        exchange.wants_usage = _asks_usage(request.stream_options)
    exchange.max_output_tokens = highest_cap((request.max_tokens,), (request.n, request.best_of))
    return None


def read_embedding(exchange: Exchange) -> Refused | None:
    """Decode an embedding request into `exchange`; it has no output tokens, so its cap is zero."""
    try:
        request = _embedding(exchange.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return refusal_of(error)
    exchange.request = request
    exchange.name = request.model
    exchange.max_output_tokens = 0
    return None


def highest_cap(caps: tuple[int | None, ...], copies: tuple[int | None, ...]) -> int | None:
    """The most tokens that a request can make: its highest cap times its copies; None when it states no cap."""
    highest = None
    for cap in caps:
        if cap is not None and (highest is None or cap > highest):
            highest = cap
    if highest is None:
        return None
    most = 1
    for count in copies:
        if count is not None and count > most:
            most = count  # `best_of` makes more than the `n` that are given back
    # What no model makes is refused later; until then policies and counters must be able to reckon with it.
    return min(max(highest * most, 0), CAP_MAX)


def _asks_usage(options: StreamOptions | None) -> bool:
    return options is not None and options.include_usage is True


def edit(body: bytes, *, model: str | None, include_usage: bool) -> bytes:
    """The body with another model name and, for streams, usage asked for; every other value keeps its bytes.

    The body has been read before, so it is an object; a key given twice keeps its last value, as it was read.
    """
    fields: dict[str, Any] = _fields(body)
    if model is not None:
        fields["model"] = model
    if include_usage:
        raw = fields.get("stream_options")
        options: dict[str, Any] = {}
        if raw is not None and bytes(raw).strip() != b"null":
            options = dict(_fields(bytes(raw)))
        options["include_usage"] = True
        fields["stream_options"] = options
    return _encode(fields)


def read_answer(body: bytes) -> AnswerParts:
    """What the ledger needs of a complete answer; raises msgspec.MsgspecError when it is not the JSON it should be."""
    try:
        return _parts(body)
    except msgspec.ValidationError:
        return AnswerParts(usage=_usage(body).usage)


def short(name: Any) -> str | None:
    """A name of the upstream's own, cut to what a row holds; None where it is none."""
    return name[:NAME_MAX] if isinstance(name, str) and name else None


def finish_of(choices: list[Finish] | None) -> str | None:
    """Why an answer ended: what its first choice says that says anything."""
    for choice in choices or ():
        if choice.finish_reason is not None:
            return choice.finish_reason[:NAME_MAX]
    return None


def read_chunk(payload: bytes) -> Chunk:
    """One event of a stream; raises msgspec.MsgspecError when it is not the JSON it should be."""
    return _chunk(payload)


def is_error(body: bytes) -> bool:
    """Whether an upstream's error body already has the shape of this dialect."""
    try:
        _error(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return True


def error_type(status: int) -> str:
    """The `type` that clients of this dialect know for a status."""
    if status >= 500:
        return "server_error"
    if status == 401:
        return "authentication_error"
    if status == 403:
        return "permission_error"
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error"


def error_body(error: AndonError) -> bytes:
    """All four fields, always: clients read them without asking."""
    return error_text(error.status, error.code, str(error), error.param)


def error_text(status: int, code: str, message: str, param: str | None = None) -> bytes:
    """An error body from its parts."""
    return _encode({"error": {"message": message, "type": error_type(status), "param": param, "code": code}})
