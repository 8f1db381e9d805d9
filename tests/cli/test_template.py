"""The factory file of `andon init` is one that the product takes, its comments included."""

from __future__ import annotations

from pathlib import Path

import andon.app.cli
from andon.app.kinds import catalogue
from andon.control.documents import Source, parse_sources
from andon.control.resources import decode_spec, record_of
from andon.store.model import Record

TEMPLATE = (Path(andon.app.cli.__file__).parent / "factory.template.yaml").read_text()


def checked(text: str) -> list[str]:
    kinds = catalogue()
    documents = parse_sources([Source(file="factory.yaml", text=text)], kinds)
    world: dict[tuple[str, str], Record] = {
        (document.content.kind, document.content.name): record_of(document.content) for document in documents
    }
    for (kind_name, _), record in world.items():
        kind = kinds.get(kind_name)
        assert kind is not None
        assert kind.check(decode_spec(kind, record.spec), record, world) == []
    return [kind for kind, _ in world]


def test_the_template_is_taken_as_it_is() -> None:
    assert checked(TEMPLATE) == ["Team", "Limit"]


def test_the_template_is_taken_with_its_examples() -> None:
    head, *examples = TEMPLATE.split("# ---\n")
    text = "\n".join(
        [
            head,
            *(
                "---\n" + "\n".join(line.removeprefix("# ") for line in part.splitlines())
                for part in examples
            ),
        ]
    )
    # The prose between examples becomes text of no resource: it is cut at the first line that is no YAML.
    text = "\n".join(line for line in text.splitlines() if not line.startswith(("A name", "does worse")))
    assert checked(text) == ["Team", "Model", "ModelVersion", "Endpoint", "Limit"]
