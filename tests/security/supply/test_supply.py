"""Vulnerabilities by the OSV rules, SARIF and CycloneDX by their own schemas, cards as text that stays text."""

from __future__ import annotations

import json
import zipfile
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from andon.kernel.admission import Admission, AdmissionFinding
from andon.kernel.errors import Refused
from andon.security.admission.model import FileEntry
from andon.security.supply.bom import Measure, ModelFacts, model_bom, software_bom
from andon.security.supply.card import model_card
from andon.security.supply.osv import read_database
from andon.security.supply.requirements import Package, packages_of_model, read_requirements
from andon.security.supply.sarif import document, of_admission, of_vulnerabilities
from andon.security.supply.scanning import Judgement, Report, read_judgements, scan

TODAY = date(2026, 1, 15)
ROOT = Path(__file__).resolve().parents[3]
SERIAL, AT = "11111111-1111-4111-8111-111111111111", "2026-01-15T00:00:00Z"


def record(id_: str, name: str, events: list[dict[str, str]], **more: Any) -> dict[str, Any]:
    affected = {
        "package": {"ecosystem": "PyPI", "name": name},
        "ranges": [{"type": "ECOSYSTEM", "events": events}],
    }
    return {
        "id": id_,
        "modified": "2026-01-01T00:00:00Z",
        "summary": f"{id_} in {name}",
        "affected": [affected],
        **more,
    }


def scanned(tmp_path: Path, records: list[Any], packages: list[Package], *judgements: Judgement) -> Report:
    path = tmp_path / "osv.json"
    path.write_text(json.dumps(records))
    return scan(packages, read_database(path), judgements, TODAY)


def package(name: str, version: str) -> Package:
    return Package(name=name, version=version, source="requirements.lock", line=3)


@pytest.mark.parametrize(
    ("version", "events", "is_affected"),
    [
        ("1.0", [{"introduced": "0"}, {"fixed": "1.1"}], True),
        ("1.1", [{"introduced": "0"}, {"fixed": "1.1"}], False),
        ("1.1rc1", [{"introduced": "0"}, {"fixed": "1.1"}], True),
        ("1.1.post1", [{"introduced": "0"}, {"fixed": "1.1"}], False),
        ("0.9.dev1", [{"introduced": "0"}], True),
        ("0.dev1", [{"introduced": "0"}], True),
        ("1!0.1", [{"introduced": "0"}, {"fixed": "2"}], False),
        ("2.0", [{"introduced": "0"}, {"last_affected": "2.0"}], True),
        ("2.0.1", [{"introduced": "0"}, {"last_affected": "2.0"}], False),
        ("3.1", [{"introduced": "3.0"}, {"fixed": "3.2"}], True),
        ("2.9", [{"introduced": "3.0"}, {"fixed": "3.2"}], False),
        ("1.5", [{"introduced": "0"}, {"fixed": "1.2"}, {"introduced": "1.4"}, {"fixed": "1.6"}], True),
        ("1.3", [{"fixed": "1.6"}, {"introduced": "1.4"}, {"fixed": "1.2"}, {"introduced": "0"}], False),
        ("not-a-version", [{"introduced": "0"}], False),
        ("1.10", [{"introduced": "1.9"}, {"fixed": "1.11"}], True),
    ],
)
def test_ranges(tmp_path: Path, version: str, events: list[dict[str, str]], is_affected: bool) -> None:
    report = scanned(
        tmp_path, [record("PYSEC-1", "Some_Package", events)], [package("some-package", version)]
    )
    assert bool(report.found) is is_affected


@given(st.lists(st.integers(0, 30), min_size=2, max_size=2, unique=True), st.integers(0, 30))
def test_a_range_is_what_its_ends_say(
    tmp_path_factory: pytest.TempPathFactory, ends: list[int], at: int
) -> None:
    low, high = sorted(ends)
    events = [{"introduced": f"1.{low}"}, {"fixed": f"1.{high}"}]
    report = scanned(tmp_path_factory.mktemp("osv"), [record("X-1", "p", events)], [package("p", f"1.{at}")])
    assert bool(report.found) is (Version(f"1.{low}") <= Version(f"1.{at}") < Version(f"1.{high}"))


