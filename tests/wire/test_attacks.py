"""Clients that mean to hold a server up: what each gets, and that others are served meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from andon.kernel.clock import SystemClock
from andon.wire.limits import ServerLimits
from andon.wire.server import Server
from tests.wire.rig import PATIENCE_S, Recorder, closed, serving, statuses, talk

LAST = b"GET /last HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
DRIPS = {
    "head": (b"GET / HTTP/1.1\r\n", b"x: y\r\n", [408]),
    "request line": (b"GET /", b"a", [408]),
    "chunk extension": (CHUNKED + b"5;", b"x", [408]),
    "chunk size": (CHUNKED, b"0", [408]),
    "trailers": (CHUNKED + b"0\r\n", b"x: y\r\n", [408]),
    "empty lines": (b"\r\n", b"\r\n", []),
    "empty lines after an answer": (b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", b"\r\n", [200]),
}


@pytest.mark.parametrize("name", DRIPS)
def test_whoever_drips_is_let_go_in_time_and_others_are_served(run, name):
    first, drop, expected = DRIPS[name]

    async def main() -> None:
        limits = {"head_timeout_s": 0.15, "body_timeout_s": 0.15, "idle_timeout_s": 0.15}
        async with serving(Recorder(), **limits) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(first)
            answer = asyncio.ensure_future(reader.read())
            async with asyncio.timeout(PATIENCE_S):
                while not answer.done():
                    writer.write(drop)
                    await asyncio.sleep(0.01)
            assert statuses(await talk(server.port, LAST)) == [200]
            writer.close()
            await closed(writer)
            try:
                assert statuses(await answer) == expected
            except ConnectionError:
                assert (
                    first.endswith(b"\r\n\r\n") or expected == []
                )  # closed while idle: more bytes met a reset

    run(main())


def test_a_body_of_one_byte_chunks_is_refused_before_it_costs_more_than_it_carries(run):
    class Roomy(Recorder):
        def body_bytes_max(self, method, path, headers):
            return 10**6

    async def main() -> None:
        async with serving(Roomy(), chunk_overhead_bytes_max=1024) as server:
            answer = await talk(server.port, CHUNKED + b"1\r\nx\r\n" * 20_000)
            assert statuses(answer) == [400]
            assert server.counters["refused_chunk_overhead"] == 1

    run(main())


def test_a_whole_answer_that_nobody_takes_is_given_up(run):
    async def behave(request, reply):
        reply.send(200, b"", b"x" * 2**25)

    async def main() -> None:
        async with serving(Recorder(behave), write_timeout_s=0.05, write_bytes_per_s_min=10**9) as server:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
            writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            async with asyncio.timeout(PATIENCE_S):
                while "refused_slow_reader" not in server.counters:
                    await asyncio.sleep(0.01)
            writer.close()
            await closed(writer)

    run(main())


def test_one_address_cannot_take_all_connections_and_leaves_none_behind(run):
    async def main() -> None:
        async with serving(Recorder(), connections_per_address_max=5) as server:
            held = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(5)]
            for _ in range(20):
                assert statuses(await talk(server.port)) == [503]
            for _, writer in held:
                writer.close()
                await closed(writer)
            async with asyncio.timeout(PATIENCE_S):
                while server.counters["connections"]:
                    await asyncio.sleep(0.005)
            assert statuses(await talk(server.port, LAST)) == [200]
            assert server.counters["refused_address_connections"] == 20

    run(main())


class Keeper:
    """Bars whoever was noted twice."""

    def __init__(self) -> None:
        self.noted: list[str] = []

    def bars(self, peer: str) -> bool:
        return len(self.noted) > 1

    def note(self, peer: str, code: str) -> None:
        assert peer.startswith("127.0.0.1:")
        self.noted.append(code)


def test_a_gatekeeper_hears_of_every_refusal_and_may_bar_a_connection(run):
    async def main() -> None:
        keeper = Keeper()
        server = Server(Recorder(), ServerLimits(), SystemClock(), keeper)
        await server.start("127.0.0.1", 0)
        assert statuses(await talk(server.port, LAST)) == [200]
        for _ in range(2):
            assert statuses(await talk(server.port, b"nonsense\r\n\r\n")) == [400]
        assert keeper.noted == ["malformed_request", "malformed_request"]
        assert statuses(await talk(server.port, LAST)) == [429]
        await server.drain(0.2)

    run(main())


def test_hundreds_of_connections_that_say_nothing_are_let_go(run):
    async def main() -> None:
        async with serving(Recorder(), head_timeout_s=0.2) as server:
            held = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(300)]
            assert statuses(await talk(server.port, LAST)) == [200]
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.gather(*(reader.read() for reader, _ in held))
            for _, writer in held:
                writer.close()
                await closed(writer)
            assert server.counters["connections"] == 0

    run(main())
