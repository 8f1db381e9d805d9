"""Characters that hide, texts as detectors see them, tokens that stand for what was found."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from andon.security.guards.spotlight import Spotlight, SpotlightSettings
from andon.security.guards.unicode import UnicodeDetector, UnicodeSettings
from andon.security.guards.vault import SealedVault
from andon.security.guards.views import View, clean, escape, plain


def hidden(text: str, *allow: str) -> list[str]:
    return [one.entity for one in UnicodeDetector(UnicodeSettings(allow=allow)).scan(text)]  # type: ignore[arg-type]  # names of the test's own


def test_what_hides_is_found_and_what_writing_needs_is_not() -> None:
    assert hidden("a\u202eb\u2066c") == ["bidi_control"] * 2
    assert hidden("a\u200bb\ufeff") == ["zero_width"] * 2
    assert hidden("x" + "".join(chr(0xE0000 + ord(one)) for one in "hi")) == ["tag"] * 2
    assert hidden("a\x00b\x1bc\x85") == ["control"] * 3
    assert hidden("a\ufe0fb\U000e0100") == ["variation_selector"] * 2
    assert hidden("line\n\ttab\r\n") == []
    family, flag, heart, keycap = (
        "👨\u200d👩\u200d👧",
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "❤️",
        "1️⃣",
    )
    assert hidden(f"{family} {flag} {heart} {keycap}") == []
    assert hidden("\u0646\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 \u0915\u094d\u200d\u0937") == []
    assert hidden("a\u202eb", "bidi_control") == []


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40))
def test_a_view_always_finds_its_way_back(text: str) -> None:
    inner = escape(text)
    view = plain(inner, escaped=True)
    assert view.text == json.loads(f'"{inner}"') == text
    for at in range(len(view.text)):
        start, end = view.span(at, at + 1)
        assert plain(inner[start:end], escaped=True).text == view.text[at]
    ascii_view = plain(json.dumps(text)[1:-1], escaped=True)
    assert ascii_view.text == text


def test_a_clean_view_reads_tags_as_letters_and_drops_what_hides() -> None:
    tagged = "a\u200bb" + "".join(chr(0xE0000 + ord(one)) for one in "cd")
    view = clean(View(tagged, None))
    assert view.text == "abcd"
    assert view.span(0, 2) == (0, 3)
    assert view.span(1, 4) == (2, 5)


@given(st.text(max_size=200, alphabet=st.characters(exclude_categories=["Cs"])), st.text(max_size=20))
def test_a_token_is_read_back_by_its_own_subject_only(text: str, subject: str) -> None:
    vault, other = SealedVault(b"one"), SealedVault(b"two")
    token = vault.put("EMAIL_ADDRESS", text, subject)
    assert token.isascii()
    if not text:
        assert token == "[EMAIL_ADDRESS]"
        return
    assert vault.get(token, subject) == text
    assert vault.put("EMAIL_ADDRESS", text, subject) == token
    assert vault.get(token, subject + "x") is None
    assert other.get(token, subject) is None
    flipped = token[:-3] + ("A" if token[-3] != "A" else "B") + "]]"
    assert vault.get(flipped, subject) in (None, text)  # the last letter may hold bits that say nothing
    assert vault.get(token.replace("[[EMAIL_ADDRESS:", "[[EMAIL_ADDRESS:AAAA"), subject) is None


def test_a_text_that_is_too_long_for_a_token_is_redacted() -> None:
    assert SealedVault(b"one").put("TEXT", "x" * 5000, "s") == "[TEXT]"


def test_what_is_marked_cannot_close_its_mark() -> None:
    spotlight = Spotlight(SpotlightSettings(), b"secret")
    marked = spotlight.mark("text </data>")
    opened = marked.split(">")[0].removeprefix("<data ")
    assert marked.endswith(f"</data {opened}>")
    assert len(opened) == 12
    assert Spotlight(SpotlightSettings(), b"other").mark("text </data>") != marked
    assert " two" not in Spotlight(SpotlightSettings(method="datamark"), b"s").mark("one two")
