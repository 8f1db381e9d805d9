"""Every text of a JSON body in any dialect, by place and byte offset, and the body again with some of them changed.

A walk over the raw bytes, so that what is not changed keeps every byte and no spelling hides a text: unknown fields and
escapes are seen, a key given twice is refused. Pure; which text is whose says `text_rules`. It was read as JSON before.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from andon.kernel.errors import Refused
from andon.kernel.guarding import Content, Edit, Kind, Offer, Piece, ToolCall

# Strings with the comma behind them, arrays of nothing but numbers (passed over in one step), and structure.
_TOKENS: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*",?|\[[\s0-9.,eE+\-]*\]|[{}\[\],]', re.DOTALL)
# Keys that most bodies have, as they are written: what they say need not be found out.
_COMMON: Final = (
    "arguments choices completion_tokens content created data delta embedding finish_reason function id index input "
    "logprobs max_completion_tokens max_tokens message messages model n name object prompt prompt_tokens refusal "
    "response_format role stream system_fingerprint temperature text tool_call_id tool_calls tool_choice tools top_p "
    "total_tokens type usage user"
)
_KEYS: Final[Mapping[bytes, str]] = {b'"%b"' % key.encode(): key for key in _COMMON.split()}
_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9_$][A-Za-z0-9_.:/$-]{0,127}")
# What stands where media may: base64, perhaps in a `data:` address. Anything else there is read by somebody as words.
_CODED: Final = re.compile(r"(?:data:[^,\s]{0,200};base64,)?[A-Za-z0-9+/\r\n]*={0,2}[\r\n]*")
_QUOTE, _COMMA, _OPEN_LIST, _CLOSE_LIST, _OPEN, _CLOSE = b'",[]{}'
_text: Final = msgspec.json.Decoder(str).decode
_encode: Final = msgspec.json.Encoder().encode

Place = tuple[str, tuple[int, ...]]  # "messages.*.content" and the indices that the stars stand for


class Slot:
    """A text and where it stands in the body."""

    __slots__ = ("end", "escaped", "form", "indices", "kind", "path", "pattern", "start", "text")

    def __init__(
        self, place: Place, form: str, span: tuple[int, int], text: str, *, escaped: bool = False
    ) -> None:
        self.pattern, self.indices = place
        self.form = form  # "string", "key", "logprobs" or "element" of a binary tensor
        self.start, self.end = span  # of its token in the body, quotes included
        self.text = text
        self.escaped = escaped
        self.kind: Kind = "input"
        self.path = ""


class Rules:
    """What a dialect says of the texts of one kind of body."""

    __slots__ = ("coded", "escaped", "links", "names", "owners", "place", "plain", "probabilities")

    def __init__(
        self,
        *,
        plain: frozenset[str] = frozenset(),
        names: frozenset[str] = frozenset(),
        coded: frozenset[str] = frozenset(),
        links: frozenset[str] = frozenset(),
        escaped: frozenset[str] = frozenset(),
        probabilities: str = "",
        owners: frozenset[str] = frozenset(),
        place: Callable[[Slot, Mapping[Place, str]], Kind] | None = None,
    ) -> None:
        self.plain = plain  # names and ids: no texts where they look like identifiers
        self.names = names  # the model's own name, by which the endpoint was found
        self.coded = coded  # numbers or media in base64
        self.links = links  # addresses, or media written as `data:` ones
        self.escaped = escaped  # JSON inside a text
        self.probabilities = probabilities  # the object that repeats an answer token by token
        self.owners = owners  # what tells whose words the others are: "messages.*.role"
        self.place = place  # whose words a text is; None = the caller's


class _Frame:
    """One object or list that is open."""

    __slots__ = ("at", "indices", "is_list", "key", "pattern", "seen", "wants_key")

    def __init__(self, pattern: str, indices: tuple[int, ...], *, is_list: bool) -> None:
        self.pattern = pattern
        self.indices = indices
        self.is_list = is_list
        self.at = 0
        self.key = ""
        self.wants_key = not is_list
        self.seen: set[str] = set()

    def child(self) -> Place:
        """The place of the value that comes next."""
        if self.is_list:
            return f"{self.pattern}.*" if self.pattern else "*", (*self.indices, self.at)
        return f"{self.pattern}.{self.key}" if self.pattern else self.key, self.indices


class Walk:
    """One walk over one body."""

    def __init__(self, raw: bytes, rules: Rules) -> None:
        self.raw = raw
        self.rules = rules
        self.slots: list[Slot] = []
        self.owners: dict[Place, str] = {}
        self.depth = 0
        self.lists: dict[str, int] = {}  # longest of each list
        self._frames: list[_Frame] = []
        self._group: tuple[int, int, list[str], list[str], Place] | None = None

    def run(self) -> Walk:
        """Find everything. Raises Refused for a text that is no Unicode, and for a key given twice.

        Of two values of one key a model may read either, and only the last would be judged and recorded.
        """
        raw = self.raw
        try:
            for match in _TOKENS.finditer(raw):
                start, end = match.span()
                mark = raw[start]
                if mark == _QUOTE:
                    if raw[end - 1] == _COMMA:
                        self._string(start, end - 1)
                        self._next()
                    else:
                        self._string(start, end)
                elif mark == _COMMA:
                    self._next()
                elif mark == _OPEN or (mark == _OPEN_LIST and end - start == 1):
                    self._push(mark == _OPEN_LIST, start)
                elif mark in (_CLOSE, _CLOSE_LIST):
                    self._pop(end)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Refused("invalid_json", f"A text of the body cannot be read: {error}.") from error
        place = self.rules.place
        for slot in self.slots:
            if place is not None:
                slot.kind = place(slot, self.owners)
            slot.path = _path(slot.pattern, slot.indices)
        return self

    def _next(self) -> None:
        frame = self._frames[-1]
        if frame.is_list:
            frame.at += 1
        else:
            frame.wants_key = True

    def _push(self, is_list: bool, start: int) -> None:
        frames = self._frames
        place: Place = frames[-1].child() if frames else ("", ())
        frames.append(_Frame(*place, is_list=is_list))
        self.depth = max(self.depth, len(frames))
        if not is_list and self._group is None and place[0] and place[0] == self.rules.probabilities:
            self._group = (start, len(frames), [], [], place)

    def _pop(self, end: int) -> None:
        frames = self._frames
        gone = frames.pop()
        if gone.is_list:
            self.lists[gone.pattern] = max(self.lists.get(gone.pattern, 0), gone.at + 1)
        group = self._group
        if group is not None and len(frames) < group[1]:
            text = "\n".join(("".join(group[2]), *group[3]))
            if text:
                self.slots.append(Slot(group[4], "logprobs", (group[0], end), text))
            self._group = None

    def _string(self, start: int, end: int) -> None:
        frame = self._frames[-1] if self._frames else None
        written = self.raw[start:end]
        if frame is not None and frame.wants_key:
            known = _KEYS.get(written)
            text = _text(written) if known is None else known
            frame.wants_key = False
            frame.key = text
            if text in frame.seen:
                raise Refused("invalid_json", f"The body gives '{text[:80]}' twice in one object.")
            frame.seen.add(text)
            if known is None and _IDENTIFIER.fullmatch(text) is None:
                self._add(frame.child(), "key", (start, end), text)
            elif self._group is not None and frame.pattern.endswith("top_logprobs.*"):
                self._group[3].append(text)  # tokens are the keys of the older form
            return
        text = _text(written)
        place: Place = frame.child() if frame is not None else ("", ())
        rules = self.rules
        if place[0] in rules.owners:
            self.owners[place] = text
        if place[0] in rules.names or (place[0] in rules.plain and _IDENTIFIER.fullmatch(text)):
            return
        if place[0] in rules.coded or (place[0] in rules.links and text.startswith("data:")):
            if _CODED.fullmatch(text):
                return
        self._add(place, "string", (start, end), text)

    def _add(self, place: Place, form: str, span: tuple[int, int], text: str) -> None:
        group = self._group
        if group is not None:
            is_main = "top_logprobs" not in place[0] and place[0].endswith((".token", ".tokens.*"))
            (group[2] if is_main else group[3]).append(text)
        elif text:
            self.slots.append(Slot(place, form, span, text, escaped=place[0] in self.rules.escaped))


def _path(pattern: str, indices: Sequence[int]) -> str:
    """ "messages[2].content" from "messages.*.content"."""
    if not indices:
        return pattern
    path = ""
    numbers = iter(indices)
    for step in pattern.split("."):
        path += f"[{next(numbers, 0)}]" if step == "*" else f".{step}" if path else step
    return path


def apply(text: str, edits: Sequence[Edit], base: int = 0) -> str:
    """A part of a text that begins at `base`, with edits of the whole applied.

    What takes the place of something that begins before the part was said with what came before it.
    """
    parts: list[str] = []
    end = base + len(text)
    at = base
    for edit in edits:
        if edit.start >= end:
            break
        if edit.end <= base:
            continue
        if edit.start >= base:
            parts += (text[at - base : edit.start - base], edit.text)
        at = max(at, min(edit.end, end))
    parts.append(text[at - base :])
    return "".join(parts)


def rewrite(raw: bytes, slots: Sequence[Slot], texts: Mapping[int, str | None]) -> bytes:
    """The body with new texts for some slots, by index; None takes the whole value away (null)."""
    if not texts:
        return raw
    parts: list[bytes] = []
    at = 0
    for index in sorted(texts, key=lambda one: slots[one].start):
        slot, text = slots[index], texts[index]
        parts += (raw[at : slot.start], b"null" if text is None else _encode(text))
        at = slot.end
    parts.append(raw[at:])
    return b"".join(parts)


def pieces_of(slots: Sequence[Slot]) -> list[Piece]:
    """What guards judge."""
    return [Piece(slot.kind, slot.path, slot.text, slot.escaped) for slot in slots]


def utf8(text: str) -> int:
    """Bytes of a text."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogateescape"))


