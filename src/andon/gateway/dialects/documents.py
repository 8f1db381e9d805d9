"""A whole request or answer as its texts: read once, judged, and written again with edits; binary tensors included.

Used by `gateway/guarding`. Where nothing is edited every byte stays. Source of the binary form:
triton-inference-server extension_binary_data.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from andon.gateway.dialects.tensors import read_head
from andon.gateway.dialects.text_rules import INFERRED
from andon.gateway.dialects.texts import Rules, Slot, Walk, apply, pieces_of, rewrite, tools_of, utf8
from andon.kernel.errors import Refused
from andon.kernel.guarding import Content, Edit, Kind

_SIZE: Final = re.compile(rb'"binary_data_size"\s*:\s*(\d+)')
_CHUNK_MAX: Final = 1 << 20  # elements of one tensor


class Document:
    """One body."""

    def __init__(self, raw: bytes, rules: Rules, header_length: int | None) -> None:
        """Raises Refused or msgspec.MsgspecError for what cannot be read."""
        self._raw = raw
        self._length = header_length
        json = raw if header_length is None else raw[:header_length]
        self._json = json
        walk = Walk(json, rules).run()
        self.slots: list[Slot] = walk.slots
        self._binary: list[
            tuple[int, bytes | list[int]]
        ] = []  # of each tensor: its size's place, what it holds
        if header_length is not None:
            self._read_binary("outputs" if rules is INFERRED else "inputs")
        self._messages = walk.lists.get("messages", 0)
        self._depth = walk.depth

    def content(self, *, tools: bool) -> Content:
        """What guards judge. `tools`: with what is offered and called, which is read as JSON once more."""
        content = Content(pieces_of(self.slots))
        content.messages, content.depth = self._messages, self._depth
        if tools:
            tools_of(content, self._json)
        return content

    def bytes_of(self, kinds: frozenset[Kind]) -> int:
        """UTF-8 bytes of all texts of some kinds."""
        return sum(utf8(slot.text) for slot in self.slots if slot.kind in kinds)

    def edited(self, edits: Mapping[int, Sequence[Edit]]) -> Mapping[int, str | None]:
        """What becomes of each text that is edited; None where the value goes away."""
        changed: dict[int, str | None] = {}
        for index, some in edits.items():
            slot = self.slots[index]
            changed[index] = None if slot.form == "logprobs" else apply(slot.text, some)
        touched = {self.slots[index].indices[:1] for index in changed}
        for index, slot in enumerate(self.slots):
            if slot.form == "logprobs" and slot.indices[:1] in touched:
                changed[index] = None  # it would tell the answer as it was
        return changed

    def write(self, changed: Mapping[int, str | None]) -> tuple[bytes, int | None]:
        """The body with new texts, and the length of its JSON where tensors follow it."""
        if not changed:
            return self._raw, self._length
        elements = {index for index in changed if self.slots[index].form == "element"}
        named = {index: text for index, text in changed.items() if index not in elements}
        json = self._json
        tail = b""
        if self._length is not None:
            tail, sizes = self._write_binary(changed if elements else {})
            edits = [(start, end, b"%d" % size) for (start, end), size in sizes]
            json = _spliced(json, self.slots, named, edits)
            return json + tail, len(json)
        return rewrite(json, self.slots, named), None

    def _read_binary(self, side: str) -> None:
        """The tensors of the side that is asked for or answered, whatever else the JSON speaks of."""
        head = read_head(self._json)
        at = len(self._json)
        places = [match.span(1) for match in _SIZE.finditer(self._json)]
        number = 0
        for index, tensor in enumerate(head.outputs if side == "outputs" else head.inputs):
            size = tensor.parameters.binary_data_size if tensor.parameters is not None else None
            if size is None:
                continue
            if size < 0 or at + size > len(self._raw) or number >= len(places):
                raise Refused("invalid_value", "The tensors are not as long as the body says.", param=side)
            data = self._raw[at : at + size]
            at += size
            self._binary.append(
                (number, data if tensor.datatype != "BYTES" else self._elements(data, side, index))
            )
            number += 1
        if at != len(self._raw) or number != len(places):
            raise Refused("invalid_value", "The tensors are not as long as the body says.", param=side)
        self._places = places

    def _elements(self, data: bytes, side: str, tensor: int) -> list[int]:
        """Slots of the elements of a tensor of BYTES."""
        found: list[int] = []
        at = 0
        while at < len(data):
            length = int.from_bytes(data[at : at + 4], "little")
            end = at + 4 + length
            if at + 4 > len(data) or end > len(data) or len(found) >= _CHUNK_MAX:
                raise Refused("invalid_value", "A tensor of BYTES is not as long as it says.", param=side)
            text = data[at + 4 : end].decode("utf-8", "surrogateescape")
            slot = Slot((f"{side}.*.data.*", (tensor, len(found))), "element", (0, 0), text)
            slot.kind = "input" if side == "inputs" else "output"
            slot.path = f"{side}[{tensor}].data[{len(found)}]"
            found.append(len(self.slots))
            self.slots.append(slot)
            at = end
        return found

    def _write_binary(
        self, changed: Mapping[int, str | None]
    ) -> tuple[bytes, list[tuple[tuple[int, int], int]]]:
        parts: list[bytes] = []
        sizes: list[tuple[tuple[int, int], int]] = []
        for number, held in self._binary:
            if isinstance(held, bytes):
                parts.append(held)
                continue
            data = b""
            pieces = []
            for index in held:
                text = changed.get(index)
                raw = (self.slots[index].text if text is None else text).encode("utf-8", "surrogateescape")
                pieces.append(len(raw).to_bytes(4, "little") + raw)
            data = b"".join(pieces)
            parts.append(data)
            sizes.append((self._places[number], len(data)))
        return b"".join(parts), sizes


def _spliced(
    raw: bytes,
    slots: Sequence[Slot],
    texts: Mapping[int, str | None],
    edits: Sequence[tuple[int, int, bytes]],
) -> bytes:
    """The JSON with new texts and new numbers."""
    every = list(edits)
    for index, text in texts.items():
        slot: Any = slots[index]
        every.append((slot.start, slot.end, b"null" if text is None else msgspec.json.encode(text)))
    parts: list[bytes] = []
    at = 0
    for start, end, new in sorted(every):
        parts += (raw[at:start], new)
        at = end
    parts.append(raw[at:])
    return b"".join(parts)
