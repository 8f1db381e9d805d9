"""A dummy provider: an OpenAI-compatible upstream that does exactly what it is told, trouble included.

Tests, demos and benchmarks start it as a real server (`python -m andon.testing.provider --port N`). Answers are
deterministic: the n-th word of a completion is always the same. It keeps nothing and checks no credentials.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from andon.kernel.clock import Clock, SystemClock
from andon.wire.limits import ServerLimits
from andon.wire.model import Header, Reply, Request
from andon.wire.server import Server

_JSON = b"content-type: application/json\r\n"
_EVENTS = b"content-type: text/event-stream\r\ncache-control: no-cache\r\n"
_WORDS = ("the", "line", "runs", "and", "a", "bad", "part", "stops", "it")


class Behaviour(msgspec.Struct, frozen=True, kw_only=True):
    """What the provider does with a request. Read from the model name: `dummy?latency_ms=5&status=429`."""

    latency_ms: float = 0.0  # before the first byte
    tokens: int = 16  # completion length when the request sets no cap
    gap_ms: float = 0.0  # between streamed tokens
    status: int = 200
    retry_after_s: float | None = None
    stall_after: int | None = None  # streamed tokens after which nothing comes any more
    cut_after: int | None = None  # streamed tokens after which the connection is closed
    malformed_after: int | None = None  # streamed tokens after which garbage is sent
    fail_every: int = 0  # every n-th request answers 500
    usage: bool = True  # whether usage is reported at all


class _Message(msgspec.Struct):
    role: str
    content: Any = None


class _Ask(msgspec.Struct):
    model: str = "dummy"
    messages: list[_Message] = []
    prompt: Any = None
    input: Any = None
    stream: bool = False
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stream_options: dict[str, Any] | None = None


def behaviour_of(model: str, default: Behaviour) -> Behaviour:
    """The behaviour that a model name asks for; the default for a plain name. Raises ValueError on rubbish."""
    _, _, query = model.partition("?")
    if not query:
        return default
    asked = dict(part.partition("=")[::2] for part in query.split("&"))
    return msgspec.convert({**msgspec.to_builtins(default), **asked}, Behaviour, strict=False)


def _count_tokens(ask: _Ask) -> int:
    """One token a word: exact enough to be checked, simple enough to be predicted."""
    texts = [message.content for message in ask.messages] or [ask.prompt or ask.input or ""]
    return sum(len(str(text).split()) for text in texts)


class DummyProvider:
    """The provider as a `wire` application. `requests` and `cancelled` count what happened; GET /counts tells."""

    def __init__(self, clock: Clock, default: Behaviour | None = None) -> None:
        self._clock = clock
        self.default = default or Behaviour()
        self.requests = 0
        self.cancelled = 0
        self._decode = msgspec.json.Decoder(_Ask).decode

    def body_bytes_max(self, method: bytes, path: bytes, headers: Sequence[Header]) -> int:
        """Sixteen MiB for every path."""
        return 16 * 2**20

    def refuse(self, path: bytes, status: int, code: str, message: str) -> tuple[bytes, bytes]:
        """OpenAI's error object."""
        return _JSON, _error(message, code)

    async def handle(self, request: Request, reply: Reply) -> None:
        """Answer one request as its model name asks."""
        if request.path == b"/counts":
            counts = {"requests": self.requests, "cancelled": self.cancelled}
            reply.send(200, _JSON, msgspec.json.encode(counts))
            return
        self.requests += 1
        if request.method == b"GET":
            reply.send(200, _JSON, b'{"object":"list","data":[{"id":"dummy","object":"model"}]}')
            return
        try:
            ask = self._decode(request.body)
            behaviour = behaviour_of(ask.model, self.default)
        except (msgspec.MsgspecError, ValueError) as error:
            reply.send(400, _JSON, _error(str(error), "invalid_request"))
            return
        try:
            await self._answer(request, reply, ask, behaviour)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def _answer(self, request: Request, reply: Reply, ask: _Ask, behaviour: Behaviour) -> None:
        if behaviour.latency_ms:
            await self._clock.sleep(behaviour.latency_ms / 1000)
        failing = behaviour.fail_every and self.requests % behaviour.fail_every == 0
        status = 500 if failing else behaviour.status
        if status != 200:
            headers = _JSON
            if behaviour.retry_after_s is not None:
                headers += b"retry-after: %g\r\n" % behaviour.retry_after_s
            reply.send(status, headers, _error(f"told to answer {status}", "told_to"))
        elif request.path.endswith(b"/embeddings"):
            reply.send(200, _JSON, _embedding(ask))
        elif ask.stream:
            await self._stream(reply, ask, behaviour, chat=bool(ask.messages))
        else:
            reply.send(200, _JSON, _completion(ask, behaviour))

    async def _stream(self, reply: Reply, ask: _Ask, behaviour: Behaviour, *, chat: bool) -> None:
        reply.start(200, _EVENTS)
        length = _length(ask, behaviour)
        for place in range(length):
            if place == behaviour.cut_after:
                reply.abort()
                return
            if place == behaviour.malformed_after:
                reply.write(b"data: {not json\n\n")
            if place == behaviour.stall_after:
                await asyncio.Event().wait()
            reply.write(_event(_delta(ask.model, _WORDS[place % len(_WORDS)], None, chat=chat)))
            if behaviour.gap_ms:
                await self._clock.sleep(behaviour.gap_ms / 1000)
            await reply.writable()
        reply.write(_event(_delta(ask.model, "", "stop", chat=chat)))
        if behaviour.usage and (ask.stream_options or {}).get("include_usage"):
            usage = {**_delta(ask.model, "", None, chat=chat), "choices": [], "usage": _usage(ask, length)}
            reply.write(_event(usage))
        reply.write(b"data: [DONE]\n\n")
        reply.end()


