"""From an item to a fact: pure. Checks what a type cannot say, gives it its times and an id.

An id left out is a digest of what the item says, its event time included where one is given; when it arrived is not
part of it, so the same item sent twice is one fact. Whoever takes a value back and gives it again must say when.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable

import msgspec

from andon.ledger.facts.items import (
    AboutRequest,
    AnyItem,
    EvaluationItem,
    FeedbackItem,
    Item,
    KpiItem,
    LabelItem,
    PriceItem,
)
from andon.ledger.facts.model import Evaluation, Fact, Feedback, KpiEvent, Label, Price
from andon.ledger.facts.times import DECADE_NS, LEEWAY_NS, Unfit, check_time, parse_time

FEEDBACK_KINDS = frozenset({"thumb", "rating", "regenerate", "abandon", "accept", "edit", "copy"})
DIGEST_CHARACTERS = 32  # 128 bits: two contents share one never

_encode = msgspec.msgpack.Encoder().encode


class Sender(msgspec.Struct, frozen=True):
    """Who sends, and when it arrived."""

    source: str
    now_ns: int
    unit_hash: Callable[[str], int]


def digest_id(kind: str, *content: object) -> str:
    """An id of a fact's content: 128 bits of SHA-256 (FIPS 180-4) in hexadecimal."""
    return hashlib.sha256(_encode([kind, *content])).hexdigest()[:DIGEST_CHARACTERS]


def to_fact(item: AnyItem, sender: Sender) -> Fact:
    """The fact that an item states. Raises `Unfit` with the reason."""
    if isinstance(item, LabelItem):
        return _label(item, sender)
    if isinstance(item, FeedbackItem):
        return _feedback(item, sender)
    if isinstance(item, KpiItem):
        return _kpi(item, sender)
    if isinstance(item, EvaluationItem):
        return _evaluation(item, sender)
    return _price(item, sender)


def _times(item: Item, sender: Sender, leeway_ns: int = LEEWAY_NS) -> tuple[int | None, int]:
    """The event time as given, for the id, and the one that counts."""
    if item.time is None:
        return None, sender.now_ns
    at_ns = check_time(parse_time(item.time), sender.now_ns, leeway_ns)
    return at_ns, at_ns


def _finite(value: float | None, field: str) -> float | None:
    if value is not None and not math.isfinite(value):
        raise Unfit("value_not_finite", f"{field} is not a finite number.", field)
    return value


def _subject(item: AboutRequest, *others: object) -> tuple[str | None, str | None, str | None]:
    subject = (item.request, item.reference, item.response)
    if subject == (None, None, None) and all(other is None for other in others):
        raise Unfit("subject_missing", "It does not say which request it is about.", "request")
    return subject


def _label(item: LabelItem, sender: Sender) -> Label:
    subject = _subject(item)
    value = _finite(item.value, "value")
    if value is None and item.text is None:
        raise Unfit("value_missing", "A label needs a value or a text.", "value")
    given, event_ns = _times(item, sender)
    weight = _finite(item.weight, "weight") or 0.0
    return Label(
        item.id or digest_id("label", subject, item.name, given, value, item.text, weight),
        sender.now_ns,
        event_ns,
        *subject,
        item.name,
        value,
        item.text,
        weight,
        sender.source,
    )


def _feedback(item: FeedbackItem, sender: Sender) -> Feedback:
    subject = _subject(item)
    value = _finite(item.value, "value")
    if item.kind not in FEEDBACK_KINDS:
        raise Unfit("kind_unknown", f"kind is none of {', '.join(sorted(FEEDBACK_KINDS))}.", "kind")
    if item.kind == "thumb" and value not in (0.0, 1.0):
        raise Unfit("value_out_of_range", "A thumb is 0 or 1.", "value")
    if item.kind == "rating" and (value is None or not 1 <= value <= 5):
        raise Unfit("value_out_of_range", "A rating lies between 1 and 5.", "value")
    given, event_ns = _times(item, sender)
    return Feedback(
        item.id or digest_id("feedback", subject, item.kind, given, value, item.text),
        sender.now_ns,
        event_ns,
        *subject,
        item.kind,
        value,
        item.text,
        sender.source,
    )


def _kpi(item: KpiItem, sender: Sender) -> KpiEvent:
    unit = None if item.unit is None else sender.unit_hash(item.unit)
    subject = _subject(item, unit)
    value = _finite(item.value, "value") or 0.0
    given, event_ns = _times(item, sender)
    return KpiEvent(
        item.id or digest_id("kpi", subject, item.name, given, value, item.currency, unit),
        sender.now_ns,
        event_ns,
        *subject,
        item.name,
        value,
        item.currency,
        unit,
        sender.source,
    )


def _evaluation(item: EvaluationItem, sender: Sender) -> Evaluation:
    subject = _subject(item, item.trace_id)
    score = _finite(item.score, "score")
    if score is None and item.label is None:
        raise Unfit("value_missing", "An evaluation needs a score or a label.", "score")
    given, event_ns = _times(item, sender)
    return Evaluation(
        item.id or digest_id("evaluation", subject, item.trace_id, item.name, given, score, item.label),
        sender.now_ns,
        event_ns,
        *subject,
        item.name,
        score,
        item.label,
        item.explanation,
        sender.source,
        item.trace_id,
    )


def _price(item: PriceItem, sender: Sender) -> Price:
    # A price may be announced; everything else that lies ahead is a mistake.
    given, event_ns = _times(item, sender, DECADE_NS)
    line = (item.book, item.version, item.provider, item.model, item.bucket)
    amount = (item.amount_micros, item.quantity, item.currency)
    return Price(
        item.id or digest_id("price", *line, given, *amount),
        sender.now_ns,
        event_ns,
        *line,
        *amount,
        sender.source,
    )
