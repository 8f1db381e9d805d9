"""What the injection detector sees of a text: segments, and for each the concepts, shapes and words it holds.

A segment is a sentence, a line or a row: small enough that one planted sentence does not drown in a long document.
Features are names (strings), so that a decision can be explained. Linear in the text; every length has a limit. Knows
nothing of weights.
"""

# ruff: noqa: E501, RUF001  # words of many languages and templates, one a line
from __future__ import annotations

import re
from typing import NamedTuple

from andon.security.guards.injection import lexicon
from andon.security.guards.injection.normalisation import fold, hidden, plain, turn

SEGMENT_TOKENS_MAX = 48
SEGMENT_CHARS_MAX = 600
SEGMENT_WORDS_MIN = 2  # shorter ones ask for nothing
PAIR_REACH = 9  # tokens between two concepts that still belong together
WORD_CHARS_MAX = 24
WINDOW_TOKENS = 512
WINDOW_CHARS = 4096
WORD = "w:"  # what the names of plain words begin with

_ENDS = re.compile(
    r"""[.!?。！？…]{1,8}["')\]]{0,4}(?=\s)|[。！？]|[\r\n]+|\\n|</?[A-Za-z!][^<>\n]{0,20}>|(?=<!--)|(?=\s#\s)"""
)
_TOKENS = re.compile(r"[^\W_]+(?:'[^\W_]+)*|[^\w\s]|_+")
_FENCE = re.compile(r"([^\w\s])(?:\s?\1){3,}|(?:[\[\](){}<>|%#=*~_-]\s?){6,}")
_TURN = re.compile(
    r"(?:^|[\s\"'\[<#*({|])(?:system|user|assistant|human|ai|bot|instructions?|developer|admin|input|prompt|response|"
    r"chatgpt|gpt|im_start|im_end|endoftext|inst|sys)\s?(?:prompt|message|note|override|mode)?\s?[\]>*)}]{0,3}\s?[:>\]]"
)
_CHATML = re.compile(r"<\|[^|>\n]{0,40}\|?>|\[/?inst\]|<</?sys>>|</?(?:system|user|assistant|instructions?)>")
_BRACKET = re.compile(r"^\W{0,4}[\[<({]{1,2}[^\])>}\n]{3,80}[\])>}]")
_QUOTED = re.compile(r"[\"'“`][^\"'“”`\n]{1,80}[\"'”`]")
_INLINE = re.compile(r"`|\w\(|\w_\w|\w\.\w+\(|\s[=+<>-]{1,3}\s|\[\d|\w=\w")
_TAG = re.compile(r"</?[a-z!][^>\n]{0,60}>|<!--")
_CODE = re.compile(
    r"^\s{0,40}(?:import \w|from \w+ import|def \w|class \w|return\b|for \w+ in|if .{0,80}:$|print\s?\(|\w[\w.\[\]'\", ]{0,40} ?[+-]?=[^=]|"
    r"[\w.]{1,60}\(.{0,120}\)\s?;?$|>>>|```|\$ |#include|[{}\]\[()]|//|#\s|with .{0,60}:|try:|except|else:|elif|public|private|var |let |const )"
)
_CONTAINS_URL = re.compile(r"https?:|www\.|\b\w[\w-]{1,40}\.(?:com|net|org|io|xyz|info|ru|site)\b")
_OPENERS = frozenset(':|>"({[-*,`')
_UNSPACED_SIGNS = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")

_BY_WORD = lexicon.concepts_by_word()
_DISGUISED = {
    disguise: concepts
    for word, concepts in _BY_WORD.items()
    if len(word) >= 5 and word.isascii() and word.isalpha()
    for disguise in turn(word)
    if disguise not in _BY_WORD
}
_UNSPACED = [
    (re.compile("|".join(re.escape(piece) for piece in pieces.split())), concept)
    for concept, pieces in lexicon.UNSPACED.items()
]


class Segment(NamedTuple):
    """One sentence, line or row and what stands in it."""

    start: int
    end: int
    tokens: int
    kind: str  # prose, code, row, head, blank: what part of a document it looks like
    asks: str  # "task", "question", "soft" (a task after other words) or ""
    features: frozenset[str]
    words: tuple[str, ...]
    said: frozenset[str]  # the words as names of features


