"""Bills of materials in CycloneDX 1.6 and 1.7: of Andon itself (from its lock) and of a model, with its card.

Source: CycloneDX (ECMA-424), component types `machine-learning-model` and `data`, `modelCard`. Pure: what is
known in, a document out. What is not known is left out, never invented.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from andon.kernel.admission import Admission
from andon.security.admission.model import FileEntry
from andon.security.supply.requirements import Package
from andon.security.supply.scanning import Found

SPEC_VERSION = "1.7"


class Measure(msgspec.Struct, frozen=True, kw_only=True):
    """One figure about a model's quality or robustness."""

    type: str  # "accuracy", "robust accuracy (linf, 0.1)"
    value: float
    low: float | None = None
    high: float | None = None
    slice: str = ""


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a model version, from its resources, its files and what was measured."""

    name: str
    version: str
    description: str = ""
    task: str = ""
    owner: str = ""
    licence: str = ""  # SPDX id
    format: str = ""
    inputs: tuple[str, ...] = ()  # "x FP32 [-1, 4]"
    outputs: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()
    use_cases: tuple[str, ...] = ()
    limitations: tuple[str, ...] = ()
    ethical: tuple[str, ...] = ()
    digest: str = ""
    files: tuple[FileEntry, ...] = ()
    packages: tuple[Package, ...] = ()
    measures: tuple[Measure, ...] = ()
    admission: Admission | None = None
    vulnerabilities: tuple[Found, ...] = ()


def model_bom(facts: ModelFacts, serial: str, at: str, andon_version: str) -> dict[str, Any]:
    """The ML-BOM of a version. `serial` is a UUID, `at` a moment in RFC 3339."""
    reference = f"model:{facts.name}@{facts.version}"
    packages = [_package(one) for one in _once(facts.packages)]
    data = [_data(name) for name in facts.datasets]
    document = _document(serial, at, andon_version)
    document["metadata"]["component"] = _model(facts, reference)
    document["components"] = [*packages, *data]
    document["dependencies"] = [
        {"ref": reference, "dependsOn": sorted(one["bom-ref"] for one in (*packages, *data))},
        *({"ref": one["bom-ref"]} for one in (*packages, *data)),
    ]
    if facts.vulnerabilities:
        document["vulnerabilities"] = _vulnerabilities(facts.vulnerabilities)
    return document


def software_bom(
    packages: Sequence[Package], serial: str, at: str, andon_version: str, found: Sequence[Found] = ()
) -> dict[str, Any]:
    """The SBOM of Andon: what its lock installs."""
    document = _document(serial, at, andon_version)
    reference = f"pkg:pypi/andon@{andon_version}"
    document["metadata"]["component"] = {
        "type": "application",
        "bom-ref": reference,
        "name": "andon",
        "version": andon_version,
        "purl": reference,
        "licenses": [{"license": {"id": "Apache-2.0"}}],
    }
    listed = [_package(one) for one in _once(packages)]
    document["components"] = listed
    document["dependencies"] = [
        {"ref": reference, "dependsOn": [one["bom-ref"] for one in listed]},
        *({"ref": one["bom-ref"]} for one in listed),
    ]
    if found:
        document["vulnerabilities"] = _vulnerabilities(found)
    return document


def _document(serial: str, at: str, andon_version: str) -> dict[str, Any]:
    return {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPEC_VERSION}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPEC_VERSION,
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "timestamp": at,
            "tools": {"components": [{"type": "application", "name": "andon", "version": andon_version}]},
        },
    }


def _once(packages: Sequence[Package]) -> list[Package]:
    by_purl = {one.purl: one for one in sorted(packages)}
    return [by_purl[purl] for purl in sorted(by_purl)]


def _package(one: Package) -> dict[str, Any]:
    component: dict[str, Any] = {"type": "library", "bom-ref": one.purl, "name": one.name, "purl": one.purl}
    if one.version:
        component["version"] = one.version
    return component


def _data(name: str) -> dict[str, Any]:
    return {
        "type": "data",
        "bom-ref": f"data:{name}",
        "name": name,
        "data": [{"type": "dataset", "name": name}],
    }


def _model(facts: ModelFacts, reference: str) -> dict[str, Any]:
    component: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": reference,
        "name": facts.name,
        "version": facts.version,
        "modelCard": _card(facts, reference),
        "properties": _properties(facts),
    }
    if facts.description:
        component["description"] = facts.description
    if facts.owner:
        component["authors"] = [{"name": facts.owner}]
    if facts.licence:
        component["licenses"] = [{"license": {"id": facts.licence}}]
    if facts.digest.startswith("sha256:"):
        component["hashes"] = [{"alg": "SHA-256", "content": facts.digest.removeprefix("sha256:")}]
    if facts.parents:
        component["pedigree"] = {
            "ancestors": [{"type": "machine-learning-model", "name": name} for name in facts.parents]
        }
    if facts.files:
        component["components"] = [
            {
                "type": "file",
                "bom-ref": f"{reference}#{file.name}",
                "name": file.name,
                "hashes": [{"alg": "SHA-256", "content": file.sha256}],
            }
            for file in facts.files
        ]
    return component


def _card(facts: ModelFacts, reference: str) -> dict[str, Any]:
    parameters: dict[str, Any] = {}
    if facts.task:
        parameters["task"] = facts.task
    if facts.format:
        parameters["modelArchitecture"] = facts.format
    if facts.datasets:
        parameters["datasets"] = [{"ref": f"data:{name}"} for name in facts.datasets]
    if facts.inputs:
        parameters["inputs"] = [{"format": text} for text in facts.inputs]
    if facts.outputs:
        parameters["outputs"] = [{"format": text} for text in facts.outputs]
    card: dict[str, Any] = {"bom-ref": f"{reference}#card"}
    if parameters:
        card["modelParameters"] = parameters
    if facts.measures:
        card["quantitativeAnalysis"] = {"performanceMetrics": [_measure(one) for one in facts.measures]}
    considerations: dict[str, Any] = {}
    if facts.use_cases:
        considerations["useCases"] = list(facts.use_cases)
    if facts.limitations:
        considerations["technicalLimitations"] = list(facts.limitations)
    if facts.ethical:
        considerations["ethicalConsiderations"] = [{"name": text} for text in facts.ethical]
    if considerations:
        card["considerations"] = considerations
    return card


def _measure(one: Measure) -> dict[str, Any]:
    measure: dict[str, Any] = {"type": one.type, "value": f"{one.value:g}"}
    if one.slice:
        measure["slice"] = one.slice
    if one.low is not None and one.high is not None:
        measure["confidenceInterval"] = {"lowerBound": f"{one.low:g}", "upperBound": f"{one.high:g}"}
    return measure


def _properties(facts: ModelFacts) -> list[dict[str, str]]:
    said: dict[str, str] = {}
    if facts.admission is not None:
        said = {
            "andon:admission:verdict": facts.admission.verdict,
            "andon:admission:verified": str(facts.admission.verified).lower(),
            "andon:admission:signer": facts.admission.signer,
            "andon:admission:digest": facts.admission.digest,
        }
    return [{"name": name, "value": value} for name, value in said.items() if value]


def _vulnerabilities(found: Sequence[Found]) -> list[dict[str, Any]]:
    by_id: dict[str, list[Found]] = {}
    for one in found:
        by_id.setdefault(one.id, []).append(one)
    listed = []
    for id_, ones in sorted(by_id.items()):
        entry: dict[str, Any] = {
            "id": id_,
            "source": {"name": "OSV", "url": f"https://osv.dev/vulnerability/{id_}"},
            "affects": [{"ref": purl} for purl in sorted({one.purl for one in ones})],
        }
        if ones[0].summary:
            entry["description"] = ones[0].summary
        ratings: Mapping[str, str] = {"moderate": "medium"}
        if ones[0].level:
            entry["ratings"] = [{"severity": ratings.get(ones[0].level, ones[0].level)}]
        if ones[0].state:
            entry["analysis"] = {"state": ones[0].state, "detail": ones[0].justification}
        listed.append(entry)
    return listed
