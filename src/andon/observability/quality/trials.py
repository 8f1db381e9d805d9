"""Reads a rollout's drawn requests with what became known of them, in the order in which it became known.

Blocking, so the event loop hands it to a runner. Of a label that was corrected the first version counts: bets that
are settled stay settled. What a gate makes of this is the lifecycle's business.
"""

from __future__ import annotations

import hashlib

import msgspec
import numpy as np
import pyarrow as pa

from andon.ledger.queries import Bounds, Engine
from andon.observability.quality.model import MonitorSpec
from andon.observability.quality.repository import encode

TRIALS_MAX = 200_000  # the first of a rollout; more would not change a verdict that is still open
_BOUNDS = Bounds(seconds=60.0, memory_bytes=512 * 2**20, rows=TRIALS_MAX)
# Pins, retries and fallbacks were not drawn; without a chance of either arm there is nothing to bet on.
_DRAWN = """
    SELECT id, at_ns, release = $target AS canary, unit, prediction, score,
        CASE WHEN release = $target THEN propensity ELSE 1.0 - propensity END AS share
    FROM requests
    WHERE endpoint = $endpoint AND at_ns >= $since_ns AND release IN ($source, $target)
        AND NOT pinned AND attempt = 0 AND propensity > 0.0 AND propensity < 1.0
        AND status BETWEEN 200 AND 399 AND (prediction IS NOT NULL OR score IS NOT NULL)
"""
_SCORED = f"SELECT * FROM ({_DRAWN}) WHERE score IS NOT NULL ORDER BY at_ns, id LIMIT {TRIALS_MAX}"  # noqa: S608 - made of constants
_LABELLED = f"""
WITH drawn AS ({_DRAWN}), known AS (
    SELECT request_id, arg_min(value, at_ns) AS label, arg_min("text", at_ns) AS label_text,
        min(at_ns) AS known_ns
    FROM labels_history
    WHERE name = $label AND at_ns >= $since_ns AND request_id IS NOT NULL GROUP BY request_id
)
SELECT drawn.*, label, label_text FROM drawn JOIN known ON known.request_id = drawn.id
ORDER BY known_ns, id LIMIT {TRIALS_MAX}
"""  # noqa: S608 - made of constants


class Contest(msgspec.Struct, frozen=True, kw_only=True):
    """Whose requests: of two releases behind an endpoint, since the second one got traffic."""

    endpoint: str
    source: str
    target: str
    since_ns: int


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """One drawn request of which something is known."""

    canary: bool
    share: float  # the chance that it had of the new release
    unit: int | None
    wrong: bool = False
    unsure: bool = False  # whether the request's own draw fell below its squared error of probability
    score: float = 0.0


def read_scored(engine: Engine, contest: Contest) -> list[Known]:
    """Requests with a score, in order of time."""
    table = engine.query(_SCORED, msgspec.structs.asdict(contest), _BOUNDS)
    return [
        Known(canary=row["canary"], share=row["share"], unit=row["unit"], score=row["score"])
        for row in table.to_pylist()
    ]


def read_labelled(engine: Engine, contest: Contest, spec: MonitorSpec) -> list[Known]:
    """Requests with a label, in the order in which their labels were learnt."""
    given = {**msgspec.structs.asdict(contest), "label": spec.label}
    table = engine.query(_LABELLED, given, _BOUNDS)
    scores, values = _numbers(table, "score"), _numbers(table, "label")
    truth, predicted = encode(
        spec, scores, table.column("prediction").to_pylist(), values, table.column("label_text").to_pylist()
    )
    judged = np.isfinite(truth) & np.isfinite(predicted)
    if spec.problem == "regression":
        wrong = np.abs(predicted - truth) > (spec.close_enough or 0.0)
        loss = np.zeros(len(truth))
    else:
        wrong = truth != predicted
        outcome = truth if spec.problem == "binary" else (~wrong).astype(float)
        loss = np.where(np.isfinite(scores), (np.clip(scores, 0.0, 1.0) - outcome) ** 2, 0.0)
    return [
        Known(
            canary=row["canary"],
            share=row["share"],
            unit=row["unit"],
            wrong=bool(wrong[place]),
            unsure=draw(row["id"]) < float(loss[place]),
        )
        for place, row in enumerate(table.select(["id", "canary", "share", "unit"]).to_pylist())
        if judged[place]
    ]


def _numbers(table: pa.Table, name: str) -> np.ndarray:
    return np.asarray(table.column(name).to_numpy(zero_copy_only=False), dtype=float)


def draw(id_: str) -> float:
    """A number in [0, 1) that belongs to a request: the same at every reading, and as good as chance."""
    return int.from_bytes(hashlib.blake2b(id_.encode(), digest_size=7).digest(), "big") / 2.0**56
