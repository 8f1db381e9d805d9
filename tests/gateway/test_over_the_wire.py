"""The gateway on real sockets: our server in front, our client behind, a real log on a real disk, a real provider."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import openai
import pytest

from andon.gateway.gateway import Gateway, Parts
from andon.gateway.settings import GatewaySettings
from andon.gateway.validation import ValidateStage
from andon.kernel.clock import SystemClock
from andon.kernel.ids import Ids
from andon.kernel.random import SystemRandom
from andon.kernel.snapshot import EndpointEntry, TargetEntry
from andon.ledger.disk import FileDisk
from andon.ledger.log import Log
from andon.ledger.settings import LogSettings
from andon.ledger.thread import WorkThread
from andon.testing.provider import DummyProvider
from andon.wire.client import Client
from andon.wire.server import Server, ServerLimits
from tests.gateway.world import FakeReports, FakeStage, chat_endpoint, release, snapshot


class Line:
    """Everything between a client and a provider."""

    gateway: Gateway
    server: Server
    provider: DummyProvider
    log: Log
    url: str


def endpoint(name: str, url: str, behaviour: str = "") -> EndpointEntry:
    entry = TargetEntry(id=f"t-{name}", url=url, protocol="openai", model=f"dummy{behaviour}")
    return chat_endpoint(
        name=name, releases=(release(f"{name}@1", "stable", 10000, entry),), idle_timeout_s=0.2, retries=1
    )


def on_a_line(work: Callable[[Line], Awaitable[None]], path: Path) -> None:
    async def main() -> None:
        clock, random, line = SystemClock(), SystemRandom(), Line()
        line.provider = DummyProvider(clock)
        upstream_server = Server(line.provider, ServerLimits(), clock)
        await upstream_server.start("127.0.0.1", 0)
        url = f"http://127.0.0.1:{upstream_server.port}"
        thread = WorkThread("disk")
        line.log = await Log.open(FileDisk(path), "ledger", clock, thread, "g", LogSettings(reserve_bytes=0))
        client = Client(clock)
        stages = [FakeStage("identify"), ValidateStage()]
        parts = Parts(upstream=client, log=line.log, reports=FakeReports(), credentials=str, clock=clock,
                      ids=Ids(clock, random), random=random)  # fmt: skip
        line.gateway = Gateway(stages, parts, GatewaySettings())
        entries = (
            endpoint("chat", url), endpoint("cut", url, "?cut_after=2"), endpoint("stall", url, "?stall_after=2"),
            endpoint("bad", url, "?malformed_after=2"), endpoint("busy", url, "?status=429&retry_after_s=90"),
            endpoint("slow", url, "?latency_ms=20000"),
        )  # fmt: skip
        for put in [adopter.adopt(snapshot(*entries)) for adopter in line.gateway.adopters]:
            put()
        line.server = Server(line.gateway, ServerLimits(), clock)
        await line.server.start("127.0.0.1", 0)
        line.url = f"http://127.0.0.1:{line.server.port}"
        try:
            await work(line)
        finally:
            await line.gateway.drain(_Draining(line.server))
            await client.close()
            await upstream_server.drain(0.1)
            await line.log.close()
            thread.close()

    asyncio.run(main())


class _Draining:
    def __init__(self, server: Server) -> None:
        self._server = server

    async def drain(self, timeout_s: float) -> None:
        await self._server.drain(1.0)


def test_the_real_openai_client_works_unchanged(tmp_path: Path):
    async def work(line: Line) -> None:
        ask = [{"role": "user", "content": "hello there"}]
        async with openai.AsyncOpenAI(api_key="sk", base_url=line.url + "/v1", max_retries=0) as client:
            answer = await client.chat.completions.create(model="chat", messages=ask, max_tokens=4)
            assert answer.usage.completion_tokens == 4
            assert answer._request_id
            chunks = [
                c async for c in await client.chat.completions.create(model="chat", messages=ask, stream=True)
            ]
            assert all(chunk.choices for chunk in chunks)
            asked = await client.chat.completions.create(
                model="chat", messages=ask, stream=True, stream_options={"include_usage": True}
            )
            assert [c async for c in asked][-1].usage.total_tokens > 0
            assert (await client.models.list()).data[0].id == "chat"
            with pytest.raises(openai.NotFoundError) as missing:
                await client.chat.completions.create(model="none", messages=ask)
            assert missing.value.code == "model_not_found"
            with pytest.raises(openai.BadRequestError) as wrong:
                await client.chat.completions.create(
                    model="chat", messages=[{"role": "boss", "content": "x"}]
                )
            assert wrong.value.param == "messages[0].role"
            with pytest.raises(openai.RateLimitError):
                await client.chat.completions.create(model="busy", messages=ask)
            for name in ("cut", "stall", "bad"):
                with pytest.raises(openai.APIError):
                    async for _ in await client.chat.completions.create(
                        model=name, messages=ask, stream=True
                    ):
                        pass

    on_a_line(work, tmp_path)


def test_a_client_that_leaves_cancels_the_provider(tmp_path: Path):
    async def work(line: Line) -> None:
        body = b'{"model":"slow","messages":[{"role":"user","content":"x"}]}'
        reader, writer = await asyncio.open_connection("127.0.0.1", line.server.port)
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b"
            % (len(body), body)
        )
        while not line.provider.requests:
            await asyncio.sleep(0.005)
        writer.close()
        while not line.provider.cancelled:
            await asyncio.sleep(0.005)
        while line.gateway.meters.in_flight:
            await asyncio.sleep(0.005)
        assert line.gateway.meters.requests["slow", "slow@1", 4] == 1
        assert not await reader.read()

    on_a_line(work, tmp_path)
