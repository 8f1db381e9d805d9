"""The same factory on other ground: the gateway under uvicorn, the control database in PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import openai
import psycopg
import pytest
import uvicorn

from andon.app.gateway_assembly import GatewayGround, assemble_gateway
from andon.gateway.gateway import Gateway
from andon.gateway.settings import GatewaySettings
from andon.kernel.clock import SystemClock
from andon.kernel.random import SystemRandom
from andon.ledger.disk import FileDisk
from andon.ledger.folder import open_log
from andon.ledger.thread import WorkThread
from andon.wire.asgi import AsgiBridge
from andon.wire.client import Client
from benchmarks.factory import ENDPOINT, KEY_HEADER, make_home
from tests.e2e import models
from tests.e2e.conftest import ASK
from tests.e2e.factories import model, resource, running_factory, wait_for
from tests.e2e.traffic import Caller
from tests.store import postgres


@asynccontextmanager
async def gateway_of(root: Path) -> AsyncIterator[Gateway]:
    """A gateway in this process, on a home with a kept snapshot."""
    clock, thread = SystemClock(), WorkThread("files")
    client = Client(clock)
    async with open_log(root / ".andon/ledger", clock, "0") as log:
        built = assemble_gateway(
            GatewayGround(
                bounds=GatewaySettings(),
                pepper=bytes.fromhex((root / ".andon/pepper").read_text()),
                control_url="http://127.0.0.1:9",
                control_key="unused",
                clock=clock,
                random=SystemRandom(),
                log=log,
                upstream=client,
                files=thread,
                cuts=FileDisk(root / ".andon/cuts"),
                snapshots=FileDisk(root / ".andon/snapshots"),
                credentials=str,
            )
        )
        await built.holder.load()
        try:
            yield built.gateway
        finally:
            await client.close()
            thread.close()


@asynccontextmanager
async def under_uvicorn(gateway: Gateway) -> AsyncIterator[int]:
    config = uvicorn.Config(AsgiBridge(gateway), port=0, log_level="critical", lifespan="on", ws="none")
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


def test_the_gateway_serves_under_uvicorn(home: Path, provider: str):
    make_home(home, int(provider.rpartition(":")[2]), "acknowledged")
    secret = KEY_HEADER["authorization"].removeprefix("Bearer ")

    async def main() -> None:
        async with gateway_of(home) as gateway, under_uvicorn(gateway) as port:
            base = f"http://127.0.0.1:{port}/v1"
            async with openai.AsyncOpenAI(api_key=secret, base_url=base, max_retries=0) as client:
                answer = await client.chat.completions.create(model=ENDPOINT, messages=ASK, max_tokens=3)
                assert answer.choices[0].message.content == "the line runs"
                stream = await client.chat.completions.create(
                    model=ENDPOINT, messages=ASK, max_tokens=3, stream=True
                )
                words = [chunk.choices[0].delta.content or "" async for chunk in stream]
                assert "".join(words) == "the line runs "
                with pytest.raises(openai.NotFoundError):
                    await client.chat.completions.create(model="none", messages=ASK)

    asyncio.run(main())


@pytest.fixture
def database() -> Iterator[str]:
    if reason := postgres.unavailable():
        pytest.skip(reason)
    with postgres.running() as url:
        yield url


@pytest.mark.postgres
def test_a_factory_keeps_its_desired_state_in_postgresql(home: Path, database: str):
    models.save_linear(home / "models/1.onnx")
    models.save_linear(home / "models/2.onnx", bias=2.0)

    def documents(version: str) -> list[dict[str, object]]:
        strategy = {"type": "allAtOnce"}
        return [
            *model("credit", {"1": "models/1.onnx", "2": "models/2.onnx"}),
            resource(
                "Endpoint", "credit", release={"model": "credit", "version": version}, strategy=strategy
            ),
        ]

    with running_factory(home, documents("1"), {"ANDON_DATABASE_URL": database}) as factory:
        factory.wait_until_served("credit")
        with contextlib.closing(Caller(factory.port, factory.key()[1])) as caller:
            wait_for("the key", lambda: caller.infer("credit").status == 200)
            factory.apply(documents("2"))
            wait_for(
                "the next release",
                lambda: caller.infer("credit").headers["x-andon-release"] == "credit@2",
            )
            factory.down()
            factory.up()
            factory.wait_until_served("credit")
            assert caller.infer("credit").headers["x-andon-release"] == "credit@2"
        assert not (home / ".andon/state.db").exists()
    with psycopg.connect(database) as connection:
        tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
    assert tables is not None
    assert tables[0] > 3
