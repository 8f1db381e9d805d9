"""The live windows, for alerts, objectives, `andon top` and the API: `Windows.window` and `Windows.readings`.

A reading covers at least the seconds asked for (up to 24 h): whole slots of 10 s up to an hour, of a minute up to six
hours, of five minutes beyond; `since_ns` and `until_ns` say exactly what, and rates are of that span. A row counts at
the time it happened, however late it comes. Everything is memory only and belongs to the event loop.
"""

from __future__ import annotations

from collections.abc import Sequence

from andon.kernel.clock import Clock
from andon.ledger.facts.model import Fact
from andon.ledger.reader import Entry
from andon.ledger.row import Outcome
from andon.ledger.summary import OTHER, SHADOW, SUBJECTS_MAX, Reading, Subject, Tally, subject_of
from andon.observability.windows.batches import sum_of, tally_of
from andon.observability.windows.levels import make_levels, slots_of, span_of

SECONDS_MAX = 24 * 3600
AHEAD_NS = 60 * 10**9  # a row from further in the future tells of a wrong clock and counts as of now


class Windows:
    """The figures of the last 24 hours. A `feed.Consumer`. The port of those who read it:

    window(endpoint, release="", seconds=60.0, arm="") -> Reading      one subject, zeros where nothing was
    readings(seconds=60.0, *, endpoint="", release="") -> list[Reading]   one per (endpoint, release, arm), sorted
    complete_since_ns                                                  earlier than this, rows may be missing
    """

    name = "windows"

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._levels = make_levels()
        self._slot_ns = self._levels[0].slot_ns
        self._seen: dict[Subject, int] = {}  # when each last had a row
        self._fed_from: int | None = None  # position of the first row that the feed brought
        self._filled_to = 0  # position of the last row that backfilling brought
        self.complete_since_ns = clock.now_ns()
        self.too_late = 0  # rows older than a day
        self.ahead = 0  # rows from the future

    def take_rows(self, entries: Sequence[Entry]) -> None:
        """Count rows as they come."""
        if entries and self._fed_from is None:
            self._fed_from = entries[0].position
        self._count([entry.row for entry in entries if entry.position > self._filled_to])

    def take_facts(self, facts: Sequence[Fact]) -> None:
        """Facts change nothing here."""

    def backfill(self, entries: Sequence[Entry], since_ns: int) -> bool:
        """Count rows from before the feed began, in order; False once the feed's own have been reached.

        `since_ns`: the time from which on the windows are complete with these.
        """
        end = self._fed_from
        wanted = [entry for entry in entries if end is None or entry.position < end]
        self._count([entry.row for entry in wanted])
        if entries and end is None:
            self._filled_to = entries[-1].position
        self.complete_since_ns = min(self.complete_since_ns, since_ns)
        return len(wanted) == len(entries)

    def window(self, endpoint: str, release: str = "", seconds: float = 60.0, arm: str = "") -> Reading:
        """One subject's reading. An empty `release` or `arm` means all together; shadows count only when named."""
        now_ns = self._clock.now_ns()
        since, until, finest = span_of(self._levels, seconds, now_ns)
        tallies = [
            tally
            for slot in slots_of(self._levels, finest, since, now_ns)
            for subject, tally in slot.items()
            if _matches(subject, endpoint, release, arm)
        ]
        return sum_of(tallies).reading((endpoint, release, arm), since, until)

    def readings(self, seconds: float = 60.0, *, endpoint: str = "", release: str = "") -> list[Reading]:
        """Everything that had traffic, by endpoint, release and arm; empty filters let all pass."""
        found: dict[Subject, list[Tally]] = {}
        now_ns = self._clock.now_ns()
        since, until, finest = span_of(self._levels, seconds, now_ns)
        for slot in slots_of(self._levels, finest, since, now_ns):
            for subject, tally in slot.items():
                if endpoint in ("", subject[0]) and release in ("", subject[1]):
                    found.setdefault(subject, []).append(tally)
        return [sum_of(found[subject]).reading(subject, since, until) for subject in sorted(found)]

    def _count(self, rows: Sequence[object]) -> None:
        now_ns = self._clock.now_ns()
        groups: dict[tuple[Subject, int], list[Outcome]] = {}
        for row in rows:
            if not isinstance(row, Outcome):
                continue
            at_ns = row.at_ns
            if at_ns > now_ns + AHEAD_NS:
                self.ahead += 1
                at_ns = now_ns
            subject = self._admit(subject_of(row), at_ns)
            groups.setdefault((subject, at_ns // self._slot_ns), []).append(row)
        for (subject, number), members in groups.items():
            tally, at_ns = tally_of(members), number * self._slot_ns
            # Each level forgets at its own age; what even the last one has forgotten is told.
            if not [level for level in self._levels if level.add(subject, at_ns, tally, now_ns)]:
                self.too_late += len(members)

    def _admit(self, subject: Subject, at_ns: int) -> Subject:
        seen = self._seen
        if subject not in seen and len(seen) >= SUBJECTS_MAX:
            oldest = self._clock.now_ns() - SECONDS_MAX * 10**9
            for gone in [known for known, last in seen.items() if last < oldest]:
                del seen[gone]
            if len(seen) >= SUBJECTS_MAX:
                return (OTHER, "", "")
        seen[subject] = max(at_ns, seen.get(subject, 0))
        return subject


def _matches(subject: Subject, endpoint: str, release: str, arm: str) -> bool:
    if subject[0] != endpoint or release not in ("", subject[1]):
        return False
    return subject[2] == arm if arm else subject[2] != SHADOW
