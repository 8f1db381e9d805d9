"""What stands behind `andon audit`: files, public keys and the ledger, brought to the room that checks and proves.

Works without a running factory. Loaded by the command line when one of those verbs is used.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from signal import SIGINT, SIGTERM, signal
from typing import Any, Final

import msgspec

from andon.app.home import Home
from andon.app.keeping import open_wrapper
from andon.app.settings import Settings, load_settings
from andon.app.witness_process import WitnessTerms, witness
from andon.kernel.clock import SystemClock
from andon.kernel.errors import Refused
from andon.kernel.random import SystemRandom
from andon.ledger.client import Ledger, connect, moment_ns
from andon.ledger.row import Outcome
from andon.security.audit.bundles import (
    BUNDLE_BYTES_MAX,
    REQUESTS_MAX,
    check_bundle,
    encode_bundle,
    make_bundle,
    prove_entries,
    read_bundle,
)
from andon.security.audit.canonical import encode_row
from andon.security.audit.checking import Watch, check_log
from andon.security.audit.keys import read_keys
from andon.security.audit.notes import Vkey, read_note, read_vkey
from andon.security.audit.ocsf import CLASSES, from_entry, from_row
from andon.security.audit.ocsf_rules import check_event
from andon.security.audit.reading import Told, read_head, read_log
from andon.security.audit.sources import FolderSource, LogSource, open_source
from andon.security.audit.subjects import Opener
from andon.security.audit.tiles import KEYS
from andon.security.audit.witness import PUBLIC, SEEN

ROWS_AT_A_TIME: Final = 2000
SECONDS: Final = 60.0
_COLUMNS: Final = tuple(field.encode_name for field in msgspec.structs.fields(Outcome))


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What an auditor says on the command line."""

    place: str
    public_key: str = ""
    witness: str = ""
    witness_key: str = ""
    token: str = ""
    authority: Path | None = None


def verify(asked: Asked) -> dict[str, Any]:
    """The verdict on a log or a bundle. Raises `Refused`, `Transient`."""
    notes: list[str] = []
    watch = _watch(asked, notes)
    path = Path(asked.place)
    if not asked.place.startswith(("http://", "https://")) and path.is_file():
        return _verify_bundle(path, asked, watch, notes)
    source = open_source(asked.place, asked.token, asked.authority)
    findings = check_log(source, _log_key(asked, source, notes), () if watch is None else (watch,))
    if watch is None:
        notes.append(
            "No witness was asked: a cut tail, or a rewrite with a stolen key, cannot be seen without one."
        )
    return {**msgspec.to_builtins(findings), "sound": not findings.faults, "notes": notes}


def _verify_bundle(path: Path, asked: Asked, watch: Watch | None, notes: list[str]) -> dict[str, Any]:
    if path.stat().st_size > BUNDLE_BYTES_MAX:
        raise Refused(
            "audit_form", f"{path} is too large for a bundle.", hint="Prove fewer requests at a time."
        )
    bundle = read_bundle(path.read_bytes())
    if not asked.public_key:
        raise Refused(
            "arguments_conflict", "A bundle is checked by a key from elsewhere.", hint="Give --public-key."
        )
    witness_key = read_vkey(_text(asked.witness_key)) if asked.witness_key else None
    if witness_key is None and watch is not None:
        witness_key = watch.vkey
    if witness_key is None:
        notes.append("No witness was asked: the proof rests on the log's own key alone.")
    statement, faults = check_bundle(bundle, read_vkey(_text(asked.public_key)), witness_key)
    told = {"origin": "", "size": 0, "sums": {}} if statement is None else msgspec.to_builtins(statement)
    return {**told, "faults": faults, "sound": statement is not None, "notes": notes}


def prove(
    root: Path, environment: Mapping[str, str], ids: Sequence[str], where: str, witness_place: str
) -> bytes:
    """A bundle of requests by id or condition. Raises `Refused`."""
    home = Home(root)
    source = FolderSource(home.audit)
    settings = load_settings(home.root, environment)
    cosigned = _seen(witness_place or settings.audit_witness)
    with _ledger(home, settings, environment) as ledger:
        rows = list(_rows(ledger, ids)) if ids else _rows_where(ledger, where)
    if not rows and ids:
        return encode_bundle(prove_entries(source, ids, cosigned))
    return encode_bundle(make_bundle(source, rows, cosigned))


class Lines:
    """The lines of an export, and what is to be said about them at its end."""

    def __init__(self, lines: Callable[[list[str]], Iterator[bytes]]) -> None:
        self.notes: list[str] = []
        self._lines = lines(self.notes)

    def __iter__(self) -> Iterator[bytes]:
        return self._lines


def export(root: Path, environment: Mapping[str, str], format_: str, since: str, class_: str) -> Lines:
    """Entries as JSON lines. Raises `Refused`."""
    if format_ not in ("jsonl", "ocsf") or (class_ and class_ not in CLASSES):
        raise Refused(
            "audit_format_unknown",
            "That is no form of an export.",
            hint=f"--format jsonl or ocsf; --class one of {', '.join(CLASSES)}.",
        )
    home = Home(root)
    settings = load_settings(home.root, environment)
    since_ns = moment_ns(since, SystemClock()) if since else 0
    opener = Opener(home.audit, open_wrapper(home, settings, environment, SystemRandom()))
    entries = read_log(home.audit, opener, since_ns)
    if format_ == "jsonl":
        return Lines(lambda notes: (msgspec.json.encode(one) for one in entries))
    origin = read_head(home.audit)[1].origin
    wanted = CLASSES.get(class_)

    def lines(notes: list[str]) -> Iterator[bytes]:
        counts = {"absent": 0, "invalid": 0}
        with _ledger(home, settings, environment) as ledger:
            for event in _events(entries, ledger, origin, counts):
                if wanted is not None and event["class_uid"] != wanted:
                    continue
                if check_event(event):
                    counts["invalid"] += 1
                    continue
                yield msgspec.json.encode(event)
        if counts["absent"]:
            notes.append(
                f"{counts['absent']} requests are in the log and no longer as such in the tables: left out."
            )
        if counts["invalid"]:
            notes.append(f"{counts['invalid']} events would not be valid OCSF: left out. Please report this.")

    return Lines(lines)


