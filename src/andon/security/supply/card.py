"""The model card of a version: Markdown with the YAML front matter that model hubs read. Pure.

Says only what is known; a section about which nothing is known says so, because a reader must see the gap.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from andon.security.supply.bom import Measure, ModelFacts

_TASKS = {
    "classification": "tabular-classification",
    "regression": "tabular-regression",
    "ranking": "text-ranking",
    "embedding": "feature-extraction",
    "generation": "text-generation",
}


def model_card(facts: ModelFacts) -> str:
    """The card."""
    return f"---\n{_front_matter(facts)}---\n\n" + "\n".join(_sections(facts))


def _front_matter(facts: ModelFacts) -> str:
    matter: dict[str, Any] = {}
    if facts.licence:
        matter["license"] = facts.licence.lower()
    if facts.task in _TASKS:
        matter["pipeline_tag"] = _TASKS[facts.task]
    if facts.format:
        matter["library_name"] = facts.format
    if facts.datasets:
        matter["datasets"] = list(facts.datasets)
    if facts.parents:
        matter["base_model"] = list(facts.parents)
    matter["tags"] = ["andon"]
    if facts.measures:
        matter["model-index"] = [
            {
                "name": f"{facts.name}-{facts.version}",
                "results": [
                    {
                        "task": {"type": _TASKS.get(facts.task, "other")},
                        "dataset": {"name": one.slice or "unnamed", "type": one.slice or "unnamed"},
                        "metrics": [{"type": one.type, "value": one.value}],
                    }
                    for one in facts.measures
                ],
            }
        ]
    return yaml.safe_dump(matter, sort_keys=False, allow_unicode=True)


def _sections(facts: ModelFacts) -> list[str]:
    lines = [
        f"# {_plain(facts.name)} {_plain(facts.version)}",
        "",
        _plain(facts.description) or "No description.",
        "",
    ]
    lines += _section("Owner", (facts.owner,) if facts.owner else ())
    lines += _section("Intended use", facts.use_cases)
    lines += _section("Limitations", facts.limitations)
    lines += _section("Ethical considerations", facts.ethical)
    lines += _section("Training data", facts.datasets)
    lines += _section("Made from", facts.parents)
    lines += _section("Inputs", facts.inputs)
    lines += _section("Outputs", facts.outputs)
    lines += ["## Evaluation", ""]
    if facts.measures:
        lines += [
            "| measure | value | 95 % interval | on |",
            "|---|---|---|---|",
            *map(_row, facts.measures),
            "",
        ]
    else:
        lines += ["Nothing has been measured.", ""]
    lines += ["## Files", "", f"Digest `{facts.digest}`.", ""]
    if facts.files:
        lines += ["| file | bytes | SHA-256 |", "|---|---|---|"]
        lines += [f"| {_plain(file.name)} | {file.size} | `{file.sha256}` |" for file in facts.files] + [""]
    admission = facts.admission
    if admission is not None:
        signed = (
            f"signed by {_plain(admission.signer)}"
            if admission.verified
            else "not signed by a declared signer"
        )
        lines += ["## Admission", "", f"The scan found it {admission.verdict}; it is {signed}.", ""]
        lines += [f"- {_plain(one.path)}: {_plain(one.message)}" for one in admission.findings]
        lines += [""] if admission.findings else []
    return lines


def _section(title: str, items: tuple[str, ...]) -> list[str]:
    listed = [f"- {_plain(item)}" for item in items] or ["Nothing is stated."]
    return [f"## {title}", "", *listed, ""]


def _row(one: Measure) -> str:
    interval = f"{one.low:.4g} to {one.high:.4g}" if one.low is not None and one.high is not None else ""
    return f"| {_plain(one.type)} | {one.value:.4g} | {interval} | {_plain(one.slice)} |"


def _plain(text: str) -> str:
    """Text that stays text in Markdown: names and findings come from files that somebody else wrote."""
    return re.sub(r"([\\`*_{}\[\]<>|#!])", r"\\\1", " ".join(text.split()))
