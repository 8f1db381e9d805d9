"""ARCHITECTURE.md tells the truth: its rooms, its layers, its chain, its files and its length."""

from __future__ import annotations

import inspect
import re
import tomllib
from pathlib import Path

import pytest

from andon.app import chain
from andon.app.observer.assembly import build_parts, builders
from andon.kernel.clock import SystemClock
from andon.kernel.random import SystemRandom
from andon.kernel.reports import Report
from andon.ledger.disk import FileDisk

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "andon"
PAGE = (ROOT / "ARCHITECTURE.md").read_text()
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
STAGES = {  # what the page calls a step of the chain, and the class that is it
    "identify": "IdentifyStage",
    "penalties": "AddressStage",
    "authorise": "AuthoriseStage",
    "audit": "AuditStage",
    "conduct": "ConductStage",
    "limits": "LimitStage",
    "validate": "ValidateStage",
    "label": "LabelStage",
    "reconsider": "ReconsiderStage",
    "choose release": "RolloutStage",
}


def rooms_on_page() -> list[str]:
    house = PAGE.split("## The house")[1].split("```")[1]
    return re.findall(r"^  (\w+)/ ", house, re.MULTILINE)


def test_it_is_short() -> None:
    assert len(PAGE.splitlines()) <= 200


def test_every_room_is_on_it_and_no_other() -> None:
    rooms = {path.name for path in SOURCE.iterdir() if (path / "__init__.py").exists()}
    assert len(rooms_on_page()) == len(set(rooms_on_page()))
    assert set(rooms_on_page()) == rooms


def test_its_layers_are_those_that_the_linter_holds() -> None:
    said = re.search(r"\*\*Who may know whom\*\*:\s`(.*?)`;", PAGE, re.DOTALL)
    assert said is not None
    text = said.group(1).replace("(blind to one another)", "")
    layers = [set(re.findall(r"\w+", layer)) for layer in text.split("→")]
    contract = next(item for item in CONTRACTS if item["name"] == "Who may know whom")
    assert [{"testing"}, *layers] == [set(re.findall(r"\w+", layer)) for layer in contract["layers"]]


def test_its_chain_is_the_one_that_is_wired(tmp_path: Path) -> None:
    walk = PAGE.split("## How a request walks")[1].split("**intent row**")[0]
    steps = re.findall(r"([\w ]+) \((?:security|gateway|lifecycle)/\w+\) →", walk.replace("\n", " "))
    stages = chain.build_chain(
        gateway="g1",
        pepper=b"0" * 32,
        cuts=FileDisk(tmp_path),
        reports=_NoReports(),
        clock=SystemClock(),
        random=SystemRandom(),
    )
    assert [STAGES[step.strip()] for step in steps] == [type(stage).__name__ for stage in stages]


def test_its_parts_are_those_of_the_observer() -> None:
    parts = re.findall(r"^\| (\w+) \|", PAGE.split("## The observer")[1].split("\n## ")[0], re.MULTILINE)
    built = [build.__name__.removeprefix("build_") for build in builders()]
    last = re.findall(
        r"\bbuild_(\w+)\(ground, ", inspect.getsource(build_parts)
    )  # those that tell of all the others
    assert parts == ["part", *built, *last]


class _NoReports:
    """Nobody listens."""

    def send(self, report: Report) -> None:
        raise AssertionError("nothing happens here")


@pytest.mark.parametrize("mentioned", sorted(set(re.findall(r"`((?:[\w.]+/)+[\w.]*)`", PAGE))))
def test_what_it_points_to_is_there(mentioned: str) -> None:
    inside = SOURCE / mentioned.removeprefix("src/andon/")
    assert any(path.exists() for path in (ROOT / mentioned, inside, inside.with_suffix(".py"))) or at_home(
        mentioned
    )


def at_home(mentioned: str) -> bool:
    """Folders of a home are named by the one module that makes them."""
    name = mentioned.strip("/")
    return f'"{name}"' in (SOURCE / "app" / "home.py").read_text()


def test_the_home_holds_what_it_says() -> None:
    sentence = PAGE.split("Everything it keeps is in `.andon/`")[1].split("\n\n")[0]
    said = {word.strip("/") for word in re.findall(r"`([\w.]+/?)`", sentence)}
    home = (SOURCE / "app" / "home.py").read_text()
    kept = set(re.findall(r'self\.state / "([\w.]+)"', home)) | {"state.db"}
    assert said == kept - {"lock"}


def test_the_anatomy_is_lived() -> None:
    anatomy = PAGE.split("**Anatomy of a sub-room**")[1].split("\n\n")[0]
    for name in re.findall(r"`(\w+\.py)`", anatomy):
        assert list(SOURCE.rglob(name)), f"no sub-room has a {name}"
