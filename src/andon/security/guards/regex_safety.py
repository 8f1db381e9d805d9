"""Whether a regular expression can be slow or unbounded, decided from its parse tree before it is ever run.

A guard's patterns see hostile texts on the path of requests, so they must be bounded in what they match and in how
often they may try. What cannot be bounded is refused with the way to write it. Pure.
"""

from __future__ import annotations

import importlib
import math
import re
from typing import Any, Final

from andon.kernel.errors import Refused

WIDTH_MAX: Final = 1024  # characters that one match may have
STEPS_MAX: Final = 4096  # ways in which one match may be tried
LENGTH_MAX: Final = 2000  # characters of the pattern itself
_SAMPLE: Final = [chr(code) for code in range(0x250)] + list(
    "\u0400\u0416\u05d0\u0639\u4e2d\uac00\u2003\U0001f600"
)

# The parser of the standard library; its tree is private, and the tests hold what is asked of it here.
_parser: Final = importlib.import_module("re._parser")
_compiler: Final = importlib.import_module("re._compiler")
_SINGLE: Final = frozenset(("LITERAL", "NOT_LITERAL", "ANY", "IN"))
_REPEATS: Final = frozenset(("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"))


def width_of(text: str, *, bounded: bool = True) -> int:
    """The widest match of a pattern, in characters. Raises Refused for one that could be slow or wrong.

    Where it must be `bounded`, one that can match without end is refused too.
    """
    if len(text) > LENGTH_MAX:
        raise _refused(f"it has more than {LENGTH_MAX} characters")
    try:
        tree = _parser.parse(text)
        re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise _refused(f"it is no regular expression: {error}") from error
    width = tree.getwidth()[1]
    if width > WIDTH_MAX and bounded:
        raise _refused(f"it can match more than {WIDTH_MAX} characters", "Write {1,64} instead of + and *.")
    if width == 0 and bounded:
        raise _refused("it matches nothing but places")
    steps = _steps(list(tree), set(), is_repeated=False)
    if steps > STEPS_MAX:
        hint = "Put something between two repeats that neither of them matches, and do not nest repeats."
        raise _refused("some texts would make it slow", hint)
    return int(width) + 64


def _refused(why: str, hint: str = "") -> Refused:
    return Refused("guard_invalid", f"The pattern cannot be used: {why}.", hint=hint)


def _steps(nodes: list[Any], after: set[str], *, is_repeated: bool) -> float:
    """An upper bound of the ways in which a sequence can be tried at one place, what follows it being `after`."""
    steps = 1.0
    follows = after
    for operation, argument in reversed(nodes):
        name = str(operation)
        if name in _REPEATS:
            low, high, body = argument
            inner = list(body)
            first = _first(inner)
            # A repeat of something that cannot be told from what follows can end at every one of its turns.
            choices = high - low + 1 if first & follows or not _is_single(inner) else 1
            nested = _steps(inner, first | follows, is_repeated=high > 1 or is_repeated)
            if high > 1 and nested > 1:
                return math.inf
            steps *= choices * nested
        elif name == "BRANCH":
            branches = [list(branch) for branch in argument[1]]
            firsts = [
                _first(branch) | (follows if all(map(_may_be_empty, branch)) else set())
                for branch in branches
            ]
            empty = sum(all(map(_may_be_empty, branch)) for branch in branches)
            overlap = empty > 1 or sum(map(len, firsts)) > len(set().union(*firsts))
            if is_repeated and overlap:
                return math.inf
            steps *= (
                sum(_steps(branch, follows, is_repeated=is_repeated) for branch in branches)
                if overlap
                else max(_steps(branch, follows, is_repeated=is_repeated) for branch in branches)
            )
        elif name == "SUBPATTERN":
            steps *= _steps(list(argument[3]), follows, is_repeated=is_repeated)
        elif name in ("ASSERT", "ASSERT_NOT"):
            steps *= _steps(list(argument[1]), set(_SAMPLE), is_repeated=is_repeated)
        elif name not in _SINGLE and name != "AT":
            raise _refused(f"it uses {name.lower()}, whose cost cannot be bounded")
        follows = _first([(operation, argument)]) | (
            follows if _may_be_empty((operation, argument)) else set()
        )
    return steps


def _is_single(nodes: list[Any]) -> bool:
    return len(nodes) == 1 and str(nodes[0][0]) in _SINGLE


def _may_be_empty(node: Any) -> bool:
    name, argument = str(node[0]), node[1]
    if name in _REPEATS:
        return argument[0] == 0 or all(map(_may_be_empty, argument[2]))
    if name == "BRANCH":
        return any(all(map(_may_be_empty, branch)) for branch in argument[1])
    if name == "SUBPATTERN":
        return all(map(_may_be_empty, argument[3]))
    return name in ("AT", "ASSERT", "ASSERT_NOT")


def _first(nodes: list[Any]) -> set[str]:
    """Characters of the sample that a sequence can begin with, in any case."""
    found: set[str] = set()
    for node in nodes:
        name, argument = str(node[0]), node[1]
        if name in _REPEATS:
            found |= _first(list(argument[2]))
        elif name == "BRANCH":
            for branch in argument[1]:
                found |= _first(list(branch))
        elif name == "SUBPATTERN":
            found |= _first(list(argument[3]))
        elif name in _SINGLE:
            found |= _matched(node)
        if not _may_be_empty(node):
            break
    return found


def _matched(node: Any) -> set[str]:
    tree = _parser.SubPattern(_parser.State(), [node])
    pattern = _compiler.compile(tree, re.IGNORECASE | re.DOTALL)
    return {one for one in _SAMPLE if pattern.match(one) is not None}
