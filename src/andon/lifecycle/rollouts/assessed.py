"""The gate on robustness: what the newest assessment of the new version says, alone and beside the stable one's.

Fed by the observer, like the gates on labels. An assessment is made once, before or during a release, and is no stream
of evidence: the figure is compared, and its interval is told. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from andon.kernel.admission import Assessment
from andon.kernel.reports import GateReading
from andon.kernel.snapshot import GateEntry


def judge_robustness(
    entry: GateEntry, source: Sequence[Assessment], target: Sequence[Assessment]
) -> GateReading:
    """A breach where robust accuracy is below `at_least`, or more than the margin below the stable version's.

    The two are compared only by the same attack, at the same strength, on the same data.
    """
    if not target:
        return _reading(
            entry, "no-data", None, None, "the new version has not been assessed: andon models assess"
        )
    new = target[-1]
    old = next((one for one in reversed(source) if one.is_like(new)), None)
    told = f"robust accuracy {new.robust_accuracy:.3f} ({new.robust_low:.3f} to {new.robust_high:.3f})"
    terms = f"{new.attack}, {new.norm} {new.epsilon:g}, {new.budget} queries, {new.rows} rows"
    if entry.at_least is not None and new.robust_accuracy < entry.at_least:
        return _reading(entry, "breach", new, old, f"{told} is below {entry.at_least:g}; {terms}")
    if old is not None and new.robust_accuracy < old.robust_accuracy - entry.margin:
        reason = f"{told} is more than {entry.margin:g} below {old.robust_accuracy:.3f}; {terms}"
        return _reading(entry, "breach", new, old, reason)
    if old is None and entry.at_least is None:
        reason = "the stable version has no assessment under the same conditions, and the gate no atLeast"
        return _reading(entry, "no-data", new, None, reason)
    return _reading(entry, "pass", new, old, f"{told}; {terms}")


def _reading(
    entry: GateEntry, verdict: str, new: Assessment | None, old: Assessment | None, reason: str
) -> GateReading:
    return GateReading(
        gate=entry.name,
        metric=entry.metric,
        verdict="breach" if verdict == "breach" else "pass" if verdict == "pass" else "no-data",
        evidence=1.0,  # no test is made that could be repeated, so there is nothing to be likelier
        threshold=1.0 / entry.alpha,
        canary_n=new.rows if new else 0,
        stable_n=old.rows if old else 0,
        canary_value=new.robust_accuracy if new else None,
        stable_value=old.robust_accuracy if old else None,
        minimum=0,
        reason=reason,
    )
