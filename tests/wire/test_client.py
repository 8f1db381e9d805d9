"""The client against upstreams that misbehave in every way that upstreams do."""

from __future__ import annotations

import asyncio
import ssl
import subprocess

import pytest

from andon.kernel.clock import SystemClock
from andon.kernel.errors import Permanent, Transient
from andon.kernel.snapshot import TargetEntry
from andon.wire.client import Client
from andon.wire.limits import ClientLimits, ServerLimits
from andon.wire.place import parse_place
from andon.wire.server import Server
from tests.wire.rig import PATIENCE_S, Recorder, ask, read_request, script, serving, upstream

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Sink:
    """Records what it is given; can be slow."""

    def __init__(self, gate: asyncio.Event | None = None, error: Exception | None = None) -> None:
        self.status = 0
        self.body = b""
        self.gate = gate
        self.error = error

    def head(self, status, headers):
        self.status = status

    def chunk(self, data):
        if self.error is not None:
            raise self.error
        self.body += data

    async def writable(self):
        if self.gate is not None:
            await self.gate.wait()


BROKEN: dict[str, tuple[bytes, bool, str]] = {
    "closes without an answer": (b"", False, "upstream_reset"),
    "resets without an answer": (b"", True, "upstream_reset"),
    "closes in the head": (b"HTTP/1.1 200 OK\r\ncontent-", False, "upstream_reset"),
    "closes before the told length": (
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok",
        False,
        "upstream_reset",
    ),
    "closes between chunks": (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n",
        False,
        "upstream_reset",
    ),
    "resets in the body": (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok", True, "upstream_reset"),
    "bad chunk": (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        False,
        "upstream_malformed",
    ),
    "garbage": (b"what is this\r\n\r\n", False, "upstream_malformed"),
    "both lengths": (
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\nok",
        False,
        "upstream_malformed",
    ),
    "two lengths": (
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
        False,
        "upstream_malformed",
    ),
    "switches protocols": (
        b"HTTP/1.1 101 No\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        False,
        "upstream_malformed",
    ),
    "endless interim answers": (b"HTTP/1.1 103 Hints\r\n\r\n" * 50 + OK, False, "upstream_malformed"),
    "head too large": (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 700_000, False, "upstream_malformed"),
    "body too large": (
        b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n" + b"x" * 5000,
        False,
        "upstream_malformed",
    ),
    "folded header": (
        b"HTTP/1.1 200 OK\r\nx: 1\r\n 2\r\ncontent-length: 0\r\n\r\n",
        False,
        "upstream_malformed",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_answer_is_an_error_with_its_code_and_its_connection_is_not_kept(run, name):
    answer, reset, code = BROKEN[name]

    async def main() -> None:
        client = Client(SystemClock(), ClientLimits(body_bytes_max=4000))
        async with upstream(script(answer, reset=reset)) as target:
            with pytest.raises(Transient) as caught:
                await ask(client, target)
            assert caught.value.code == code
            assert client.counters["idle"] == 0
        await client.close()

    run(main())


WHOLE: dict[str, tuple[bytes, bytes, bytes]] = {
    "length": (b"POST", OK, b"ok"),
    "chunked": (
        b"POST",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nt: 1\r\n\r\n",
        b"ok",
    ),
    "until the end": (b"POST", b"HTTP/1.1 200 OK\r\n\r\nok", b"ok"),
    "interim answers first": (
        b"POST",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nx: 1\r\n\r\n" + OK,
        b"ok",
    ),
    "HEAD": (b"HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", b""),
    "204": (b"POST", b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    "304": (b"GET", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n", b""),
    "more than was told": (b"POST", OK + b"surplus", b"ok"),
    "a second answer": (b"POST", OK + OK, b"ok"),
    "HTTP/1.0": (b"POST", b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", b"ok"),
}


@pytest.mark.parametrize("with_sink", [False, True], ids=["kept", "streamed"])
@pytest.mark.parametrize("name", WHOLE)
def test_every_way_to_end_an_answer_is_understood(run, name, with_sink):
    method, raw, body = WHOLE[name]

    async def main() -> None:
        client = Client(SystemClock())
        sink = Sink() if with_sink else None
        async with upstream(script(raw)) as target:
            answer = await ask(client, target, method, sink=sink)
            assert answer.status == int(raw.rpartition(b"HTTP/1.")[2][2:5])
            assert (sink.body if sink else answer.body) == body
            assert all(key == key.lower() for key, _ in answer.headers)
        await client.close()

    run(main())


def test_a_connection_that_said_too_much_is_not_used_again(run):
    async def main() -> None:
        client = Client(SystemClock())
        async with upstream(script(OK + OK, hold=(held := asyncio.Event()))) as target:
            assert (await ask(client, target)).body == b"ok"
            assert (await ask(client, target)).body == b"ok"
            assert client.counters["idle"] == 0
            held.set()
        await client.close()

    run(main())


@pytest.mark.parametrize(
    ("answer", "options"),
    [
        (b"", {"first_byte_timeout_s": 0.03}),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok", {"idle_timeout_s": 0.03}),
        (b"HTTP/1.1 200 OK\r\n", {"idle_timeout_s": 0.03, "first_byte_timeout_s": 0.05}),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok", {"deadline_s": 0.03}),
        (b"", {"deadline_s": 0.03}),
    ],
    ids=["first byte", "idle in the body", "idle in the head", "deadline in the body", "deadline"],
)
def test_silence_is_a_timeout(run, answer, options):
    async def main() -> None:
        client = Client(SystemClock())
        async with upstream(script(answer, hold=(held := asyncio.Event()))) as target:
            settings = dict(options)
            if "deadline_s" in settings:
                settings["deadline_at"] = SystemClock().monotonic() + settings.pop("deadline_s")
            elif answer:
                settings.setdefault("first_byte_timeout_s", 0.03)
            with pytest.raises(Transient) as caught:
                await ask(client, target, **settings)
            assert (caught.value.code, caught.value.status) == ("upstream_timeout", 504)
            held.set()
        await client.close()

    run(main())


@pytest.mark.parametrize("rest", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok"])
def test_silence_is_a_timeout_on_a_connection_used_before(run, rest):
    async def script_(reader, writer):
        await read_request(reader)
        writer.write(OK)
        await read_request(reader)
        writer.write(rest)
        await reader.read()

    async def main() -> None:
        client = Client(SystemClock())
        async with upstream(script_) as target:
            await ask(client, target)  # leaves a timer behind that looks much later
            with pytest.raises(Transient) as caught:
                await ask(client, target, first_byte_timeout_s=0.05, idle_timeout_s=0.03)
            assert (caught.value.code, caught.value.status) == ("upstream_timeout", 504)
        await client.close()

    run(main())


def test_nobody_there_is_upstream_connect(run, tmp_path):
    async def main() -> None:
        client = Client(SystemClock())
        async with upstream(script(b"")) as target:
            pass
        missing = TargetEntry(id="u", url=f"unix://{tmp_path}/none.sock", protocol="oip")
        for nobody in (target, missing):
            with pytest.raises(Transient) as caught:
                await ask(client, nobody)
            assert caught.value.code == "upstream_connect"
        assert client.counters["connections"] == 0
        await client.close()

    run(main())


def answer_then_close(times: int):
    """Answers this many requests, then closes when the next one comes, without a word."""

    async def script_(reader, writer):
        for _ in range(times):
            await read_request(reader)
            writer.write(OK)
        await read_request(reader)

    return script_


def test_a_kept_connection_found_dead_is_replaced_once_for_methods_that_may_be_repeated(run):
    async def main() -> None:
        client = Client(SystemClock())
        async with upstream(answer_then_close(1), answer_then_close(5)) as target:
            assert (await ask(client, target, b"GET")).body == b"ok"
            assert (await ask(client, target, b"GET")).body == b"ok"
        await client.close()
        client = Client(SystemClock())
        async with upstream(answer_then_close(1), answer_then_close(5)) as target:
            assert (await ask(client, target)).body == b"ok"
            with pytest.raises(Transient) as caught:
                await ask(client, target)
            assert caught.value.code == "upstream_reset"
        await client.close()

    run(main())


def test_cancelling_closes_the_upstream_connection(run):
    left = asyncio.Event()

    async def stall(reader, writer):
        await read_request(reader)
        assert await reader.read() == b""
        left.set()

    async def main() -> None:
        client = Client(SystemClock())
        async with upstream(stall) as target:
            asking = asyncio.create_task(ask(client, target))
            while not client.counters["connections"]:
                await asyncio.sleep(0.001)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            await asyncio.wait_for(left.wait(), PATIENCE_S)
        assert client.counters["connections"] == 0
        await client.close()

    run(main())


def test_a_slow_sink_holds_the_upstream_back(run):
    size = 40 * 2**20
    sent = 0

    async def pour(reader, writer):
        nonlocal sent
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        for _ in range(size // 65536):
            writer.write(b"x" * 65536)
            await writer.drain()
            sent += 65536

    async def main() -> None:
        client = Client(SystemClock())
        gate = asyncio.Event()
        sink = Sink(gate)
        async with upstream(pour) as target:
            asking = asyncio.create_task(ask(client, target, sink=sink, idle_timeout_s=PATIENCE_S))
            while not sink.body:
                await asyncio.sleep(0.001)
            before = -1
            while sent != before:
                before = sent
                await asyncio.sleep(0.02)
            assert sent < size
            assert len(sink.body) < 2**20
            gate.set()
            await asking
            assert len(sink.body) == size
        await client.close()

    run(main())


def test_an_error_of_the_sink_ends_the_call_as_it_is(run):
    async def main() -> None:
        client = Client(SystemClock())
        async with upstream(script(OK, hold=(held := asyncio.Event()))) as target:
            with pytest.raises(ZeroDivisionError):
                await ask(client, target, sink=Sink(error=ZeroDivisionError()))
            assert client.counters["idle"] == 0
            held.set()
        await client.close()

    run(main())


def test_connections_are_bounded_reused_and_requests_wait_their_turn(run):
    async def behave(request, reply):
        await asyncio.sleep(0)
        reply.send(200, b"", request.path)

    async def main() -> None:
        async with serving(Recorder(behave)) as server:
            target = TargetEntry(id="t", url=f"http://127.0.0.1:{server.port}/base/", protocol="oip")
            client = Client(SystemClock(), ClientLimits(connections_max=3))
            answers = await asyncio.gather(*(ask(client, target, path=b"/%d" % at) for at in range(50)))
            assert [answer.body for answer in answers] == [b"/base/%d" % at for at in range(50)]
            openings = [answer.opening for answer in answers]
            assert sum(opening.connect_us is not None for opening in openings) == 3
            assert all(opening.queue_us > 0 for opening in openings if opening.connect_us is None)
            assert server.counters["accepted"] == 3
            assert client.counters == {"targets": 1, "connections": 3, "idle": 3, "waiting": 0}
            client.close_target("t")
            await asyncio.sleep(0.01)
            assert client.counters == {"targets": 0, "connections": 0, "idle": 0, "waiting": 0}
            await client.close()

    run(main())


def test_cancelled_waiters_lose_no_turn(run):
    async def behave(request, reply):
        await asyncio.sleep(0.001)
        reply.send(200, b"", b"")

    async def main() -> None:
        async with serving(Recorder(behave)) as server:
            target = TargetEntry(id="t", url=f"http://127.0.0.1:{server.port}", protocol="oip")
            client = Client(SystemClock(), ClientLimits(connections_max=2, waiting_max=40))
            tasks = [asyncio.create_task(ask(client, target)) for _ in range(40)]
            await asyncio.sleep(0.003)
            for task in tasks[::3]:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(
                isinstance(result, asyncio.CancelledError) or result.status == 200 for result in results
            )
            assert (await ask(client, target)).status == 200
            await client.close()

    run(main())


def test_dropping_a_target_lets_its_last_request_finish(run):
    entered, release = asyncio.Event(), asyncio.Event()

    async def behave(request, reply):
        entered.set()
        await release.wait()
        reply.send(200, b"", b"done")

    async def main() -> None:
        async with serving(Recorder(behave)) as server:
            target = TargetEntry(id="t", url=f"http://127.0.0.1:{server.port}", protocol="oip")
            client = Client(SystemClock())
            asking = asyncio.create_task(ask(client, target))
            await entered.wait()
            client.keep_targets(frozenset())
            release.set()
            assert (await asking).body == b"done"
            await asyncio.sleep(0.01)
            assert client.counters["connections"] == 0
            await client.close()

    run(main())


@pytest.mark.parametrize("header", [(b"x", b"a\r\nforged: 1"), (b"x", b"a\n"), (b"x\r\n", b"a")])
def test_a_line_end_never_gets_into_a_head(run, header):
    async def main() -> None:
        client = Client(SystemClock())
        target = TargetEntry(id="t", url="http://127.0.0.1:9", protocol="oip")
        with pytest.raises(Permanent):
            await ask(client, target, headers=[header])
        await client.close()

    run(main())


@pytest.mark.parametrize(
    "url", ["ftp://a", "http://", "http://u:p@h", "unix://relative", "http://h:x", "http://h/a b", ""]
)
def test_a_url_that_leads_nowhere_is_refused(url):
    with pytest.raises(Permanent):
        parse_place(url)


def test_tls_verifies_the_upstream_by_the_given_authority(run, tmp_path):
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ]
        + ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
        + ["-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "crt")],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "crt", tmp_path / "key")

    async def main() -> None:
        server = Server(Recorder(), ServerLimits(), SystemClock())
        await server.start_tls("127.0.0.1", 0, context)
        target = TargetEntry(id="t", url=f"https://localhost:{server.port}", protocol="oip")
        trusting = Client(SystemClock(), ClientLimits(ca_file=str(tmp_path / "crt")))
        first, second = [await ask(trusting, target) for _ in range(2)]
        assert first.body == second.body == b"question"
        assert first.opening is not None
        assert 0 < first.opening.tls_us < first.opening.connect_us
        assert second.opening is None
        assert server.counters["accepted"] == 1
        await trusting.close()
        distrusting = Client(SystemClock())
        with pytest.raises(Transient) as caught:
            await ask(distrusting, target)
        assert caught.value.code == "upstream_connect"
        await distrusting.close()
        await server.drain(1)

    asyncio.run(main())
