"""The part of proof `guards` that is about personal data and secrets.

Personal data: the synthetic sentences of presidio-research, in folds by template: the tagger that judges a sentence has
seen neither it nor any other of its template. Every entity of the set is looked for and counted. The figure is the F2
of presidio-research itself, over tokens, personal or not; by type, and strictly by span, it is printed beside it.
Secrets: planted among things that look like some, all of them made here by a seed (`benchmarks/planted_secrets.py`).
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from andon.security.guards.model import Finding
from andon.security.guards.pii.detector import ENTITIES, PiiDetector
from andon.security.guards.pii.features import tokenise
from andon.security.guards.pii.tagger import Tagger
from andon.security.guards.secrets.detector import SecretDetector
from benchmarks.harness import ROOT, table
from benchmarks.planted_secrets import plant
from tools.pii_texts import Sample
from tools.train_pii import material_of, read_samples, train

DATA = ROOT.parent / "shared" / "data" / "pii" / "presidio_synth_v2_dev.json.gz"
FOLDS = 5
SEED = 11
# Towns, streets and codes are one thing to whoever redacts them, and to presidio-research.
GROUPS = {"GPE": "LOCATION", "STREET_ADDRESS": "LOCATION", "ZIP_CODE": "LOCATION"}


class Count:
    """Found rightly, found wrongly, missed."""

    def __init__(self) -> None:
        self.right, self.wrong, self.missed = 0, 0, 0

    def figures(self, beta: float = 2.0) -> tuple[float, float, float]:
        """Precision, recall and F-beta."""
        precision = self.right / max(1, self.right + self.wrong)
        recall = self.right / max(1, self.right + self.missed)
        weight = beta * beta
        return precision, recall, (1 + weight) * precision * recall / max(1e-9, weight * precision + recall)


class Held(PiiDetector):
    """The detector with a tagger that was trained on part of the data."""

    def __init__(self, tagger: Tagger) -> None:
        super().__init__(ENTITIES)
        self._tagger = tagger


def judged(path: Path, folds: int) -> list[tuple[Sample, list[Finding]]]:
    """Every sentence with what a detector found that has not seen its template."""
    samples = read_samples(path)
    templates = sorted({sample.template for sample in samples})
    random.Random(SEED).shuffle(templates)
    fold_of = {template: place % folds for place, template in enumerate(templates)}
    found = []
    for fold in range(folds):
        rest = [sample for sample in samples if fold_of[sample.template] != fold]
        detector = Held(Tagger(train(material_of(rest))))
        found += [
            (sample, detector.scan(sample.text)) for sample in samples if fold_of[sample.template] == fold
        ]
    return found


def count(results: Sequence[tuple[Sample, list[Finding]]]) -> tuple[Count, dict[str, Count], Count]:
    """Over tokens whether personal; over tokens by type; over spans by type, ends exact."""
    plain, spans = Count(), Count()
    typed: dict[str, Count] = {}
    for sample, findings in results:
        wanted = [(start, end, GROUPS.get(entity, entity)) for start, end, entity in sample.spans]
        given = [(found.start, found.end, GROUPS.get(found.entity, found.entity)) for found in findings]
        exact = len(set(wanted) & set(given))
        spans.right += exact
        spans.wrong += len(given) - exact
        spans.missed += len(wanted) - exact
        for token in tokenise(sample.text):
            if not token.text[0].isalnum():
                continue
            true, said = _type_at(wanted, token.start, token.end), _type_at(given, token.start, token.end)
            plain.right += bool(true and said)
            plain.wrong += bool(said and not true)
            plain.missed += bool(true and not said)
            if true == said and true:
                typed.setdefault(true, Count()).right += 1
                continue
            if said:
                typed.setdefault(said, Count()).wrong += 1
            if true:
                typed.setdefault(true, Count()).missed += 1
    return plain, typed, spans


def _type_at(spans: Sequence[tuple[int, int, str]], start: int, end: int) -> str:
    return next((entity for begin, stop, entity in spans if begin < end and stop > start), "")


def measure(quick: bool) -> dict[str, float | None]:
    """`pii_f2` (None where the data is not there) and `secrets_precision`."""
    figures: dict[str, float | None] = {"pii_f2": None, "secrets_precision": secrets_precision(quick)}
    if not DATA.exists():
        print(f"personal data: not measured, {DATA.name} is not here")
        return figures
    results = judged(DATA, 3 if quick else FOLDS)
    plain, typed, spans = count(results)
    total = Count()
    for found in typed.values():
        total.right, total.wrong = total.right + found.right, total.wrong + found.wrong
        total.missed += found.missed
    rows = [(entity, *found.figures(), found.right + found.missed) for entity, found in sorted(typed.items())]
    rows += [("by type, tokens", *total.figures(), total.right + total.missed)]
    rows += [("exact spans", *spans.figures(), spans.right + spans.missed)]
    rows += [("personal or not, tokens", *plain.figures(), plain.right + plain.missed)]
    table(("personal data", "precision", "recall", "F2", "n"), rows)
    print(f"p95 for 512 tokens of prose: {p95_ms([sample.text for sample, _ in results]):.2f} ms")
    figures["pii_f2"] = plain.figures()[2]
    return figures


def p95_ms(texts: Sequence[str]) -> float:
    """The 95th percentile of a scan of about 2,000 characters, in milliseconds."""
    detector, taken = PiiDetector(), []
    joined = " ".join(texts)
    for at in range(200):
        piece = joined[at * 300 : at * 300 + 2000]
        before = time.perf_counter()
        detector.scan(piece)
        taken.append((time.perf_counter() - before) * 1000)
    return sorted(taken)[int(len(taken) * 0.95)]


def secrets_precision(quick: bool) -> float:
    """The share of what is found that was planted, over documents with real-looking secrets and their look-alikes."""
    detector, overall = SecretDetector(), Count()
    kinds: Counter[str] = Counter()
    for document in plant(300 if quick else 3000):
        found = detector.scan(document.text)
        for finding in found:
            if any(start < finding.end and end > finding.start for start, end, _ in document.secrets):
                overall.right += 1
            else:
                overall.wrong += 1
                kinds[f"wrongly {finding.entity}"] += 1
        for start, end, kind in document.secrets:
            if not any(start < finding.end and end > finding.start for finding in found):
                overall.missed += 1
                kinds[f"missed {kind}"] += 1
    precision, recall, f2 = overall.figures()
    table(
        ("secrets", "precision", "recall", "F2", "n"),
        [("all", precision, recall, f2, overall.right + overall.missed)],
    )
    for kind, times in kinds.most_common(12):
        print(f"  {kind}: {times}")
    return precision