def tools_of(content: Content, raw: bytes) -> None:
    """Fill in which tools are offered and called, and the main texts, from a body that has been read as JSON."""
    root = msgspec.json.decode(raw)
    if not isinstance(root, dict):
        return
    offers = [_offer(tool.get("function") or tool) for tool in _dicts(root.get("tools"))]
    offers += [_offer(function) for function in _dicts(root.get("functions"))]
    content.offers = tuple(offers)
    calls: list[ToolCall] = []
    answers: list[str] = []
    for choice in _dicts(root.get("choices")):
        message = choice.get("message")
        if not isinstance(message, dict):
            if isinstance(choice.get("text"), str):
                answers.append(choice["text"])
            continue
        called = [call.get("function") for call in _dicts(message.get("tool_calls"))]
        called.append(message.get("function_call"))
        found = [_call(one) for one in called if isinstance(one, dict)]
        calls += found
        text = message.get("content")
        if isinstance(text, str) and (text or not found):
            answers.append(text)
        elif text is None and not found:
            answers.append("")
    content.calls, content.answers = tuple(calls), tuple(answers)


def _offer(function: Any) -> Offer:
    function = function if isinstance(function, dict) else {}
    parameters = function.get("parameters")
    return Offer(str(function.get("name", "")), parameters if isinstance(parameters, dict) else {})


def _call(function: Mapping[str, Any]) -> ToolCall:
    return ToolCall(str(function.get("name", "")), str(function.get("arguments", "")))


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
