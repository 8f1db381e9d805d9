"""The server's manners: order, back-pressure, time-outs, clients that leave, draining."""

from __future__ import annotations

import asyncio
import os
import stat

import pytest

from andon.kernel.clock import SystemClock
from andon.kernel.errors import Conflict
from andon.wire.limits import ServerLimits
from andon.wire.server import Server
from tests.wire.rig import PATIENCE_S, Recorder, closed, serving, statuses, talk

GET = b"GET /%d HTTP/1.1\r\nhost: a\r\n\r\n"
LAST = b"GET /last HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"


def test_pipelined_requests_are_answered_in_order_whatever_each_takes(run):
    async def behave(request, reply):
        for _ in range(len(request.path) % 3):
            await asyncio.sleep(0)
        reply.send(200, b"", request.path + b"\n")

    async def main() -> bytes:
        async with serving(Recorder(behave), pipelined_max=3) as server:
            return await talk(server.port, b"".join(GET % at for at in range(200)) + LAST)

    answer = run(main())
    paths = [line.split(b"HTTP")[0] for line in answer.split(b"\n") if line.startswith(b"/")]
    assert paths == [b"/%d" % at for at in range(200)] + [b"/last"]


def test_a_flood_of_pipelined_requests_is_held_back(run):
    release = asyncio.Event()

    async def behave(request, reply):
        await release.wait()
        reply.send(200, b"", b"")

    application = Recorder(behave)

    async def main() -> int:
        async with serving(application, pipelined_max=4) as server:
            flood = asyncio.create_task(talk(server.port, (GET % 1) * 20_000 + LAST))
            while server.counters["requests"] < 4:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.05)
            held = server.counters["requests"]
            release.set()
            assert statuses(await flood) == [200] * 20_001
            return held

    assert run(main()) < 1000


def test_a_client_that_leaves_cancels_its_handler_and_drops_what_it_had_queued(run):
    entered, cancelled = asyncio.Event(), asyncio.Event()

    async def behave(request, reply):
        entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            assert reply.gone
            cancelled.set()
            raise

    application = Recorder(behave)

    async def main() -> None:
        async with serving(application) as server:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(GET % 1 + GET % 2)
            await asyncio.wait_for(entered.wait(), PATIENCE_S)
            writer.close()
            await asyncio.wait_for(cancelled.wait(), PATIENCE_S)

    run(main())
    assert len(application.requests) == 1


def test_half_closing_counts_as_leaving(run):
    async def behave(request, reply):
        await asyncio.Event().wait()

    async def main() -> None:
        async with serving(Recorder(behave)) as server:
            assert await talk(server.port, GET % 1, half_close=True) == b""

    run(main())


def test_a_reader_too_slow_is_cut_and_its_handler_told(run):
    told = asyncio.Event()

    async def behave(request, reply):
        reply.start(200, b"")
        try:
            while True:
                reply.write(b"x" * 65536)
                await reply.writable()
        except (ConnectionResetError, asyncio.CancelledError):
            told.set()
            raise

    async def main() -> None:
        async with serving(Recorder(behave), write_timeout_s=0.05, write_bytes_per_s_min=10**9) as server:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
            writer.write(GET % 1)
            await asyncio.wait_for(told.wait(), PATIENCE_S)
            assert server.counters["refused_slow_reader"] == 1
            writer.close()
            await closed(writer)

    run(main())


