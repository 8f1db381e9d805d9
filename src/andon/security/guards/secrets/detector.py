"""The detector of secrets: credentials by their form, values by what names them; where both see one, the form counts.

Pure. What is found is named and placed; the secret itself goes nowhere, not even its first letters.
"""

from __future__ import annotations

from typing import Final

from andon.security.guards.model import Finding
from andon.security.guards.secrets import assignments
from andon.security.guards.secrets.forms import FORMS, private_keys

VERSION: Final = "1"
REACH: Final = 256  # the fewest characters by which every form is known; what is longer is found, and grows
ENTITIES: Final = tuple(sorted({form.entity for form in FORMS} | {"assigned_secret", "private_key"}))


class SecretDetector:
    """A `Detector` of secrets (port in `security/guards/model`)."""

    name = "secrets"
    version = VERSION
    reach = REACH

    def scan(self, text: str) -> list[Finding]:
        """Every secret, in order of place, none overlapping another."""
        lower = text.lower()
        found = [
            Finding(match.start(form.group), match.end(form.group), form.entity, form.score)
            for form in FORMS
            if form.literal in lower
            for match in form.pattern.finditer(text)
            if form.check is None or form.check(match[form.group])
        ]
        found += [Finding(start, end, "private_key", 0.99) for start, end in private_keys(text)]
        taken: list[Finding] = []
        for finding in (*found, *assignments.find(text)):
            if all(finding.end <= other.start or finding.start >= other.end for other in taken):
                taken.append(finding)
        return sorted(taken)
