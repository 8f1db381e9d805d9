"""The prompt-injection and jailbreak detector: two linear heads over designed features, in plain Python.

`input` judges what a caller wrote, window by window; `context` judges retrieved content and tool results, where any
instruction to the model is foreign, sentence by sentence. One signal among several: spotlighting and tool allow-lists
are the structural defence. Pure, linear in the text, the same answer always. docs/guards-injection.md tells how good.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

import msgspec

from andon.kernel.errors import Refused
from andon.security.guards.injection.features import (
    WORD,
    Segment,
    of_segments,
    of_window,
    segments,
    windows,
)
from andon.security.guards.injection.weights import SCALE, Channel, dilution, load, score
from andon.security.guards.model import WHOLE, Finding

SHIPPED: Final = Path(__file__).with_name("injection.weights")
FINDINGS_MAX: Final = 64  # of one text: the highest scores
ENTITY: Final = "injection"
_ALWAYS_TOLD: Final = 0.25  # context sentences below this are told only as their window's highest


class InjectionSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a guard may say of this detector."""

    channel: Literal["input", "context"] = (
        "input"  # what the caller wrote, or what was retrieved for the model
    )
    weights: str = ""  # a file of your own training instead of the shipped one
    digest: str = ""  # SHA-256 that the weights must have; must be given with a file of your own


class InjectionDetector:
    """Finds injections and jailbreaks (see `model.Detector`). From 0.5 on a score is above the threshold."""

    name = "injection"
    reach = WHOLE  # what an instruction is, the whole text around it tells
    reads_invisible = True  # letters that nobody sees are read, not dropped
    threshold = 0.5

    def __init__(
        self, channel: Literal["input", "context"] = "input", path: Path = SHIPPED, digest: str = ""
    ) -> None:
        weights, found = load(path)
        if digest and digest != found:
            raise Refused(
                "guard_weights_damaged",
                "The weights of the injection detector are not those that were named.",
                hint=f"The file's SHA-256 is {found}.",
            )
        self.channel: Final = channel
        self.head: Final[Channel] = weights.input if channel == "input" else weights.context
        self.version: Final = f"{found}/{channel}"

    def scan(self, text: str) -> list[Finding]:
        """The highest of every window, and in context every sentence that stands out; at most `FINDINGS_MAX`."""
        found = segments(text)
        if not found:
            return []
        judge = self._judge_windows if self.channel == "input" else self._judge_sentences
        best = judge(found)
        if len(best) > FINDINGS_MAX:
            best = sorted(best, key=lambda finding: -finding.score)[:FINDINGS_MAX]
        return sorted(best)

    def _judge_windows(self, found: list[Segment]) -> list[Finding]:
        judged = []
        for low, high in windows(found):
            total = self._total(of_window(found[low:high]), diluted=True)
            judged.append(_finding(found, low, high, score(self.head, total)))
        return judged

    def _judge_sentences(self, found: list[Segment]) -> list[Finding]:
        judged: dict[int, float] = {}
        for low, high in windows(found):
            scores = [
                score(self.head, self._total(part, diluted=False)) if part else 0.0
                for part in of_segments(found[low:high])
            ]
            top = max(scores)
            for index, one in enumerate(scores):
                if one == top or one >= _ALWAYS_TOLD:
                    judged[low + index] = max(one, judged.get(low + index, 0.0))
        return [_finding(found, index, index + 1, one) for index, one in judged.items()]

    def _total(self, names: set[str], *, diluted: bool) -> float:
        weights = self.head.weights
        total = sum([weights[name] for name in names if name in weights])
        return self.head.bias + (total * dilution(len(names)) if diluted else total)

    def explain(self, text: str, count: int = 8) -> list[tuple[str, float]]:
        """What spoke most for and against, at the place with the highest score; words of the text are left out."""
        found = segments(text)
        parts = [
            part
            for low, high in windows(found)
            for part in (
                [of_window(found[low:high])] if self.channel == "input" else of_segments(found[low:high])
            )
        ]
        if not parts:
            return []
        top = max(parts, key=lambda part: self._total(part, diluted=self.channel == "input"))
        named = sorted(
            (name, self.head.weights.get(name, 0) / SCALE) for name in top if not name.startswith(WORD)
        )
        return sorted(named, key=lambda pair: -abs(pair[1]))[:count]


def _finding(found: list[Segment], low: int, high: int, one: float) -> Finding:
    start = min(segment.start for segment in found[low:high])
    end = max(segment.end for segment in found[low:high])
    return Finding(start, end, ENTITY, one)


def build(settings: Mapping[str, object]) -> InjectionDetector:
    """The detector that a guard's settings ask for; raises Refused where they are not its own."""
    try:
        read = msgspec.convert(settings, InjectionSettings)
    except msgspec.ValidationError as error:
        raise Refused("guard_invalid", f"settings of 'injection': {error}.") from error
    if read.weights and not read.digest:
        raise Refused(
            "guard_invalid",
            "settings of 'injection': weights of your own need their digest.",
            hint="Give the SHA-256 that training printed.",
        )
    return InjectionDetector(read.channel, Path(read.weights) if read.weights else SHIPPED, read.digest)