def segments(text: str) -> list[Segment]:
    """The text as segments in order, hidden encodings decoded as segments of their own where they stand."""
    found = []
    for start, end in _cuts(text):
        segment = read(text[start:end], start, end)
        if segment is not None:
            found.append(segment)
    for start, end, said in hidden(text):
        for inner_start, inner_end in _cuts(said[:2048]):
            segment = read(said[inner_start:inner_end], start, end)
            if segment is not None:
                found.append(segment._replace(features=segment.features | {"hidden"}))
    return found


def _cuts(text: str) -> list[tuple[int, int]]:
    cuts = []
    start = 0
    for boundary in _ENDS.finditer(text):
        end = boundary.end()
        if end - start > SEGMENT_CHARS_MAX:
            cuts += [(at, min(at + SEGMENT_CHARS_MAX, end)) for at in range(start, end, SEGMENT_CHARS_MAX)]
        else:
            cuts.append((start, end))
        start = end
    cuts += [
        (at, min(at + SEGMENT_CHARS_MAX, len(text))) for at in range(start, len(text), SEGMENT_CHARS_MAX)
    ]
    return cuts


def read(raw: str, start: int, end: int) -> Segment | None:
    """One segment's features; None where nothing but space stands."""
    text = fold(raw)
    tokens = _TOKENS.findall(text)
    if not tokens:
        return None
    found: set[str] = set()
    concepts: list[tuple[int, str]] = []
    words: list[str] = []
    asks = _walk(tokens, found, concepts, words)
    if not text.isascii() and _UNSPACED_SIGNS.search(text):
        for pattern, concept in _UNSPACED:
            piece = pattern.search(text)
            if piece is not None:
                concepts.append((piece.start() // 2, concept))
        concepts.sort()
    _pair(concepts, found)
    kind = _kind(raw, text, tokens, words)
    _shape(raw, text, tokens, words, found)
    if asks != "task" and "?" in tokens[-3:] and words and words[0] in lexicon.QUESTION_WORDS:
        asks = "question"
    if asks:
        found.add(f"a:{asks}")
        found.add(f"a:{asks}+inline" if "s:inline" in found else f"a:{asks}+plain")
        found.update([f"a:{asks}+{concept}" for _, concept in concepts])
    return Segment(
        start,
        end,
        len(tokens),
        kind,
        asks,
        frozenset(found),
        tuple(words),
        frozenset([WORD + word for word in words]),
    )


def _walk(tokens: list[str], found: set[str], concepts: list[tuple[int, str]], words: list[str]) -> str:
    """Words, concepts by place, and whether the segment asks for a task, from one pass over the tokens."""
    asks = ""
    opening = True  # still where a sentence may begin
    first = True
    for at, token in enumerate(tokens):
        if not token[0].isalnum():
            opening = opening or token in _OPENERS
            continue
        word = token if len(token) <= WORD_CHARS_MAX else token[:WORD_CHARS_MAX]
        known = _BY_WORD.get(word)
        if known is None and not word.isalpha():
            spelled = plain(word)
            known = _BY_WORD.get(spelled) if len(spelled) > 3 else None
            if known is not None:
                found.add("leet")
                word = spelled
            elif word.isdigit():
                word = "0"
        elif known is None and word in _DISGUISED:
            known = _DISGUISED[word]
            found.add("disguised")
        words.append(word)
        if known is not None:
            concepts.extend([(at, concept) for concept in known])
        if opening:
            if word in lexicon.TASK_VERBS:
                asks = asks if asks == "task" else "task" if first else "soft"
                found.add(f"v:{word}")
            if word not in lexicon.ADVERBS_BEFORE_TASK:
                opening = first = False
    return asks


def _pair(concepts: list[tuple[int, str]], found: set[str]) -> None:
    """Concepts alone and in order by two, if they stand near one another."""
    for index, (at, concept) in enumerate(concepts):
        found.add(f"c:{concept}")
        for other_at, other in concepts[index + 1 : index + 13]:
            if other_at - at > PAIR_REACH:
                break
            if other_at != at and other != concept:
                found.add(f"p:{concept}>{other}")


def _kind(raw: str, text: str, tokens: list[str], words: list[str]) -> str:
    if raw.count("|") >= 2 or raw.count("\t") >= 2 or raw.count("<td") >= 1:
        return "row"
    if _CODE.match(text):
        return "code"
    if len(words) <= 1:
        return "blank"
    if ":" in tokens[1:4] and len(words) <= 12:
        return "head"
    if raw.count(",") >= 4 and len(words) < 3 * raw.count(","):
        return "row"
    return "prose"


def _shape(  # noqa: C901  # a list of independent looks, not a decision tree
    raw: str, text: str, tokens: list[str], words: list[str], found: set[str]
) -> None:
    """What the eye sees before it reads: fences, fake turns, shouting, quotes to be said, repetition, signs."""
    if _FENCE.search(text):
        found.add("s:fence")
    if _TURN.search(text):
        found.add("s:turn")
    if ("<" in text or "[" in text) and _CHATML.search(text):
        found.add("s:chatml")
    if _BRACKET.match(text):
        found.add("s:bracket")
    if _QUOTED.search(text):
        found.add("s:quoted")
    if _INLINE.search(raw):
        found.add("s:inline")
    if "<" in text and _TAG.search(text):
        found.add("s:tag")
    if _CONTAINS_URL.search(text):
        found.add("s:url")
    count = len(words)
    if count >= 4 and raw.isupper():
        found.add("s:shout")
    elif any(word.isupper() and len(word) > 3 for word in raw.split()[:SEGMENT_TOKENS_MAX]):
        found.add("s:capitals")
    if len(tokens) >= 12:
        distinct = len(set(tokens)) / len(tokens)
        if distinct < 0.34:
            found.add("s:repeats")
        if count < 0.4 * len(tokens):
            found.add("s:signs")
    if count >= 4 and sum(word.endswith("ay") for word in words) >= 0.7 * count:
        found.add("s:piglatin")


def windows(found: list[Segment]) -> list[tuple[int, int]]:
    """Ranges of segments of at most `WINDOW_TOKENS` tokens and `WINDOW_CHARS` characters, each half over the last.

    Every segment is in one window at least and in three at most, so the work stays linear.
    """
    ranges: list[tuple[int, int]] = []
    low = 0
    while low < len(found):
        high, tokens = low, 0
        while high < len(found) and (
            high == low
            or (
                tokens + found[high].tokens <= WINDOW_TOKENS
                and found[high].end - found[low].start <= WINDOW_CHARS
            )
        ):
            tokens += found[high].tokens
            high += 1
        ranges.append((low, high))
        if high == len(found):
            break
        half = 0
        step = low
        while step < high and half * 2 < tokens:
            half += found[step].tokens
            step += 1
        low = max(step, low + 1)
    return ranges


def of_window(part: list[Segment]) -> set[str]:
    """What a window holds as a whole: how an input is judged."""
    found: set[str] = set()
    asking = 0
    for segment in part:
        found |= segment.features
        found |= segment.said
        asking += segment.asks != ""
    found.add(f"size:{min(len(part), 40).bit_length()}")
    found.add(f"asking:{min(asking, 8).bit_length()}")
    return found


def of_segments(part: list[Segment]) -> list[set[str]]:
    """What each segment is against the document around it: how retrieved content is judged. Empty where too short."""
    sizes: dict[str, int] = {}
    asking = 0
    for segment in part:
        sizes[segment.kind] = sizes.get(segment.kind, 0) + segment.tokens
        asking += segment.asks != ""
    mostly = max(sorted(sizes), key=sizes.__getitem__)
    crowd = "one" if asking == 1 else "few" if asking <= 3 else "many"
    judged = []
    before = "^"
    for index, segment in enumerate(part):
        after = part[index + 1].kind if index + 1 < len(part) else "$"
        kind = segment.kind
        found: set[str] = set()
        if len(segment.words) >= SEGMENT_WORDS_MIN:
            found |= segment.features
            found.update((f"k:{mostly}>{kind}", f"b:{before}>{kind}", f"n:{kind}>{after}"))
            found.add(f"l:{min(5, len(segment.words) // 4)}")
            if segment.asks:
                found.update((f"k:{mostly}>{kind}+{segment.asks}", f"m:{crowd}"))
        judged.append(found)
        before = kind
    return judged
