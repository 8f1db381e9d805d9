"""Tables on an object store: the same promises over a real S3 server in this process."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from andon.ledger.tables.delta import Tables, storage_options
from andon.ledger.tables.settings import SealSettings
from tests.ledger.tables.worlds import World, exchanges, labels, outcomes, write_segment

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}


@pytest.fixture
def endpoint() -> Iterator[str]:
    """An S3 server on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def options(endpoint: str) -> dict[str, str]:
    """Options from an environment as an operator sets it."""
    return storage_options({**KEYS, "AWS_ENDPOINT_URL": endpoint})


@pytest.fixture
def bucket(endpoint: str, tmp_path: Path) -> str:
    """A place of the test's own in a bucket."""
    client = boto3.client(
        "s3",
        region_name="us-east-1",
        endpoint_url=endpoint,
        aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
    )
    client.create_bucket(Bucket="ledger")
    client.close()
    return f"s3://ledger/{tmp_path.name}"


def test_segments_land_exactly_once_on_an_object_store(
    tmp_path: Path, bucket: str, options: dict[str, str]
) -> None:
    settings = SealSettings(retry_s=1e-9, keep_s=1e9, bunch_bytes=1, tidy_commits=4)
    world = World(tmp_path, bucket, settings, options)
    for number in range(6):
        write_segment(world.folder("rows"), number + 1, 1 + 10 * number, exchanges([number] * 5))
    write_segment(world.folder("facts"), 1, 1, labels(range(3)))
    world.sealer.turn()
    world.open()  # another process goes on
    world.seal_all()
    assert world.ids() == [f"r-{number}" for number in range(6) for _ in range(5)]
    assert world.ids("labels") == ["l-0", "l-1", "l-2"]
    assert world.sealer.counters.compactions > 0
    assert all(uri.startswith(f"{bucket}/attempts/") for uri in world.tables.file_uris("attempts"))
    original = world.read("attempts")
    assert world.sealer.rebuild("attempts") == 30
    assert world.read("attempts") == original


def test_a_store_that_is_away_is_retried_and_nothing_is_lost(
    tmp_path: Path, bucket: str, options: dict[str, str]
) -> None:
    world = World(tmp_path, bucket, options=options)
    write_segment(world.folder("rows"), 1, 1, outcomes(range(4)))
    away = {**storage_options({**KEYS, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}), "max_retries": "0"}
    world.open(Tables(bucket, {**away, "connect_timeout": "1s", "timeout": "1s"}))
    turn = world.sealer.turn()
    assert {error.code for error in turn.failures} == {"tables_unreachable"}
    assert world.sealer.counters.failures == len(turn.failures) >= 9  # one for each table
    assert all("\x1b" not in error.message for error in turn.failures)
    world.open()
    world.seal_all()
    assert world.ids() == ["r-0", "r-1", "r-2", "r-3"]
