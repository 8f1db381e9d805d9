"""Looks at every model version before it is served, and again when its files, the rules or the day change.

Run by control's driver. Copies the files to a private place, hashes and scans the copy, verifies who signed, decides.
What runs already keeps running on its own verified copy; nothing new starts of a version that is not admitted.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from andon.control.controller import Result
from andon.kernel.admission import Admission, Admitted
from andon.kernel.clock import Clock
from andon.kernel.decision import Plan, Step
from andon.kernel.errors import AndonError
from andon.kernel.events import Event
from andon.security.admission.kinds import ADMISSION, SIGNER, AdmissionSpec, SignerSpec
from andon.security.admission.model import FileEntry, Scanned
from andon.security.admission.rules import Case, Signed, Wanted, day_of, decide
from andon.security.admission.scanning import VERSION, scan_model
from andon.security.admission.signing import SIGNATURE_BYTES_MAX, SIGNATURE_FILE, read_public_key, verify
from andon.store.model import Lease, Record, Store, Unit

MODEL_VERSION = "ModelVersion"
ADMITTED, REFUSED, CHANGED = "model.admitted", "model.refused", "model.changed"
PERIOD_S = 5.0
_LOOKS_MAX = 10_000


class Hashed(Protocol):
    """One file of a copy."""

    @property
    def name(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def sha256(self) -> str: ...


class Copy(Protocol):
    """A private copy of a model, hashed as it was written."""

    @property
    def path(self) -> Path: ...
    @property
    def digest(self) -> str: ...
    @property
    def files(self) -> Sequence[Hashed]: ...


Take = Callable[[Path, Path], Copy]


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """One version, and what looking at it gave."""

    record: Record
    before: Admission | None
    now: Admission | None = None  # a decision just made; None = nothing to decide
    changed: str = ""  # the digest that the files of an admitted version have by now


class AdmissionController:
    """Admits model versions. `root` is the factory file's folder, `kept` where manifests are kept."""

    name = "admission"
    period_s = PERIOD_S

    def __init__(self, store: Store, clock: Clock, take: Take, root: Path, kept: Path) -> None:
        self._store = store
        self._clock = clock
        self._take = take
        self._root = root
        self._kept = kept
        self._looks: dict[str, str] = {}  # by version, how its files looked when they were last read
        self._told: dict[str, str] = {}  # by version, the digest of changed files that was told

    def subjects(self, unit: Unit) -> Sequence[str]:
        """Every model version."""
        records = unit.list(MODEL_VERSION)
        names = {record.name for record in records}
        self._looks = {name: look for name, look in self._looks.items() if name in names}
        self._told = {name: told for name, told in self._told.items() if name in names}
        return [f"{MODEL_VERSION}/{record.name}" for record in records]

    async def observe(self, subject: str) -> Facts | None:
        """The version, scanned where something is new."""
        name = subject.partition("/")[2]
        found = await self._store.transact(
            lambda unit: (unit.get(MODEL_VERSION, name), unit.list(ADMISSION), unit.list(SIGNER))
        )
        record, policies, signers = found
        if record is None:
            return None
        return await asyncio.to_thread(self._look, record, policies, signers)

    def _look(self, record: Record, policies: Sequence[Record], signers: Sequence[Record]) -> Facts:
        """Blocks: reads the files if they, the rules or the day are new."""
        wanted = msgspec.convert(record.spec, Wanted)
        before = msgspec.convert(record.status, Admitted).admission
        policy = msgspec.convert(policies[0].spec, AdmissionSpec) if policies else AdmissionSpec()
        able = [(one.name, msgspec.convert(one.spec, SignerSpec)) for one in signers]
        keys = {
            name: read_public_key(spec.public_key)
            for name, spec in able
            if not spec.models or wanted.model in spec.models
        }
        now_ns = self._clock.now_ns()
        rules = _rules(policy, able)
        source = self._root / wanted.source
        look = how_it_looks(source)
        is_new = (
            before is None
            or before.generation != record.generation
            or before.rules != rules
            or bool(before.until and day_of(now_ns) > before.until)
        )
        if not is_new and self._looks.get(record.name) == look:
            return Facts(record=record, before=before)
        facts = self._decide(record, wanted, policy, keys, bool(signers), (rules, now_ns, source))
        self._looks[record.name] = look
        decided = facts.now
        if before is not None and decided is not None and not is_new and before.admitted:
            # The same generation under the same rules: its bytes are settled. Others are told, and never served.
            if decided.digest == before.digest:
                return Facts(record=record, before=before)
            return Facts(record=record, before=before, changed=decided.digest or "unreadable")
        return facts

    def _decide(
        self,
        record: Record,
        wanted: Wanted,
        policy: AdmissionSpec,
        keys: dict[str, Ed25519PublicKey],
        has_signers: bool,
        given: tuple[str, int, Path],
    ) -> Facts:
        rules, now_ns, source = given
        before = msgspec.convert(record.status, Admitted).admission
        private = self._kept / f".{record.name}.scan"
        try:
            shutil.rmtree(private, ignore_errors=True)
            copy = self._take(source, private)
            files = [FileEntry(name=file.name, size=file.size, sha256=file.sha256) for file in copy.files]
            scanned = scan_model(copy.path, [file.name for file in files])
            signed = check_signature(source, files, keys)
            decided = decide(
                Case(
                    wanted=wanted,
                    policy=policy,
                    has_signers=has_signers,
                    signed=signed,
                    scanned=scanned,
                    digest=copy.digest,
                    now_ns=now_ns,
                )
            )
            self._keep(record.name, copy.digest, files, scanned)
        except AndonError as error:
            decided = Admission(reason=str(error), scanned_at=now_ns)
        except OSError as error:
            decided = Admission(
                reason=f"{source} cannot be read: {error.strerror or error}.", scanned_at=now_ns
            )
        finally:
            shutil.rmtree(private, ignore_errors=True)
        decided = msgspec.structs.replace(decided, generation=record.generation, rules=rules)
        return Facts(record=record, before=before, now=decided)

    def _keep(self, name: str, digest: str, files: Sequence[FileEntry], scanned: Scanned) -> None:
        """Write the manifest and the whole report for people and auditors."""
        report = {"name": name, "digest": digest, "files": files, "scan": scanned}
        path = self._kept / f"{name}.manifest.json"
        partial = path.with_suffix(".part")
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))
        partial.replace(path)

    def plan(self, facts: Facts, now_ns: int) -> Plan:
        """Say what was decided, if it is news."""
        steps: list[Step] = []
        subject = f"{MODEL_VERSION}/{facts.record.name}"
        decided = facts.now
        if decided is not None and not _is_same(facts.before, decided):
            verb = ADMITTED if decided.admitted else REFUSED
            reason = decided.reason or f"Its files are {decided.verdict}."
            steps.append(Step(verb=verb, subject=subject, reason=reason, data=_data(decided)))
        if facts.changed and self._told.get(facts.record.name) != facts.changed:
            reason = (
                "The files of an admitted version were changed. What runs goes on with the admitted bytes."
            )
            steps.append(Step(verb=CHANGED, subject=subject, reason=reason, data={"digest": facts.changed}))
        return Plan(
            controller=self.name, subject=subject, generation=facts.record.generation, steps=tuple(steps)
        )

    def veto(self, facts: Facts, plan: Plan) -> str | None:
        """A version is never admitted without the digest of its bytes, nor with a finding that nothing excepts."""
        decided = facts.now
        if decided is not None and decided.admitted:
            if not decided.digest:
                return "A version must not be admitted without the digest of its files."
            if any(not finding.allowed for finding in decided.findings):
                return "A version must not be admitted with findings that no exception covers."
        return None

    async def act(self, facts: Facts, step: Step, lease: Lease) -> None:
        """Write the event."""
        unique = f"{step.verb}/{facts.record.name}/{facts.record.generation}/{step.data.get('digest', '')}"
        unique += f"/{facts.now.rules if facts.now else ''}/{step.reason[:80]}"
        event = Event(
            name=step.verb,
            subject=step.subject,
            actor="controller:admission",
            data={"reason": step.reason, **step.data},
            unique=unique,
        )
        await self._store.transact(lambda unit: unit.append(event))
        if step.verb == CHANGED:
            self._told[facts.record.name] = facts.changed

    async def conclude(self, facts: Facts, plan: Plan, lease: Lease) -> Sequence[Result]:
        """The decision as part of the status; the rest of the status is others'."""
        if facts.now is None:
            return ()
        status = {**facts.record.status, "admission": msgspec.to_builtins(facts.now)}
        return (
            Result(
                kind=MODEL_VERSION,
                name=facts.record.name,
                generation=facts.record.generation,
                status=status,
            ),
        )


