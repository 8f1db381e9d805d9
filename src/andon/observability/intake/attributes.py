"""Attributes of OTLP: read as Python values, and written as JSON that stays small.

Pure. What people wrote or were answered is never written unless the caller says so.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

ATTRIBUTES_MAX = 64
TEXT_CHARACTERS_MAX = 1024
JSON_BYTES_MAX = 8192
DEPTH_MAX = 8
DROPPED = "andon.dropped"  # how many attributes are not there

# What people wrote or were answered, in the names of OpenTelemetry GenAI, OpenInference, Traceloop, MLflow, Langfuse.
CONTENT = re.compile(
    r"gen_ai\.(input\.messages|output\.messages|system_instructions|prompt(\..*)?|completion(\..*)?|content\..*"
    r"|tool\.(call\.(arguments|result)|definitions)|(system|user|assistant|tool)\.message|choice|retrieval\..*)"
    r"|(input|output)\.value|llm\.(input_messages|output_messages|prompts?|completions?|prompt_template)(\..*)?"
    r"|(retrieval|embedding|reranker|document|message)\..*|traceloop\.entity\.(input|output)"
    r"|mlflow\.(spanInputs|spanOutputs|chat\.messages)|langfuse\.(observation|trace)\.(input|output)"
    r"|http\.(request|response)\.body(\..*)?|exception\.(message|stacktrace)"
)


def read_attributes(pairs: Iterable[Any]) -> dict[str, Any]:
    """KeyValue messages as a dictionary; of two with one key the last counts."""
    return {pair.key: read_value(pair.value) for pair in pairs}


def read_value(value: Any, depth: int = 0) -> Any:
    """An AnyValue message; bytes become base64 text, what is nested too deeply null."""
    sort = value.WhichOneof("value")
    if sort is None or depth > DEPTH_MAX:
        return None
    if sort == "array_value":
        return [read_value(one, depth + 1) for one in value.array_value.values]
    if sort == "kvlist_value":
        return {pair.key: read_value(pair.value, depth + 1) for pair in value.kvlist_value.values}
    found = getattr(value, sort)
    return b64encode(found).decode() if isinstance(found, bytes) else found


def write_attributes(values: Mapping[str, Any], *, keep_content: bool) -> str | None:
    """JSON of at most 8 KiB, keys in order; content is left out, long text cut, and what is missing is counted."""
    kept: dict[str, Any] = {}
    size = 32
    for name in sorted(values)[: ATTRIBUTES_MAX * 4]:
        if not keep_content and CONTENT.fullmatch(name):
            continue
        value = values[name]
        if isinstance(value, str):
            value = value[:TEXT_CHARACTERS_MAX]
        room = len(msgspec.json.encode({name: value}))
        if len(kept) < ATTRIBUTES_MAX and size + room <= JSON_BYTES_MAX:
            kept[name] = value
            size += room
    if len(kept) < len(values):
        kept[DROPPED] = len(values) - len(kept)
    return msgspec.json.encode(kept).decode() if kept else None
