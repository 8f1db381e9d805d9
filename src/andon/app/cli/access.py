"""Verbs about who may do what: explain an access, approve, test policies, try them on the past, show the words.

Decisions are the factory's own; only `policies test` with files named in it decides here, so that CI needs no factory.
"""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import wrap
from typing import Annotated, Any

import typer

from andon.app.cli.client import segment
from andon.app.cli.commands import load
from andon.app.cli.output import emit
from andon.app.cli.session import Session
from andon.app.cli.table import cell, counted, render_table
from andon.kernel.errors import Refused


def register(app: typer.Typer) -> None:
    """Add the verbs of this group."""
    app.command("approve")(approve)


def build() -> typer.Typer:
    """The group `andon policies`."""
    app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Who may do what, in Cedar.")
    for name, verb in (("explain", explain), ("test", test), ("replay", replay), ("schema", schema)):
        app.command(name)(verb)
    return app


def explain(
    context: typer.Context,
    principal: Annotated[str, typer.Argument(help="user:NAME, service:NAME, key:ID or anonymous.")],
    action: Annotated[str, typer.Argument(help="Such as release.promote or infer.chat.")],
    resource: Annotated[str, typer.Argument(help="KIND/NAME; left out: the factory.")] = "",
    *,
    given: Annotated[
        list[str] | None, typer.Option("--context", help="FIELD=VALUE; may be repeated.")
    ] = None,
    attribute: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE of the resource; may be repeated.")
    ] = None,
    role: Annotated[list[str] | None, typer.Option(help="As if it had this role too.")] = None,
    cohort: Annotated[list[str] | None, typer.Option(help="As if it were in this cohort too.")] = None,
) -> None:
    """Whether somebody may do something, by which policies, and what would permit it."""
    session: Session = context.obj
    body = {
        "principal": principal,
        "action": action,
        "resource": resource,
        "context": pairs(given),
        "attributes": pairs(attribute),
        "roles": role or [],
        "cohorts": cohort or [],
    }
    answer = session.client().post("/v1/access/explanations", body)
    emit(session, answer, lambda: render_access(answer), [item["id"] for item in answer["policies"]])


def explain_access(session: Session, words: list[str], given: list[str] | None) -> None:
    """What `andon explain access PRINCIPAL ACTION [RESOURCE]` prints."""
    if not 2 <= len(words) <= 3:
        raise Refused(
            "words_missing",
            "Say who, what, and on what.",
            hint="andon explain access key:4kq2m infer.chat Endpoint/credit",
        )
    body = {
        "principal": words[0],
        "action": words[1],
        "resource": words[2] if len(words) > 2 else "",
        "context": pairs(given),
    }
    answer = session.client().post("/v1/access/explanations", body)
    emit(session, answer, lambda: render_access(answer), [item["id"] for item in answer["policies"]])


def pairs(given: list[str] | None) -> dict[str, Any]:
    """FIELD=VALUE as a mapping; numbers, true, false and lists are read as such."""
    found = {}
    for one in given or ():
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise Refused("pair_invalid", f"'{one}' is not FIELD=VALUE.", hint="Such as labelRank=2.")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def render_access(answer: dict[str, Any]) -> str:
    """The decision, the policies with their text, and on a denial by default what would permit it."""
    verdict = "allowed" if answer["allowed"] else "denied"
    lines = [
        (
            f"{answer['principal']} may {'' if answer['allowed'] else 'not '}do {answer['action']} on"
            f" {answer['resource']}: {verdict}."
        ),
        f"Roles     {', '.join(answer['roles']) or '-'}",
    ]
    told = {**answer["attributes"], **{f"context.{k}": v for k, v in answer["context"].items()}}
    known = ", ".join(f"{name}={cell(value)}" for name, value in told.items() if value != "")
    lines += wrap(known or "-", 100, initial_indent="Known     ", subsequent_indent="          ")
    lines += [f"Unknown   {one}: judged by its name alone" for one in answer.get("unknown", ())]
    for item in answer["policies"]:
        lines += [
            "",
            f"{item['effect']}  {item['id']}  ({item['source']}, line {item['line']})",
            item["text"],
        ]
    if answer["errors"]:
        lines += ["", "Could not be evaluated, and so permitted nothing: " + ", ".join(answer["errors"])]
    if not answer["allowed"] and not answer["policies"]:
        lines += ["", "No policy permits it. Nearest:" if answer["would_permit"] else "No policy permits it."]
        for item in answer["would_permit"]:
            lines += [
                "",
                f"{item['id']}  ({item['source']}, line {item['line']}): {item['why']}",
                item["text"],
            ]
    return "\n".join(lines)


