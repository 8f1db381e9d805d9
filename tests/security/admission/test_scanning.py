"""The scan finds every hidden call, lets real models through, and never runs, imports or hangs on anything."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import sys
import warnings
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC

from andon.security.admission.budget import Allowance
from andon.security.admission.model import Scanned, verdict_of
from andon.security.admission.scanning import scan_model
from andon.security.supply.requirements import packages_of_model
from tests.security.admission.payloads import BENIGN, CANARY, EVIL, malicious, npy, zipped

MALICIOUS = malicious()


def scan(path: Path, allowance: Allowance | None = None) -> Scanned:
    return scan_model(path, [path.name], allowance)


def scan_bytes(folder: Path, name: str, content: bytes, allowance: Allowance | None = None) -> Scanned:
    path = folder / name
    path.write_bytes(content)
    return scan(path, allowance)


@pytest.mark.parametrize("name", sorted(MALICIOUS))
def test_nothing_malicious_is_clean(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    seen = scan_bytes(tmp_path, name, MALICIOUS[name])
    assert verdict_of(seen.findings) != "clean", seen
    assert all(finding.rule != "scan-failed" for finding in seen.findings)
    assert not (tmp_path / CANARY).exists()
    assert not {module for module in set(sys.modules) - before if "encodings" not in module}


def test_there_are_enough_of_them() -> None:
    assert len(MALICIOUS) >= 100


def fitted() -> list[Any]:
    table = np.abs(np.random.RandomState(7).randn(80, 4))
    labels = (table[:, 0] > 0.6).astype(int)
    models = (
        LogisticRegression(),
        SGDClassifier(),
        RandomForestClassifier(5, random_state=0),
        GradientBoostingClassifier(n_estimators=5, random_state=np.random.RandomState(3)),
        HistGradientBoostingClassifier(max_iter=5),
        KNeighborsClassifier(algorithm="kd_tree"),
        MLPClassifier((4,), max_iter=5),
        SVC(probability=False),
        make_pipeline(StandardScaler(), LogisticRegression()),
        OneHotEncoder(),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [one.fit(table, labels) for one in models]


@pytest.mark.parametrize("estimator", fitted(), ids=lambda one: type(one).__name__)
def test_models_of_scikit_learn_are_clean(estimator: Any, tmp_path: Path) -> None:
    for protocol in range(6):
        seen = scan_bytes(tmp_path, "model.pkl", pickle.dumps(estimator, protocol))
        assert seen.findings == (), protocol
    for compress in (0, ("zlib", 3), ("gzip", 3), ("bz2", 3), ("lzma", 3), ("xz", 3)):
        joblib.dump(estimator, tmp_path / "model.joblib", compress=compress)
        assert scan(tmp_path / "model.joblib").findings == (), compress


@pytest.mark.parametrize(
    "value",
    [
        {"a": np.arange(5), "b": np.zeros((2, 3), np.float32)},
        np.array(["x", "yy"]),
        np.float64(3.5),
        np.array([{"x": 1}, None], dtype=object),
        np.zeros(3, dtype=[("a", "<f8"), ("b", "<i4")]),
        [1, 2.5, "text", b"bytes", None, True, {1, 2}, frozenset({3}), (1, (2,)), 2**80, bytearray(b"x")],
        np.random.RandomState(1),
    ],
    ids=str,
)
def test_plain_values_are_clean(value: Any, tmp_path: Path) -> None:
    for protocol in range(6):
        assert scan_bytes(tmp_path, "v.pkl", pickle.dumps(value, protocol)).findings == (), protocol
    joblib.dump(value, tmp_path / "v.joblib")
    assert scan(tmp_path / "v.joblib").findings == ()


def test_arrays_and_archives_of_arrays_are_clean(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(9))
    np.savez_compressed(tmp_path / "a.npz", a=np.arange(9), b=np.eye(2))
    np.save(tmp_path / "o.npy", np.array([{"x": 1}], dtype=object), allow_pickle=True)
    for name in ("a.npy", "a.npz", "o.npy"):
        assert scan(tmp_path / name).findings == (), name
    assert scan(tmp_path / "o.npy").formats == {"o.npy": "pickle"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("requirements.txt", "cloudpickle\nnumpy\nscipy\n"),
        ("conda.yaml", "channels:\n- conda-forge\ndependencies:\n- python=3.11\n"),
        ("README.md", "# A model\n\nIt predicts.\n"),
        ("metadata.json", '{"a": 1}'),
        ("I.txt", "I am text.\n"),
        ("N.txt", "No.\n"),
        ("model.py", "class Model:\n    def predict(self, inputs): return inputs\n"),
    ],
)
def test_text_beside_a_model_is_no_pickle(name: str, text: str, tmp_path: Path) -> None:
    assert scan_bytes(tmp_path, name, text.encode()).findings == ()


def test_an_unpickled_text_file_is_taken_for_what_mlflow_makes_of_it(tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text("flavors:\n  sklearn:\n    pickled_model: notes.txt\n")
    (tmp_path / "notes.txt").write_text("cevil_module\nattribute\n.")
    seen = scan_model(tmp_path, ["MLmodel", "notes.txt"])
    assert [finding.subject for finding in seen.findings] == ["evil_module.attribute"]


def test_work_is_bounded_and_what_is_beyond_is_refused(tmp_path: Path) -> None:
    small = Allowance(operations=1000, unpacked_bytes=1 << 20, members=10, depth=2)
    for name, content in {
        "ops.pkl": b"\x80\x02" + b"N0" * 5000 + b"N.",
        "big.zip": zipped({"a": os.urandom(2 << 20)}),
        "many.zip": zipped({str(n): b"x" for n in range(50)}),
        "deep.zip": zipped({"a": zipped({"b": zipped({"c": zipped({"d": BENIGN})})})}),
    }.items():
        seen = scan_bytes(tmp_path, name, content, small)
        assert verdict_of(seen.findings) == "refused", name
        assert seen.operations <= 1300


def test_a_recursion_bomb_is_followed_without_recursing(tmp_path: Path) -> None:
    assert (
        scan_bytes(tmp_path, "deep.pkl", b"\x80\x02" + b"(" * 100_000 + b"N" + b"t" * 100_000 + b".").findings
        == ()
    )


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_scanned(data: bytes) -> None:
    check(data)


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(sorted(MALICIOUS.values(), key=len)[:-1]),
    st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=8),
    st.integers(0, 1 << 12),
)
def test_any_mutation_is_scanned(data: bytes, edits: list[tuple[int, int]], cut: int) -> None:
    changed = bytearray(data)
    for at, value in edits:
        if changed:
            changed[at % len(changed)] = value
    check(bytes(changed[: max(0, len(changed) - cut % 5)]))


def check(data: bytes) -> None:
    """Scanning ends without an error, and whatever pickletools sees as a call of something unlisted is found."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        seen = scan_bytes(Path(folder), "m.pkl", data, Allowance(operations=200_000, unpacked_bytes=64 << 20))
    assert all(finding.rule != "scan-failed" for finding in seen.findings)
    names = []
    try:
        names = [str(argument) for opcode, argument, _ in pickletools.genops(data) if opcode.name == "GLOBAL"]
    except Exception:  # what pickletools cannot read no unpickler reads either
        return
    if any(name.startswith(("os ", "posix ", "subprocess ")) for name in names):
        assert seen.findings


