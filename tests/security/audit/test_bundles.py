"""Requests proved in one file; erasure that breaks no proof; exports that a SIEM can read."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest

from andon.kernel.clock import SystemClock
from andon.kernel.errors import Refused
from andon.kernel.random import SystemRandom
from andon.ledger.disk import FileDisk
from andon.ledger.row import Outcome
from andon.security.audit.bundles import check_bundle, encode_bundle, make_bundle, prove_entries, read_bundle
from andon.security.audit.checking import check_log
from andon.security.audit.leaves import own_leaf, row_leaf
from andon.security.audit.notes import Vkey, read_vkey
from andon.security.audit.ocsf import CLASSES, from_entry, from_row
from andon.security.audit.ocsf_rules import check_event
from andon.security.audit.reading import read_log
from andon.security.audit.sources import FolderSource
from andon.security.audit.subjects import Opener
from andon.security.audit.witness import PUBLIC, SEEN, Witness
from tests.security.audit.logs import AT_NS, events, open_writer, rows, subjects_of, wrapper_of

VERDICTS = [
    {
        "guard": "pii",
        "version": "1",
        "place": "input",
        "mode": "enforce",
        "action": "redact",
        "entities": {"EMAIL": 2},
    },
    {
        "guard": "injection",
        "version": "2",
        "place": "context",
        "mode": "shadow",
        "action": "block",
        "score": 0.9,
    },
    {"guard": "topics", "version": "1", "place": "output", "mode": "enforce", "action": "pass"},
]


def billed(at: int) -> dict[str, Any]:
    """A row of the ledger, by column."""
    row = Outcome(
        id=f"req-{at}",
        at_ns=AT_NS + at,
        status=200 if at % 5 else 503,
        endpoint="chat",
        release="chat@2",
        target="openai",
        operation="chat",
        principal="user:ann@example.com",
        team="risk",
        duration_us=1500 + at,
        input_tokens=10,
        output_tokens=at,
        cost_micros=7,
        propensity=0.5,
        traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        features={"age": 3},
        verdicts=json.dumps(VERDICTS) if at % 3 == 0 else None,
    )
    return msgspec.structs.asdict(row)


@pytest.fixture
def log(tmp_path: Path) -> tuple[Path, Vkey]:
    folder = tmp_path / "log"
    writer = open_writer(folder)
    subjects = subjects_of(folder)
    writer.append([*events(subjects, 1, 4), *(row_leaf(billed(at), "rows/a", at) for at in range(1, 601))])
    writer.checkpoint()
    one = Witness(tmp_path / "witness", SystemClock(), SystemRandom())
    one.look(FolderSource(folder))
    one.close()
    writer.append([row_leaf(billed(at), "rows/a", at) for at in range(601, 700)])
    writer.checkpoint()
    return folder, writer.signing.vkey


def test_a_bill_is_proved_and_summed_from_its_rows(log: tuple[Path, Vkey], tmp_path: Path) -> None:
    folder, vkey = log
    cosigned = (tmp_path / "witness" / SEEN).read_text()
    witness = read_vkey((tmp_path / "witness" / PUBLIC).read_text())
    wanted = [billed(at) for at in (3, 77, 78, 300, 650)]
    data = encode_bundle(make_bundle(FolderSource(folder), wanted, cosigned))
    statement, faults = check_bundle(read_bundle(data), vkey, witness)
    assert (statement, faults) == (statement, [])
    assert statement is not None
    assert statement.requests == 5
    assert statement.sums["output_tokens"] == 3 + 77 + 78 + 300 + 650
    assert statement.sums["cost_micros"] == 35
    assert "status" not in statement.sums
    assert (statement.witnessed_size, statement.witnessed) == (604, 4)
    assert len(data) < 5 * 1500 + 60 * 70  # far less than five proofs apart, and no log


def test_a_bundle_with_any_change_proves_nothing(log: tuple[Path, Vkey], tmp_path: Path) -> None:
    folder, vkey = log
    cosigned = (tmp_path / "witness" / SEEN).read_text()
    witness = read_vkey((tmp_path / "witness" / PUBLIC).read_text())
    data = encode_bundle(make_bundle(FolderSource(folder), [billed(at) for at in (9, 10, 444)], cosigned))
    chance, believed = random.Random(1), []
    for _ in range(600):
        changed = bytearray(data)
        changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        try:
            bundle = read_bundle(bytes(changed))
        except Refused:
            continue  # found already when it was read
        if bundle != read_bundle(data) and check_bundle(bundle, vkey, witness)[0] is not None:
            believed.append(bytes(changed))
    assert believed == []
    raw = json.loads(data)
    raw["leaves"] = [raw["leaves"][0], *raw["leaves"]]
    assert check_bundle(read_bundle(json.dumps(raw).encode()), vkey)[0] is None
    raw = json.loads(data)
    raw["leaves"][0]["row"]["output_tokens"] += 1000
    assert "not the one that was logged" in str(check_bundle(read_bundle(json.dumps(raw).encode()), vkey)[1])


def test_a_row_that_was_altered_in_the_tables_cannot_be_proved(log: tuple[Path, Vkey]) -> None:
    with pytest.raises(Refused, match="not in the log as they stand"):
        make_bundle(FolderSource(log[0]), [billed(5), billed(6) | {"output_tokens": 1}])
    with pytest.raises(Refused):
        make_bundle(FolderSource(log[0]), [])
    with pytest.raises(Refused):
        prove_entries(FolderSource(log[0]), ["req-9999"])
    statement, faults = check_bundle(prove_entries(FolderSource(log[0]), ["req-5"]), log[1])
    assert faults == []
    assert statement is not None
    assert (statement.entries, statement.requests) == (1, 0)


def test_erased_is_unreadable_and_every_proof_holds(log: tuple[Path, Vkey]) -> None:
    folder, vkey = log
    opener = Opener(folder, wrapper_of(folder))
    before = [one for one in read_log(folder, opener) if one.header.kind == "journal"]
    assert [one.content for one in before] == [{"event": at} for at in range(1, 5)]
    writer, subjects = open_writer(folder), subjects_of(folder)
    (id_,) = subjects.begin_shred("user:ann")
    writer.append([own_leaf("shred", AT_NS, "audit", 1, {"key": id_})])
    assert subjects.shredding() == [id_]
    subjects.end_shred(id_)
    assert subjects_of(folder).shredding() == []
    writer.checkpoint()
    after = [
        one for one in read_log(folder, Opener(folder, wrapper_of(folder))) if one.header.kind == "journal"
    ]
    assert [(one.content, one.erased) for one in after] == [(None, True)] * 4
    assert check_log(FolderSource(folder), vkey).faults == []
    leftovers = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert b"user:ann" not in leftovers
    again, _ = subjects.seal("user:ann", b"new", b"bound")
    assert again != id_


def test_every_event_of_an_export_is_valid(log: tuple[Path, Vkey]) -> None:
    folder, vkey = log
    by_id = {billed(at)["id"]: billed(at) for at in range(1, 700)}
    made: list[dict[str, Any]] = []
    for told in read_log(folder, Opener(folder, wrapper_of(folder))):
        if told.header.kind == "row":
            made += from_row(told, by_id[told.header.id], vkey.name)
        else:
            made += from_entry(told, vkey.name)
    assert [fault for event in made for fault in check_event(event)] == []
    classes = {event["class_uid"] for event in made}
    assert {6003, 2004, 2006, 3005} <= classes
    call = next(event for event in made if event["class_uid"] == 6003)
    assert call["type_uid"] == 600399
    assert call["metadata"]["profiles"] == ["ai_operation", "trace"]
    assert call["ai_model"]["version"] == "2"
    assert call["message_context"]["total_tokens"] == 11
    assert call["unmapped"]["andon_cost_micros"] == 7
    attestation = call["unmapped"]["attestation"]
    assert attestation["chain_uid"] == vkey.name
    assert len(attestation["fingerprint"]["value"]) == 64
    json.dumps(made)


@pytest.mark.parametrize(
    ("name", "class_"),
    [
        ("key.revoked", "user_access"),
        ("rollout.aborted", "application_lifecycle"),
        ("session.created", "authentication"),
        ("grant.given", "authorize_session"),
        ("audit.interrupted", "incident_finding"),
        ("revision.applied", "entity_management"),
    ],
)
def test_each_change_has_its_class(tmp_path: Path, name: str, class_: str) -> None:
    folder = tmp_path / "log"
    writer = open_writer(folder)
    leaf = own_leaf("journal", AT_NS, "journal/1", 1, {})
    writer.append([leaf])
    writer.checkpoint()
    (told,) = read_log(folder, None)
    content = {"name": name, "actor": "user:ann", "subject": "Key/4kq", "data": {"reason": "lost"}}
    (event,) = from_entry(msgspec.structs.replace(told, content=content), "log")
    assert event["class_uid"] == CLASSES[class_]
    assert check_event(event) == []


def test_rules_find_what_is_missing() -> None:
    assert check_event({}) == ["class None is not one that is exported"]
    assert "time is missing" in check_event({"class_uid": 6003, "activity_id": 1, "type_uid": 600301})


def test_entries_of_a_disk_that_fails_are_written_once(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    writer.append(rows(1, 2))
    with pytest.raises(Refused):
        writer.append(rows(2, 1))
    assert FileDisk(tmp_path).list("tile/entries/000.p") == ["2"]