def test_withdrawn_records_other_ecosystems_and_aliases(tmp_path: Path) -> None:
    every = [{"introduced": "0"}]
    npm = record("GHSA-npm", "p", every)
    npm["affected"][0]["package"]["ecosystem"] = "npm"
    records = [
        record("PYSEC-1", "p", every, aliases=["CVE-1", "GHSA-1"]),
        record("GHSA-1", "p", every, aliases=["CVE-1"]),
        record("PYSEC-2", "p", every, withdrawn="2025-01-01T00:00:00Z"),
        npm,
        "no record",
        {"id": 7, "affected": "x"},
    ]
    report = scanned(tmp_path, records, [package("p", "1.0")])
    assert [one.id for one in report.found] == ["GHSA-1"]
    assert report.found[0].line == 3


def test_a_judgement_silences_until_its_day(tmp_path: Path) -> None:
    records = [record("PYSEC-1", "p", [{"introduced": "0"}, {"fixed": "2.0"}], aliases=["CVE-1"])]
    text = json.dumps(
        [
            {
                "vulnerability": "CVE-1",
                "state": "not_affected",
                "justification": "not called",
                "until": "2026-01-15",
            }
        ]
    )
    judgement = read_judgements(text.encode())[0]
    report = scanned(tmp_path, records, [package("p", "1.0")], judgement)
    assert report.open == ()
    assert report.found[0].fixed == "2.0"
    late = read_judgements(text.replace("2026-01-15", "2026-01-14").encode())[0]
    report = scanned(tmp_path, records, [package("p", "1.0")], late)
    assert len(report.open) == 1
    assert report.expired == ("CVE-1",)


@pytest.mark.parametrize("text", [b"", b"{", b"[1]", b'[{"vulnerability": "x"}]', b"\xff"])
def test_judgements_that_cannot_be_read_are_refused(text: bytes) -> None:
    with pytest.raises(Refused):
        read_judgements(text)


def test_data_comes_as_folder_zip_or_lines(tmp_path: Path) -> None:
    one = record("PYSEC-1", "p", [{"introduced": "0"}])
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "PYSEC-1.json").write_text(json.dumps(one))
    (folder / "broken.json").write_text("{")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("PYSEC-1.json", json.dumps(one))
    (tmp_path / "lines.json").write_text(f"{json.dumps(one)}\n{json.dumps(one)}\n")
    for path in (folder, tmp_path / "all.zip", tmp_path / "lines.json"):
        assert len(read_database(path).of("P")) == 1
    for path in (tmp_path / "nothing", tmp_path / "empty.json"):
        (tmp_path / "empty.json").write_text("[]")
        with pytest.raises(Refused):
            read_database(path)


def test_the_lock_of_this_repository_is_read_with_lines_and_hashes() -> None:
    lock = ROOT / "requirements.lock"
    packages = {one.name: one for one in read_requirements(lock.read_text(), "requirements.lock")}
    assert len(packages) > 50
    found = packages["msgspec"]
    assert found.hashes
    assert lock.read_text().splitlines()[found.line - 1].startswith(f"msgspec=={found.version}")


def test_packages_of_a_model_folder(tmp_path: Path) -> None:
    text = "scikit-learn==1.7.0\nnumpy>=2\n# c\n--index-url x\ngit+https://x/y\n"
    text += "A_b.c [extra] ==1.0 ; python_version<'4'\n"
    (tmp_path / "requirements.txt").write_text(text)
    assert [(one.name, one.version) for one in packages_of_model(tmp_path)] == [
        ("scikit-learn", "1.7.0"),
        ("numpy", ""),
        ("a-b-c", "1.0"),
    ]