def check_signature(source: Path, files: Sequence[FileEntry], keys: dict[str, Ed25519PublicKey]) -> Signed:
    """Who signed these files, or why the signature beside them does not hold."""
    path = source / SIGNATURE_FILE if source.is_dir() else source.with_name(f"{source.name}.sig")
    try:
        # A pipe in the place of a signature must not be waited for: it would hold up every other version.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return Signed(is_there=True, problem=f"{path} is no plain file.")
            bundle = file.read(SIGNATURE_BYTES_MAX + 1)
    except OSError:
        return Signed()
    if not keys:
        return Signed(is_there=True)
    try:
        return Signed(is_there=True, signer=verify(bundle, files, keys).signer)
    except AndonError as error:
        return Signed(is_there=True, problem=str(error))


def how_it_looks(source: Path) -> str:
    """Times and sizes of the files, cheap to compare; what cannot be seen looks like nothing."""
    found = sha256()
    try:
        paths = [source, source.with_name(f"{source.name}.sig")]
        if source.is_dir():
            for path in source.rglob("*"):
                paths.append(path)
                if len(paths) > _LOOKS_MAX:
                    break
        for path in sorted(paths):
            try:
                seen = path.stat()
            except OSError:  # it went while we looked: then the next look is another
                continue
            kind = (
                "d"
                if path.is_dir()
                else f"{seen.st_size}/{seen.st_mtime_ns}/{seen.st_ctime_ns}/{seen.st_ino}"
            )
            found.update(f"{path}\0{kind}\n".encode(errors="surrogateescape"))
    except OSError:
        return ""
    return found.hexdigest()


def _rules(policy: AdmissionSpec, signers: Sequence[tuple[str, SignerSpec]]) -> str:
    return sha256(msgspec.json.encode((VERSION, policy, sorted(signers)), order="sorted")).hexdigest()[:16]


def _is_same(before: Admission | None, now: Admission) -> bool:
    return before is not None and msgspec.structs.replace(before, scanned_at=0) == msgspec.structs.replace(
        now, scanned_at=0
    )


def _data(decided: Admission) -> dict[str, object]:
    return {
        "verdict": decided.verdict,
        "verified": decided.verified,
        "signer": decided.signer,
        "digest": decided.digest,
        "findings": decided.found,
    }
