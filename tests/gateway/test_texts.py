"""The walk over raw JSON: every text is found, and what is not edited keeps every byte."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andon.gateway.dialects.text_rules import CHAT
from andon.gateway.dialects.texts import Rules, Walk, apply, rewrite
from andon.kernel.errors import Refused
from andon.kernel.guarding import Edit

TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


def strings(value: Any) -> list[str]:
    """Texts of a value in order; keys too where they are no identifiers."""
    if isinstance(value, str):
        return [value] if value else []
    if isinstance(value, list):
        return [text for one in value for text in strings(one)]
    if isinstance(value, dict):
        return [text for one in value.values() for text in strings(one)]
    return []


@settings(max_examples=300, deadline=None)
@given(VALUES, st.booleans(), st.sampled_from([None, 1]))
def test_every_text_is_found_and_can_be_changed_alone(
    value: Any, ascii_only: bool, indent: int | None
) -> None:
    raw = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    slots = Walk(raw, Rules()).run().slots
    values = [slot for slot in slots if slot.form == "string"]
    assert [slot.text for slot in values] == strings(value)
    assert rewrite(raw, slots, {}) == raw
    for index, slot in enumerate(slots):
        changed = rewrite(raw, slots, {index: 'new "text"'})
        assert changed[: slot.start] == raw[: slot.start]
        assert changed.endswith(raw[slot.end :])
        if slot.form == "string":
            assert 'new "text"' in strings(json.loads(changed))


def test_a_key_given_twice_is_refused_however_it_is_spelled() -> None:
    for raw in (b'{"a":1,"a":2}', b'{"x":[{"a":"b","\\u0061":"c"}]}'):
        with pytest.raises(Refused):
            Walk(raw, Rules()).run()


@given(
    st.text(max_size=30),
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5), st.text(max_size=3)), max_size=4),
    st.data(),
)
def test_edits_of_parts_are_the_edits_of_the_whole(
    text: str, drafts: list[tuple[int, int, str]], data: st.DataObject
) -> None:
    edits: list[Edit] = []
    for start, length, new in sorted(drafts):
        end = min(start + max(length, 1), len(text))
        if start < end and (not edits or start >= edits[-1].end):
            edits.append(Edit(start, end, new))
    cut = data.draw(st.integers(0, len(text)))
    assert apply(text[:cut], edits) + apply(text[cut:], edits, cut) == apply(text, edits)
    expected = text
    for edit in reversed(edits):
        expected = expected[: edit.start] + edit.text + expected[edit.end :]
    assert apply(text, edits) == expected


def test_words_where_media_stand_are_texts() -> None:
    """A file or picture is passed over as what it is: base64. Anything else there somebody reads as words."""
    words = [
        "a zebra",
        "data:text/plain,a zebra",
        "data:,zebra",
        "data:text/plain;base64,emVi zebra",
        "data:",
    ]
    for said in words:
        parts = [{"type": "file", "file": {"file_data": said}}, {"image_url": {"url": said}}]
        raw = json.dumps({"model": "m", "messages": [{"role": "user", "content": parts}]}).encode()
        found = [slot.text for slot in Walk(raw, CHAT).run().slots]
        assert found == [said, said]
    for said in ("data:image/png;base64,iVBORw0KGgo=", "data:audio/wav;codecs=1;base64,UklG"):
        parts = [{"type": "file", "file": {"file_data": said}}, {"image_url": {"url": said}}]
        raw = json.dumps({"model": "m", "messages": [{"role": "user", "content": parts}]}).encode()
        assert Walk(raw, CHAT).run().slots == []
