"""What the admin API offers about models: their papers, assessments, and what is known of their packages.

Joins what rooms know of one version: its resources, the manifest that admission kept, assessments, vulnerabilities.
"""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

from andon import __version__
from andon.kernel.admission import Admitted, Assessed, Assessment
from andon.kernel.clock import Clock
from andon.kernel.errors import Conflict, Refused
from andon.kernel.events import Event
from andon.kernel.random import Random
from andon.security.admission.model import FileEntry
from andon.security.supply.bom import Measure, ModelFacts, model_bom
from andon.security.supply.card import model_card
from andon.security.supply.controller import Places
from andon.security.supply.requirements import Package, normalise, packages_of_model
from andon.serving.models.model import MODEL, MODEL_VERSION, ModelSpec, ModelVersionSpec, Tensor
from andon.store.model import Record, Store, Unit

ASSESSMENTS_MAX = 20  # kept of one version; the oldest go first


class Manifest(msgspec.Struct, frozen=True):
    """What admission kept of a version's files."""

    digest: str = ""
    files: tuple[FileEntry, ...] = ()


class ModelPapers:
    """Bills of materials, cards and assessments of model versions."""

    def __init__(self, store: Store, clock: Clock, random: Random, root: Path, kept: Path) -> None:
        self._store = store
        self._clock = clock
        self._random = random
        self._root = root
        self._kept = kept

    async def bom(self, name: str) -> dict[str, Any]:
        """The ML-BOM of a version, kept beside its manifest. Raises Refused 404."""
        facts = await self._facts(name)
        bits = (self._random.bits(128) & ~(0xF << 76) & ~(0x3 << 62)) | (0x4 << 76) | (0x2 << 62)
        at = datetime.fromtimestamp(self._clock.now_ns() // 10**9, UTC).isoformat().replace("+00:00", "Z")
        document = model_bom(facts, str(UUID(int=bits)), at, __version__)
        self._write(f"{name}.cdx.json", msgspec.json.format(msgspec.json.encode(document), indent=1))
        return document

    async def card(self, name: str) -> str:
        """The model card of a version, as Markdown, kept beside its manifest. Raises Refused 404."""
        text = model_card(await self._facts(name))
        self._write(f"{name}.card.md", text.encode())
        return text

    async def record(self, name: str, assessment: Assessment, actor: str) -> Assessment:
        """Keep an assessment of the very bytes that are admitted. Raises Refused 404 or Conflict."""
        kept = msgspec.structs.replace(assessment, at=self._clock.now_ns())

        def write(unit: Unit) -> None:
            record = _version(unit, name)
            admission = msgspec.convert(record.status, Admitted).admission
            if admission is None or admission.digest != kept.digest:
                raise Conflict(
                    "assessment_of_other_bytes",
                    f"{name} is admitted with another digest than the one that was assessed.",
                    hint="Assess the files that the version names, as they are now.",
                )
            before = msgspec.convert(record.status, Assessed).assessments
            listed = [*(one for one in before if not one.is_like(kept)), kept][-ASSESSMENTS_MAX:]
            status = {**record.status, "assessments": msgspec.to_builtins(listed)}
            unit.put_status(MODEL_VERSION, name, status, expect_generation=record.generation)
            data = {
                "robustAccuracy": kept.robust_accuracy,
                "cleanAccuracy": kept.clean_accuracy,
                "attack": kept.attack,
            }
            unit.append(
                Event(name="model.assessed", subject=f"{MODEL_VERSION}/{name}", actor=actor, data=data)
            )

        await self._store.transact(write)
        return kept

    async def _facts(self, name: str) -> ModelFacts:
        def read(unit: Unit) -> tuple[Record, Record | None]:
            record = _version(unit, name)
            return record, unit.get(MODEL, str(record.spec.get("model", "")))

        record, model = await self._store.transact(read)
        spec = msgspec.convert(record.spec, ModelVersionSpec)
        about = msgspec.convert(model.spec, ModelSpec) if model else ModelSpec()
        admission = msgspec.convert(record.status, Admitted).admission
        manifest = self._manifest(name)
        source = self._root / spec.source
        assessments = msgspec.convert(record.status, Assessed).assessments
        signature = spec.signature
        card = spec.card
        return ModelFacts(
            name=spec.model,
            version=spec.version,
            description=about.description,
            task=about.task,
            owner=about.owner,
            licence=card.licence,
            format=admission.format if admission else "",
            inputs=tuple(_tensor(one) for one in signature.inputs) if signature else (),
            outputs=tuple(_tensor(one) for one in signature.outputs) if signature else (),
            datasets=card.datasets,
            parents=card.derived_from,
            use_cases=card.use_cases,
            limitations=card.limitations,
            ethical=card.ethical_considerations,
            digest=admission.digest if admission else "",
            files=manifest.files,
            packages=tuple(packages_of_model(source)) if source.is_dir() else (),
            measures=tuple(measure for one in assessments for measure in _measures(one)),
            admission=admission,
        )

    def _manifest(self, name: str) -> Manifest:
        try:
            return msgspec.json.decode((self._kept / f"{name}.manifest.json").read_bytes(), type=Manifest)
        except (OSError, msgspec.DecodeError):
            return Manifest()

    def _write(self, name: str, content: bytes) -> None:
        path = self._kept / name
        partial = path.with_name(f"{name}.part")
        partial.write_bytes(content)
        partial.replace(path)


def installed_packages() -> list[Package]:
    """What is installed beside Andon, by name and version."""
    named = ((one.metadata["Name"], one.version) for one in distributions())
    return sorted(
        {
            Package(name=normalise(name), version=version, source="installed")
            for name, version in named
            if name
        }
    )


def places_of(root: Path, kept: Path) -> Places:
    """Where vulnerability data and judgements are looked for: `.andon/osv`, `.andon/vex.json`."""
    return Places(
        root=root,
        data=kept.parent / "osv",
        judgements=kept.parent / "vex.json",
        report=kept / "vulnerabilities.json",
    )


def _version(unit: Unit, name: str) -> Record:
    record = unit.get(MODEL_VERSION, name)
    if record is None:
        raise Refused(
            "not_found",
            f"There is no ModelVersion '{name}'.",
            hint="andon models list shows those there are.",
            status=404,
        )
    return record


def _tensor(one: Tensor) -> str:
    return f"{one.name} {one.datatype} {list(one.shape)}"


def _measures(one: Assessment) -> tuple[Measure, Measure]:
    terms = f"{one.attack}, {one.norm} {one.epsilon:g}, {one.budget} queries"
    return (
        Measure(
            type="accuracy", value=one.clean_accuracy, low=one.clean_low, high=one.clean_high, slice=one.data
        ),
        Measure(
            type=f"robust accuracy ({terms})",
            value=one.robust_accuracy,
            low=one.robust_low,
            high=one.robust_high,
            slice=one.data,
        ),
    )
