"""Factory files: what is right is read exactly, what is wrong is told all at once, with line and nearest name."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andon.control.checking import find_wrong
from andon.control.documents import Source, merge, parse_sources, read_sources
from andon.control.faults import InvalidDocuments
from andon.control.reading import parse_text, plain_scalar, spell, unspell
from andon.kernel.errors import Refused
from tests.control.factory_kinds import CATALOGUE, EndpointSpec, parse, resource, yaml_of


def faults(*texts: str) -> list[str]:
    with pytest.raises(InvalidDocuments) as caught:
        parse(*texts)
    return [str(fault) for fault in caught.value.faults]


GOOD = """\
# A factory.
apiVersion: andon/v1
kind: Endpoint
metadata:
  name: credit
  labels: {team: risk}
spec:
  model: credit
  strategy:
    steps:
      - {name: a, weight: 5}
      - name: b
---
apiVersion: andon/v1
kind: Model
metadata: {name: credit}
"""


def test_a_file_of_several_documents_is_read_in_order_of_dependency() -> None:
    model, endpoint = parse(GOOD)
    assert (model.content.subject, endpoint.content.subject) == ("Model/credit", "Endpoint/credit")
    assert endpoint.content.labels == {"team": "risk"}
    assert endpoint.content.spec["strategy"]["steps"] == [
        {"name": "a", "weight": 5},
        {"name": "b", "weight": 0},
    ]
    assert endpoint.content.spec["retries"] == 2
    assert endpoint.where("spec.strategy.steps[1].name") == ("f0.yaml", 12)
    assert endpoint.where("spec.strategy.steps[1].weight") == ("f0.yaml", 12)


def test_every_fault_is_told_at_once_with_its_line_and_the_nearest_name() -> None:
    text = """\
apiVersion: andon/v1
kind: Endpoint
metadata:
  name: credit
spec:
  modle: credit
  retries: many
  strategy:
    mode: canery
    steps:
      - {name: a, wieght: 5}
      - {name: b, weight: 500}
  trust_pickle: true
