"""What a replica answers: the Open Inference Protocol v2 over REST, for the one model version it serves.

Stands between `wire.server` and the batcher. Refusals are `{"error": …}` with the right status, as the protocol says;
what a model raises goes to the log and never to the client.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from andon import __version__
from andon.kernel.errors import AndonError, Refused, Transient
from andon.kernel.snapshot import Signature, TensorSpec
from andon.serving.models.formats.port import DTYPES, Array
from andon.serving.replica.batcher import Batcher, Timing
from andon.serving.replica.protocol import InferRequest, InferResponse, OutputTensor
from andon.serving.replica.tensors import (
    binary_tensor,
    decode_request,
    encode_json,
    json_tensor,
)
from andon.wire.model import Header, Reply, Request

_FEATURE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_FEATURES_MAX = 64
_JSON = b"content-type: application/json\r\n"
_HUNG_S = 30.0  # one call of the model taking longer makes the replica unready, so that it is replaced

BODY_BYTES_MAX = 64 * 2**20
_encode = msgspec.json.Encoder().encode


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """What is served, once the model is loaded and warm."""

    signature: Signature
    platform: str
    batcher: Batcher
    on_failure: Callable[[Exception], None]  # told of everything that the model raises


class ReplicaApplication:
    """The routes of one replica. `serve` opens it; before that it is alive and not ready."""

    def __init__(self, model: str, version: str) -> None:
        self._model = model
        self._version = version
        self._served: Served | None = None
        self._inputs: Mapping[str, TensorSpec] = {}
        self._required: frozenset[str] = frozenset()
        self._wide: Mapping[str, str] = {}
        self._outputs: frozenset[str] = frozenset()
        self._infer_paths = frozenset((f"/v2/models/{model}/infer".encode(), self._versioned("/infer")))
        self._ready_paths = frozenset((f"/v2/models/{model}/ready".encode(), self._versioned("/ready")))
        self._model_paths = frozenset((f"/v2/models/{model}".encode(), self._versioned("")))
        self.is_draining = False

    def _versioned(self, what: str) -> bytes:
        return f"/v2/models/{self._model}/versions/{self._version}{what}".encode()

    def serve(self, served: Served) -> None:
        """Answer inferences from now on."""
        self._served = served
        self._inputs = {tensor.name: tensor for tensor in served.signature.inputs}
        self._required = frozenset(tensor.name for tensor in served.signature.inputs if not tensor.optional)
        self._outputs = frozenset(tensor.name for tensor in served.signature.outputs)
        self._wide = {t.name: "BF16" for t in served.signature.outputs if t.datatype == "BF16"}

    @property
    def is_ready(self) -> bool:
        """Whether new requests should come here."""
        served = self._served
        return served is not None and not self.is_draining and served.batcher.busy_s() < _HUNG_S

    async def handle(self, request: Request, reply: Reply) -> None:
        """Answer one request."""
        path = request.path if b"%" not in request.path else unquote_to_bytes(request.path)
        try:
            if path in self._infer_paths:
                if request.method != b"POST":
                    raise Refused("method_not_allowed", "Inference is a POST.", status=405)
                headers, body = await self._infer(request)
                reply.send(200, headers, body)
            else:
                status, body = self._look(request.method, path)
                reply.send(status, _JSON, body)
        except AndonError as error:
            headers, body = _refusal(error)
            reply.send(error.status, headers, body)

    def body_bytes_max(self, method: bytes, path: bytes, headers: Sequence[Header]) -> int:
        """Inference may be large; nothing else carries a body."""
        return BODY_BYTES_MAX if method == b"POST" else 64 * 1024

    def refuse(self, path: bytes, status: int, code: str, message: str) -> tuple[bytes, bytes]:
        """The protocol's own refusals in the same shape."""
        return _JSON, _encode({"error": message})

    def _look(self, method: bytes, path: bytes) -> tuple[int, bytes]:
        """Health and metadata."""
        if method not in (b"GET", b"HEAD"):
            raise self._not_found(path)
        if path == b"/v2/health/live":
            return 200, b'{"live":true}'
        if path == b"/v2/health/ready":
            return (200, b'{"ready":true}') if self.is_ready else (503, b'{"ready":false}')
        if path in self._ready_paths:
            answer = {"name": self._model, "ready": self.is_ready}
            return 200 if self.is_ready else 503, _encode(answer)
        if path in (b"/v2", b"/v2/"):
            return 200, _encode(
                {"name": "andon", "version": __version__, "extensions": ["binary_tensor_data"]}
            )
        if path in self._model_paths:
            return 200, _encode(self._metadata())
        raise self._not_found(path)

    def _not_found(self, path: bytes) -> Refused:
        return Refused(
            "not_found",
            f"There is nothing to do this at {path.decode('latin-1')}; this replica serves "
            f"model '{self._model}' version '{self._version}'.",
            status=404,
        )

    def _metadata(self) -> dict[str, Any]:
        served = self._loaded()
        return {
            "name": self._model,
            "versions": [self._version],
            "platform": served.platform,
            "inputs": [_described(tensor) for tensor in served.signature.inputs],
            "outputs": [_described(tensor) for tensor in served.signature.outputs],
        }

    def _loaded(self) -> Served:
        if self._served is None:
            raise Transient("replica_starting", "The model is being loaded.", retry_after_s=1.0)
        return self._served

    async def _infer(self, request: Request) -> tuple[bytes, bytes]:
        served = self._loaded()
        asked, inputs = decode_request(request.body, _header_length(request.headers))
        self._check(inputs)
        wanted = self._wanted(asked)
        try:
            timing = Timing()
            outputs = await served.batcher.submit(inputs, timing)
        except (AndonError, asyncio.CancelledError):
            raise
        except Exception as error:  # a model may raise anything; the client learns the kind, the log the rest
            served.on_failure(error)
            raise AndonError(
                "model_failed", f"Model '{self._model}' raised {type(error).__name__} on this request."
            ) from error
        headers, body = self._render(asked, wanted, outputs)
        return headers + server_timing(timing), body

    def _check(self, inputs: dict[str, Array]) -> None:
        """Names, types, ranks and fixed dimensions of the inputs against the signature.

        The datatype was checked against the data when it was read, so that the array's own type is compared here.
        A column may come as [n] for [n, 1] and the other way round: clients differ, and the meaning does not.
        """
        for name, array in inputs.items():
            tensor = self._inputs.get(name)
            if tensor is None:
                raise Refused(
                    "tensor_unknown",
                    f"The model has no input '{name}'; it has: {', '.join(self._inputs)}.",
                    param=name,
                )
            _check_type(tensor, array)
            if len(tensor.shape) != array.ndim:
                inputs[name] = array = _as_column(tensor, array)
            for stated, actual in zip(tensor.shape, array.shape, strict=True):
                if stated not in (-1, actual):
                    raise _wrong_shape(tensor, array)
        if len(inputs) < len(self._inputs):
            missing = self._required.difference(inputs)
            if missing:
                name = min(missing)
                raise Refused("tensor_missing", f"Input '{name}' is missing.", param=name)

    def _wanted(self, asked: InferRequest) -> list[tuple[str, bool]] | bool:
        """Names of the outputs asked for and whether in binary; a bare bool means all of them, in binary or not."""
        default = bool(asked.parameters and asked.parameters.get("binary_data_output"))
        if not asked.outputs:
            return default
        wanted: list[tuple[str, bool]] = []
        for output in asked.outputs:
            if self._outputs and output.name not in self._outputs:
                raise Refused(
                    "tensor_unknown",
                    f"The model has no output '{output.name}'; it has: {', '.join(sorted(self._outputs))}.",
                    param=output.name,
                )
            parameters = output.parameters or {}
            if parameters.get("classification"):
                raise Refused(
                    "classification_unsupported",
                    "The classification extension is not served.",
                    param=output.name,
                )
            wanted.append((output.name, bool(parameters.get("binary_data", default))))
        return wanted

    def _render(
        self, asked: InferRequest, wanted: list[tuple[str, bool]] | bool, outputs: dict[str, Array]
    ) -> tuple[bytes, bytes]:
        """Headers and body of an answer."""
        if isinstance(wanted, bool):
            wanted = [(name, wanted) for name in outputs]
        tensors: list[OutputTensor] = []
        tail: list[bytes] = []
        for name, is_binary in wanted:
            array = outputs.get(name)
            if array is None and not self._outputs:
                raise Refused("tensor_unknown", f"The model has no output '{name}'.", param=name)
            if array is None:
                raise AndonError("model_failed", f"Model '{self._model}' did not give its output '{name}'.")
            declared = self._wide.get(name)
            if is_binary:
                tensor, data = binary_tensor(name, array, declared)
                tail.append(data)
            else:
                tensor = json_tensor(name, array, declared)
            tensors.append(tensor)
        head = encode_json(
            InferResponse(model_name=self._model, model_version=self._version, outputs=tensors, id=asked.id)
        )
        if not tail:
            return _JSON, head
        headers = b"content-type: application/octet-stream\r\ninference-header-content-length: %d\r\n" % len(
            head
        )
        return headers, b"".join((head, *tail))


