"""Verbs about API keys: create, list, rotate, revoke.

A secret is printed once, on stdout, by the verb that made it, and is kept nowhere.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from andon.app.cli.client import segment
from andon.app.cli.group import ListingGroup
from andon.app.cli.journal import moment
from andon.app.cli.output import emit, emit_table
from andon.app.cli.session import Session
from andon.app.cli.table import cell
from andon.kernel.errors import Refused
from andon.kernel.labels import LABELS

_HEADINGS = ("ID", "TEAM", "OWNER", "ROLES", "LABEL", "STATE", "EXPIRES", "LAST USED")
_WIDE_HEADINGS = (*_HEADINGS, "ENDPOINTS", "COHORTS", "CREATED")


def build() -> typer.Typer:
    """The group `andon keys`."""
    app = typer.Typer(cls=ListingGroup, rich_markup_mode=None, help="API keys of the gateway.")
    for name, verb in (("create", create), ("list", list_), ("rotate", rotate), ("revoke", revoke)):
        app.command(name)(verb)
    return app


def create(
    context: typer.Context,
    team: Annotated[str, typer.Option(help="Whose requests these are.")] = "",
    owner: Annotated[str, typer.Option(help="The person or program that holds it.")] = "",
    endpoint: Annotated[list[str] | None, typer.Option(help="Only this endpoint; may be repeated.")] = None,
    cohort: Annotated[
        list[str] | None, typer.Option(help="A group that releases can pin; may be repeated.")
    ] = None,
    service: Annotated[str, typer.Option(help="The Service that holds it: then that is who acts.")] = "",
    role: Annotated[list[str] | None, typer.Option(help="What policies grant to; may be repeated.")] = None,
    label: Annotated[
        str, typer.Option(help="Highest data class: public, internal, confidential, restricted.")
    ] = "restricted",
    expires: Annotated[str, typer.Option(help="How long it lives, such as 90d; by default for ever.")] = "",
) -> None:
    """Make a key; its secret is shown this once."""
    session: Session = context.obj
    if label not in LABELS:
        raise Refused(
            "invalid_field", f"'{label}' is no data class.", hint=f"Use one of: {', '.join(LABELS)}"
        )
    body = {
        "team": team,
        "owner": owner,
        "endpoints": endpoint or [],
        "cohorts": cohort or [],
        "expires_in": expires,
        "service": service,
        "roles": role or [],
        "label": label,
    }
    _show_secret(session, session.client().post("/v1/keys", body))


def list_(context: typer.Context) -> None:
    """Every key, without its secret."""
    session: Session = context.obj
    answer = session.client().get("/v1/keys")
    wide = session.output == "wide"
    emit_table(
        session,
        answer,
        _WIDE_HEADINGS if wide else _HEADINGS,
        [_row(item, wide) for item in answer["items"]],
        nothing="No keys yet. Make one with: andon keys create --team TEAM",
    )


def rotate(
    context: typer.Context,
    id_: Annotated[str, typer.Argument(metavar="ID", help="Public id, as `andon keys list` shows it.")],
    overlap: Annotated[str, typer.Option(help="How long the old one still works.")] = "1h",
) -> None:
    """Make a successor with the same rights; the old key works for a while."""
    session: Session = context.obj
    answer = session.client().post(f"/v1/keys/{segment(id_)}/rotate", {"overlap": overlap})
    _show_secret(session, answer)


def revoke(
    context: typer.Context,
    id_: Annotated[str, typer.Argument(metavar="ID", help="Public id, as `andon keys list` shows it.")],
    reason: Annotated[str, typer.Option(help="Kept in the journal.")] = "",
) -> None:
    """Stop a key from working, at once and for good."""
    session: Session = context.obj
    answer = session.client().post(f"/v1/keys/{segment(id_)}/revoke", {"reason": reason})
    emit(session, answer, lambda: f"Revoked {answer['id']}", [answer["id"]])


def _row(item: dict[str, Any], wide: bool) -> list[str]:
    row = [
        item["id"],
        cell(item["team"]),
        cell(item["owner"]),
        f"as {item['service']}" if item.get("service") else cell(item.get("roles", ())),
        cell(item.get("label")),
        item["state"],
        moment(item["expires_ns"]),
        moment(item.get("last_used_ns") or 0),
    ]
    more = [
        cell(item["endpoints"]) if item["endpoints"] else "all",
        cell(item["cohorts"]),
        moment(item["created_ns"]),
    ]
    return [*row, *more] if wide else row


def _show_secret(session: Session, answer: dict[str, Any]) -> None:
    session.note(f"Key {answer['key']['id']} made. This is the only time that its secret is shown:")
    emit(session, answer, lambda: str(answer["secret"]), [answer["key"]["id"]])
