"""Reads PromQL: whether it is a valid expression, and which selectors stand in it, with their range and function.

A reader of the language's grammar, enough for linting. Types are checked as far as ranges go: a function that needs a
range has one, nothing else does. Grafana's variables may stand where a duration, a number or a string's part may.
Source: Prometheus documentation, querying/basics, operators, functions (version 2.53).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

TOKEN = re.compile(
    r"""
    (?P<blank>\s+|\#[^\n]*)
  | (?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)
  | (?P<variable>\$\{[A-Za-z_]\w*(?::\w+)?\}|\$[A-Za-z_]\w*)
  | (?P<duration>(?:\d+(?:ms|[smhdwy]))+)
  | (?P<number>0x[0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
  | (?P<name>:?[A-Za-z_][A-Za-z0-9_:]*)
  | (?P<mark>==|!=|=~|!~|>=|<=|[-+*/%^(){}\[\],=<>@:])
    """,
    re.VERBOSE,
)
AGGREGATIONS = frozenset(
    "sum min max avg group stddev stdvar count count_values bottomk topk quantile".split()
)
RANGED = frozenset(
    """rate irate increase delta idelta deriv predict_linear holt_winters changes resets absent_over_time
    avg_over_time min_over_time max_over_time sum_over_time count_over_time quantile_over_time stddev_over_time
    stdvar_over_time last_over_time present_over_time mad_over_time""".split()
)
INSTANT = frozenset(
    """abs absent ceil clamp clamp_max clamp_min day_of_month day_of_week day_of_year days_in_month exp floor
    histogram_avg histogram_count histogram_fraction histogram_quantile histogram_sum histogram_stddev
    histogram_stdvar hour label_join label_replace ln log10 log2 minute month pi round scalar sgn sort sort_desc
    sort_by_label sort_by_label_desc sqrt time timestamp vector year deg rad acos acosh asin asinh atan atanh cos
    cosh sin sinh tan tanh""".split()
)
OPERATORS = frozenset("+ - * / % ^ == != > < >= <=".split())
SET_OPERATORS = frozenset("and or unless atan2".split())
DEPTH_MAX = 100


class NotPromQL(ValueError):
    """The text is no expression; says where."""


class Token(NamedTuple):
    """A piece of the text."""

    kind: str
    text: str
    at: int


class Selector(msgspec.Struct, frozen=True):
    """A selector as it stands: matchers are (label, operator, value); the range is the text between brackets."""

    name: str
    matchers: tuple[tuple[str, str, str], ...]
    range: str = ""
    function: str = ""  # the innermost function around it; empty for none


def read_selectors(text: str) -> tuple[Selector, ...]:
    """Every selector of an expression. Raises `NotPromQL`."""
    reader = _Reader(list(_tokens(text)), len(text))
    reader.whole()
    return tuple(reader.found)


def _tokens(text: str) -> Iterator[Token]:
    at = 0
    while at < len(text):
        match = TOKEN.match(text, at)
        if match is None:
            raise NotPromQL(f"{text[at : at + 10]!r} at {at} is no part of PromQL")
        if match.lastgroup != "blank":
            yield Token(str(match.lastgroup), match.group(), at)
        at = match.end()


class _Reader:
    def __init__(self, tokens: list[Token], length: int) -> None:
        self._tokens = [*tokens, Token("end", "", length)]
        self._next = 0
        self._depth = 0
        self.found: list[Selector] = []

    def whole(self) -> None:
        """Reads everything; a bare range is no value that could be shown."""
        self._must(not self.expression(""))
        self._must(self._peek().kind == "end")

    def expression(self, function: str) -> bool:
        """Reads one; whether it is a bare range."""
        self._depth += 1
        self._must(self._depth <= DEPTH_MAX)
        ranged = self._operand(function)
        while self._peek().text in OPERATORS or self._peek().text in SET_OPERATORS:
            self._must(not ranged)
            self._take()
            if self._peek().text == "bool":
                self._take()
            if self._peek().text in ("on", "ignoring"):
                self._take()
                self._labels()
                if self._peek().text in ("group_left", "group_right"):
                    self._take()
                    if self._peek().text == "(":
                        self._labels()
            ranged = self._operand(function)
            self._must(not ranged)
        self._depth -= 1
        return ranged

    def _operand(self, function: str) -> bool:
        while self._peek().text in ("+", "-"):
            self._take()
        token = self._take()
        selected = False
        if token.text == "(":
            ranged = self.expression(function)
            self._expect(")")
            if ranged:
                return True
        elif (
            token.kind == "name"
            and (token.text in AGGREGATIONS)
            and self._peek().text in ("(", "by", "without")
        ):
            self._aggregation(function)
        elif token.kind == "name" and self._peek().text == "(":
            self._call(token)
        elif token.kind == "name" or token.text == "{":
            self._selector(token, function)
            selected = True
        else:
            self._must(token.kind in ("number", "string", "variable", "duration"), token)
        return self._suffix(selected)

    def _suffix(self, selected: bool) -> bool:
        ranged = False
        while True:
            text = self._peek().text
            if text == "[":
                self._must(not ranged)
                is_subquery = self._range(selected)
                ranged = True
                self._must(selected or is_subquery)
            elif text == "offset":
                self._take()
                if self._peek().text == "-":
                    self._take()
                self._must(self._take().kind in ("duration", "variable"))
            elif text == "@":
                self._take()
                if self._take().text in ("start", "end"):
                    self._expect("(")
                    self._expect(")")
            else:
                return ranged

    def _range(self, selected: bool) -> bool:
        self._expect("[")
        length = self._take()
        self._must(length.kind in ("duration", "variable"), length)
        is_subquery = self._peek().text == ":"
        if is_subquery:
            self._take()
            if self._peek().text != "]":
                self._must(self._take().kind in ("duration", "variable"))
        elif selected:
            self.found[-1] = msgspec.structs.replace(self.found[-1], range=length.text)
        self._expect("]")
        return is_subquery

    def _aggregation(self, function: str) -> None:
        grouped = self._peek().text in ("by", "without")
        if grouped:
            self._take()
            self._labels()
        self._expect("(")
        self._arguments(function, ranges=False)
        if self._peek().text in ("by", "without"):
            self._must(not grouped)
            self._take()
            self._labels()

    def _call(self, name: Token) -> None:
        self._must(name.text in RANGED or name.text in INSTANT, name)
        self._expect("(")
        any_range = self._arguments(name.text, ranges=name.text in RANGED)
        self._must(any_range or name.text not in RANGED, name)

    def _arguments(self, function: str, *, ranges: bool) -> bool:
        any_range = False
        if self._peek().text != ")":
            while True:
                ranged = self.expression(function)
                self._must(ranges or not ranged)
                any_range = any_range or ranged
                if self._peek().text != ",":
                    break
                self._take()
        self._expect(")")
        return any_range

    def _selector(self, token: Token, function: str) -> None:
        name = token.text if token.kind == "name" else ""
        self._must(name not in SET_OPERATORS, token)
        matchers: list[tuple[str, str, str]] = []
        if token.text == "{" or self._peek().text == "{":
            if name:
                self._take()
            while self._peek().text != "}":
                label, operator, value = self._take(), self._take(), self._take()
                self._must(label.kind == "name", label)
                self._must(operator.text in ("=", "!=", "=~", "!~"), operator)
                self._must(value.kind == "string", value)
                matchers.append((label.text, operator.text, value.text[1:-1]))
                if self._peek().text == ",":
                    self._take()
                else:
                    break
            self._expect("}")
        self._must(bool(name or matchers), token)
        self.found.append(Selector(name, tuple(matchers), "", function))

    def _labels(self) -> None:
        self._expect("(")
        while self._peek().text != ")":
            self._must(self._take().kind == "name")
            if self._peek().text == ",":
                self._take()
            else:
                break
        self._expect(")")

    def _peek(self) -> Token:
        return self._tokens[self._next]

    def _take(self) -> Token:
        token = self._tokens[self._next]
        self._next = min(self._next + 1, len(self._tokens) - 1)
        return token

    def _expect(self, text: str) -> None:
        token = self._take()
        self._must(token.text == text, token)

    def _must(self, holds: bool, token: Token | None = None) -> None:
        if not holds:
            seen = token or self._peek()
            raise NotPromQL(
                f"{seen.text!r} at {seen.at} does not belong there" if seen.text else "it ends too early"
            )
