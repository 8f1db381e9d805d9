"""The admin API against its own document: whatever is sent, no server error, and every answer as described."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from andon.app.observer.table import observer_routes
from tests.web.house import ADMIN, GATEWAY, serving

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
AWAY = {route.path for route in observer_routes()}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("fuzz")) as url:
        yield url


# That the running app has exactly this document is test_api's to say.
schema = schemathesis.openapi.from_path(Path(__file__).parent / "golden" / "openapi.json")


@schemathesis.serializer("application/x-ndjson", "application/x-protobuf", "application/vnd.andon.profile")
def as_it_comes(_: Any, value: Any) -> bytes:
    """Whatever was drawn, as bytes: what such a body is, the document leaves to the route."""
    return value if isinstance(value, bytes) else repr(value).encode()


@schema.parametrize()
@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    database=None,
)
def test_no_answer_is_a_surprise(case: Any, address: str) -> None:
    # A follower has no end: what it answers is tested elsewhere.
    if isinstance(case.query, dict):
        case.query.pop("follow", None)
        case.query.pop("wait_s", None)
    key = GATEWAY if case.path in ("/v1/snapshot", "/v1/reports") else ADMIN
    headers = {"authorization": f"Bearer {key}"}
    # No observer runs here: what it would answer is a 503 that says so, as described.
    checks = CHECKS[case.path in AWAY :]
    case.call_and_validate(base_url=address, headers=headers, checks=checks, timeout=20)
