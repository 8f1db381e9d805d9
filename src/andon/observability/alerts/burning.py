"""What an Objective's windows would have said at each slot of its history, by the very rules that judge it live.

Sums are slid over slots of the ledger at once; only where both ratios are reached is a window judged in full, chance
included. Blocks; asks the ledger through the objectives' own query.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from andon.kernel.units import duration_s
from andon.ledger.queries import Engine
from andon.observability.alerts.backtest import History, Track
from andon.observability.alerts.model import ObjectiveWhen
from andon.observability.alerts.rules import NS
from andon.observability.objectives.board import labels_of
from andon.observability.objectives.counting import counting_of
from andon.observability.objectives.model import ObjectiveSpec, Slice
from andon.observability.objectives.repository import count_slots
from andon.observability.objectives.verdicts import Tallied, judge_window
from andon.observability.objectives.windows import Window, windows_of

JUDGED_MAX = 200_000  # moments judged in full, of all slices together
SLICES_MAX = 50

Counts = tuple[NDArray[np.int64], NDArray[np.int64]]


def objective_history(
    engine: Engine, name: str, spec: ObjectiveSpec, when: ObjectiveWhen, window: tuple[int, int]
) -> History:
    """True where a window of the wanted severities fires; one track for each slice."""
    windows = [one for one in windows_of(spec) if one.severity in when.severities]
    lengths = [seconds for one in windows for seconds in (one.long_s, one.short_s)]
    absolute = spec.alerting.absolute if spec.alerting.absolute is not None else None
    if absolute is not None and absolute.severity not in when.severities:
        absolute = None
    if absolute is not None:
        lengths.append(round(duration_s(absolute.window)))
    step_s = max(5, min([60, *lengths]))
    step_ns, longest = step_s * NS, max(lengths, default=60)
    first = window[0] // step_ns
    begin = first - -(-longest // step_s)
    count = window[1] // step_ns - begin
    slices: dict[Slice, Counts] = {}
    for one in count_slots(engine, counting_of(spec), begin * step_ns, window[1], step_ns):
        if one.key not in slices and len(slices) >= SLICES_MAX:
            continue
        total, bad = slices.setdefault(
            one.key, (np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64))
        )
        if 0 <= one.slot - begin < count:
            total[one.slot - begin] += one.total
            bad[one.slot - begin] += one.bad
    keep, judged = first - begin, [0]
    tracks = []
    for key, counts in slices.items():
        truth = np.zeros(count, dtype=bool)
        for one_window in windows:
            truth |= _fires(one_window, spec, counts, step_s, judged)
        if absolute is not None:
            truth |= _slid(counts[1], round(duration_s(absolute.window)) // step_s) >= absolute.bad
        labels = {"objective": name, **labels_of(spec.by, key)}
        tracks.append(Track(labels=labels, values=np.full(count - keep, np.nan), truth=truth[keep:]))
    notes = (
        ["Objectives with `after` are tried without that delay."] if any(w.after_s for w in windows) else []
    )
    if judged[0] >= JUDGED_MAX:
        notes.append("So much burned that chance was not weighed everywhere.")
    times = (first + 1 + np.arange(count - keep, dtype=np.int64)) * step_ns
    return History(times_ns=times, tracks=tuple(tracks), step_s=float(step_s), notes=tuple(notes))


def _fires(
    window: Window, spec: ObjectiveSpec, counts: Counts, step_s: int, judged: list[int]
) -> NDArray[np.bool_]:
    long = tuple(_slid(one, window.long_s // step_s) for one in counts)
    short = tuple(_slid(one, max(1, window.short_s // step_s)) for one in counts)
    maybe = (long[1] > 0) & (long[1] >= window.ratio * long[0]) & (short[0] > 0)
    maybe &= short[1] >= window.ratio * short[0]
    if spec.missing_data == "bad":
        maybe |= long[0] == 0
    fires = np.zeros(len(long[0]), dtype=bool)
    known: dict[tuple[int, int, int, int], bool] = {}
    for at in np.flatnonzero(maybe):
        one = (int(long[0][at]), int(long[1][at]), int(short[0][at]), int(short[1][at]))
        if one not in known:
            judged[0] += 1
            if judged[0] >= JUDGED_MAX:
                fires[at] = True
                continue
            verdict = judge_window(
                window,
                spec.objective,
                Tallied(one[0], one[1]),
                Tallied(one[2], one[3]),
                missing=spec.missing_data,
                minimum=spec.minimum_events,
            )
            known[one] = verdict.word == "fires"
        fires[at] = known[one]
    return fires


def _slid(found: NDArray[np.int64], slots: int) -> NDArray[np.int64]:
    sums = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(found)))
    end = np.arange(1, len(found) + 1)
    slid: NDArray[np.int64] = sums[end] - sums[np.maximum(0, end - slots)]
    return slid
