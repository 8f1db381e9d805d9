"""Proof `canary-secret`: a canary in every input of a real factory, and none of them in anything it writes or says.

A factory of real processes, before a provider, a Vault, a receiver and a collector that repeat what they are sent. Each
input gets a canary of its own; then everything on disk, every answer, export, metric and command line is searched.

What is allowed by nature, and only there: a key's own file; what a caller is given (the upstream's answer to the caller
who asked; a new key, once); facts and references, which are kept because somebody sent them to be kept. Recorded bodies
lie sealed, and that they can be read by whoever may is proved too.

Last line: planted (inputs with a canary), leaked (findings).
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil

from benchmarks.canary_search import Search
from benchmarks.canary_world import Collector, Provider, Vault, serving
from benchmarks.harness import QUICK, conclude, table
from tests.e2e.factories import Factory, resource, running_factory, wait_for


class Planting:
    """Canaries by the name of their input, and where each may be."""

    def __init__(self) -> None:
        self.canaries: dict[str, str] = {}
        self.allowed: dict[str, list[str]] = {}

    def __call__(self, name: str, *allowed: str) -> str:
        """A canary of its own for an input; the same for the same name."""
        if name not in self.canaries:
            # Letters and figures only, so that URL and JSON escapes leave it as it is.
            self.canaries[name] = "Zq7" + secrets.token_hex(12) + "xW"
        self.allowed.setdefault(name, []).extend(allowed)
        return self.canaries[name]

    def known(self, name: str, value: str, *allowed: str) -> None:
        """A secret that the factory itself made."""
        self.canaries[name] = value
        self.allowed.setdefault(name, []).extend(allowed)


class Visitor:
    """Sends requests and keeps every answer for the search, but those that are the caller's own."""

    def __init__(self, factory: Factory, search_later: list[tuple[str, bytes]]) -> None:
        self.factory = factory
        self.said = search_later

    def send(
        self,
        place: str,
        url: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        own: bool = False,
    ) -> tuple[int, str]:
        """Status and x-request-id. `own`: the answer is what the upstream said to this caller."""
        request = urllib.request.Request(url, body, dict(headers or {}))
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                status, told, raw = answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            status, told, raw = error.code, error.headers, error.read()
        except (
            OSError,
            ValueError,
            http.client.HTTPException,
        ) as error:  # a connection may be cut by the other side, which is an answer too
            self.said.append((place, str(error).encode()))
            return 0, ""
        if not own:
            self.said.append((f"answer to {place}", str(told).encode() + b"\n" + raw))
        return status, told.get("x-request-id") or ""

    def wire(self, place: str, data: bytes) -> None:
        """Bytes that no client would send."""
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self.factory.port), 5) as raw,
        ):
            raw.settimeout(1.0)
            raw.sendall(data)
            with contextlib.suppress(TimeoutError):
                self.said.append((f"answer to {place}", raw.recv(65536)))

    def andon(
        self, place: str, *words: str, own: bool = False, stdin: str | None = None, cwd: Path | None = None
    ) -> str:
        """One command line; what it prints is searched unless it is the caller's own."""
        done = subprocess.run(
            [sys.executable, "-m", "andon.app.cli.main", *words],
            cwd=cwd or self.factory.root, env=self.factory.environment, input=stdin or "",
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        if not own:
            self.said.append((f"words of {place}", (done.stdout + done.stderr).encode()))
        return done.stdout


def documents(provider: str, receiver: str, secret_file: Path) -> list[dict[str, Any]]:
    """What the factory should be."""
    found = []
    for name, credential in (
        ("env", "env:CANARY_PROVIDER"),
        ("file", f"file:{secret_file}"),
        ("secret", "secret:provider"),
        ("vault", "vault:team/provider#key"),
    ):
        found.append(resource("Provider", f"far-{name}", url=provider, credential=credential))
    for model in ("good", "echo", "fail", "garbage"):
        release = {"provider": "far-secret", "upstreamModel": model}
        found.append(resource("Endpoint", model, protocol="openai", release=release, retries=1))
    for name in ("env", "file", "vault"):
        release = {"provider": f"far-{name}", "upstreamModel": "echo"}
        found.append(resource("Endpoint", f"by-{name}", protocol="openai", release=release, retries=0))
    kept = {"bodies": {"inputs": True, "outputs": True}}
    release = {"provider": "far-env", "upstreamModel": "good"}
    found.append(resource("Endpoint", "kept", protocol="openai", release=release, recording=kept))
    webhook = {
        "url": "env:CANARY_RECEIVER",
        "secret": "secret:signing",
        "authorization": "env:CANARY_RECEIVER_KEY",
    }
    found.append(resource("Receiver", "crew", webhook=webhook))
    found.append(resource("Receiver", "crew-far", webhook={"url": "secret:hook"}))
    return found


def chat(model: str, text: str, **more: Any) -> bytes:
    """A request."""
    return json.dumps({"model": model, "messages": [{"role": "user", "content": text}], **more}).encode()


def requests(visit: Visitor, plant: Planting, key: str) -> str:
    """Everything that a caller may send; the id of the request whose bodies are recorded."""
    url, json_type = visit.factory.url + "/v1/chat/completions", {"content-type": "application/json"}
    good = {**json_type, "authorization": f"Bearer {key}"}
    tools = [{"type": "function", "function": {"name": "pay", "description": plant("tool-description"),
              "parameters": {"type": "object",
                             "properties": {plant("tool-parameter"): {"type": "string"}}}}}]  # fmt: skip
    call = {"id": "t1", "type": "function", "function": {"name": "pay", "arguments": plant("tool-arguments")}}
    for model in ("good", "echo", "fail", "garbage", "by-env", "by-file", "by-vault"):
        body = json.dumps(
            {
                "model": model, "tools": tools, "user": plant("user-field"), "metadata": {"note": plant("metadata")},
                "messages": [
                    {"role": "system", "content": plant("system-prompt")},
                    {"role": "user", "content": [{"type": "text", "text": plant("prompt")}]},
                    {"role": "assistant", "content": None, "tool_calls": [call]},
                    {"role": "tool", "tool_call_id": "t1", "content": plant("tool-result")},
                ],
            }
        ).encode()  # fmt: skip
        # What an upstream says to the one who asked is passed on: that is what a gateway is for. Its credential is not.
        headers = {**good, "cookie": plant("cookie"), "x-custom": plant("x-custom"), "user-agent": plant("user-agent"),
                   "baggage": f"secret={plant('baggage')}", "tracestate": f"a={plant('tracestate')}",
                   "proxy-authorization": f"Basic {plant('proxy-authorization')}", "x-andon-subject": plant("subject"),
                   "x-forwarded-for": plant("x-forwarded-for"),
                   "referer": f"http://x/?k={plant('referer')}"}  # fmt: skip
        visit.send(f"chat {model}", url, body, headers, own=True)
    for n in ("good", "echo"):
        visit.send(f"stream {n}", url, chat(n, plant("stream-prompt"), stream=True), good, own=True)
    visit.send("query string", f"{url}?api_key={plant('query-string')}", chat("good", "hi"), good, own=True)
    strangers(visit, plant, good)
    malformed(visit, plant, good)
    odd_headers(visit, plant, good)
    recorded = chat("kept", plant("recorded-prompt"))
    _, id_ = visit.send(
        "kept", url, recorded, {**good, "x-andon-subject": plant("recorded-subject")}, own=True
    )
    return id_


def strangers(visit: Visitor, plant: Planting, good: Mapping[str, str]) -> None:
    """Credentials that are none, and names that nobody serves."""
    url, json_type = visit.factory.url + "/v1/chat/completions", {"content-type": "application/json"}
    for place, bearer in (
        ("bad-bearer", plant("bad-bearer")),
        ("bad-andon-key", f"andon_{plant('bad-andon-key')}_{plant('bad-andon-key')}"),
        ("bad-jwt", ".".join(base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in (
            '{"alg":"RS256","kid":"' + plant("jwt-kid") + '"}', '{"iss":"' + plant("jwt-issuer") + '"}',
            plant("jwt-signature")))),
    ):  # fmt: skip
        visit.send(place, url, chat("good", "hi"), {**json_type, "authorization": f"Bearer {bearer}"})
    basic = base64.b64encode(f"ann:{plant('basic-password')}".encode()).decode()
    visit.send("basic", url, chat("good", "hi"), {**json_type, "authorization": f"Basic {basic}"})
    visit.send("x-api-key", url, chat("good", "hi"), {**json_type, "x-api-key": plant("x-api-key")})
    visit.send("unknown model", url, chat(plant("unknown-model"), "hi"), good)
    visit.send("unknown path", f"{visit.factory.url}/v1/{plant('unknown-path')}", b"{}", good)
    visit.send("model path", f"{visit.factory.url}/v1/models/{plant('model-path')}", None, good)
    visit.send("oip path", f"{visit.factory.url}/v2/models/{plant('oip-path')}/infer", b'{"inputs":[]}', good)


def malformed(visit: Visitor, plant: Planting, good: Mapping[str, str]) -> None:
    """Bodies that cannot be read."""
    url = visit.factory.url + "/v1/chat/completions"
    for place, body in (
        (
            "malformed",
            b'{"model":"good","messages":[{"role":"user","content":"%b' % plant("malformed").encode(),
        ),
        ("wrong-type", b'{"model":"good","messages":"%b"}' % plant("wrong-type").encode()),
        (
            "wrong-role",
            b'{"model":"good","messages":[{"role":"%b","content":"x"}]}' % plant("wrong-role").encode(),
        ),
        (
            "wrong-number",
            b'{"model":"good","max_tokens":"%b","messages":[]}' % plant("wrong-number").encode(),
        ),
        ("deep", b'{"model":"good","messages":' + b"[" * 2000 + plant("deep").encode()),
    ):
        visit.send(place, url, body, good)


def odd_headers(visit: Visitor, plant: Planting, good: Mapping[str, str]) -> None:
    """Headers that are allowed, and heads that are not."""
    url = visit.factory.url + "/v1/chat/completions"
    visit.send(
        "content type",
        url,
        chat("good", "hi"),
        {**good, "content-type": f"text/{plant('content-type')}"},
        own=True,
    )
    visit.send(
        "idempotency",
        url,
        chat("good", "hi"),
        {**good, "idempotency-key": plant("idempotency-key")},
        own=True,
    )
    visit.send(
        "traceparent", url, chat("good", "hi"), {**good, "traceparent": plant("traceparent")}, own=True
    )
    visit.send(
        "features", url, chat("good", "hi"), {**good, "x-andon-features": f"{plant('features')}=x"}, own=True
    )
    for place, head in (
        ("raw-header", f"GET /v1/models HTTP/1.1\r\nhost: x\r\n{plant('raw-header')}\x00: a\r\n\r\n"),
        ("raw-line", f"{plant('raw-line')} / HTTP/9.9\r\n\r\n"),
        (
            "raw-host",
            f"GET http://ann:{plant('raw-userinfo')}@x/ HTTP/1.1\r\nhost: {plant('raw-host')} b\r\n\r\n",
        ),
        (
            "raw-length",
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {plant('raw-length')}\r\n\r\n",
        ),
    ):
        visit.wire(place, head.encode())


def administration(visit: Visitor, plant: Planting, key: str, scratch: Path) -> None:
    """Everything that people and programs tell the factory beside its traffic."""
    control = f"http://127.0.0.1:{visit.factory.control_port}"
    admin = {"authorization": f"Bearer {(visit.factory.root / '.andon' / 'admin.key').read_text().strip()}"}
    as_json = {**admin, "content-type": "application/json"}
    visit.send(
        "admin bearer", f"{control}/v1/keys", None, {"authorization": f"Bearer {plant('admin-bearer')}"}
    )
    visit.send("admin cookie", f"{control}/v1/keys", None, {**admin, "cookie": plant("admin-cookie")})
    visit.send("admin query", f"{control}/v1/keys?token={plant('admin-query')}", None, admin)
    visit.send("admin path", f"{control}/v1/{plant('admin-path')}", None, admin)
    visit.send(
        "admin body", f"{control}/v1/keys", b'{"team": ["%b"]}' % plant("admin-body").encode(), as_json
    )
    visit.send("admin json", f"{control}/v1/keys", b'{"team": "%b' % plant("admin-json").encode(), as_json)
    visit.send(
        "secret body",
        f"{control}/v1/secrets/x",
        b'{"value": ["%b"]}' % plant("secret-body").encode(),
        as_json,
    )
    visit.send(
        "lease", f"{control}/v1/leases", json.dumps({"references": [plant("lease")]}).encode(), as_json
    )
    for kind in ("labels", "feedback", "kpis"):
        name = f"bad-{kind}"
        visit.send(
            name, f"{control}/v1/{kind}", json.dumps({"items": [{"weight": plant(name)}]}).encode(), as_json
        )
    span = {"traceId": "1" * 32, "spanId": "2" * 16, "name": "chat", "startTimeUnixNano": "1", "endTimeUnixNano": "2",
            "attributes": [{"key": "gen_ai.input.messages", "value": {"stringValue": plant("span-content")}},
                           {"key": "http.request.header.authorization",
                            "value": {"stringValue": plant("span-header")}}]}  # fmt: skip
    spans = {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}
    visit.send("spans", f"{control}/v1/traces", json.dumps(spans).encode(), as_json)
    command_lines(visit, plant, scratch)
    for name in ("crew", "crew-far"):
        visit.send(f"test of {name}", f"{control}/v1/receivers/{name}/test", b"{}", as_json)


def command_lines(visit: Visitor, plant: Planting, scratch: Path) -> None:
    """What people write in files and on command lines."""
    with ThreadPoolExecutor(4) as later:  # a command line is mostly its own start
        for place, spec in (
            ("file-inline", {"url": "http://127.0.0.1:1", "credential": plant("file-inline")}),
            ("file-url", {"url": f"https://ann:{plant('file-url')}@example.com"}),
            ("file-bearer", {"url": "https://example.com", "credential": f"Bearer {plant('file-bearer')}"}),
            ("file-protocol", {"url": "https://example.com", "protocol": plant("file-protocol")}),
            ("file-number", {"url": "https://example.com", "weight": f"sk-{plant('file-number')}"}),
        ):
            file = scratch / f"{place}.yaml"
            file.write_text(json.dumps(resource("Provider", "wrong", **spec)))
            later.submit(visit.andon, place, "plan", "-f", str(file))
        noted = resource("Provider", "wrong", url="http://127.0.0.1:1")
        noted["metadata"]["annotations"] = {"api-key": f"sk-{plant('file-annotation')}"}
        (scratch / "noted.yaml").write_text(json.dumps(noted))
        later.submit(visit.andon, "annotation", "plan", "-f", str(scratch / "noted.yaml"))
        (scratch / "broken.yaml").write_text(
            f"kind: Provider\nspec: {{credential: '{plant('file-broken')}'\n  : ["
        )
        later.submit(visit.andon, "broken file", "plan", "-f", str(scratch / "broken.yaml"))
        (scratch / "kek.yaml").write_text("")
        later.submit(visit.andon, "value as argument", "secrets", "set", "x", plant("argument"))
        later.submit(
            visit.andon, "bad bytes", "secrets", "set", "BAD NAME", "-", stdin=plant("stdin-bad-name")
        )
        later.submit(
            visit.andon,
            "from file",
            "secrets",
            "set",
            "spare",
            "--from-file",
            str(_file(scratch, plant("from-file"))),
        )
        later.submit(visit.andon, "url", "--url", f"http://ann:{plant('cli-url')}@127.0.0.1:1", "status")
        later.submit(
            visit.andon, "query", "query", f"SELECT nothing FROM requests WHERE id = '{plant('sql')}' AND"
        )


def _file(folder: Path, text: str) -> Path:
    file = folder / "value"
    file.write_text(text)
    return file


def looks(visit: Visitor) -> None:
    """Ask the factory for everything that it tells of itself."""
    control = f"http://127.0.0.1:{visit.factory.control_port}"
    admin = {"authorization": f"Bearer {(visit.factory.root / '.andon' / 'admin.key').read_text().strip()}"}
    for path in (
        "requests?limit=1000", "events?limit=1000", "secrets", "wrapping-keys", "keys", "revisions", "alerts", "ledger",
        "resources/Provider", "resources/Receiver", "resources/Endpoint", "snapshot?have=0&wait_s=0", "infrastructure",
        "objectives", "drift", "quality", "top", "windows", "audit",
    ):  # fmt: skip
        visit.send(f"GET {path}", f"{control}/v1/{path}", None, admin)
    for name in ("provider", "spare", "signing"):
        visit.send(f"GET secret {name}", f"{control}/v1/secrets/{name}", None, admin)
    visit.send("metrics", f"{control}/metrics", None, admin)
    for path in ("metrics", "debug/snapshot", "readyz"):
        visit.send(f"gateway {path}", f"http://127.0.0.1:{visit.factory.admin_port}/{path}")
    with ThreadPoolExecutor(4) as later:  # a command line is mostly its own start
        for words in (
            ("status",),
            ("secrets", "list"),
            ("describe", "provider", "far-secret"),
            ("logs",),
            ("events",),
        ):
            later.submit(visit.andon, " ".join(words), *words)
        for view in ("requests", "attempts", "labels_history", "spans", "bodies"):
            later.submit(
                visit.andon, f"table {view}", "query", f"SELECT * FROM {view} LIMIT 1000", "-o", "json"
            )
    with contextlib.suppress(psutil.Error):  # it may end meanwhile
        for process in visit.factory.processes():
            place = f"command line of {process.pid}"
            visit.said.append(
                (place, b" ".join(word.encode() for word in process.cmdline()) + process.name().encode())
            )


def settings_of(plant: Planting, scratch: Path, vault: str, hook: str, collector: str) -> dict[str, str]:
    """Environment and settings, with canaries in those that are secret."""
    return {
        "CANARY_PROVIDER": plant("provider-env"),
        "CANARY_RECEIVER": f"{hook}/{plant('receiver-url')}",
        "CANARY_RECEIVER_KEY": f"Bearer {plant('receiver-key')}",
        "CANARY_VAULT": plant("vault-token"),
        "ANDON_VAULT_URL": vault,
        "ANDON_VAULT_TOKEN": "env:CANARY_VAULT",
        "ANDON_OUTSIDE_SECRET_S": "1",
        "ANDON_OTLP_ENDPOINT": collector,
        "ANDON_OTLP_HEADERS": f"authorization=Bearer {plant('otlp-header', 'told to the collector')}",
        "ANDON_TELEMETRY_PERIOD_S": "1",
        "ANDON_SEGMENT_AGE_S": "2",
        "ANDON_LOG_LEVEL": "debug",
        "AWS_ACCESS_KEY_ID": plant("aws-id"),
        "AWS_SECRET_ACCESS_KEY": plant("aws-secret"),
        "AWS_DEFAULT_REGION": "eu-central-1",
        "ANDON_AWS_ENDPOINT_URL": f"{vault}/{plant('aws-path')}",
    }


def made(plant: Planting, root: Path) -> None:
    """What the factory made for itself: each may stand in its own file only."""
    state = root / ".andon"
    for name in ("admin.key", "gateway.key", "pepper", "kek"):
        text = (state / name).read_text().split()
        plant.known(f"own {name}", text[-1], f".andon/{name}", f"file {name}")


def run(scratch: Path) -> Search:
    """The whole proof."""
    plant, said = Planting(), []
    secret_file = scratch / "provider.key"
    secret_file.write_text(plant("provider-file") + "\n")
    provider = Provider(plant("answer"), plant("chunk"), plant("answer-header"))
    vault_secrets = {"team/provider": {"key": plant("provider-vault"), "other": plant("vault-other")}}
    vault = Vault(plant("vault-token"), vault_secrets)
    collector, hook = Collector(), Collector(status=500)
    with contextlib.ExitStack() as stack:
        urls = [stack.enter_context(serving(one.play)) for one in (provider, vault, collector, hook)]
        settings = settings_of(plant, scratch, urls[1], urls[3], urls[2])
        factory = stack.enter_context(running_factory(scratch / "factory", settings=settings))
        visit = Visitor(factory, said)
        visit.andon("set provider", "secrets", "set", "provider", "-", stdin=plant("provider-secret"))
        visit.andon("set signing", "secrets", "set", "signing", "-", stdin=plant("signing-secret"))
        visit.andon("set hook", "secrets", "set", "hook", "-", stdin=f"{urls[3]}/{plant('hook-secret')}")
        factory.write(documents(urls[0], urls[3], secret_file))
        # The reference into Vault is refused at plan until it was found there.
        wait_for("the plan", lambda: factory.andon("apply", "--yes", code=None).returncode == 0, 15)
        made(plant, factory.root)
        id_key, key = factory.key()
        plant.known("good key", key)
        factory.wait_until_served("good", "by-env", "by-file", "by-vault", "kept")
        url = factory.url + "/v1/chat/completions"
        head = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        wait_for("an answer", lambda: visit.send("first", url, chat("good", "hi"), head, own=True)[0] == 200)
        id_ = requests(visit, plant, key)
        administration(visit, plant, key, scratch)
        used = {plant(f"provider-{name}") for name in ("env", "file", "secret", "vault")}
        assert {f"Bearer {one}" for one in used} <= provider.credentials, (
            "a credential did not reach its provider"
        )
        opened = wait_for("the recorded bodies", lambda: _bodies(visit, id_))
        assert plant("recorded-prompt") in opened, opened
        assert plant("answer") in opened, opened
        factory.andon("secrets", "rotate")
        factory.andon("keys", "revoke", id_key)
        visit.send("revoked key", url, chat("good", "hi"), head)
        time.sleep(3.0)  # segments close and are sealed, exporters send
        if not QUICK:
            looks(visit)
        # Killed with an abort, processes leave no core, and no traceback with what they held.
        for module in ("andon.app.control_process", "andon.app.gateway_process"):
            _abort(factory, module)
        wait_for("control being back", lambda: factory.andon("status", code=None).returncode == 0, 20)
        visit.andon("shred", "secrets", "shred", "somebody")
        looks(visit)
        said += [("export", body) for body in collector.bodies]
        said += [("head of an alert", b"\n".join(hook.bodies))]
    search = Search(plant.canaries, plant.allowed)
    for place, data in said:
        search.look(place, data)
    search.folder(factory.root / ".andon")
    return search


def _bodies(visit: Visitor, id_: str) -> str:
    told = visit.andon("bodies", "request", id_, "--bodies", own=True)
    return told if "input" in told and "output" in told else ""


def _abort(factory: Factory, module: str) -> None:
    before = factory.process(module)
    cwd = Path(before.cwd())
    before.send_signal(signal.SIGABRT)
    wait_for(f"the end of {module}", lambda: all(one.pid != before.pid for one in factory.processes(module)))
    cores = [path for path in cwd.glob("core*") if path.is_file()]
    assert not cores, cores


def main() -> None:
    """Run it and conclude."""
    os.environ.pop("ANDON_HOME", None)
    with tempfile.TemporaryDirectory() as folder:
        search = run(Path(folder))
    found = {(leak.canary, leak.place, leak.spelling) for leak in search.leaks}
    if found:
        table(("canary", "where", "as"), sorted(found))
    print(f"{search.places} places, {search.looked_bytes / 1e6:.1f} MB looked at")
    conclude({"planted": search.planted, "leaked": len(found)})


if __name__ == "__main__":
    main()
