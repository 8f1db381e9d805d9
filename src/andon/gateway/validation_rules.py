"""What a request's content must be, as pure rules: tensors against a signature, messages of chats.

Each returns the refusal that names the tensor or field at fault, or None. Used by `gateway/validation` before a
release is chosen, so that a bad request never reaches, or blames, a model.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any, Final

import msgspec

from andon.gateway.dialects import oip, openai
from andon.kernel.errors import Refused
from andon.kernel.redaction import calm
from andon.kernel.snapshot import Signature, TensorSpec

ITEM_BYTES: Final[MappingProxyType[str, int]] = MappingProxyType(dict(oip.ITEM_BYTES))
ROLES: Final = frozenset(("system", "developer", "user", "assistant", "tool", "function"))
MESSAGES_MAX: Final = 10_000
TENSORS_MAX: Final = 1_000
DIMENSIONS_MAX: Final = 32
COPIES_MAX: Final = 128
TOKENS_MAX: Final = 10_000_000
_CONTROL: Final = re.compile("[\x00-\x1f\x7f]")
_FORMATS: Final = MappingProxyType(
    {
        "BOOL": "?", "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q", "INT8": "b", "INT16": "h",
        "INT32": "i", "INT64": "q", "FP32": "f", "FP64": "d",
    }
)  # fmt: skip
_INTEGERS: Final = MappingProxyType(
    {
        f"{sign}INT{bits}": ((0, 2**bits - 1) if sign else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1))
        for bits in (8, 16, 32, 64)
        for sign in ("", "U")
    }
)
_floats = msgspec.json.Decoder(list[float]).decode
_floats_or_null = msgspec.json.Decoder(list[float | None]).decode
_integers = msgspec.json.Decoder(list[int]).decode
_bools = msgspec.json.Decoder(list[bool]).decode
_texts = msgspec.json.Decoder(list[str]).decode
_anything = msgspec.json.Decoder(list[Any]).decode


def check_messages(request: openai.ChatRequest, body: bytes) -> Refused | None:
    """A chat: at least one message, roles that exist, no NUL (stores and logs downstream cut text at it)."""
    messages = request.messages
    if not messages:
        return Refused("empty_array", "'messages' is empty; send at least one message.", param="messages")
    if len(messages) > MESSAGES_MAX:
        return _invalid(f"'messages' has {len(messages)} entries; at most {MESSAGES_MAX}.", "messages")
    # Control characters can only be there as escapes: look closer only if one is.
    escaped = b"\\u00" in body
    for index, message in enumerate(messages):
        if message.role not in ROLES:
            accepted = ", ".join(sorted(ROLES))
            return _invalid(
                f"'{calm(message.role[:40])}' is not a role; use one of {accepted}.",
                f"messages[{index}].role",
            )
        if escaped:
            error = _check_texts(message, index)
            if error is not None:
                return error
    return check_counts(request.max_tokens, request.max_completion_tokens, request.n)


def _check_texts(message: openai.Message, index: int) -> Refused | None:
    content = message.content
    texts = [content] if isinstance(content, str) else [part.text for part in content or ()]
    if any(text is not None and "\0" in text for text in texts):
        return _invalid("The text has a NUL character in it.", f"messages[{index}].content")
    if message.name is not None and _CONTROL.search(message.name):
        return _invalid("The name has control characters in it.", f"messages[{index}].name")
    return None


def check_counts(max_tokens: int | None, max_completion_tokens: int | None, n: int | None) -> Refused | None:
    """Caps and copies: positive, and within what a counter can hold."""
    if max_tokens is None and max_completion_tokens is None and n is None:
        return None
    for name, value, most in (
        ("max_tokens", max_tokens, TOKENS_MAX),
        ("max_completion_tokens", max_completion_tokens, TOKENS_MAX),
        ("n", n, COPIES_MAX),
    ):
        if value is not None and not 1 <= value <= most:
            return _invalid(f"'{name}' is {value}; it must lie between 1 and {most}.", name)
    return None


def check_prompt(prompt: object, field: str) -> Refused | None:
    """A prompt of completions or an input of embeddings: a text, texts, tokens or lists of tokens, not empty."""
    if isinstance(prompt, str):
        return _invalid(f"'{field}' has a NUL character in it.", field) if "\0" in prompt else None
    if not isinstance(prompt, list):
        return None
    if not prompt:
        return Refused("empty_array", f"'{field}' is empty.", param=field)
    kind = type(prompt[0])
    for index, entry in enumerate(prompt):
        tokens = isinstance(entry, list) and bool(entry) and all(type(token) is int for token in entry)
        if type(entry) is not kind or not (type(entry) in (str, int) or tokens):
            return _invalid("Send texts, or tokens, or lists of tokens, not a mixture.", f"{field}[{index}]")
        if isinstance(entry, str) and "\0" in entry:
            return _invalid("The text has a NUL character in it.", f"{field}[{index}]")
    return None


def check_tensors(
    request: oip.InferRequest, signature: Signature | None, body: bytes, header_length: int | None
) -> Refused | None:
    """An inference: every tensor consistent in itself, and with the signature if there is one."""
    if not request.inputs:
        return _invalid("'inputs' is empty; send at least one tensor.", "inputs")
    if len(request.inputs) > TENSORS_MAX:
        return _invalid(f"'inputs' has {len(request.inputs)} tensors; at most {TENSORS_MAX}.", "inputs")
    error = _check_names(request, signature) if signature is not None else None
    if error is not None:
        return error
    specs = {spec.name: spec for spec in signature.inputs} if signature is not None else {}
    offset = header_length if header_length is not None else len(body)
    for index, tensor in enumerate(request.inputs):
        where = f"inputs[{index}]"
        spec = specs.get(tensor.name)
        error = _check_form(tensor, spec, where)
        if error is not None:
            return error
        size = tensor.parameters.binary_data_size if tensor.parameters is not None else None
        if size is None:
            error = _check_json(tensor, spec, where)
        else:
            error = _check_binary(tensor, spec, (body, offset, size), where)
            offset += max(size, 0)
        if error is not None:
            return error
    if offset != len(body):
        return _invalid(
            f"The tensors take {offset} bytes with their header, but the body has {len(body)}.", "inputs"
        )
    return None


def _check_names(request: oip.InferRequest, signature: Signature) -> Refused | None:
    given = [tensor.name for tensor in request.inputs]
    known = {spec.name for spec in signature.inputs}
    for index, name in enumerate(given):
        if name not in known:
            return _invalid(
                f"The model has no input '{name[:80]}'; its inputs are {', '.join(sorted(known)) or 'none'}.",
                f"inputs[{index}].name",
            )
        if name in given[:index]:
            return _invalid(f"Input '{name[:80]}' is given twice.", f"inputs[{index}].name")
    for spec in signature.inputs:
        if not spec.optional and spec.name not in given:
            return _invalid(f"Input '{spec.name}' is missing.", "inputs")
    return None


def _check_form(tensor: oip.Tensor, spec: TensorSpec | None, where: str) -> Refused | None:
    """Datatype and shape."""
    name, shape, datatype = tensor.name[:80], tensor.shape, tensor.datatype
    if datatype != "BYTES" and datatype not in ITEM_BYTES:
        return _invalid(f"Input '{name}' has the unknown datatype '{datatype[:20]}'.", f"{where}.datatype")
    if len(shape) > DIMENSIONS_MAX or any(size < 0 for size in shape):
        return _invalid(f"Input '{name}' has a shape with negative or too many dimensions.", f"{where}.shape")
    if tensor.parameters is not None and tensor.parameters.shared_memory_region is not None:
        return _invalid(f"Input '{name}' is in shared memory; send its data.", f"{where}.parameters")
    if spec is None:
        return None
    if datatype != spec.datatype:
        return _invalid(f"Input '{name}' must be {spec.datatype}, not {datatype}.", f"{where}.datatype")
    fits = len(shape) == len(spec.shape) and all(
        wanted in (-1, size) for size, wanted in zip(shape, spec.shape, strict=True)
    )
    if not fits:
        return _invalid(
            f"Input '{name}' must have the shape {list(spec.shape)} (-1 is free), not {shape}.",
            f"{where}.shape",
        )
    return None


def _check_json(tensor: oip.Tensor, spec: TensorSpec | None, where: str) -> Refused | None:
    name, where = tensor.name[:80], f"{where}.data"
    raw = bytes(tensor.data)
    if not raw:
        return _invalid(f"Input '{name}' has no data.", where)
    if tensor.datatype in ("FP16", "BF16"):
        return _invalid(f"Input '{name}' is {tensor.datatype}, which can only be sent in binary.", where)
    read = _reader(tensor.datatype, spec)
    try:
        try:
            values: list[Any] = read(raw)
        except msgspec.ValidationError:
            # Nested row by row, or wrong: both are seen once it is flat.
            values = read(msgspec.json.encode(_flatten(_anything(raw), tuple(tensor.shape))))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return _invalid(f"Input '{name}' is not {tensor.datatype} of shape {tensor.shape}: {error}.", where)
    if len(values) != math.prod(tensor.shape):
        return _invalid(
            f"Input '{name}' has {len(values)} elements; its shape {tensor.shape} has {math.prod(tensor.shape)}.",
            where,
        )
    return _check_values(values, tensor, spec, where)


def _reader(datatype: str, spec: TensorSpec | None) -> Any:
    if datatype in ("FP32", "FP64"):
        return _floats_or_null if spec is not None and spec.allow_nan else _floats
    if datatype == "BYTES":
        return _texts
    return _bools if datatype == "BOOL" else _integers


def _flatten(data: list[Any], shape: tuple[int, ...]) -> list[Any]:
    """Elements of nested lists in row-major order; raises ValueError where the nesting is not the shape's."""
    if not shape or len(data) != shape[0]:
        raise ValueError(f"its nesting does not fit the shape {list(shape)}")
    if len(shape) == 1:
        if any(isinstance(entry, list) for entry in data):
            raise ValueError("it is nested more deeply than its shape")
        return data
    flat: list[Any] = []
    for row in data:
        if not isinstance(row, list):
            raise ValueError("it is nested in part only")
        flat.extend(_flatten(row, shape[1:]))
    return flat


