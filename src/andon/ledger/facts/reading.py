"""Bodies into items: one JSON object, `{"items": […]}`, a JSON array, NDJSON, or CSV with a heading. Pure.

One bad item never costs the others: it comes back as `Unfit` in its place. What is wrong with the whole is `Refused`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence

import msgspec

from andon.kernel.errors import Refused
from andon.ledger.facts.items import KINDS, AnyItem
from andon.ledger.facts.times import Unfit

JSON = "application/json"
NDJSON = "application/x-ndjson"
CSV = "text/csv"
MEDIA_TYPES = (JSON, NDJSON, CSV)
ITEMS_MAX = 50_000
FIELD_CHARACTERS_MAX = 131_072  # of one CSV field: the csv module's own limit

_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])

Read = Sequence[AnyItem | Unfit]


def read_items(kind: str, data: bytes, media_type: str) -> Read:
    """Every item of a body, in order. Raises `Refused` when the whole cannot be read or holds too many."""
    if media_type == CSV:
        items = _from_csv(kind, data)
    else:
        pieces = _lines(data) if media_type == NDJSON else _pieces(data)
        _check_count(len(pieces))
        decode = msgspec.json.Decoder(KINDS[kind]).decode
        items = [_decode(decode, piece) for piece in pieces]
    if not items:
        raise Refused("empty_array", "The batch holds no item.", hint="Send at least one.", param="items")
    return items


def _check_count(count: int) -> None:
    if count > ITEMS_MAX:
        raise Refused(
            "batch_too_large",
            f"The batch holds more than {ITEMS_MAX} items.",
            hint="Send it in several parts.",
            status=413,
        )


def _lines(data: bytes) -> Sequence[bytes | msgspec.Raw]:
    return [line for line in data.split(b"\n", ITEMS_MAX * 2) if line.strip()]


def _pieces(data: bytes) -> Sequence[bytes | msgspec.Raw]:
    try:
        if data.lstrip()[:1] == b"[":
            return _ARRAY.decode(data)
        found = _OBJECT.decode(data)
        if "items" not in found:
            return [data]
        if len(found) > 1:
            raise Refused(
                "invalid_field",
                "Beside items stands something that is not taken.",
                hint="Write what belongs to an item into the item.",
            )
        return _ARRAY.decode(found["items"])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(
            "malformed_json",
            f"The body is not JSON of one item or of items: {error}.",
            hint='Send {"items": [...]} in UTF-8.',
        ) from error


def _decode(decode: Callable[[bytes | msgspec.Raw], AnyItem], piece: bytes | msgspec.Raw) -> AnyItem | Unfit:
    try:
        return decode(piece)
    except msgspec.ValidationError as error:
        return _unfit(error)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Unfit("malformed_json", f"It is not JSON: {error}.")
    except RecursionError:
        return Unfit("malformed_json", "It is nested too deeply.")


def _unfit(error: msgspec.ValidationError) -> Unfit:
    what, _, place = str(error).partition(" - at `$.")
    advice = " The name of a class goes into text." if place == "value`" and "got `str`" in what else ""
    return Unfit("invalid_field", f"{what}{f' at {place[:-1]}' if place else ''}.{advice}", place[:-1])


def _from_csv(kind: str, data: bytes) -> Read:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refused(
            "malformed_csv", f"The file is not UTF-8: {error}.", hint="Save it as UTF-8."
        ) from error
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    items: list[AnyItem | Unfit] = []
    try:
        heading = [name.strip() for name in next(lines, [])]
        _check_heading(kind, heading)
        for cells in _filled(lines):
            items.append(_from_cells(kind, heading, cells))
            _check_count(len(items))
    except csv.Error as error:
        raise Refused(
            "malformed_csv",
            f"Line {lines.line_num} is not CSV: {error}.",
            hint="Write it as RFC 4180 says: commas, quotes doubled.",
        ) from error
    return items


def _filled(lines: Iterator[list[str]]) -> Iterator[list[str]]:
    return (cells for cells in lines if cells)


def _check_heading(kind: str, heading: list[str]) -> None:
    known = [field.encode_name for field in msgspec.structs.fields(KINDS[kind])]
    strangers = [name for name in heading if name not in known]
    if not heading or strangers or len(set(heading)) != len(heading):
        what = f"has the column '{strangers[0][:60]}'" if strangers else "is missing, or names a column twice"
        raise Refused(
            "csv_heading_invalid",
            f"The heading {what}.",
            hint=f"The first line names columns out of: {', '.join(known)}.",
        )


def _from_cells(kind: str, heading: list[str], cells: list[str]) -> AnyItem | Unfit:
    if len(cells) != len(heading):
        return Unfit("malformed_csv", f"It has {len(cells)} cells where the heading has {len(heading)}.")
    given = {name: cell for name, cell in zip(heading, cells, strict=True) if cell != ""}
    try:
        return msgspec.convert(given, KINDS[kind], strict=False)
    except msgspec.ValidationError as error:
        return _unfit(error)
