"""The compiled hot path is used for the sources it was made from, byte for byte, and for no others."""

from __future__ import annotations

import importlib
import json
import re
import sys
from pathlib import Path

import pytest

from andon.app import compiled
from tools.compile import HOT


@pytest.fixture
def source(tmp_path: Path) -> Path:
    place = tmp_path / "source"
    (place / "wire").mkdir(parents=True)
    (place / "wire" / "reply.py").write_text("LIMIT = 1\n")
    return place


def make(place: Path, source: Path) -> Path:
    place.mkdir()
    modules = {"andon.wire.reply": "andon/wire/reply.so"}
    manifest = {"digest": compiled.digest(source), "modules": modules}
    (place / compiled.MANIFEST).write_text(json.dumps(manifest))
    return place


def test_a_form_of_these_very_sources_is_found(tmp_path: Path, source: Path) -> None:
    place = make(tmp_path / "compiled", source)
    found = compiled.find({}, place, source)
    assert found == ({"andon.wire.reply": place / "andon/wire/reply.so"}, "")


def test_any_edit_or_new_file_leaves_it_unused(tmp_path: Path, source: Path) -> None:
    place = make(tmp_path / "compiled", source)
    (source / "wire" / "more.py").write_text("")
    assert "have changed" in compiled.find({}, place, source).reason
    (source / "wire" / "more.py").unlink()
    assert not compiled.find({}, place, source).reason
    (source / "wire" / "reply.py").write_text("LIMIT = 2\n")
    found = compiled.find({}, place, source)
    assert not found.modules
    assert "have changed" in found.reason


def test_it_is_left_alone_when_asked(tmp_path: Path, source: Path) -> None:
    place = make(tmp_path / "compiled", source)
    assert compiled.find({compiled.PURE: "1"}, place, source) == ({}, "ANDON_PURE is set")


@pytest.mark.parametrize("manifest", ["", "{", "[]", "{}", '{"digest": 1}'])
def test_a_broken_or_absent_form_is_none(tmp_path: Path, source: Path, manifest: str) -> None:
    assert compiled.find({}, tmp_path / "absent", source).reason == "nothing is compiled"
    place = make(tmp_path / "compiled", source)
    (place / compiled.MANIFEST).write_text(manifest)
    found = compiled.find({}, place, source)
    assert not found.modules
    assert found.reason


def test_the_list_names_modules_that_are_there() -> None:
    assert len(set(HOT)) == len(HOT)
    assert all((compiled.SOURCE / f"{name}.py").is_file() for name in HOT)


def test_all_of_the_list_is_compiled_or_nothing(is_compiled: bool) -> None:
    for name in HOT:
        module = importlib.import_module(f"andon.{name.replace('/', '.')}")
        is_source = str(module.__file__).endswith(".py")
        assert is_source != is_compiled, name
    assert (compiled.SHARED in sys.modules) == is_compiled


def test_no_compiled_module_has_a_struct_whose_options_decide_its_form() -> None:
    """A compiled struct loses the options of its class, and with them the form that others read."""
    options = re.compile(r"Struct[^)]*\b(array_like|tag|rename|forbid_unknown_fields|omit_defaults)=")
    assert [name for name in HOT if options.search((compiled.SOURCE / f"{name}.py").read_text())] == []
