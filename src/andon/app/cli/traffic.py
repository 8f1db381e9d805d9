"""Verbs about traffic: logs reads the ledger through the API; invoke calls an endpoint through the gateway.

`invoke` speaks either dialect and goes the way that every client goes; control may be down.
"""

from __future__ import annotations

import http.client
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from andon.app.cli.client import TIMEOUT_S, connect, segment
from andon.app.cli.journal import moment
from andon.app.cli.output import emit_table, say
from andon.app.cli.session import Session
from andon.app.cli.table import cell, render_table
from andon.kernel.errors import Refused, Transient

_LOG_HEADINGS = ("AT", "ID", "ENDPOINT", "RELEASE", "ARM", "STATUS", "ERROR", "MS", "TOKENS")


def register(app: typer.Typer) -> None:
    """Add the verbs of this group."""
    for verb in (logs, invoke):
        app.command()(verb)


def logs(
    context: typer.Context,
    endpoint: Annotated[str, typer.Argument(help="Only of this endpoint.")] = "",
    *,
    release: Annotated[str, typer.Option(help="Only of this release, such as credit@2.")] = "",
    status: Annotated[str, typer.Option(help="Only with this status: 503, or 5xx.")] = "",
    id_: Annotated[str, typer.Option("--id", help="Only this request.")] = "",
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=1000, help="How many at most.")] = 50,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as they happen.")] = False,
) -> None:
    """Requests, from the ledger, newest last."""
    session: Session = context.obj
    client = session.client()
    asked = {"endpoint": endpoint, "release": release, "status": status, "id": id_}
    page = client.get("/v1/requests", limit=limit, **asked)
    if not follow:
        emit_table(session, page, _LOG_HEADINGS, [_log_row(item) for item in page["items"]], names_at=1)
        return
    as_json = session.output == "json"
    if not as_json:
        say(render_table(_LOG_HEADINGS, [_log_row(item) for item in page["items"]], session.colour))
    for item in client.follow("/v1/requests", after=page["next"], **asked):
        say(json.dumps(item) if as_json else "   ".join(_log_row(item)))


def _log_row(item: dict[str, Any]) -> list[str]:
    tokens = [item["input_tokens"], item["output_tokens"]]
    return [
        moment(item["at_ns"]),
        item["id"],
        item["endpoint"],
        cell(item["release"]),
        cell(item["arm"]),
        str(item["status"]),
        cell(item["error_code"]),
        f"{item['duration_us'] / 1000:.1f}",
        "/".join(cell(count) for count in tokens) if any(count is not None for count in tokens) else "-",
    ]


def invoke(
    context: typer.Context,
    endpoint: Annotated[str, typer.Argument(help="The endpoint's name.")],
    data: Annotated[str, typer.Option("-d", "--data", help="The JSON body, or @FILE, or @- for stdin.")],
    key: Annotated[str, typer.Option(envvar="ANDON_KEY", help="An API key of the gateway.")] = "",
    header: Annotated[
        list[str] | None, typer.Option("-H", "--header", help="NAME: VALUE; may be repeated.")
    ] = None,
) -> int:
    """Call an endpoint as a client would; exits 1 when it refuses."""
    session: Session = context.obj
    path, body = address(endpoint, _body(data))
    headers = {"content-type": "application/json"}
    for line in header or ():
        name, colon, value = line.partition(":")
        if not colon:
            raise Refused("header_invalid", f"'{line}' is not a header.", hint="Write it as 'NAME: VALUE'.")
        headers[name.strip()] = value.strip()
    if key:
        headers["authorization"] = f"Bearer {key}"
    return _call(session, path, body, headers)


def _body(data: str) -> dict[str, Any]:
    try:
        if data == "@-":
            data = sys.stdin.read()
        elif data.startswith("@"):
            data = Path(data[1:]).read_text()
        decoded = json.loads(data)
    except OSError as error:
        raise Refused(
            "file_unreadable", f"{data[1:]} cannot be read: {error.strerror}.", hint="Check the path."
        ) from error
    except ValueError as error:
        raise Refused(
            "malformed_json", f"The body is not JSON: {error}.", hint="Quote it, or use -d @FILE."
        ) from error
    if not isinstance(decoded, dict):
        raise Refused(
            "malformed_json", "The body must be a JSON object.", hint="Such as '{\"inputs\": [...]}'."
        )
    return decoded


def address(endpoint: str, body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Path and body in the dialect that the body is written in."""
    if "inputs" in body:
        return f"/v2/models/{segment(endpoint)}/infer", body
    for field, path in (("messages", "chat/completions"), ("prompt", "completions"), ("input", "embeddings")):
        if field in body:
            return f"/v1/{path}", {"model": endpoint, **body}
    raise Refused(
        "dialect_unknown",
        "The body is in neither dialect.",
        hint='Give "inputs" (Open Inference Protocol v2), or "messages", "prompt" or "input" (OpenAI).',
    )


def _call(session: Session, path: str, body: dict[str, Any], headers: dict[str, str]) -> int:
    url = session.gateway_url()
    connection = connect(url, TIMEOUT_S, session.roots())
    try:
        connection.request("POST", path, json.dumps(body).encode(), headers)
        answer = connection.getresponse()
        session.note(f"HTTP {answer.status}")
        for name, value in answer.getheaders():
            if name.lower().startswith(("x-andon", "x-request-id", "x-ratelimit", "retry-after")):
                session.note(f"{name.lower()}: {value}")
        _print_body(session, answer)
        return 0 if answer.status < 400 else 1
    except (OSError, http.client.HTTPException) as error:
        raise Transient(
            "gateway_unreachable",
            f"The gateway at {url} did not answer: {error}.",
            hint="andon status, or andon up",
        ) from error
    finally:
        connection.close()


def _print_body(session: Session, answer: http.client.HTTPResponse) -> None:
    if answer.headers.get_content_type() == "text/event-stream":
        for line in answer:
            say(line.decode(errors="replace").rstrip("\r\n"))
        return
    raw = answer.read()
    try:
        decoded = json.loads(raw)
    except ValueError:
        say(raw.decode(errors="replace"))
        return
    say(json.dumps(decoded, indent=None if session.output == "json" else 2, ensure_ascii=False))
