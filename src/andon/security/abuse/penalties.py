"""Who has offended lately and must wait: points that time forgives, and a wait that doubles.

Pure: the time is handed in. Bounded: whoever offended longest ago is forgotten first, and that is counted.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from andon.security.abuse.settings import AbuseSettings

DOUBLINGS_MAX: Final = 30


class _Conduct:
    __slots__ = ("at", "points", "strikes", "until")

    def __init__(self, at: float) -> None:
        self.points = 0.0
        self.at = at
        self.strikes = 0  # waits given without a quiet time between them
        self.until = 0.0


class Penalties:
    """The table of one sort of subject: addresses, or keys."""

    def __init__(self, settings: AbuseSettings) -> None:
        self._settings = settings
        self._found: OrderedDict[str, _Conduct] = OrderedDict()
        self.given = 0
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._found)

    def wait_s(self, subject: str, now: float) -> float:
        """How long a subject must still wait; 0 for nearly everybody."""
        conduct = self._found.get(subject)
        return conduct.until - now if conduct is not None and conduct.until > now else 0.0

    def offend(self, subject: str, points: float, now: float) -> None:
        """Count an offence; beyond what is forgiven in time, the subject must wait, twice as long each time."""
        settings = self._settings
        if not settings.offences or not subject:
            return
        conduct = self._found.get(subject)
        if conduct is None:
            if len(self._found) >= settings.subjects_max:
                self._found.popitem(last=False)
                self.forgotten += 1
            conduct = self._found[subject] = _Conduct(now)
        self._found.move_to_end(subject)
        self._forgive(conduct, now)
        conduct.points += points
        if conduct.points > settings.offences and conduct.until <= now:
            wait_s = settings.penalty_s * 2 ** min(conduct.strikes, DOUBLINGS_MAX)
            conduct.until = now + min(wait_s, settings.penalty_max_s)
            conduct.strikes += 1
            self.given += 1

    def behave(self, subject: str, now: float) -> None:
        """Something of the subject went well: that makes up for an offence."""
        conduct = self._found.get(subject)
        if conduct is not None:
            self._forgive(conduct, now)
            conduct.points = max(0.0, conduct.points - 1.0)
            self._drop_quiet(subject, conduct, now)

    def sweep(self, now: float) -> None:
        """Forget those whom time has forgiven everything; stops at the first that it has not."""
        for subject, conduct in list(self._found.items())[:1000]:
            self._forgive(conduct, now)
            if not self._drop_quiet(subject, conduct, now):
                return

    def _forgive(self, conduct: _Conduct, now: float) -> None:
        settings = self._settings
        paid = (now - conduct.at) * settings.offences / settings.forgiving_s
        if paid > 0.0:
            conduct.points = max(0.0, conduct.points - paid)
            conduct.at = now
        if conduct.points == 0.0 and conduct.until <= now:
            conduct.strikes = 0

    def _drop_quiet(self, subject: str, conduct: _Conduct, now: float) -> bool:
        if conduct.points > 0.0 or conduct.until > now:
            return False
        del self._found[subject]
        return True
