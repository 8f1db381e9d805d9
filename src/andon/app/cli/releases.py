"""Verbs about releases in progress: promote, abort, pause, resume; and the table behind a verdict.

The numbers come from the same function that decides at the gateway; nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from andon.app.cli.client import segment
from andon.app.cli.output import emit
from andon.app.cli.session import Session
from andon.app.cli.table import cell, render_table

_HEADINGS = ("GATE", "METRIC", "CANARY", "STABLE", "EVIDENCE", "STOPS AT", "VERDICT", "WHY")
_MEANING = {
    "promote": "Go to the end now: the canary gets all traffic, whatever steps remain.",
    "abort": "Stop a release: all traffic goes back to the stable version.",
    "pause": "Hold a release at the weight it has; its gates go on.",
    "resume": "Let a paused release go on.",
}
_DONE = {"promote": "Promoting", "abort": "Aborting", "pause": "Paused", "resume": "Resumed"}


def register(app: typer.Typer) -> None:
    """Add the verbs of this group."""
    for verb, meaning in _MEANING.items():
        app.command(verb, help=meaning)(_verb(verb))


def _verb(verb: str) -> Callable[..., None]:
    def act(
        context: typer.Context,
        name: Annotated[str, typer.Argument(help="The rollout, such as credit-3.")],
        reason: Annotated[str, typer.Option(help="Kept in the journal.")] = "",
    ) -> None:
        session: Session = context.obj
        answer = session.client().post(f"/v1/rollouts/{segment(name)}/{verb}", {"reason": reason})
        emit(session, answer, lambda: f"{_DONE[verb]} {answer['name']} ({answer['phase']})", [answer["name"]])

    return act


def explain_rollout(session: Session, name: str) -> None:
    """Print why a release stands where it stands."""
    answer = session.client().get(f"/v1/rollouts/{segment(name)}/explanation")
    emit(session, answer, lambda: render_explanation(answer, session.colour), [answer["name"]])


def render_explanation(answer: dict[str, Any], colour: bool) -> str:
    """The head, the verdict table, and the reason in words."""
    lines = [
        f"Rollout   {answer['name']}   {answer['stable']} -> {answer['canary']}",
        f"Phase     {answer['phase']}" + (f", step {answer['step']}" if answer.get("step") else ""),
    ]
    if answer.get("reason"):
        lines.append(f"Why       {answer['reason']}")
    readings: list[dict[str, Any]] = answer["readings"]
    if readings:
        lines += ["", render_table(_HEADINGS, [_row(reading) for reading in readings], colour)]
        lines += ["", "A gate stops the release when its evidence reaches the number under STOPS AT."]
    else:
        lines += ["", "No gate has seen a request yet."]
    return "\n".join(lines)


def _row(reading: dict[str, Any]) -> list[str]:
    return [
        reading["gate"],
        reading["metric"],
        f"{_measure(reading['metric'], reading['canary_value'])} (n={reading['canary_n']})",
        f"{_measure(reading['metric'], reading['stable_value'])} (n={reading['stable_n']})",
        cell(float(reading["evidence"])),
        cell(float(reading["threshold"])),
        reading["verdict"],
        cell(reading["reason"]),
    ]


def _measure(metric: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4g} ms" if metric == "latency" else f"{value:.2%}"