def facts() -> ModelFacts:
    admission = Admission(
        admitted=True,
        verdict="suspicious",
        verified=True,
        signer="builder",
        digest="sha256:" + "a" * 64,
        findings=(
            AdmissionFinding(rule="r", severity="suspicious", path="x|y", message="<b>*hi*</b>\n# no"),
        ),
    )
    return ModelFacts(
        name="credit",
        version="3",
        description="Says who pays back.",
        task="classification",
        owner="risk",
        licence="Apache-2.0",
        format="mlflow",
        inputs=("x FP32 [-1, 4]",),
        outputs=("y INT64 [-1]",),
        datasets=("german-credit",),
        parents=("credit-2",),
        use_cases=("Small loans",),
        limitations=("Not for companies",),
        ethical=("Age is a proxy",),
        digest="sha256:" + "a" * 64,
        files=(FileEntry(name="MLmodel", size=3, sha256="b" * 64),),
        packages=(package("scikit-learn", "1.7.0"), package("numpy", "")),
        measures=(Measure(type="robust accuracy", value=0.5, low=0.4, high=0.6, slice="wine"),),
        admission=admission,
    )


def vulnerable(tmp_path: Path) -> Report:
    more = {"database_specific": {"severity": "HIGH"}, "aliases": ["CVE-9"]}
    records = [record("PYSEC-1", "scikit-learn", [{"introduced": "0"}, {"fixed": "1.8"}], **more)]
    return scanned(tmp_path, records, [package("scikit-learn", "1.7.0")])


def test_bills_of_materials_are_valid_by_the_schema_of_cyclonedx(tmp_path: Path) -> None:
    found = vulnerable(tmp_path).found
    lock = read_requirements((ROOT / "requirements.lock").read_text(), "requirements.lock")
    for made in (
        model_bom(facts(), SERIAL, AT, "0.1.0"),
        model_bom(ModelFacts(name="bare", version="1", vulnerabilities=found), SERIAL, AT, "0.1.0"),
        software_bom(lock, SERIAL, AT, "0.1.0", found),
    ):
        error = JsonStrictValidator(SchemaVersion.V1_7).validate_str(json.dumps(made))
        assert error is None, error


def test_a_model_is_described_as_the_standard_means_it() -> None:
    model = model_bom(facts(), SERIAL, AT, "0.1.0")["metadata"]["component"]
    assert model["type"] == "machine-learning-model"
    card = model["modelCard"]
    assert card["modelParameters"]["datasets"] == [{"ref": "data:german-credit"}]
    assert card["quantitativeAnalysis"]["performanceMetrics"][0]["confidenceInterval"] == {
        "lowerBound": "0.4",
        "upperBound": "0.6",
    }
    assert model["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]


def test_a_card_has_front_matter_and_foreign_text_stays_text() -> None:
    _, matter, text = model_card(facts()).split("---\n", 2)
    head = yaml.safe_load(matter)
    assert head["license"] == "apache-2.0"
    assert head["model-index"][0]["results"][0]["metrics"] == [{"type": "robust accuracy", "value": 0.5}]
    assert "\\<b\\>\\*hi\\*\\</b\\> \\# no" in text
    assert "Nothing has been measured." in model_card(ModelFacts(name="bare", version="1"))


def test_sarif_has_rules_results_and_fingerprints(tmp_path: Path) -> None:
    report = vulnerable(tmp_path)
    findings = facts().admission
    assert findings is not None
    results = [*of_vulnerabilities(report.found), *of_admission("models/credit", findings.findings)]
    made = document(results, "0.1.0")
    run = made["runs"][0]
    assert made["version"] == "2.1.0"
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert rules == ["PYSEC-1", "r"]
    for result in run["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        assert len(result["partialFingerprints"]["andonFinding/v1"]) == 64
    assert run["results"][0]["locations"][0]["physicalLocation"]["region"] == {"startLine": 3}
    assert (
        run["results"][1]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        == "models/credit/x%7Cy"
    )
    assert run["tool"]["driver"]["rules"][0]["properties"]["security-severity"] == "8.0"
