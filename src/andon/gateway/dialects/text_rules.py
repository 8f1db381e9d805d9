"""Whose words each text of a body is, by dialect and operation.

Pure tables for `texts`. A field that is not named here is the caller's own text, or the model's: nothing is passed over
because it is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from andon.gateway.dialects.texts import Place, Rules, Slot
from andon.kernel.exchange import Operation
from andon.kernel.guarding import Kind

# Parts of a message that bring documents in, whoever sends them.
RETRIEVED: Final = frozenset(("document", "search_result", "file", "resource", "context", "tool_result"))
_CALLED: Final = ("messages.*.tool_calls.*.function.arguments", "messages.*.function_call.arguments")
_ANSWERED: Final = tuple(
    f"choices.*.{form}.{call}.arguments"
    for form in ("message", "delta")
    for call in ("tool_calls.*.function", "function_call")
)
_MEDIA: Final = frozenset(
    (
        "messages.*.content.*.input_audio.data",
        "messages.*.content.*.file.file_data",
    )
)


def _place_of_chat(slot: Slot, owners: Mapping[Place, str]) -> Kind:
    pattern = slot.pattern
    if pattern.startswith("documents."):
        return "context"
    if not pattern.startswith("messages.*"):
        return "input"
    message = slot.indices[:1]
    role = owners.get(("messages.*.role", message), "user")
    if role in ("tool", "function"):
        return "context"
    if role == "assistant":
        return "history"
    if pattern.startswith("messages.*.content.*"):
        type_ = owners.get(("messages.*.content.*.type", slot.indices[:2]), "text")
        if type_ in RETRIEVED:
            return "context"
    return "input"


def _place_of_answer(slot: Slot, owners: Mapping[Place, str]) -> Kind:
    return "output"


CHAT: Final = Rules(
    plain=frozenset(
        (
            "messages.*.role", "messages.*.content.*.type", "messages.*.tool_call_id", "tool_choice",
            "messages.*.tool_calls.*.id", "messages.*.tool_calls.*.type", "messages.*.tool_calls.*.function.name",
            "messages.*.function_call.name", "tools.*.type", "tools.*.function.name", "functions.*.name",
            "tool_choice.type", "tool_choice.function.name", "response_format.type", "reasoning_effort",
            "response_format.json_schema.name", "service_tier", "modalities.*", "verbosity", "function_call",
            "messages.*.content.*.image_url.detail", "messages.*.content.*.input_audio.format",
        )
    ),
    names=frozenset(("model",)),
    coded=_MEDIA,
    links=frozenset(("messages.*.content.*.image_url.url",)),
    escaped=frozenset(_CALLED),
    owners=frozenset(("messages.*.role", "messages.*.content.*.type")),
    place=_place_of_chat,
)  # fmt: skip
COMPLETION: Final = Rules(names=frozenset(("model",)))
EMBEDDING: Final = Rules(plain=frozenset(("encoding_format",)), names=frozenset(("model",)))
INFER: Final = Rules(
    plain=frozenset(
        ("id", "inputs.*.name", "inputs.*.datatype", "outputs.*.name")
    )
)  # fmt: skip
ANSWER: Final = Rules(
    plain=frozenset(
        (
            "id", "object", "model", "system_fingerprint", "service_tier", "choices.*.finish_reason",
            "choices.*.message.role", "choices.*.message.tool_calls.*.id", "choices.*.message.tool_calls.*.type",
            "choices.*.message.tool_calls.*.function.name", "choices.*.message.function_call.name",
            "choices.*.delta.role", "choices.*.delta.tool_calls.*.id", "choices.*.delta.tool_calls.*.type",
            "choices.*.delta.tool_calls.*.function.name", "choices.*.delta.function_call.name", "data.*.object",
        )
    ),
    coded=frozenset(("data.*.embedding", "choices.*.message.audio.data", "choices.*.delta.audio.data")),
    escaped=frozenset(_ANSWERED),
    probabilities="choices.*.logprobs",
    place=_place_of_answer,
)  # fmt: skip
INFERRED: Final = Rules(
    plain=frozenset(("id", "model_name", "model_version", "outputs.*.name", "outputs.*.datatype")),
    place=_place_of_answer,
)
REQUESTS: Final[Mapping[Operation, Rules]] = {
    Operation.CHAT: CHAT,
    Operation.COMPLETION: COMPLETION,
    Operation.EMBEDDING: EMBEDDING,
    Operation.INFER: INFER,
}
