"""The world of the proof `slo`: a generated ledger, random objectives over it, and their truth in plain Python.

Nothing here uses what is being proved: `brute` counts by the words of docs/objectives.md.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from andon.kernel.units import duration_s
from andon.ledger.facts.model import Evaluation, Fact, Feedback, Label
from andon.ledger.row import Outcome
from andon.observability.objectives.model import (
    AvailabilitySpec,
    Condition,
    CostSpec,
    GuardSpec,
    IndicatorSpec,
    LatencySpec,
    ObjectiveSpec,
    Predicate,
    QualitySpec,
    RawSpec,
    Slice,
)

NS = 1_000_000_000
DAYS = 30
DAY_NS = 86_400 * NS
BEGIN_NS = 1_780_000_000 * NS
END_NS = BEGIN_NS + DAYS * DAY_NS


def make_rows(chance: random.Random, rows: int) -> list[Outcome]:
    """Final outcomes over the days, in order of time, with every kind of failure, null and refusal."""
    moments = sorted(chance.randrange(BEGIN_NS, END_NS) for _ in range(rows))
    made = []
    for number, at_ns in enumerate(moments):
        endpoint = chance.choice(("credit", "chat", "search"))
        fate = chance.random()
        status, code, blamed, refused = 200, None, False, None
        if fate < 0.02:
            status, code, blamed = chance.choice((500, 502, 503, 504)), "upstream_failed", True
        elif fate < 0.03:
            status, code = 503, "ledger_full"
        elif fate < 0.05:
            status, code, refused = 429, "rate_limited", "limits"
        elif fate < 0.06:
            status, code, refused = 403, "guard_hit", "guard"
        elif fate < 0.08:
            status, code = chance.choice((400, 404, 422)), "bad_request"
        elif fate < 0.09:
            status, code = 499, "client_gone"
        asked = refused is None
        made.append(
            Outcome(
                id=f"r{number}",
                at_ns=at_ns,
                status=status,
                error_code=code,
                provider_error=blamed,
                endpoint=endpoint,
                release=f"{endpoint}@{chance.randrange(1, 4)}" if asked else None,
                arm=chance.choice(("stable", "stable", "canary")) if asked else None,
                operation="chat",
                dialect=chance.choice(("openai", "oip")),
                key=f"k{chance.randrange(6)}",
                team=chance.choice(("risk", "sales", None)),
                duration_us=int(chance.lognormvariate(12, 1)),
                overhead_us=chance.randrange(100, 2_000),
                upstream_us=chance.randrange(1_000, 900_000) if asked else None,
                first_byte_us=chance.randrange(1_000, 400_000) if asked and chance.random() < 0.9 else None,
                refused_by=refused,
                cost_micros=chance.randrange(10, 5_000) if chance.random() < 0.8 else None,
                currency=chance.choice(("USD", "USD", "EUR")),
                reference=f"order-{number - number % 50 if chance.random() < 0.01 else number}"
                if chance.random() < 0.5
                else None,
                response_id=f"answer-{number}" if chance.random() < 0.5 else None,
                model=chance.choice(("m1", "m2")),
                prediction=chance.choice(("0", "1", "1.0", "cat", "dog", "-2.5e3", None)),
                score=chance.random(),
            )
        )
    return made


def make_facts(chance: random.Random, rows: Sequence[Outcome]) -> list[Fact]:
    """Labels (late, corrected, sent twice, of requests that are unknown), feedback and evaluations."""
    facts: list[Fact] = []
    for number, row in enumerate(rows):
        if chance.random() > 0.3 or row.status >= 400:
            continue
        about: dict[str, Any] = {"request": row.id}
        if row.reference is not None and chance.random() < 0.4:
            about = {"reference": row.reference}
        elif row.response_id is not None and chance.random() < 0.4:
            about = {"response": row.response_id}
        at_ns = row.at_ns + int(chance.expovariate(1 / (2 * DAY_NS)))
        for version in range(1 + (chance.random() < 0.15) + (chance.random() < 0.03)):
            as_text = chance.random() < 0.4
            truth = Label(
                id=f"l{number}-{version}",
                at_ns=at_ns,
                event_ns=row.at_ns,
                value=None if as_text else float(chance.choice((0, 1, -2500))),
                text=chance.choice(("cat", "dog", None)) if as_text else None,
                **about,
            )
            facts.append(truth)
            if chance.random() < 0.05:
                facts.append(truth)
            at_ns += 1 + int(chance.expovariate(1 / DAY_NS))
        if chance.random() < 0.3:
            value = chance.choice((1.0, 3.0, 5.0, None))
            facts.append(Feedback(id=f"f{number}", at_ns=at_ns, kind="rating", value=value, **about))
        if chance.random() < 0.3:
            score = chance.random()
            facts.append(Evaluation(id=f"e{number}", at_ns=at_ns, name="grounded", score=score, **about))
    facts += [Label(id=f"u{n}", at_ns=BEGIN_NS + n * NS, request=f"nobody-{n}", value=1.0) for n in range(50)]
    return sorted((fact for fact in facts if fact.at_ns < END_NS), key=lambda fact: fact.at_ns)


def make_indicators(chance: random.Random) -> list[Callable[[], IndicatorSpec]]:
    """Makers of random indicators, one for each kind and source."""
    pick = chance.choice
    policy = ("exclude", "good", "bad")
    unknown = ("ignore", "good", "bad")
    return [
        lambda: IndicatorSpec(
            availability=AvailabilitySpec(
                blame=pick(("service", "provider")),
                client_errors=pick(policy),
                cancelled=pick(policy),
                refusals=pick(policy),
            )
        ),
        lambda: IndicatorSpec(
            latency=LatencySpec(
                of=pick(("duration", "overhead", "upstream", "firstByte")),
                above=pick(("50ms", "200ms", "2ms", "1s")),
                failures=pick(("exclude", "bad", "measured")),
                unknown=pick(unknown),
            )
        ),
        lambda: IndicatorSpec(
            quality=QualitySpec(
                below=pick((None, None, 0.5)), counted_at=pick(("known", "request")), unknown=pick(unknown)
            )
        ),
        lambda: IndicatorSpec(
            quality=QualitySpec(
                source="feedback", name="rating", below=3.0, counted_at=pick(("known", "request"))
            )
        ),
        lambda: IndicatorSpec(
            quality=QualitySpec(source="evaluation", name="grounded", below=0.2, counted_at="known")
        ),
        lambda: IndicatorSpec(
            cost=CostSpec(above_micros=pick((100, 2_500)), currency=pick(("", "USD")), unknown=pick(unknown))
        ),
        lambda: IndicatorSpec(guard=GuardSpec(stages=("guard",), codes=pick(((), ("rate_limited",))))),
        lambda: IndicatorSpec(
            raw=RawSpec(
                bad=Predicate(
                    all=(Condition(column="team", op="ne", value="risk"),),
                    any=(
                        Condition(column="status", op="ge", value=500),
                        Condition(column="score", op="lt", value=0.1),
                    ),
                ),
                total=Predicate(all=(Condition(column="release", op="present"),)),
            )
        ),
    ]


def make_spec(chance: random.Random, number: int) -> ObjectiveSpec:
    """A random objective; every kind of indicator comes round."""
    pick, kinds = chance.choice, make_indicators(chance)
    over: dict[Any, Any] = {}
    for column, values in (
        ("endpoint", ("credit", "chat", "search")),
        ("team", ("risk", "sales")),
        ("arm", ("stable", "canary")),
        ("model", ("m1", "m2")),
    ):
        if chance.random() < 0.3:
            over[column] = pick(values) if chance.random() < 0.5 else tuple(values[:2])
    by = tuple(chance.sample(("endpoint", "release", "team", "key", "dialect"), pick((0, 1, 1, 2))))
    return ObjectiveSpec(
        indicator=kinds[number % len(kinds)](), objective=0.99, period="31d", over=over, by=by, slices_max=200
    )


Counted = list[tuple[int, Slice, bool]]  # when, which slice, bad


def brute(spec: ObjectiveSpec, rows: Sequence[Outcome], facts: Sequence[Fact]) -> Counted:
    """Every event of an objective, by the words of the documentation and by nothing of the product."""
    found: Counted = []
    truths = told(spec, rows, facts) if spec.indicator.quality else {}
    for row in rows:
        if not all(
            getattr(row, column) is not None
            and getattr(row, column) in ((value,) if isinstance(value, str) else value)
            for column, value in spec.over.items()
        ):
            continue
        key = tuple(getattr(row, column) for column in spec.by)
        if spec.indicator.quality is not None:
            fact = truths.get(row.id)
            bad = None if fact is None else wrong(spec.indicator.quality, row, fact)
            at_ns = row.at_ns
            if fact is not None and spec.indicator.quality.counted_at == "known":
                at_ns = fact.at_ns
        else:
            bad, at_ns = verdict(spec.indicator, row), row.at_ns
        if bad is not None:
            found.append((at_ns, key, bad))
    return found


WORDS = {"exclude": None, "ignore": None, "good": False, "bad": True}


def verdict(indicator: IndicatorSpec, row: Outcome) -> bool | None:
    """Bad, good, or no event."""
    if indicator.availability is not None:
        return available(indicator.availability, row)
    if indicator.latency is not None:
        return slow(indicator.latency, row)
    if indicator.cost is not None:
        cost = indicator.cost
        if row.cost_micros is None:
            return WORDS[cost.unknown]
        if cost.currency and row.currency != cost.currency:
            return None
        return row.cost_micros > cost.above_micros
    if indicator.guard is not None:
        return row.refused_by in indicator.guard.stages or row.error_code in indicator.guard.codes
    if row.release is None:
        return None
    other = row.team is not None and row.team != "risk"
    return other and (row.status >= 500 or (row.score is not None and row.score < 0.1))


def available(spec: AvailabilitySpec, row: Outcome) -> bool | None:
    """Availability: who is to blame."""
    if row.provider_error:
        return True
    if row.status == 499:
        return WORDS[spec.cancelled]
    if 400 <= row.status < 500:
        return WORDS[spec.refusals if row.refused_by else spec.client_errors]
    if row.status >= 500:
        return True if spec.blame == "service" else None
    return False


def slow(spec: LatencySpec, row: Outcome) -> bool | None:
    """Latency: longer than the limit."""
    failed = row.provider_error or row.status >= 400
    if failed and spec.failures != "measured":
        return True if spec.failures == "bad" else None
    took = getattr(row, "first_byte_us" if spec.of == "firstByte" else f"{spec.of}_us")
    return WORDS[spec.unknown] if took is None else took > duration_s(spec.above) * 1e6


def told(spec: ObjectiveSpec, rows: Sequence[Outcome], facts: Sequence[Fact]) -> dict[str, Any]:
    """The latest fact about each request, of the kind and name asked for."""
    quality = spec.indicator.quality
    assert quality is not None
    kind = {"label": Label, "feedback": Feedback, "evaluation": Evaluation}[quality.source]
    by_key: dict[tuple[str, str], str] = {}  # rows come in order of time: of several the latest is meant
    for row in rows:
        by_key["request", row.id] = row.id
        if row.reference is not None:
            by_key["reference", row.reference] = row.id
        if row.response_id is not None:
            by_key["response", row.response_id] = row.id
    found: dict[str, Any] = {}
    for fact in facts:
        if (
            not isinstance(fact, kind)
            or (fact.kind if isinstance(fact, Feedback) else fact.name) != quality.name
        ):
            continue
        way = "request" if fact.request else "reference" if fact.reference else "response"
        id_ = by_key.get((way, getattr(fact, way) or ""))
        had = found.get(id_ or "")
        if id_ is not None and (had is None or fact.at_ns >= had.at_ns):
            found[id_] = fact
    return found


def wrong(quality: QualitySpec, row: Outcome, fact: Any) -> bool | None:
    """Whether the fact says that the answer was bad."""
    value = fact.score if isinstance(fact, Evaluation) else fact.value
    text = fact.text if isinstance(fact, Label) else None
    unknown = {"ignore": None, "good": False, "bad": True}[quality.unknown]
    if quality.below is not None:
        return unknown if value is None else value < quality.below
    if row.prediction is None or (text is None and value is None):
        return unknown
    if text is not None:
        return text != row.prediction
    try:
        return float(row.prediction) != value
    except ValueError:
        return True