"""
    assert faults(text) == [
        "f0.yaml:5: spec.model: is required and missing",
        "f0.yaml:6: spec.modle: unknown field 'modle' (did you mean model?)",
        "f0.yaml:7: spec.retries: expected int, got text",
        "f0.yaml:9: spec.strategy.mode: 'canery' is not allowed (did you mean canary?)",
        "f0.yaml:11: spec.strategy.steps[0].wieght: unknown field 'wieght' (did you mean weight?)",
        "f0.yaml:12: spec.strategy.steps[1].weight: expected int <= 100",
        "f0.yaml:13: spec.trust_pickle: unknown field 'trust_pickle'"
        " (fields here are model, retries, strategy, aliases, extra)",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (yaml_of("Endpont", "a"), "f0.yaml:2: kind: unknown kind 'Endpont' (did you mean Endpoint?)"),
        (yaml_of("Rollout", "a"), "f0.yaml:2: kind: 'Rollout' is made by the factory"),
        (yaml_of("Model", "Big_Name"), "f0.yaml:4: metadata.name: must be lower-case"),
        (yaml_of("Model", "a" * 64), "f0.yaml:4: metadata.name: is 64 characters long"),
        (yaml_of("Model", "a").replace("v1", "v9"), "f0.yaml:1: apiVersion: 'andon/v9' is not known"),
        (yaml_of("Model", "a", "[]"), "f0.yaml:5: spec: must be a map"),
        ("just text", "f0.yaml:1: a resource is a map"),
        ("kind: Model\nkind: Model\n", "f0.yaml:2: kind: 'kind' stands here twice; first on line 1"),
        ("a:\n\tb: 1\n", "f0.yaml:2: not valid YAML"),
        ("a: [1, 2\n", "not valid YAML"),
        (
            "a: !!python/object:os.system {}\n",
            "the tag tag:yaml.org,2002:python/object:os.system is not allowed",
        ),
        ("a: &x [*x]\n", "*x refers to nothing complete before it"),
        ("a: *gone\n", "gone"),
        ("<<: {a: 1}\n", "merge keys are not supported"),
        ("? [a]\n: 1\n", "a key must be text"),
        ("[" * 100, "nested more than 64 deep"),
        (yaml_of("Model", "a") + "status: {}\n", "f0.yaml:6: status: unknown field 'status'"),
        (
            yaml_of("Model", "a") + "---\n" + yaml_of("Model", "a"),
            "f0.yaml:10: metadata.name: Model/a is described twice",
        ),
        (
            "apiVersion: andon/v1\nkind: Model\nmetadata: {name: a, labels: {x: 1}}\n",
            "must be a map of text to text",
        ),
    ],
)
def test_what_is_wrong_is_told_at_its_line(text: str, told: str) -> None:
    assert told in "\n".join(faults(text))


def test_an_alias_bomb_meets_a_limit() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    assert "aliases expanded" in faults("\n".join(lines))[0]


def test_a_huge_file_is_refused() -> None:
    assert "at most" in faults("#" * (5 * 2**20))[0]


def test_faults_of_several_files_come_together_and_sorted() -> None:
    told = faults("x: [", "kind: No\n", "- 1\n")
    assert [fault.split(":")[0] for fault in told] == sorted(fault.split(":")[0] for fault in told)
    assert {fault.split(":")[0] for fault in told} == {"f0.yaml", "f1.yaml", "f2.yaml"}


def test_scalars_follow_yaml_one_point_two() -> None:
    (parsed,) = parse_text(
        "f.yaml", "{a: no, b: on, c: 012, d: 1e3, e: 12:30, f: '1', g: ~, h: true, i: 0x1F, j: 1.}"
    )
    assert parsed.value == {
        "a": "no", "b": "on", "c": 12, "d": 1000.0, "e": "12:30", "f": "1", "g": None, "h": True, "i": 31, "j": 1.0,
    }  # fmt: skip
    assert plain_scalar("-.inf") == float("-inf")


def test_json_keeps_lines_and_surrogate_pairs() -> None:
    envelope = {
        "apiVersion": "andon/v1",
        "kind": "Model",
        "metadata": {"name": "a"},
        "spec": {"source": "😀/x\t"},
    }
    text = json.dumps([envelope], indent="\t")
    (document,) = parse_sources([Source(file="f.json", text=text)], CATALOGUE)
    assert document.content.spec["source"] == "😀/x\t"
    bad = text.replace('"source"', '"sorce"')
    with pytest.raises(InvalidDocuments, match=r"f\.json:9: .*did you mean source"):
        parse_sources([Source(file="f.json", text=bad)], CATALOGUE)
    with pytest.raises(InvalidDocuments, match=r"f\.json:2: not valid JSON"):
        parse_sources([Source(file="f.json", text='{\n"a": tru}')], CATALOGUE)


def test_a_later_layer_changes_an_earlier_one() -> None:
    base = resource("Endpoint", "a", model="m", retries=5, strategy={"steps": [{"name": "x"}, {"name": "y"}]})
    over = resource(
        "Endpoint", "a", retries=None, strategy={"steps": [{"name": "y", "weight": 9}, {"name": "z"}]}
    )
    (document,) = parse(base, over)
    spec = document.content.spec
    assert spec["retries"] == 2
    assert [(step["name"], step["weight"]) for step in spec["strategy"]["steps"]] == [
        ("x", 0),
        ("y", 9),
        ("z", 0),
    ]
    assert document.where("spec.strategy.steps[1].weight")[0] == "f1.yaml"
    assert document.where("spec.model")[0] == "f0.yaml"


def test_a_folder_is_the_files_directly_in_it(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(yaml_of("Model", "b"))
    (tmp_path / "a.yml").write_text(yaml_of("Model", "a"))
    (tmp_path / ".hidden.yaml").write_text("[")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "c.yaml").write_text("[")
    (tmp_path / "notes.txt").write_text("[")
    sources = read_sources([str(tmp_path)])
    assert [Path(source.file).name for source in sources] == ["a.yml", "b.yaml"]
    assert len(parse_sources(sources, CATALOGUE)) == 2
    with pytest.raises(Refused, match="cannot be read: No such file"):
        read_sources([str(tmp_path / "gone.yaml")])
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Refused, match="not UTF-8"):
        read_sources([str(tmp_path)])


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.from_regex(r"[a-z]{1,6}", fullmatch=True), plain, min_size=1, max_size=4))
@settings(deadline=None, max_examples=60)
def test_whatever_json_says_is_read_as_json_does(value: dict[str, object]) -> None:
    hostile = any(key in json.dumps(value) for key in ('"<<"',))
    text = json.dumps(value)
    if not hostile:
        (parsed,) = parse_text("f.json", text)
        assert parsed.value == json.loads(text)


@given(st.text(max_size=60) | st.from_regex(r"[\[\]{}:,&*!|>'\"%@`#\- \n\ta-c?~<]{0,40}", fullmatch=True))
@settings(deadline=None, max_examples=300)
def test_no_text_does_anything_but_parse_or_be_refused(text: str) -> None:
    try:
        parse(text)
    except InvalidDocuments as error:
        assert error.faults
        assert all(fault.message for fault in error.faults)


@given(plain)
@settings(deadline=None, max_examples=150)
def test_the_checker_agrees_with_msgspec(value: object) -> None:
    for candidate in (value, {"model": "m", "retries": value}, {"model": "m", "strategy": {"steps": value}}):
        try:
            msgspec.convert(candidate, EndpointSpec)
            valid = True
        except msgspec.ValidationError:
            valid = False
        assert (find_wrong(candidate, EndpointSpec) == []) == valid


@given(plain, plain)
@settings(deadline=None)
def test_a_layer_over_itself_changes_nothing_twice(under: object, over: object) -> None:
    once = merge(under, over)
    assert merge(once, over) == once


def test_paths_are_spelled_and_read_back() -> None:
    path = ("spec", "steps", 1, "weight")
    assert spell(path) == "spec.steps[1].weight"
    assert unspell("spec.steps[1].weight") == path
