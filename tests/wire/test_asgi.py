"""The same application under uvicorn: real sockets, real clients."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from andon.wire.asgi import AsgiBridge
from tests.wire.rig import PATIENCE_S, Recorder, closed, statuses, talk

LAST = b"GET /last?q HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"


@asynccontextmanager
async def under_uvicorn(application: Any) -> AsyncIterator[int]:
    config = uvicorn.Config(
        AsgiBridge(application), port=0, log_level="critical", lifespan="on", ws="none", http="httptools"
    )
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    ticking = asyncio.create_task(server.main_loop())
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await ticking
        await server.shutdown()


def test_a_request_means_the_same_as_on_our_own_server():
    application = Recorder()

    async def main() -> bytes:
        async with under_uvicorn(application) as port:
            return await talk(
                port,
                b"POST /p%20q?r HTTP/1.1\r\nhost: a\r\nX-Y: z\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi",
            )

    answer = asyncio.run(main())
    assert statuses(answer) == [200]
    assert answer.endswith(b"hi")
    method, path, query, headers, body = application.requests[0]
    assert (method, path, query, body) == (b"POST", b"/p%20q", b"r", b"hi")
    assert (b"x-y", b"z") in headers


def test_a_body_too_large_is_refused_in_the_application_s_words():
    async def main() -> bytes:
        async with under_uvicorn(Recorder()) as port:
            head = b"POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 1001\r\n\r\n"
            return await talk(port, head + b"x" * 1001)

    answer = asyncio.run(main())
    assert statuses(answer) == [413]
    assert b"x-code: body_too_large" in answer


def test_streams_are_whole_when_ended_and_cut_when_aborted():
    async def behave(request, reply):
        reply.start(200, b"content-type: text/plain\r\n")
        for _ in range(40):
            reply.write(b"~" * 10_000)
            await reply.writable()
        if request.path == b"/last":
            reply.end()
        else:
            reply.abort()

    async def main() -> None:
        async with under_uvicorn(Recorder(behave)) as port:
            whole = await talk(port, LAST)
            assert whole.count(b"~") == 400_000
            assert whole.endswith(b"0\r\n\r\n")
            cut = await talk(port, LAST.replace(b"/last", b"/cut"))
            assert not cut.endswith(b"0\r\n\r\n")

    asyncio.run(main())


def test_a_client_that_leaves_cancels_the_handler():
    entered, cancelled = asyncio.Event(), asyncio.Event()

    async def behave(request, reply):
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async def main() -> None:
        async with under_uvicorn(Recorder(behave)) as port:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(LAST)
            await entered.wait()
            writer.close()
            await closed(writer)
            await asyncio.wait_for(cancelled.wait(), PATIENCE_S)

    asyncio.run(main())
