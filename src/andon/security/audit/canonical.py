"""The one form of a JSON value (RFC 8785, JSON Canonicalization Scheme), and the form in which rows are committed to.

Pure. `canonicalise` is the standard, slowly; `encode_row` gives the same bytes for the rows of the ledger, fast. A test
holds both together. Whole numbers beyond 2^53, which JSON cannot carry exactly, are written as decimal text.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

import msgspec

WHOLE_MAX: Final = 2**53 - 1

_encode: Final = msgspec.json.Encoder(order="sorted").encode


def canonicalise(value: Any) -> bytes:
    """The canonical bytes of a JSON value. Raises ValueError for what JSON cannot carry exactly."""
    return _text(value).encode()


def number_text(value: float) -> str:
    """A double as ECMAScript writes it (ECMA-262 §6.1.6.1.20), which RFC 8785 asks for."""
    if not math.isfinite(value):
        raise ValueError(f"{value} has no form in JSON")
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = f"{abs(value)!r}".partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    digits = (whole + fraction).lstrip("0")
    # The value is 0.<digits> times ten to the power of `point`.
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    count = len(digits)
    if count <= point <= 21:
        return f"{sign}{digits}{'0' * (point - count)}"
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    power = point - 1
    tail = f".{digits[1:]}" if count > 1 else ""
    return f"{sign}{digits[0]}{tail}e{'+' if power > 0 else '-'}{abs(power)}"


def plain(value: Any) -> Any:
    """A value of a row as JSON can carry it: large whole numbers and what is not finite as text."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if -WHOLE_MAX <= value <= WHOLE_MAX else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    return value


def plain_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row's fields as they are committed to: without those that are null, so that a later schema changes nothing."""
    return {name: plain(value) for name, value in row.items() if value is not None}


def encode_row(row: Mapping[str, Any]) -> bytes:
    """The canonical bytes of a row, given by the names of its columns."""
    found: dict[str, Any] = {}
    for name, value in row.items():
        if value is None:
            continue
        kind = type(value)
        if kind is str or kind is bool:
            found[name] = value
        elif kind is int:
            found[name] = value if -WHOLE_MAX <= value <= WHOLE_MAX else str(value)
        elif kind is float:
            found[name] = msgspec.Raw(number_text(value).encode()) if math.isfinite(value) else str(value)
        else:
            found[name] = msgspec.Raw(canonicalise(plain(value)))
    return _encode(found)


def _text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        value.encode()  # a lone surrogate has no form: ValueError
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int):
        if not -WHOLE_MAX <= value <= WHOLE_MAX:
            raise ValueError("a whole number beyond 2^53 would lose digits; write it as text")
        return str(value)
    if isinstance(value, float):
        return number_text(value)
    if isinstance(value, Mapping):
        # RFC 8785 §3.2.3: names in the order of their UTF-16 code units.
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        return "{" + ",".join(f"{_text(name)}:{_text(value[name])}" for name in names) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_text, value)) + "]"
    raise ValueError(f"{type(value).__name__} has no form in JSON")
