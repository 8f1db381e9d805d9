"""Secrets: what is one, what only looks like one, and hostile texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.kernel.random import SeededRandom
from andon.security.guards.secrets.detector import ENTITIES, REACH, SecretDetector
from andon.security.guards.secrets.forms import FORMS
from andon.security.identity.token import make_token
from benchmarks.planted_secrets import Drawer, plant

DETECTOR = SecretDetector()


def found(text: str) -> list[tuple[str, str]]:
    return [(finding.entity, text[finding.start : finding.end]) for finding in DETECTOR.scan(text)]


def test_every_planted_form_is_found_whole() -> None:
    drawer = Drawer(1)
    for _ in range(400):
        kind, secret = drawer.secret()
        said = found(f"look: {secret} there")
        assert said, kind
        assert said[0][1] in (secret, secret.strip()), kind


def test_a_key_of_this_product_is_known_by_its_check_sum() -> None:
    text = make_token(SeededRandom(1)).text
    assert found(text) == [("andon_key", text)]
    assert not found(text[:-1] + ("a" if text[-1] != "a" else "b"))


@pytest.mark.parametrize(
    "text",
    [
        "ghp_" + "a1B2c3" * 6,  # the check sum is wrong
        "AKIAAAAAAAAAAAAAAAAA",
        "password = os.environ['DB_PASSWORD']",
        "password: ${DB_PASSWORD}",
        'token = "your-token-here"',
        "api_key = env:OPENAI_KEY",
        "secret: vault:kv/db#password",
        "the password page asks for a token",
        "commit 3f786850e387550fdab836ed7e6dc881de23001b",
        "token: 6f1ed002-ab59-4dd3-8f2a-0c1d2e3f4a5b",
        "session_id=8d7f6e5c4b3a29181716151413121110",
        "postgresql://app:password@db/app",
        "postgresql://app:${PASSWORD}@db/app",
        "https://example.com/a:b@c",
        "eyJub3QiOiJhIHRva2VuIn0.eyJhIjoxfQ.c2lnbmF0dXJlc2lnbmF0dXJl",  # names no algorithm
        "",
    ],
)
def test_what_only_looks_like_a_secret_is_none(text: str) -> None:
    assert not found(text)


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ('DB_PASSWORD="kX9!vTq2#Lm8"', "kX9!vTq2#Lm8"),
        ("client_secret: 9fQz7LkP2mXv8RtY4wBn6HsD", "9fQz7LkP2mXv8RtY4wBn6HsD"),
        ("my password is Tr0ub4dor&3xyz!", "Tr0ub4dor&3xyz"),
        ("redis://cache:s8dF2kLq9Zx@10.0.0.4:6379/0", "s8dF2kLq9Zx"),
        ('"Authorization": "Basic dXNlcjpwYXNzd29yZDEyMw=="', "dXNlcjpwYXNzd29yZDEyMw=="),
    ],
)
def test_values_that_are_named_as_secrets_are_found(text: str, secret: str) -> None:
    assert any(value.startswith(secret) for _, value in found(text))


def test_a_private_key_is_found_before_it_has_ended() -> None:
    key = Drawer(4).pem()
    text = f"here: {key} done"
    assert ("private_key", key) in found(text)
    cut = text[:200]
    assert found(cut) == [("private_key", cut[cut.index("-----BEGIN") :])]


def test_what_streams_in_parts_is_seen_within_the_reach() -> None:
    drawer = Drawer(9)
    for _ in range(100):
        _, secret = drawer.secret()
        assert found(secret[:REACH])


@given(st.text(max_size=300))
def test_findings_are_in_order_apart_and_inside(text: str) -> None:
    at = 0
    for finding in DETECTOR.scan(text):
        assert at <= finding.start < finding.end <= len(text)
        assert finding.entity in ENTITIES
        at = finding.end


@pytest.mark.parametrize(
    "piece",
    ["eyJ-", "eyJ", "-----BEGIN RSA PRIVATE KEY-----", "password=", "a_", "sk-proj-", "x://a:", "token", "'"],
)
def test_hostile_texts_take_time_in_proportion(piece: str) -> None:
    # Not timed: what would be worse than proportional would not end within the test's own limit.
    DETECTOR.scan(piece * (60_000 // len(piece)))


def test_planted_documents_say_truly_where_secrets_are() -> None:
    for document in plant(50):
        for start, end, kind in document.secrets:
            assert document.text[start:end].strip(), kind


def test_every_form_has_a_literal_that_it_contains() -> None:
    for form in FORMS:
        assert form.literal == form.literal.lower()