def _length(ask: _Ask, behaviour: Behaviour) -> int:
    cap = ask.max_completion_tokens if ask.max_completion_tokens is not None else ask.max_tokens
    return behaviour.tokens if cap is None else min(cap, behaviour.tokens)


def _usage(ask: _Ask, length: int) -> dict[str, int]:
    prompt = _count_tokens(ask)
    return {"prompt_tokens": prompt, "completion_tokens": length, "total_tokens": prompt + length}


def _error(message: str, code: str) -> bytes:
    return msgspec.json.encode({"error": {"message": message, "type": "dummy", "param": None, "code": code}})


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(data) + b"\n\n"


def _delta(model: str, word: str, finish: str | None, *, chat: bool) -> dict[str, Any]:
    text = f"{word} " if word else ""
    choice: dict[str, Any] = {"index": 0, "finish_reason": finish}
    if chat:
        choice["delta"] = {"content": text} if text else {}
    else:
        choice["text"] = text
    kind = "chat.completion.chunk" if chat else "text_completion"
    return {"id": "dummy-1", "object": kind, "created": 1, "model": model, "choices": [choice]}


def _completion(ask: _Ask, behaviour: Behaviour) -> bytes:
    length = _length(ask, behaviour)
    text = " ".join(_WORDS[place % len(_WORDS)] for place in range(length))
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
    if ask.messages:
        choice["message"] = {"role": "assistant", "content": text}
    else:
        choice["text"] = text
    kind = "chat.completion" if ask.messages else "text_completion"
    answer = {"id": "dummy-1", "object": kind, "created": 1, "model": ask.model, "choices": [choice]}
    if behaviour.usage:
        answer["usage"] = _usage(ask, length)
    return msgspec.json.encode(answer)


def _embedding(ask: _Ask) -> bytes:
    inputs = ask.input if isinstance(ask.input, list) else [ask.input]
    data = [
        {"object": "embedding", "index": index, "embedding": [len(str(text)) / 100, 0.5, -0.5]}
        for index, text in enumerate(inputs)
    ]
    tokens = _count_tokens(ask)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return msgspec.json.encode({"object": "list", "model": ask.model, "data": data, "usage": usage})


async def serve(host: str, port: int, default: Behaviour) -> None:
    """Serve until cancelled; prints the port, so that a parent can choose 0."""
    clock = SystemClock()
    server = Server(DummyProvider(clock, default), ServerLimits(), clock)
    await server.start(host, port)
    print(server.port, flush=True)
    await asyncio.Event().wait()


def main() -> None:
    """`python -m andon.testing.provider --port 0 --latency-ms 5`"""
    parser = argparse.ArgumentParser(description="A provider that does what it is told.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--behaviour", default="", help="latency_ms=5&fail_every=10")
    options = parser.parse_args()
    asyncio.run(serve(options.host, options.port, behaviour_of(f"?{options.behaviour}", Behaviour())))


if __name__ == "__main__":
    main()
