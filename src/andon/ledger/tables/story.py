"""The whole story of one request: its attempts, what was promised and never answered, the facts about it, its spans.

Reads the engine's views; the same for the API, the command line and Python.
"""

from __future__ import annotations

from typing import Any

from andon.kernel.errors import Refused
from andon.ledger.queries import Engine
from andon.ledger.tables.export import records

FACTS = ("labels", "feedback", "kpi_events", "evaluations")

_ATTEMPTS = "SELECT * FROM attempts WHERE id = ? ORDER BY attempt, at_ns"
_INTENTS = "SELECT * FROM open_intents WHERE id = ? ORDER BY attempt"
_BODIES = "SELECT * EXCLUDE (data) FROM bodies WHERE id = ? ORDER BY attempt, part"
_SPANS = "SELECT * FROM spans WHERE trace_id = ? ORDER BY event_ns"
# Each way of naming a request is a question of its own, so that files without that value are passed over.
_ABOUT = ("request", "reference", "response")


def _facts_about(name: str) -> str:
    parts = [f"SELECT * FROM {name}_history WHERE {key} = ?" for key in _ABOUT]  # noqa: S608  names of this file
    return " UNION ALL ".join(parts) + " ORDER BY at_ns"


_FACTS = {name: _facts_about(name) for name in FACTS}


def tell(engine: Engine, id_: str) -> dict[str, Any]:
    """Everything about a request, as plain values. Raises `Refused` (404) if the ledger has never heard of it."""
    attempts = records(engine.query(_ATTEMPTS, (id_,)))
    intents = records(engine.query(_INTENTS, (id_,)))
    references = {row["reference"] for row in attempts if row["reference"]}
    responses = {row["response_id"] for row in attempts if row["response_id"]}
    about = (id_, next(iter(references), ""), next(iter(responses), ""))
    facts = {name: records(engine.query(_FACTS[name], about)) for name in FACTS}
    if not (attempts or intents or any(facts.values())):
        raise Refused(
            "request_unknown",
            f"The ledger knows no request {id_}.",
            hint="The id is in x-request-id of the answer; andon logs lists the latest.",
            status=404,
        )
    traces = {
        parent.split("-")[1] for row in (*attempts, *intents) if _is_trace(parent := row["traceparent"])
    }
    return {
        "id": id_,
        "attempts": attempts,
        "open_intents": intents,
        "facts": facts,
        "spans": [row for trace in sorted(traces) for row in records(engine.query(_SPANS, (trace,)))],
        "bodies": records(engine.query(_BODIES, (id_,))),
    }


def _is_trace(parent: str | None) -> bool:
    return bool(parent) and str(parent).count("-") >= 3