def public_keys(folder: Path) -> list[str]:
    """The log's public keys, oldest first. Raises `Refused` where there is no log."""
    keys = read_keys(FolderSource(folder).read(KEYS) or b"")
    if not keys:
        raise Refused(
            "audit_log_missing", f"There is no log in {folder}.", hint="It begins with the observer."
        )
    return [one.vkey for one in keys]


def run_witness(
    asked: Asked, state: Path, key: Path | None, every_s: float, once: bool, say: Callable[[str], None]
) -> int:
    """Witness a log until a signal. Raises `Refused`, `Conflict`."""
    stopping = threading.Event()
    for number in (SIGTERM, SIGINT):
        signal(number, lambda *_: stopping.set())
    terms = WitnessTerms(
        source=lambda: open_source(asked.place, asked.token, asked.authority),
        state=state,
        key=key,
        log_key=_text(asked.public_key) if asked.public_key else "",
        period_s=every_s,
        once=once,
    )
    return witness(terms, say, stopping)


def _events(
    entries: Iterator[Told], ledger: Ledger, origin: str, counts: dict[str, int]
) -> Iterator[dict[str, Any]]:
    held: list[Told] = []
    for told in entries:
        if told.header.kind != "row":
            yield from from_entry(told, origin)
            continue
        held.append(told)
        if len(held) >= ROWS_AT_A_TIME:
            yield from _row_events(held, ledger, origin, counts)
            held = []
    yield from _row_events(held, ledger, origin, counts)


def _row_events(
    held: Sequence[Told], ledger: Ledger, origin: str, counts: dict[str, int]
) -> Iterator[dict[str, Any]]:
    by_hash = {_digest(row): row for row in _rows(ledger, [one.header.id for one in held])}
    for told in held:
        row = by_hash.get(told.header.hash)
        if row is None:
            counts["absent"] += 1
        else:
            yield from from_row(told, row, origin)


def _ledger(home: Home, settings: Settings, environment: Mapping[str, str]) -> Ledger:
    return connect(home.root, tables=settings.tables_url, environment=environment)


def _rows(ledger: Ledger, ids: Sequence[str]) -> Iterator[dict[str, Any]]:
    for first in range(0, len(ids), ROWS_AT_A_TIME):
        some = list(ids[first : first + ROWS_AT_A_TIME])
        marks = ", ".join("?" * len(some))
        yield from _ask(ledger, f"id IN ({marks})", some)


def _rows_where(ledger: Ledger, where: str) -> list[dict[str, Any]]:
    return _ask(ledger, f"({where}) AND arm IS DISTINCT FROM 'shadow'", [])


def _ask(ledger: Ledger, condition: str, parameters: Sequence[Any]) -> list[dict[str, Any]]:
    columns = ", ".join(f'"{name}"' for name in _COLUMNS)
    sql = f"SELECT {columns} FROM attempts WHERE final AND {condition} ORDER BY at_ns, id"  # noqa: S608  the ledger's sandbox lets one SELECT through and nothing else
    result = ledger.query(sql, list(parameters), seconds=SECONDS, rows=REQUESTS_MAX + 1)
    if result.truncated:
        raise Refused(
            "audit_too_many", f"More than {REQUESTS_MAX} requests fit.", hint="Narrow the condition."
        )
    rows = result.rows()
    for row in rows:
        if isinstance(row["features"], list):
            row["features"] = dict(row["features"])
    return rows


def _digest(row: Mapping[str, Any]) -> str:
    return sha256(encode_row(row)).hexdigest()


def _watch(asked: Asked, notes: list[str]) -> Watch | None:
    note = _seen(asked.witness)
    if not note:
        return None
    if not asked.witness_key:
        public = Path(asked.witness) / PUBLIC
        if not public.is_file():
            raise Refused("arguments_conflict", "Whose note is that?", hint="Give --witness-key.")
        notes.append(
            "The witness's key was taken from its own folder; give --witness-key where that is not trusted."
        )
    vkey = read_vkey(_text(asked.witness_key or str(Path(asked.witness) / PUBLIC)))
    return Watch(vkey, read_note(note))


def _seen(place: str) -> str:
    """A witness's note; empty where none is named or it has seen nothing yet."""
    if not place:
        return ""
    path = Path(place)
    path = path / SEEN if path.is_dir() else path
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise Refused("audit_form", f"{path} cannot be read.", hint="Give the witness's folder.") from error


def _log_key(asked: Asked, source: LogSource, notes: list[str]) -> Vkey:
    if asked.public_key:
        return read_vkey(_text(asked.public_key))
    keys = read_keys(source.read(KEYS) or b"")
    if not keys:
        raise Refused("audit_log_missing", "The log shows no public key.", hint="Give --public-key.")
    notes.append("The public key was taken from the log itself: give --public-key to know whose log it is.")
    return read_vkey(keys[0].vkey)


def _text(given: str) -> str:
    """A key as given, or from the file that was given."""
    try:
        return Path(given).read_text().strip() if Path(given).is_file() else given.strip()
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise Refused(
            "audit_form", "The key cannot be read.", hint="Give the key or a file with it."
        ) from error
