"""Tokens of a real issuer on a real factory: who is let in, who is not, and what happens when its keys rotate."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from andon.ledger.disk import FileDisk
from andon.ledger.reader import tail
from andon.ledger.row import Outcome
from andon.testing.issuer import Issuer, make_key
from tests.e2e.conftest import ASK, chat_endpoint
from tests.e2e.factories import Factory, resource, running_factory, wait_for

CLAIMS = {"subject": "preferred_username", "team": "team", "groups": "groups"}


def documents(issuer: Issuer, provider: str, change: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    spec = {
        "issuer": issuer.url,
        "audiences": ["andon"],
        "claims": CLAIMS,
        "label": "confidential",
        **(change or {}),
    }
    return [
        *(resource("Team", name) for name in ("crew", "small")),
        resource("Issuer", "corp", **spec),
        resource("RoleBinding", "crew-operates", subject="group:crew", issuer="corp", roles=["operator"]),
        resource("RoleBinding", "all-ask", subject="user:*", issuer="corp", roles=["model-user"]),
        resource("Service", "scorer", owner="ann", team="crew", roles=["model-user"], label="internal"),
        resource("Provider", "dummy", url=f"{provider}/v1"),
        resource("Limit", "few", scope="team", subject="small", requestsPerMinute=2, burstRequests=2),
        chat_endpoint("good"),
    ]


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with Issuer() as running:
        yield running


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer, provider: str) -> Iterator[Factory]:
    settings = {"ANDON_ABUSE_EXEMPT": "127.0.0.0/8"}  # what is sent here would make any address wait
    with running_factory(tmp_path_factory.mktemp("plant"), documents(issuer, provider), settings) as started:
        wait_for("the issuer's keys", lambda: keys_of(started) == {"first"})
        yield started


def keys_of(factory: Factory) -> set[str]:
    """Ids of the signing keys that control knows."""
    return set(factory.get("issuer", "corp").get("status", {}).get("keyIds", ()))


def ask(factory: Factory, token: str) -> Any:
    with openai.OpenAI(base_url=f"{factory.url}/v1", api_key=token, max_retries=0) as client:
        return client.chat.completions.create(model="good", messages=ASK, max_tokens=4)


def refusal(factory: Factory, token: str) -> tuple[int, Any, str]:
    with pytest.raises(openai.APIStatusError) as caught:
        ask(factory, token)
    body: Any = caught.value.body
    return caught.value.status_code, body.get("code"), str(body.get("message"))


def row(factory: Factory, request: str) -> Outcome:
    disk = FileDisk(factory.root / ".andon" / "ledger")
    return next(
        entry.row for entry in tail(disk, 100) if entry.row.id == request and isinstance(entry.row, Outcome)
    )


def test_a_token_for_us_is_served_and_the_row_says_whose_it_was(plant: Factory, issuer: Issuer) -> None:
    answer = wait_for_service(plant, issuer.token(aud=["account", "andon"], team="crew", groups=["crew"]))
    found = row(plant, answer._request_id)
    assert (found.status, found.principal, found.team, found.key) == (200, "user:corp/ann", "crew", None)


def wait_for_service(factory: Factory, token: str) -> Any:
    """The answer, once the gateway has the issuer's keys: they come with a snapshot."""

    def served() -> Any:
        try:
            return ask(factory, token)
        except openai.AuthenticationError:
            return None

    return wait_for("a token being taken", served)


def test_limits_by_team_hold_for_tokens(plant: Factory, issuer: Issuer) -> None:
    token = issuer.token(aud="andon", team="small", preferred_username="dan")
    wait_for_service(plant, token)
    ask(plant, token)
    assert refusal(plant, token)[:2] == (429, "rate_limit_exceeded")
    ask(plant, issuer.token(aud="andon", team="large"))


