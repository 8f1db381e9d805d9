"""A stub upstream for proofs: answers at once with a constant chat completion, or paces a stream. As cheap as it gets.

Not a test double: it checks nothing. One process, pinned beside the load generator.
"""

from __future__ import annotations

import asyncio
import sys

import httptools
import uvloop

ANSWER = (
    b'{"id":"stub-1","object":"chat.completion","created":1,"model":"stub","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"' + b"Check the torque sensor of the second spindle. " * 12 + b'"},'
    b'"finish_reason":"stop"}],"usage":{"prompt_tokens":180,"completion_tokens":120,"total_tokens":300}}'
)
FRESH = b"order "  # then a number of eight digits
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(ANSWER)
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(place: int) -> bytes:
    """The n-th token as a server-sent event."""
    return chunk(
        b'data: {"id":"s","object":"chat.completion.chunk","created":1,"model":"stub","choices":'
        b'[{"index":0,"delta":{"content":"t%d "},"finish_reason":null}]}\n\n' % place
    )


LAST = chunk(
    b'data: {"id":"s","object":"chat.completion.chunk","created":1,"model":"stub","choices":[],'
    b'"usage":{"prompt_tokens":180,"completion_tokens":64,"total_tokens":244}}\n\n'
) + chunk(b"data: [DONE]\n\n")


class Stub(asyncio.Protocol):
    """One connection."""

    def __init__(self, tokens: int, gap_s: float) -> None:
        self.tokens, self.gap_s = tokens, gap_s
        self.loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)
        self.body = b""

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        body, self.body = self.body, b""
        if b'"stream":true' in body or b'"stream": true' in body:
            self.transport.write(STREAM_HEAD)  # type: ignore[attr-defined]  # a TCP transport
            self.send(0, self.loop.time())
        else:
            at = body.find(FRESH)
            if at < 0:
                answer = ANSWER
            else:  # a text that nobody has seen is answered by one, as long as ever
                answer = ANSWER.replace(b"torque sensor", body[at + 6 : at + 14] + b" cell", 1)
            self.transport.write(HEAD + answer)  # type: ignore[attr-defined]  # a TCP transport

    def send(self, place: int, due: float) -> None:
        """Write one token and plan the next at its due time, so that lateness does not add up."""
        if self.transport.is_closing():
            return
        if place == self.tokens:
            self.transport.write(LAST + b"0\r\n\r\n")  # type: ignore[attr-defined]  # a TCP transport
            return
        self.transport.write(event(place))  # type: ignore[attr-defined]  # a TCP transport
        due += self.gap_s
        self.loop.call_at(due, self.send, place + 1, due)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)


async def main() -> None:
    """`python -m benchmarks.stub PORT [TOKENS GAP_MS]`"""
    port, tokens, gap_ms = int(sys.argv[1]), 64, 0.0
    if len(sys.argv) > 3:
        tokens, gap_ms = int(sys.argv[2]), float(sys.argv[3])
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Stub(tokens, gap_ms / 1000), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
