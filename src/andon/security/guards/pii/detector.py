"""The detector of personal data: forms with their checks, and the tagger; where both see something, the surer counts.

Pure. Findings never overlap. What is found is named, placed and scored; the text itself goes nowhere.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from andon.security.guards.model import Finding
from andon.security.guards.pii import patterns
from andon.security.guards.pii.tagger import Tagger
from andon.security.guards.pii.weights import load_weights

FORMS_VERSION: Final = "1"
REACH: Final = 200  # a name or number with its words of context; what is longer is found, and grows
ENTITIES: Final = (
    "AGE", "CREDIT_CARD", "CRYPTO_ADDRESS", "DATE_TIME", "DOMAIN_NAME", "EMAIL_ADDRESS", "ES_DNI", "GPE", "IBAN_CODE",
    "IN_AADHAAR", "IP_ADDRESS", "MAC_ADDRESS", "NRP", "ORGANIZATION", "PASSPORT", "PERSON", "PHONE_NUMBER",
    "STREET_ADDRESS", "TITLE", "UK_NHS", "US_DRIVER_LICENSE", "US_SSN", "ZIP_CODE",
)  # fmt: skip
# What stands for one person by itself. The others (towns, firms, peoples, professions, ages, dates) tell of a person
# only together with something else; a guard that wants them names them.
IDENTIFYING: Final = frozenset(
    "CREDIT_CARD CRYPTO_ADDRESS EMAIL_ADDRESS ES_DNI IBAN_CODE IN_AADHAAR IP_ADDRESS MAC_ADDRESS PASSPORT PERSON "
    "PHONE_NUMBER STREET_ADDRESS UK_NHS US_DRIVER_LICENSE US_SSN".split()
)
SCORE_MIN: Final = 0.5  # a form with less, such as five digits without a word like "zip", is only a guess


class PiiDetector:
    """A `Detector` of personal data (port in `security/guards/model`)."""

    name = "pii"
    reach = REACH

    def __init__(self, entities: Collection[str] = IDENTIFYING) -> None:
        """`entities` names what is looked for; raises Refused if the tagger's weights cannot be read."""
        weights, version = load_weights()
        self.version = f"{FORMS_VERSION}.{version}"
        self._entities = frozenset(entities)
        self._tagger = Tagger(weights)

    def scan(self, text: str) -> list[Finding]:
        """Everything of the entities that were asked for, in order of place."""
        by_form = [finding for finding in patterns.find(text) if finding.score >= SCORE_MIN]
        chosen = apart([*_ranked(by_form), *_ranked(self._named(text))])
        return [finding for finding in chosen if finding.entity in self._entities]

    def _named(self, text: str) -> list[Finding]:
        """What the tagger sees, less numbers that cannot be what it takes them for."""
        return [
            finding
            for finding in self._tagger.find(text)
            if finding.entity != "PHONE_NUMBER" or patterns.phone(text[finding.start : finding.end])
        ]


def _ranked(findings: Iterable[Finding]) -> list[Finding]:
    """The surest first, of equals the longest, of those the first."""
    return sorted(findings, key=lambda found: (-found.score, found.start - found.end, found.start))


def apart(findings: Iterable[Finding]) -> list[Finding]:
    """Those that overlap none before them in the order given, sorted by place."""
    taken: list[Finding] = []
    places: set[int] = set()
    for finding in findings:
        span = range(finding.start, finding.end)
        if places.isdisjoint(span):
            places.update(span)
            taken.append(finding)
    return sorted(taken)
