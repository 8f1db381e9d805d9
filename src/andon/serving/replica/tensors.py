"""Tensors on the wire: the Open Inference Protocol v2 in JSON and with the binary extension, to numpy and back.

Pure. Every error is `Refused` and names the tensor at fault. Follows the protocol's `inference_rest.md` and Triton's
`extension_binary_data.md`: raw little-endian data after the JSON, in the order of the tensors; elements of BYTES as
a 4-byte length and the bytes.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from andon.kernel.errors import Refused
from andon.serving.models.formats.port import DTYPES, Array, datatype_of
from andon.serving.replica.protocol import InferRequest, InferResponse, InputTensor, OutputTensor

_RANK_MAX = 8
_ELEMENT_BYTES: Mapping[str, int] = {
    name: 2 if name == "BF16" else dtype.itemsize for name, dtype in DTYPES.items() if name != "BYTES"
}
_JSON_TYPES: Mapping[str, Any] = {
    "BOOL": bool,
    "BYTES": str,
    "FP32": float,
    "FP64": float,
    **{name: int for name in DTYPES if "INT" in name},
}
_BINARY_ONLY = frozenset({"FP16", "BF16"})
_FLAT = {name: msgspec.json.Decoder(list[kind]).decode for name, kind in _JSON_TYPES.items()}  # type: ignore[valid-type]  # made at import


def _nested(kind: Any, rank: int) -> Any:
    return kind if rank == 0 else list[_nested(kind, rank - 1)]  # type: ignore[misc]  # a type made at run time


_NESTED = {
    (kind, rank): msgspec.json.Decoder(_nested(kind, rank)).decode
    for kind in (bool, str, float, int)
    for rank in range(2, _RANK_MAX + 1)
}
_NULLABLE = {
    rank: msgspec.json.Decoder(_nested(float | None, rank)).decode for rank in range(1, _RANK_MAX + 1)
}


_decode_request = msgspec.json.Decoder(InferRequest).decode
_encode = msgspec.json.Encoder().encode


def decode_request(body: bytes, header_length: int | None) -> tuple[InferRequest, dict[str, Array]]:
    """The request and its inputs as arrays. `header_length` is the `Inference-Header-Content-Length`, if any."""
    if header_length is None:
        head, tail = body, memoryview(b"")
    elif 0 <= header_length <= len(body):
        head, tail = body[:header_length], memoryview(body)[header_length:]
    else:
        raise Refused(
            "tensor_binary_size",
            f"Inference-Header-Content-Length is {header_length}, but the body has {len(body)} bytes.",
        )
    try:
        request = _decode_request(head)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused("invalid_json", f"The request cannot be read: {error}.") from error
    arrays: dict[str, Array] = {}
    offset = 0
    for tensor in request.inputs:
        if tensor.name in arrays:
            raise Refused("tensor_twice", f"Input '{tensor.name}' is there twice.", param=tensor.name)
        size = tensor.parameters.get("binary_data_size") if tensor.parameters else None
        if size is None:
            arrays[tensor.name] = _from_json(tensor)
            continue
        if not isinstance(size, int) or size < 0 or offset + size > len(tail):
            raise _binary_error(
                tensor.name, f"binary_data_size is {size}; {len(tail) - offset} bytes are left"
            )
        arrays[tensor.name] = _from_binary(tensor, tail[offset : offset + size])
        offset += size
    if offset != len(tail):
        raise Refused(
            "tensor_binary_size",
            f"{len(tail) - offset} bytes after the JSON belong to no input of the request.",
        )
    return request, arrays


def _binary_error(name: str, what: str) -> Refused:
    return Refused("tensor_binary_size", f"Input '{name}': {what}.", param=name)


def _elements(tensor: InputTensor) -> int:
    """How many elements its shape says; refuses negative dimensions and absurd ranks."""
    if len(tensor.shape) > _RANK_MAX:
        raise Refused(
            "tensor_shape", f"Input '{tensor.name}' has {len(tensor.shape)} dimensions.", param=tensor.name
        )
    if any(size < 0 for size in tensor.shape):
        raise Refused("tensor_shape", f"Input '{tensor.name}' has a negative dimension.", param=tensor.name)
    return math.prod(tensor.shape)


def _from_json(tensor: InputTensor) -> Array:
    name, datatype, shape = tensor.name, tensor.datatype, tensor.shape
    decode = _FLAT.get(datatype)
    if decode is None:
        hint = "Send it by the binary tensor extension." if datatype in _BINARY_ONLY else ""
        raise Refused(
            "tensor_datatype", f"Input '{name}' cannot be sent as {datatype} in JSON.", param=name, hint=hint
        )
    elements = _elements(tensor)
    if not tensor.data:
        raise Refused("tensor_data", f"Input '{name}' has no data.", param=name)
    try:
        values = decode(tensor.data)
    except msgspec.DecodeError as error:
        values = _uncommon(tensor, error)
    try:
        array = np.array(values, DTYPES[datatype])
    except (ValueError, OverflowError) as error:
        raise Refused(
            "tensor_data", f"Input '{name}' is no {datatype} of shape {shape}: {error}.", param=name
        ) from error
    if array.ndim != 1:
        if list(array.shape) != shape:
            raise Refused(
                "tensor_shape",
                f"Input '{name}' says shape {shape}; its data is {list(array.shape)}.",
                param=name,
            )
        return array
    if array.size != elements:
        raise Refused(
            "tensor_shape",
            f"Input '{name}' of shape {shape} needs {elements} elements, not {array.size}.",
            param=name,
        )
    return array.reshape(shape)


def _uncommon(tensor: InputTensor, flat_error: Exception) -> Any:
    """Data that is no flat list of its type: nested to its full rank, or numbers with null for NaN."""
    rank = len(tensor.shape)
    kind = _JSON_TYPES[tensor.datatype]
    attempts = []
    if rank > 1:
        attempts.append(_NESTED[kind, rank])
    if kind is float:
        attempts += [_NULLABLE[depth] for depth in {1, max(rank, 1)}]
    for decode in attempts:
        try:
            return decode(tensor.data)
        except msgspec.DecodeError as error:
            flat_error = error
    raise Refused(
        "tensor_data",
        f"The data of input '{tensor.name}' is no {tensor.datatype} of shape {tensor.shape}: {flat_error}.",
        param=tensor.name,
    ) from flat_error


def _from_binary(tensor: InputTensor, raw: memoryview) -> Array:
    name, datatype, elements = tensor.name, tensor.datatype, _elements(tensor)
    if tensor.data:
        raise _binary_error(name, "it has both data and binary_data_size")
    if datatype == "BYTES":
        return _bytes_array(_split(name, raw, elements), tensor.shape)
    size = _ELEMENT_BYTES.get(datatype)
    if size is None:
        raise Refused("tensor_datatype", f"Input '{name}' has the unknown datatype '{datatype}'.", param=name)
    if elements * size != len(raw):
        raise _binary_error(
            name, f"{datatype} of shape {tensor.shape} is {elements * size} bytes, not {len(raw)}"
        )
    if datatype == "BF16":
        # bfloat16 is the upper half of a float32.
        wide = np.zeros(tensor.shape, "<f4")
        wide.reshape(-1).view("<u2")[1::2] = np.frombuffer(raw, "<u2")
        return wide
    if datatype == "BOOL":
        return np.frombuffer(raw, "u1").astype(np.bool_).reshape(tensor.shape)
    return np.frombuffer(raw, DTYPES[datatype]).reshape(tensor.shape)


def _split(name: str, raw: memoryview, elements: int) -> list[bytes]:
    found: list[bytes] = []
    offset, end = 0, len(raw)
    while offset + 4 <= end and len(found) < elements:
        length = int.from_bytes(raw[offset : offset + 4], "little")
        offset += 4
        if offset + length > end:
            raise _binary_error(name, f"element {len(found)} says {length} bytes; {end - offset} are left")
        found.append(bytes(raw[offset : offset + length]))
        offset += length
    if len(found) != elements or offset != end:
        raise _binary_error(name, f"its bytes are not {elements} elements of BYTES")
    return found


def _bytes_array(values: list[bytes], shape: Sequence[int]) -> Array:
    """Text if all of it is, for the models that want text; else bytes."""
    try:
        items: list[Any] = [value.decode() for value in values]
    except UnicodeDecodeError:
        items = list(values)
    array = np.empty(len(items), object)
    array[:] = items
    return array.reshape(shape)


def encode_json(response: InferResponse) -> bytes:
    """The whole answer as JSON."""
    return _encode(response)


def json_tensor(name: str, array: Array, declared: str | None = None) -> OutputTensor:
    """An output with its data in JSON; NaN and infinities become null. Refuses what only binary can carry."""
    datatype = declared or _datatype(name, array)
    if datatype in _BINARY_ONLY:
        raise Refused(
            "tensor_datatype",
            f"Output '{name}' is {datatype}, which JSON cannot carry.",
            hint="Ask for it with binary_data: true.",
            param=name,
        )
    data: list[Any] = array.ravel().tolist()
    if datatype == "BYTES":
        try:
            data = [value.decode() if isinstance(value, bytes) else str(value) for value in data]
        except UnicodeDecodeError as error:
            raise Refused(
                "tensor_datatype",
                f"Output '{name}' holds bytes that are no text.",
                hint="Ask for it with binary_data: true.",
                param=name,
            ) from error
    return OutputTensor(name=name, datatype=datatype, shape=array.shape, data=data)


def binary_tensor(name: str, array: Array, declared: str | None = None) -> tuple[OutputTensor, bytes]:
    """An output's JSON without data, and the bytes that follow."""
    datatype = declared or _datatype(name, array)
    if datatype == "BYTES":
        parts: list[bytes] = []
        for value in array.ravel().tolist():
            raw = value if isinstance(value, bytes) else str(value).encode()
            parts.append(struct.pack("<I", len(raw)))
            parts.append(raw)
        data = b"".join(parts)
    elif datatype == "BF16":
        data = (np.ascontiguousarray(array, "<f4").view("<u4") >> 16).astype("<u2").tobytes()
    else:
        data = np.ascontiguousarray(array, DTYPES[datatype]).tobytes()
    shape = array.shape
    return OutputTensor(
        name=name, datatype=datatype, shape=shape, parameters={"binary_data_size": len(data)}
    ), data


def _datatype(name: str, array: Array) -> str:
    try:
        return datatype_of(array)
    except ValueError as error:
        raise TypeError(f"output '{name}': {error}") from error