def approve(
    context: typer.Context,
    what: Annotated[str, typer.Argument(metavar="ROLLOUT|PLAN-ID", help="A rollout, or the id of a plan.")],
    reason: Annotated[str, typer.Option(help="Kept in the journal.")] = "",
    expires: Annotated[str, typer.Option(help="How long it counts, at most 30d.")] = "24h",
) -> None:
    """Say yes to a rollout or a plan, exactly as it is now, for somebody else to act on."""
    session: Session = context.obj
    kind, slash, name = what.partition("/")
    if not slash:
        kind, name = ("Plan" if what.startswith(("sha256:", "plan-")) else "Rollout"), what
    plan = kind.lower() == "plan"
    path = f"/v1/{'plans' if plan else 'rollouts'}/{segment(name)}/approvals"
    answer = session.client().post(path, {"reason": reason, "expires_in": expires})
    emit(session, answer, lambda: f"Approved {answer['subject']} as {answer['approver']}", [answer["name"]])


def schema(context: typer.Context) -> None:
    """The words that policies may use, as a Cedar schema, and the built-in policies."""
    session: Session = context.obj
    answer = session.client().get("/v1/policies/words")
    emit(session, answer, lambda: f"{answer['schema']}\n{answer['built_in'].rstrip()}")


def replay(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="Policies in Cedar, to try beside those in force.")],
    replaces: Annotated[
        list[str] | None, typer.Option(help="A Policy, or a built-in policy, to leave out; may be repeated.")
    ] = None,
    endpoint: Annotated[str, typer.Option(help="Only requests of this endpoint.")] = "",
    limit: Annotated[int, typer.Option(help="How many rows of the past.", min=1, max=100_000)] = 10_000,
) -> None:
    """Which past requests would now be denied or allowed."""
    session: Session = context.obj
    body = {"cedar": _text(file), "replaces": replaces or [], "endpoint": endpoint, "limit": limit}
    answer = session.client().post("/v1/policies/replays", body)
    emit(session, answer, lambda: render_replay(answer, session.colour))


def render_replay(answer: dict[str, Any], colour: bool) -> str:
    """The sums, then every kind of change."""
    lines = [
        (
            f"{counted(answer['requests'], 'request')}: {answer['newly_denied']} would be denied,"
            f" {answer['newly_allowed']} allowed, {answer['kept_away']} kept away from their release;"
            f" {answer['unchanged']} as they were."
        )
    ]
    if answer["unknown"]:
        lines.append(f"{answer['unknown']} are of principals that are known by name only.")
    if answer["erring"]:
        lines.append("Could not be evaluated: " + ", ".join(answer["erring"]))
    rows = [
        [
            one["change"],
            str(one["requests"]),
            one["principal"],
            one["endpoint"],
            one["operation"],
            one["label"] or "-",
            ", ".join(one["policies"]) or "nothing permits it",
            one["example"],
        ]
        for one in answer["changes"]
    ]
    headings = ("CHANGE", "REQUESTS", "PRINCIPAL", "ENDPOINT", "OPERATION", "LABEL", "POLICIES", "EXAMPLE")
    return "\n".join([*lines, "", render_table(headings, rows, colour)] if rows else lines)


def test(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A table of expectations, in YAML.")],
) -> None:
    """Check expectations: by the files that the table names, or by the running factory."""
    session: Session = context.obj
    table = load("andon.app.policy_tests").read_table(_text(file), file.parent)
    if table.policies is None:
        client = session.client()
        outcomes = [(case, client.post("/v1/access/explanations", case.question())) for case in table.cases]
        results = [case.judge(answer["allowed"], _ids(answer)) for case, answer in outcomes]
    else:
        results = table.run()
    wrong = [result for result in results if not result.ok]
    shown = {"cases": len(results), "failed": [result.as_text for result in wrong]}
    emit(
        session,
        shown,
        lambda: "\n".join([*(r.as_text for r in wrong), f"{len(results)} cases, {len(wrong)} wrong"]),
    )
    if wrong:
        raise typer.Exit(1)


def _ids(answer: dict[str, Any]) -> tuple[str, ...]:
    return tuple(item["id"] for item in answer["policies"])


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise Refused("file_unreadable", f"{file} cannot be read: {why}.", hint="Check the path.") from error