def hostile(issuer: Issuer) -> dict[str, str]:
    """What attackers and mistaken clients send; none of it may be served."""
    good = issuer.token(aud="andon")
    head, claims, signature = good.split(".")

    def part(document: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()

    demanding = {"alg": "RS256", "kid": "first", "crit": ["x"], "x": 1}
    # joserfc refuses to sign like this, so it is done by hand: the public key's text as a shared secret.
    message = f"{part({'alg': 'HS256', 'kid': 'first'})}.{claims}"
    public = issuer.keys[-1].as_pem(private=False)
    forged = base64.urlsafe_b64encode(hmac.digest(public, message.encode(), "sha256")).rstrip(b"=").decode()
    return {
        "for somebody else": issuer.token(aud="billing"),
        "Keycloak's default": issuer.token(),
        "for nobody": issuer.token(aud=None),
        "not signed": f"{part({'alg': 'none', 'kid': 'first'})}.{claims}.AA",
        "without a signature": f"{part({'alg': 'none'})}.{claims}.",
        "the public key as a secret": f"{message}.{forged}",
        "another algorithm of the same key": f"{part({'alg': 'ES256', 'kid': 'first'})}.{claims}.{signature}",
        "claims changed": f"{head}.{part({**issuer.claims(aud='andon'), 'preferred_username': 'root'})}.{signature}",
        "signed by a stranger under a known id": issuer.token(key=make_key("first"), aud="andon"),
        "an id that is a path": issuer.token({"kid": "../../../../dev/null"}, aud="andon"),
        "an id that is a query": issuer.token({"kid": "x' UNION SELECT 'a"}, aud="andon"),
        "its own key inside": issuer.token(
            {"jwk": make_key("x").as_dict(private=False), "kid": "x"}, make_key("x"), aud="andon"
        ),
        "a demand that is not understood": f"{part(demanding)}.{claims}.{signature}",
        "not yet": issuer.token(aud="andon", nbf=int(time.time()) + 3600),
        "without an end": issuer.token(aud="andon", exp=None),
        "of another issuer": issuer.token(aud="andon", iss="https://example.com"),
        "bound to a key of its holder": issuer.token(aud="andon", cnf={"jkt": "x"}),
        "too long": issuer.token(aud="andon", filler="x" * 20_000),
        "nobody": issuer.token(aud="andon", preferred_username=None),
    }


def test_what_is_wrong_is_refused_in_the_same_words_whatever_it_is(plant: Factory, issuer: Issuer) -> None:
    wait_for_service(plant, issuer.token(aud="andon"))
    told = {name: refusal(plant, token) for name, token in hostile(issuer).items()}
    assert {answer[:2] for answer in told.values()} == {(401, "invalid_token")}, told
    assert len({answer[2] for answer in told.values()}) == 1, told


def test_an_expired_token_is_told_so(plant: Factory, issuer: Issuer) -> None:
    now = int(time.time())
    assert refusal(plant, issuer.token(aud="andon", exp=now - 31))[:2] == (401, "expired_token")
    ask(plant, issuer.token(aud="andon", exp=now - 1))  # clocks may differ by the leeway


def test_the_operator_is_told_of_keycloaks_default_audience(
    plant: Factory, issuer: Issuer, tmp_path: Path
) -> None:
    assert refusal(plant, issuer.token())[1] == "invalid_token"

    def told() -> list[dict[str, Any]]:
        events = [event for event in plant.events("Issuer/corp") if event["name"] == "token.refused"]
        return [event for event in events if event["data"]["reason"] == "account"]

    event = wait_for("the refusal in the journal", told)[0]
    assert "Keycloak" in event["data"]["detail"]
    assert "Audience mapper" in event["data"]["detail"]


def test_a_key_that_is_new_is_learnt_by_the_request_that_brings_it(plant: Factory, issuer: Issuer) -> None:
    asked = len(issuer.asked)
    issuer.rotate("second")
    wait_for_service(plant, issuer.token(aud="andon"))
    assert len(issuer.asked) > asked
    for number in range(50):  # ids that nobody has: no storm of questions
        refusal(plant, issuer.token({"kid": f"random-{number}"}, aud="andon"))
    assert len(issuer.asked) - asked <= 10


def test_an_issuer_that_is_away_takes_nothing_from_those_it_vouched_for(
    plant: Factory, issuer: Issuer
) -> None:
    token = issuer.token(aud="andon", preferred_username="bob")
    wait_for_service(plant, token)
    issuer.broken = True
    try:
        ask(plant, issuer.token(aud="andon", preferred_username="carol"))
        ask(plant, token)
    finally:
        issuer.broken = False


def test_a_key_of_a_service_acts_as_the_service_and_is_gone_when_it_is_revoked(plant: Factory) -> None:
    id_, secret = plant.key("--service", "scorer")
    answer = wait_for_service(plant, secret)
    found = row(plant, answer._request_id)
    assert (found.principal, found.team, found.key) == ("service:scorer", "crew", id_)

    def last_used() -> Any:
        listed = plant.read("keys", "list")["items"]
        return next(key for key in listed if key["id"] == id_)["last_used_ns"]

    assert wait_for("the key's last use", last_used) <= time.time_ns()
    plant.andon("keys", "revoke", id_)
    revoked_at = time.monotonic()

    def gone() -> float:
        try:
            ask(plant, secret)
        except openai.AuthenticationError:
            return time.monotonic() - revoked_at
        return 0.0

    print(
        f"a revoked key was refused {wait_for('the refusal', gone) * 1000:.0f} ms after `andon keys revoke`"
    )
    assert plant.andon("keys", "create", "--service", "nobody", code=1).stderr.startswith(
        "Error: There is no Service"
    )
    assert "cannot grant gateway" in plant.andon("keys", "create", "--role", "gateway", code=1).stderr


def test_what_cannot_be_enforced_is_refused_at_plan(plant: Factory, issuer: Issuer, provider: str) -> None:
    for change, words in (
        ({"audiences": ["account"]}, "Keycloak"),
        ({"algorithms": ["HS256"]}, "algorithms"),
        ({"leewayS": 300}, "leewayS"),
        ({"issuer": "http://sso.example.com/"}, "https"),
        ({"signIn": {"clientId": "x", "clientSecret": "hunter2"}}, "reference"),
    ):
        plant.root.joinpath("bad.yaml").write_text(
            "---\n".join(json.dumps(one) + "\n" for one in documents(issuer, provider, change))
        )
        done = plant.andon("plan", "-f", "bad.yaml", code=1)
        assert words in done.stderr
        assert "hunter2" not in done.stderr