def server_timing(timing: Timing) -> bytes:
    """The line of W3C Server Timing, in milliseconds; features under names that need no quoting."""
    line = b"server-timing: queue;dur=%.3f,compute;dur=%.3f,batch;desc=%d" % (
        timing.queue_s * 1e3,
        timing.compute_s * 1e3,
        timing.requests,
    )
    for name, duration_ms in list(timing.features_ms.items())[:_FEATURES_MAX]:
        if _FEATURE.fullmatch(name):
            line += b",feature.%b;dur=%.3f" % (name.encode(), duration_ms)
    return line + b"\r\n"


def _header_length(headers: Sequence[Header]) -> int | None:
    length: int | None = None
    for name, value in headers:
        if name == b"inference-header-content-length":
            if not value.isdigit() or len(value) > 12:
                raise Refused("tensor_binary_size", "Inference-Header-Content-Length is not a number.")
            length = int(value)
        elif name == b"content-encoding" and value.lower() != b"identity":
            raise Refused(
                "encoding_unsupported",
                "Compressed bodies are not accepted here.",
                hint="Send the body as it is.",
                status=415,
            )
    return length


def _check_type(tensor: TensorSpec, array: Array) -> None:
    given = array.dtype
    expected = DTYPES[tensor.datatype]
    if given != expected:
        raise Refused(
            "tensor_datatype",
            f"Input '{tensor.name}' is {tensor.datatype}, not {_name(given)}.",
            param=tensor.name,
        )


def _name(dtype: Any) -> str:
    return next((name for name, known in DTYPES.items() if known == dtype), str(dtype))


def _as_column(tensor: TensorSpec, array: Array) -> Array:
    if array.ndim == 1 and len(tensor.shape) == 2 and tensor.shape[1] == 1:
        return array.reshape(-1, 1)
    if array.ndim == 2 and len(tensor.shape) == 1 and array.shape[1] == 1:
        return array.reshape(-1)
    raise _wrong_shape(tensor, array)


def _wrong_shape(tensor: TensorSpec, array: Array) -> Refused:
    return Refused(
        "tensor_shape",
        f"Input '{tensor.name}' takes shape {list(tensor.shape)}, not {list(array.shape)}.",
        param=tensor.name,
    )


def _described(tensor: TensorSpec) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}


def _refusal(error: AndonError) -> tuple[bytes, bytes]:
    headers = _JSON
    if isinstance(error, Transient):
        headers += b"retry-after: %d\r\n" % max(1, round(error.retry_after_s))
    return headers, _encode({"error": str(error)})
