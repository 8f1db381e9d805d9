"""TLS on a whole factory: nothing speaks plain, processes know one another, certificates change while traffic flows."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.e2e.factories import Factory, resource, running_factory, wait_for

ASK: list[Any] = [{"role": "user", "content": "hi"}]
TLS = {"ANDON_TLS": "on", "ANDON_TLS_NAMES": "factory.test"}


@pytest.fixture(scope="module")
def secure_factory(tmp_path_factory: pytest.TempPathFactory, provider: str) -> Iterator[Factory]:
    documents = [
        resource("Provider", "dummy", url=f"{provider}/v1", models={"chat": "dummy"}),
        resource(
            "Endpoint", "chat", protocol="openai", release={"provider": "dummy", "upstreamModel": "chat"}
        ),
    ]
    with running_factory(tmp_path_factory.mktemp("tls"), documents, TLS) as made:
        yield made


def roots(factory: Factory) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(factory.root / ".andon/certificates/ca.pem"))


def ask(secure_factory: Factory, port: int, path: str, key: str, context: ssl.SSLContext) -> int:
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=10)
    try:
        connection.request("GET", path, headers={"authorization": f"Bearer {key}"})
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_client_that_trusts_the_authority_is_served(secure_factory: Factory) -> None:
    _, secret = secure_factory.key()
    address = f"https://127.0.0.1:{secure_factory.port}/v1"

    def say() -> str:
        with openai.DefaultHttpxClient(verify=roots(secure_factory)) as http_client:
            client = openai.OpenAI(base_url=address, api_key=secret, http_client=http_client, max_retries=0)
            try:
                said = client.chat.completions.create(model="chat", messages=ASK)
            except openai.APIStatusError as error:
                return str(error)
            return said.choices[0].finish_reason

    assert wait_for("an answer over TLS", lambda: (said := say()) == "stop" and said) == "stop"
    stranger = openai.OpenAI(base_url=address, api_key=secret, max_retries=0)
    with stranger, pytest.raises(openai.APIConnectionError):
        stranger.models.list()


def test_no_listener_answers_a_plain_request(secure_factory: Factory) -> None:
    wait_for("the observer", lambda: "does not answer" not in secure_factory.andon("status").stdout)
    for port in (
        secure_factory.port,
        secure_factory.control_port,
        secure_factory.admin_port,
        secure_factory.observer_port,
    ):
        with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:
            plain.sendall(b"GET /livez HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
            try:
                said = plain.recv(100)
            except ConnectionResetError:
                said = b""
            assert not said.startswith(b"HTTP/"), port


def test_the_key_of_a_gateway_is_worth_nothing_without_its_certificate(secure_factory: Factory) -> None:
    home = secure_factory.root / ".andon"
    key = (home / "gateway.key").read_text().strip()
    assert ask(secure_factory, secure_factory.control_port, "/v1/snapshot", key, roots(secure_factory)) == 401
    for role, status in (("observer", 401), ("gateway", 200)):
        context = roots(secure_factory)
        context.load_cert_chain(home / f"certificates/{role}.pem", home / f"certificates/{role}.key")
        assert ask(secure_factory, secure_factory.control_port, "/v1/snapshot", key, context) == status
    stranger = secure_factory.root / "stranger"
    secure_factory.andon("--home", str(stranger), "certs", "create")
    context = roots(secure_factory)
    found = stranger / ".andon/certificates"
    context.load_cert_chain(found / "gateway.pem", found / "gateway.key")
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
        ask(secure_factory, secure_factory.control_port, "/v1/snapshot", key, context)


def test_the_command_line_trusts_the_factorys_own_authority_and_no_other(
    secure_factory: Factory, tmp_path: Path
) -> None:
    assert "Ready" in wait_for("a ready endpoint", lambda: secure_factory.andon("status").stdout)
    secure_factory.environment["ANDON_CA_FILE"] = str(tmp_path / "none.pem")
    try:
        assert "certificate" in secure_factory.andon("status", code=1).stderr
    finally:
        del secure_factory.environment["ANDON_CA_FILE"]


def test_a_new_certificate_is_shown_without_a_restart(secure_factory: Factory) -> None:
    def serial() -> str:
        with (
            socket.create_connection(("127.0.0.1", secure_factory.port), timeout=5) as plain,
            roots(secure_factory).wrap_socket(plain, server_hostname="factory.test") as secure,
        ):
            found = secure.getpeercert()
            assert found
            return str(found["serialNumber"])

    before = serial()
    home = secure_factory.root / ".andon/certificates"
    (home / "gateway.pem").unlink()
    secure_factory.andon("certs", "create")
    wait_for("the new certificate", lambda: serial() != before)
    told = json.loads(secure_factory.andon("certs", "show", "-o", "json").stdout)
    assert {item["state"] for item in told["items"]} == {"valid"}
