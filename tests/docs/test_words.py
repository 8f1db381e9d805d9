"""The words of the house: links resolve, commands exist, the glossary is kept, the changelog has its shape."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tools.reference import commands

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
    if ".venv" not in path.parts
)
IDS = [str(page.relative_to(ROOT)) for page in PAGES]
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text()
# Other words for things that the glossary names, and the word that is used here.
SYNONYMS = {
    "datastore": "store",
    "tenant": "team",
    "namespace": "factory",
    "throttle": "limit",
    "quota": "limit",
    "apikey": "key",
    "api_token": "key",
    "worker": "replica",
    "experiment": "rollout",
    "variant": "arm",
    "treatment": "arm",
    "challenger": "arm",
    "champion": "arm",
    "wal": "log",
    "middleware": "stage",
    "backend": "target",
    "orchestrator": "control",
    "reconciler": "controller",
    "slo": "objective",
    "ground_truth": "label",
    "snooze": "silence",
    "subscriber": "consumer",
    "golden_set": "reference",
}
# Where another's word must be spoken: their protocol or their package names it so.
SPOKEN_BY_OTHERS = {
    "backend": ("store",),
    "namespace": ("security/lineage", "serving/models", "app/observer/lineage"),
}
THEIRS = frozenset({"vault_namespace"})  # a name that is their own word


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_every_page_can_be_found_from_the_first_one(page: Path) -> None:
    assert f"](docs/{page.name})" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_command_exists(page: Path) -> None:
    known = {words[0] for words in commands() if words}
    code = "\n".join(re.findall(r"```.*?```|`[^`\n]+`", page.read_text(), re.DOTALL))
    for verbs in re.findall(r"(?m)(?:^|[`$(; ])andon ([a-z]+(?:\|[a-z]+)*)\b(?!\.)", code):
        assert set(verbs.split("|")) <= known, verbs


def test_the_glossary_is_in_order_and_says_each_word_once() -> None:
    words = re.findall(r"^\| \*\*(.+?)\*\* \|", GLOSSARY, re.MULTILINE)
    assert len(words) > 30
    assert words == sorted(set(words))


@pytest.mark.parametrize("synonym", sorted(SYNONYMS))
def test_one_concept_has_one_word(synonym: str) -> None:
    found = []
    for path in (ROOT / "src" / "andon").rglob("*.py"):
        inside = path.relative_to(ROOT / "src" / "andon").parts
        if "/".join(inside).startswith(SPOKEN_BY_OTHERS.get(synonym, ("nowhere",))):
            continue
        found += [
            f"{'/'.join(inside)}: {name}" for name in names(path) - THEIRS if f"_{synonym}_" in words_of(name)
        ]
    assert not found, f"say '{SYNONYMS[synonym]}'"


def names(path: Path) -> set[str]:
    """Everything that a module itself gives a name to."""
    given: set[str] = {path.stem}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            given.add(node.name)
        elif isinstance(node, ast.arg):
            given.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            given.add(node.id)
    return given


def words_of(name: str) -> str:
    """`KeyStore` and `key_store` as `_key_store_`, so that whole words can be looked for."""
    return "_" + re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().strip("_") + "_"


def test_the_changelog_says_what_changes_newest_first() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert text.startswith("# Changelog\n")
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings[0] == "Unreleased"
    for heading in headings[1:]:
        assert re.fullmatch(r"\d+\.\d+\.\d+ \(\d{4}-\d{2}-\d{2}\)", heading), heading
    assert all(re.search(r"^- ", part, re.MULTILINE) for part in text.split("\n## ")[1:])


@pytest.mark.parametrize(
    "page", sorted((ROOT / "docs" / "decisions").glob("*.md")), ids=lambda page: page.name
)
def test_a_decision_is_one_page_and_says_what_was_not_chosen(page: Path) -> None:
    text = page.read_text()
    assert re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", page.name)
    assert len(text.splitlines()) <= 80
    assert "Decision" in text or "Decided" in text
    assert "Alternatives" in text or "Not chosen" in text
