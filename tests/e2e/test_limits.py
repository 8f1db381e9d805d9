"""Protection on a running factory: shared counters on a real Redis that goes away, and an address that guesses keys."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path

from tests.e2e.factories import Factory, resource, running_factory, running_provider, wait_for
from tests.security.limits.stores import running_redis

BODY = json.dumps({"model": "chat", "messages": [{"role": "user", "content": "hi"}]}).encode()


def ask(factory: Factory, key: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
    """Status and error code of one chat request."""
    request = urllib.request.Request(
        f"{factory.url}/v1/chat/completions",
        BODY,
        {"content-type": "application/json", "authorization": f"Bearer {key}", **(headers or {})},
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as error:
        with error:
            return error.code, str(json.loads(error.read())["error"]["code"])


def documents(provider: str) -> list[dict[str, object]]:
    return [
        resource("Provider", "dummy", url=provider, protocol="openai"),
        resource("Endpoint", "chat", protocol="openai", release={"provider": "dummy", "upstreamModel": "dummy"}),
        resource(
            "Limit", "all", scope="endpoint", subject="chat", requestsPerMinute=1, burstRequests=5,
            onStoreDown="closed",
        ),
    ]  # fmt: skip


def names(factory: Factory) -> set[str]:
    return {event["name"] for event in factory.events()}


def test_shared_counters_their_loss_and_a_guesser_on_a_real_factory(tmp_path: Path) -> None:
    with running_redis(tmp_path) as store, running_provider() as provider:
        settings = {
            "ANDON_LIMITS_URL": store.url,
            "ANDON_LIMITS_PATIENCE_S": "0.5",
            "ANDON_TRUSTED_PROXIES": "127.0.0.0/8",
            "ANDON_ABUSE_OFFENCES": "5",
        }
        with running_factory(tmp_path / "factory", documents(provider), settings) as factory:
            _, key = factory.key("--owner", "tests")
            factory.wait_until_served("chat")
            wait_for("the key", lambda: ask(factory, key)[0] != 401)
            # One was used just now.
            answers = [ask(factory, key) for _ in range(6)]
            assert [status for status, _ in answers] == [200] * 4 + [429] * 2
            assert answers[-1][1] == "rate_limit_exceeded"

            store.kill()
            wait_for("the gateway's refusal", lambda: ask(factory, key) == (503, "limits_unavailable"))
            wait_for("the event", lambda: "limits.lost" in names(factory))
            store.start()
            wait_for("the store", lambda: ask(factory, key)[0] == 200)
            wait_for("the event", lambda: "limits.restored" in names(factory))

            far = {"x-forwarded-for": "203.0.113.7"}
            guesses = [ask(factory, f"sk-andon-guess-{number}", far) for number in range(8)]
            assert guesses[0] == (401, "invalid_api_key")
            assert guesses[-1] == (429, "penalised")
            assert ask(factory, key)[0] != 401  # everybody else goes on
            assert ask(factory, key)[1] != "penalised"
