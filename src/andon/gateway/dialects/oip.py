"""The Open Inference Protocol v2 over HTTP: typed reading of requests, the binary extension, the shape of errors.

Tensors given as JSON stay undecoded (`Raw`) until `gateway/validation` reads them by datatype. The bytes of a request
are forwarded untouched, binary extension included. Raises nothing but `Refused`.
Source: kserve/open-inference-protocol inference_rest.md; triton-inference-server extension_binary_data.md.
"""

from __future__ import annotations

from typing import Any

import msgspec

from andon.gateway.dialects.openai import refusal_of
from andon.kernel.errors import AndonError, Refused
from andon.kernel.exchange import Exchange
from andon.kernel.snapshot import EndpointEntry, Signature, TensorSpec

ITEM_BYTES: tuple[tuple[str, int], ...] = (
    ("BOOL", 1), ("UINT8", 1), ("UINT16", 2), ("UINT32", 4), ("UINT64", 8), ("INT8", 1), ("INT16", 2),
    ("INT32", 4), ("INT64", 8), ("FP16", 2), ("BF16", 2), ("FP32", 4), ("FP64", 8),
)  # fmt: skip
EXTENSIONS = ("binary_tensor_data",)


class TensorParameters(msgspec.Struct):
    """What the extensions say about one tensor."""

    binary_data_size: int | None = None
    shared_memory_region: str | None = None


class Tensor(msgspec.Struct):
    """One input. `data` is JSON still; absent when the tensor travels in binary."""

    name: str
    shape: list[int]
    datatype: str
    parameters: TensorParameters | None = None
    data: msgspec.Raw = msgspec.Raw(b"")


class InferRequest(msgspec.Struct):
    """POST /v2/models/{m}/infer, as far as the gateway must understand it."""

    inputs: list[Tensor]
    id: str | None = None


class InferAnswer(msgspec.Struct):
    """Nothing of an answer is needed, but it must be an object with outputs."""

    outputs: msgspec.Raw = msgspec.Raw(b"")


class ErrorBody(msgspec.Struct):
    """An answer that is an error in this dialect."""

    error: str


_infer = msgspec.json.Decoder(InferRequest).decode
_answer = msgspec.json.Decoder(InferAnswer).decode
_error = msgspec.json.Decoder(ErrorBody).decode
_encode = msgspec.json.Encoder().encode


def read_infer(exchange: Exchange) -> Refused | None:
    """Decode an inference request into `exchange`; the refusal if it cannot be read."""
    body = exchange.body
    length = exchange.header_length
    if length is not None:
        if not 0 < length <= len(body):
            return Refused(
                "invalid_header_length",
                f"Inference-Header-Content-Length is {length} but the body has {len(body)} bytes.",
                hint="Set it to the length of the JSON in front of the tensors.",
            )
        body = body[:length]
    try:
        request = _infer(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return refusal_of(error)
    exchange.request = request
    exchange.max_output_tokens = 0
    return None


def check_answer(body: bytes, header_length: int | None) -> None:
    """Raises msgspec.MsgspecError when an answer is not the JSON it should be."""
    if header_length is None:
        _answer(body)
    elif 0 < header_length <= len(body):
        _answer(body[:header_length])
    else:
        raise msgspec.DecodeError("the header length lies outside the answer")


def is_error(body: bytes) -> bool:
    """Whether an upstream's error body already has the shape of this dialect."""
    try:
        _error(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return True


def error_body(error: AndonError) -> bytes:
    """One string, as the protocol has it."""
    return _encode({"error": str(error)})


def server_metadata(version: str) -> bytes:
    """GET /v2."""
    return _encode({"name": "andon", "version": version, "extensions": EXTENSIONS})


def model_metadata(endpoint: EndpointEntry, name: str) -> bytes:
    """GET /v2/models/{m}: the signature of the stable release under the name that the client used."""
    signature = next(
        (r.signature for r in endpoint.releases if r.arm == "stable" and r.signature), Signature()
    )
    return _encode(
        {
            "name": name,
            "versions": [version_of(release.id) for release in endpoint.releases],
            "platform": "andon",
            "inputs": [_tensor(spec) for spec in signature.inputs],
            "outputs": [_tensor(spec) for spec in signature.outputs],
        }
    )


def version_of(release: str) -> str:
    """The version that clients name: what follows the @ of a release."""
    return release.rpartition("@")[2]


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": spec.shape}
