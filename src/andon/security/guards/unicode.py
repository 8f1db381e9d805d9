"""Characters that a person cannot see and a model can: bidirectional controls, zero widths, tags, controls.

A detector whose findings are taken away (`redact` puts nothing in their place). What writing systems and emoji need is
left alone. Pure. Source: Unicode 16 §23; UTS 51 for emoji tag and joiner sequences; Boucher et al. 2021, "Bad
Characters"; Goodside 2024 on tags.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Final, Literal

import msgspec

from andon.security.guards.model import Finding
from andon.security.guards.views import INVISIBLE

Entity = Literal["bidi_control", "zero_width", "tag", "control", "variation_selector"]
_FLAG: Final = re.compile("\U0001f3f4[\U000e0020-\U000e007e]{1,6}\U000e007f")
_BIDI: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_JOINERS: Final = frozenset("\u200c\u200d")


class UnicodeSettings(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True
):
    """Settings of the detector `unicode`."""

    allow: Annotated[tuple[Entity, ...], msgspec.Meta(description="What is not looked for.")] = ()


class UnicodeDetector:
    """Finds characters that hide (`Detector`)."""

    name = "unicode"
    version = "1"
    reach = 12
    reads_invisible = True

    def __init__(self, settings: UnicodeSettings) -> None:
        self._allowed = frozenset(settings.allow)

    def scan(self, text: str) -> Sequence[Finding]:
        """See `Detector`."""
        if text.isascii() and text.isprintable():
            return ()
        flags = [match.span() for match in _FLAG.finditer(text)] if "\U0001f3f4" in text else []
        found = []
        for match in INVISIBLE.finditer(text):
            at = match.start()
            if any(start <= at < end for start, end in flags):
                continue
            entity = _entity(text, at)
            if entity is not None and entity not in self._allowed:
                found.append(Finding(at, at + 1, entity, 1.0))
        return found


def _entity(text: str, at: int) -> Entity | None:
    one = text[at]
    code = ord(one)
    before = text[at - 1] if at else ""
    after = text[at + 1] if at + 1 < len(text) else ""
    if one in _BIDI:
        return "bidi_control"
    if 0xE0000 <= code <= 0xE007F:
        return "tag"
    if 0xFE00 <= code <= 0xFE0F or 0xE0100 <= code <= 0xE01EF or 0x180B <= code <= 0x180D:
        # One selector after a symbol or an ideograph chooses its picture; more, or after a letter, carry data.
        if after == "\u20e3":
            return None  # a keycap
        return (
            None
            if before and not before.isascii() and INVISIBLE.match(before) is None
            else "variation_selector"
        )
    if code < 0x20 or 0x7F <= code <= 0x9F:
        return "control"
    if one in _JOINERS and before > "\u0590" and after > "\u0590":
        return None if INVISIBLE.match(before) is None or "\ufe00" <= before <= "\ufe0f" else "zero_width"
    return "zero_width"