def _check_binary(
    tensor: oip.Tensor, spec: TensorSpec | None, place: tuple[bytes, int, int], where: str
) -> Refused | None:
    body, offset, size = place
    name, where = tensor.name[:80], f"{where}.parameters.binary_data_size"
    count = math.prod(tensor.shape)
    if size < 0 or offset + size > len(body):
        return _invalid(f"Input '{name}' says {size} bytes, but the body ends before.", where)
    if bytes(tensor.data):
        return _invalid(f"Input '{name}' has data both in JSON and in binary.", where)
    if tensor.datatype == "BYTES":
        return _check_lengths(memoryview(body)[offset : offset + size], count, name, where)
    if count * ITEM_BYTES[tensor.datatype] != size:
        return _invalid(
            f"Input '{name}' says {size} bytes; {tensor.datatype} of shape {tensor.shape} has "
            f"{count * ITEM_BYTES[tensor.datatype]}.",
            where,
        )
    form = _FORMATS.get(tensor.datatype)
    if form is None or spec is None or sys.byteorder != "little" or form == "?":
        return None  # half floats have no reader in the standard library: the replica checks them
    return _check_values(memoryview(body)[offset : offset + size].cast(form), tensor, spec, where)  # type: ignore[call-overload]  # the format is one of a closed set


