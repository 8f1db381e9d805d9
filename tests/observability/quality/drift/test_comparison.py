"""Profiles and comparisons: round trips, one budget of false alarms, impact, texts, embeddings, bad files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.kernel.errors import Refused
from andon.observability.quality.drift.budget import Budget, holm, together
from andon.observability.quality.drift.columns import of_file, of_matrix, of_table
from andon.observability.quality.drift.comparison import compare_counts, compare_table
from andon.observability.quality.drift.performance import Errors, judge, predicted_errors, tally
from andon.observability.quality.drift.profile import ProfileFolder, build, count, decode, encode, extend
from andon.observability.quality.drift.report import DriftReport


def draw(chance: np.random.Generator, rows: int) -> pa.Table:
    """Columns of every kind, dependent on one another, some with missing values and rare categories."""
    base = chance.normal(size=rows)
    names = np.array(["a", "b", "c", "d", "rare"])
    picked = names[chance.choice(5, rows, p=[0.6, 0.25, 0.1, 0.045, 0.005])]
    return pa.table(
        {
            **{f"n{number}": pa.array(base + chance.normal(size=rows)) for number in range(6)},
            "skewed": pa.array(np.exp(base)),
            "count": pa.array(chance.poisson(0.3, rows)),
            "holes": pa.array(np.where(chance.random(rows) < 0.02, np.nan, base)),
            "name": pa.array(picked.tolist()),
            "flag": pa.array((chance.random(rows) < 0.01).tolist()),
        }
    )


def test_without_drift_the_false_alarms_stay_within_the_budget() -> None:
    chance = np.random.default_rng(6)
    # A chunk of a twentieth of the month may alarm with probability alpha; here alpha is large so that it shows.
    budget = Budget(alarms_per_month=1.0, chunk_s=30 * 86_400 / 20)
    assert budget.alpha == pytest.approx(0.05)
    alarmed, chunks = 0, 0
    for _ in range(8):
        profile = build(of_table(draw(chance, 5000)))
        for _ in range(50):
            report = compare_table(profile, of_table(draw(chance, 300)), budget)
            alarmed += any(column.verdict != "stable" for column in report.columns)
            chunks += 1
    # 5 % of 400 chunks and three standard deviations; one threshold of 0.05 a test would alarm in nearly all.
    assert alarmed <= 20 + 3 * np.sqrt(20)


def test_drift_is_found_in_the_column_that_moved_and_only_there() -> None:
    chance = np.random.default_rng(7)
    profile = build(of_table(draw(chance, 20_000)))
    table = draw(chance, 5000)
    moved = table.set_column(0, "n0", pa.array(table.column("n0").to_numpy() + 1.0))
    report = compare_table(profile, of_table(moved))
    assert report.drifted == ("n0",)
    assert report.alpha == pytest.approx(1 / 720)


@given(values=st.lists(st.floats(0, 1), min_size=1, max_size=30), alpha=st.floats(0.001, 0.2))
def test_holm_lies_between_bonferroni_and_no_correction(values: list[float], alpha: float) -> None:
    fallen = holm(values, alpha)
    for value, fell in zip(values, fallen, strict=True):
        assert not fell or value <= alpha
        assert fell or value > alpha / len(values)


def test_tests_that_were_not_made_cost_nothing() -> None:
    assert together([None, 0.01, None, 0.04]) == pytest.approx(0.02)
    assert together([None]) == 1.0


def same(one: DriftReport, other: DriftReport) -> bool:
    return all(
        a.column == b.column and [r.value for r in a.readings] == pytest.approx([r.value for r in b.readings])
        for a, b in zip(one.columns, other.columns, strict=True)
    )


def test_a_profile_on_disk_is_the_same_profile(tmp_path: Path) -> None:
    chance = np.random.default_rng(8)
    errors = chance.random(3000)
    profile = build(of_table(draw(chance, 3000)), errors=errors, origin="a test")
    folder = ProfileFolder(tmp_path / "profiles")
    path = folder.save("credit@3/../x", profile)
    assert path.parent == tmp_path / "profiles"
    loaded = folder.load("credit@3/../x")
    assert loaded is not None
    assert loaded.origin == "a test"
    table = draw(chance, 1000)
    assert same(compare_table(profile, of_table(table)), compare_table(loaded, of_table(table)))
    assert folder.load("other") is None


@given(data=st.binary(max_size=200))
def test_what_is_no_profile_is_refused(data: bytes) -> None:
    with pytest.raises(Refused):
        decode(data)


def test_a_cut_profile_is_refused() -> None:
    data = encode(build(of_table(draw(np.random.default_rng(9), 500))))
    with pytest.raises(Refused):
        decode(data[: len(data) // 2])


def test_chunks_added_up_are_the_whole() -> None:
    chance = np.random.default_rng(10)
    reference, table = draw(chance, 5000), draw(chance, 2000)
    profile = build(of_table(reference))
    first, _, _ = count(profile, of_table(table.slice(0, 700)))
    second, _, _ = count(profile, of_table(table.slice(700)))
    added = {name: counts + second[name] for name, counts in first.items()}
    assert same(compare_counts(profile, added), compare_table(profile, of_table(table)))
    grown = extend(build(of_table(reference)), of_table(reference))
    assert grown.rows == 10_000


def test_impact_names_the_column_that_costs_quality_not_the_one_that_moved_most() -> None:
    chance = np.random.default_rng(11)
    rows = 20_000
    harmless, harmful = chance.normal(size=rows), chance.normal(size=rows)
    errors = 0.1 + 0.2 / (1 + np.exp(-2 * harmful))
    profile = build(of_matrix(np.column_stack([harmless, harmful]), ["harmless", "harmful"]), errors=errors)
    now = np.column_stack([chance.normal(size=5000) + 3.0, chance.normal(size=5000) + 0.7])
    report = compare_table(profile, of_matrix(now, ["harmless", "harmful"]))
    assert set(report.drifted) == {"harmless", "harmful"}
    assert report.columns[0].column == "harmful"
    truth = (0.1 + 0.2 / (1 + np.exp(-2 * now[:, 1]))).mean() - errors.mean()
    assert report.columns[0].impact == pytest.approx(truth, abs=0.01)
    assert report.paging == ("harmful",)


def test_texts_are_their_lengths_and_embeddings_their_norm_and_projections() -> None:
    chance = np.random.default_rng(12)

    def texts(mean: float) -> list[str]:
        return [
            " ".join(f"w{chance.integers(1_000_000)}" for _ in range(1 + chance.poisson(mean)))
            for _ in range(1500)
        ]

    def vectors(turn: float) -> list[list[float]]:
        directions = chance.normal(size=(1500, 16))
        directions[:, 0] += turn
        return (directions / np.linalg.norm(directions, axis=1, keepdims=True)).tolist()

    profile = build(of_table(pa.table({"prompt": texts(10), "vector": vectors(0)})))
    same_again = compare_table(profile, of_table(pa.table({"prompt": texts(10), "vector": vectors(0)})))
    assert same_again.drifted == ()
    moved = compare_table(profile, of_table(pa.table({"prompt": texts(20), "vector": vectors(2)})))
    assert {"prompt.chars", "prompt.words"} <= set(moved.drifted)
    assert any(name.startswith("vector.p") for name in moved.drifted)
    assert "vector.norm" not in moved.drifted


@pytest.mark.parametrize("name", ["table.parquet", "table.csv", "table.npy"])
def test_files_of_every_kind_are_read(tmp_path: Path, name: str) -> None:
    values = np.random.default_rng(13).normal(size=(300, 20))
    path = tmp_path / name
    table = pa.table({f"x{number}": values[:, number] for number in range(20)})
    if name.endswith("parquet"):
        pq.write_table(table, path)
    elif name.endswith("csv"):
        pa.csv.write_csv(table, path)
    else:
        np.save(path, values)
    profile = build(of_file(path))
    assert len(profile.columns) == 20
    report = compare_table(profile, of_file(path, only=["x3", "x4"]))
    assert [column.readings[0].value for column in report.columns] == [0, 0]
    assert len(report.absent) == 18


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(Refused, match="cannot be read as a table"):
        build(of_file(path))
    with pytest.raises(Refused, match="no rows"):
        build(of_table(pa.table({"x": pa.array([], pa.float64())})))
    profile = build(of_table(pa.table({"x": [1.0, 2.0, 3.0]})))
    with pytest.raises(Refused, match="not of the reference's kind"):
        compare_table(profile, of_table(pa.table({"x": ["a", "b"]})))
    nothing = compare_table(profile, of_table(pa.table({"y": [1.0]})))
    assert (nothing.absent, nothing.extra, nothing.drifted) == (("x",), ("y",), ())


def test_a_model_is_worse_only_when_labels_or_its_own_confidence_prove_it() -> None:
    chance = np.random.default_rng(14)
    score = chance.beta(2, 2, 50_000)
    truth = chance.random(50_000) < score
    usual = tally(predicted_errors(score), (score > 0.5) != truth)
    steady = [
        judge(usual, tally(errors, wrong), alpha=0.01).verdict
        for errors, wrong in zip(
            np.split(predicted_errors(score), 25), np.split((score > 0.5) != truth, 25), strict=True
        )
    ]
    assert set(steady) == {"steady"}
    turned = judge(usual, tally(predicted_errors(score[:2000]), chance.random(2000) < 0.5), alpha=0.01)
    assert (turned.verdict, turned.by) == ("worse", ("labels",))
    unsure = judge(usual, tally(np.full(2000, 0.5)), alpha=0.01)
    assert (unsure.verdict, unsure.by) == ("worse", ("estimate",))
    assert judge(usual, Errors(), alpha=0.01).verdict == "no-data"