def test_writable_waits_for_the_client_so_that_a_stream_holds_little_memory(run):
    size = 300 * 65536

    async def behave(request, reply):
        reply.start(200, b"")
        for _ in range(300):
            reply.write(b"x" * 65536)
            await reply.writable()
        reply.end()

    async def main() -> bytes:
        async with serving(Recorder(behave)) as server:
            return await talk(server.port, LAST)

    answer = run(main())
    assert answer.count(b"x") == size
    assert answer.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\nhost:", [408]),
        (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhel", [408]),
        (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel", [408]),
        (b"", []),
        (b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", [200]),
    ],
    ids=["head", "body", "chunked body", "nothing", "idle after an answer"],
)
def test_a_client_that_stalls_is_told_and_let_go(run, sent, status):
    async def main() -> bytes:
        async with serving(
            Recorder(), head_timeout_s=0.05, body_timeout_s=0.05, idle_timeout_s=0.05
        ) as server:
            return await talk(server.port, sent)

    assert statuses(run(main())) == status


def test_a_body_that_drips_is_refused_though_it_never_stalls(run):
    async def main() -> None:
        limits = {"body_timeout_s": 0.1, "body_bytes_per_s_min": 10_000}
        async with serving(Recorder(), **limits) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 900\r\n\r\n")
            answer = asyncio.ensure_future(reader.read())
            while not answer.done():
                writer.write(b"x")
                await asyncio.sleep(0.005)
            assert statuses(await answer) == [408]
            writer.close()
            await closed(writer)

    run(main())


def test_connections_beyond_the_limits_are_refused(run):
    async def main() -> None:
        async with serving(Recorder(), connections_max=1) as server:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(GET % 1)
            while not server.counters["requests"]:
                await asyncio.sleep(0.001)
            assert statuses(await talk(server.port)) == [503]
            writer.close()
            await closed(writer)
        async with serving(Recorder(), connections_per_address_max=0) as server:
            assert b"x-code: address_connections" in await talk(server.port)

    run(main())


def test_unfinished_bodies_share_a_limit_and_give_it_back(run):
    async def main() -> None:
        async with serving(Recorder(), unread_body_bytes_max=500) as server:
            head = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
            chunk = b"96\r\n" + b"x" * 150 + b"\r\n"
            assert statuses(await talk(server.port, head + chunk * 4)) == [503]
            assert server.counters["unread_bytes"] == 0
            assert statuses(await talk(server.port, head + chunk * 3 + b"0\r\n\r\n" + LAST)) == [200, 200]
            assert server.counters["unread_bytes"] == 0

    run(main())


def test_draining_answers_what_is_under_way_and_closes_the_rest(run):
    entered, release = asyncio.Event(), asyncio.Event()

    async def behave(request, reply):
        if request.path == b"/1":
            entered.set()
            await release.wait()
        reply.send(200, b"", request.path)

    async def main() -> None:
        server = Server(Recorder(behave), ServerLimits(), SystemClock())
        await server.start("127.0.0.1", 0)
        busy, busy_writer = await asyncio.open_connection("127.0.0.1", server.port)
        busy_writer.write(GET % 1 + GET % 2)
        idle, idle_writer = await asyncio.open_connection("127.0.0.1", server.port)
        idle_writer.write(GET % 3)
        await idle.readuntil(b"/3")
        await entered.wait()
        drain = asyncio.create_task(server.drain(PATIENCE_S))
        assert await idle.read() == b""
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", server.port)
        release.set()
        answer = await busy.read()
        assert b"connection: close" in answer
        assert b"/1" in answer
        await drain
        assert server.counters["connections"] == 0
        for writer in (busy_writer, idle_writer):
            writer.close()
            await closed(writer)

    run(main())


def test_a_drain_that_runs_out_of_time_cancels_handlers(run):
    cancelled = asyncio.Event()

    async def behave(request, reply):
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async def main() -> None:
        async with serving(Recorder(behave)) as server:
            talking = asyncio.create_task(talk(server.port, GET % 1))
            while not server.counters["requests"]:
                await asyncio.sleep(0.001)
            await server.drain(0.01)
            assert cancelled.is_set()
            assert server.counters["refused_drain_timeout"] == 1
            await asyncio.gather(talking, return_exceptions=True)

    run(main())


def test_a_bug_in_the_application_costs_one_answer_and_is_told(run):
    async def behave(request, reply):
        if request.path == b"/1":
            raise ValueError("bug")
        if request.path == b"/3":
            return  # forgets to answer
        reply.send(200, b"", b"")

    told = []

    async def main() -> bytes:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
        async with serving(Recorder(behave)) as server:
            return await talk(server.port, GET % 1 + GET % 2 + GET % 3 + LAST)

    assert statuses(run(main())) == [500, 200, 500, 200]
    assert [str(error) for error in told] == ["bug"]


def test_an_aborted_or_forgotten_stream_is_never_completed(run):
    async def behave(request, reply):
        reply.start(200, b"")
        reply.write(b"part")
        if request.path == b"/1":
            reply.abort()

    async def main() -> None:
        async with serving(Recorder(behave)) as server:
            for at in (1, 2):
                answer = await talk(server.port, GET % at)
                assert b"part" in answer
                assert not answer.endswith(b"0\r\n\r\n")

    run(main())


def test_unix_sockets_have_their_mode_replace_the_dead_and_respect_the_living(run, tmp_path):
    path = str(tmp_path / "s.sock")

    async def main() -> None:
        server = Server(Recorder(), ServerLimits(), SystemClock())
        await server.start_unix(path, 0o600)
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(LAST)
        assert statuses(await reader.read()) == [200]
        writer.close()
        await closed(writer)
        other = Server(Recorder(), ServerLimits(), SystemClock())
        with pytest.raises(Conflict):
            await other.start_unix(path)
        await server.drain(1)
        assert not os.path.exists(path)

    run(main())


def test_a_refusal_waits_for_the_answers_before_it(run):
    async def behave(request, reply):
        await asyncio.sleep(0.01)
        reply.send(200, b"", b"")

    async def main() -> bytes:
        async with serving(Recorder(behave)) as server:
            return await talk(server.port, GET % 1 + GET % 2 + b"nonsense\r\n\r\n" + LAST)

    assert statuses(run(main())) == [200, 200, 400]


def test_a_bug_while_a_body_limit_is_asked_for_is_not_the_client_s_fault(run):
    class Careless(Recorder):
        def body_bytes_max(self, method, path, headers):
            raise KeyError("bug")

    told = []

    async def main() -> bytes:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
        async with serving(Careless()) as server:
            return await talk(server.port, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi")

    assert statuses(run(main())) == [500]
    assert len(told) == 1