def test_a_members_pickle_is_named_by_its_place(tmp_path: Path) -> None:
    seen = scan_bytes(tmp_path, "m.npz", zipped({"a.npy": npy(EVIL)}))
    assert [finding.path for finding in seen.findings] == ["m.npz!a.npy"]
    assert seen.findings[0].severity == "refused"
    assert io.BytesIO(EVIL).read(1) == b"\x80"


@pytest.mark.parametrize(
    "named", ["/srv/models/other.pkl", "../other.pkl", "a/../../other.pkl", "[model.pkl]"]
)
def test_an_mlflow_folder_that_names_files_elsewhere_is_refused(named: str, tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text(f"flavors:\n  sklearn:\n    pickled_model: {named}\n")
    scanned = scan_model(tmp_path, ["MLmodel"])
    assert [one.rule for one in scanned.findings] == ["mlmodel-outside"]
    assert verdict_of(scanned.findings) == "refused"


def test_a_description_that_would_grow_beyond_memory_is_refused_at_once(tmp_path: Path) -> None:
    merged = ["a0: &a0 {k: v}"]
    listed = ["b0: &b0 [x]"]
    for level in range(1, 40):
        merged.append(f"a{level}: &a{level} {{<<: [*a{level - 1}, *a{level - 1}]}}")
        listed.append(f"b{level}: &b{level} [{', '.join([f'*b{level - 1}'] * 9)}]")
    (tmp_path / "MLmodel").write_text("\n".join(merged))
    assert [one.rule for one in scan_model(tmp_path, ["MLmodel"]).findings] == ["mlmodel-unread"]
    (tmp_path / "MLmodel").write_text(
        "\n".join([*listed, "flavors:", "  sklearn:", "    pickled_model: *b39"])
    )
    assert [one.rule for one in scan_model(tmp_path, ["MLmodel"]).findings] == ["mlmodel-outside"]
    (tmp_path / "conda.yaml").write_text("\n".join([*listed, "dependencies:", "  - pip: [*b39, numpy==1.0]"]))
    assert [one.name for one in packages_of_model(tmp_path)] == ["numpy"]