def _check_lengths(data: memoryview, count: int, name: str, where: str) -> Refused | None:
    """BYTES in binary: each element is its length in four bytes, little-endian, and then itself."""
    position = elements = 0
    while position < len(data) and elements <= count:
        length = int.from_bytes(data[position : position + 4], "little")
        position += 4 + length
        elements += 1
    if elements != count or position != len(data):
        return _invalid(f"Input '{name}' does not hold {count} length-prefixed elements.", where)
    return None


def _check_values(
    values: Sequence[Any], tensor: oip.Tensor, spec: TensorSpec | None, where: str
) -> Refused | None:
    """Finite, within the datatype, within the signature's range."""
    datatype, name = tensor.datatype, tensor.name[:80]
    if datatype in ("BYTES", "BOOL") or not len(values):
        return None
    if datatype in _INTEGERS:
        lowest, highest = min(values), max(values)
        least, most = _INTEGERS[datatype]
        if lowest < least or highest > most:
            return _invalid(f"Input '{name}' has a value that is not {datatype}.", where)
    elif spec is None or not spec.allow_nan:
        # A sum is finite when every term is; where it is not, an overflow must be told from a bad value.
        if not math.isfinite(sum(values)) and not all(map(math.isfinite, values)):
            return _invalid(f"Input '{name}' has a value that is NaN or infinite.", where)
        lowest, highest = min(values), max(values)
    else:
        known = [value for value in values if value is not None and not math.isnan(value)]
        if not known:
            return None
        lowest, highest = min(known), max(known)
    if spec is None:
        return None
    if spec.minimum is not None and lowest < spec.minimum:
        return _invalid(f"Input '{name}' has the value {lowest}; at least {spec.minimum} is expected.", where)
    if spec.maximum is not None and highest > spec.maximum:
        return _invalid(f"Input '{name}' has the value {highest}; at most {spec.maximum} is expected.", where)
    return None


def _invalid(message: str, param: str) -> Refused:
    return Refused("invalid_value", message, param=param)
